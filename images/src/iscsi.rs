//! LUNs of iSCSI targets as places for volumes, reached by QEMU's own initiator.
//!
//! A LUN is named by a URL ([`Lun`]); which host reaches it and with which CHAP secret is said apart
//! from it ([`LunAccess`]), so that a record of a LUN says nothing secret and is the same on each
//! hypervisor. QEMU's block driver (libiscsi) logs in to the target: no kernel module is loaded, and
//! the host never has a block device of it.
//!
//! ```text
//!   [`Lun`]         where: portal, target, number, and who logs in      in records
//!   [`LunAccess`]   this hypervisor's name and the secrets              in memory
//!   [`LunSeal`]     which LUN it was and what it began with             in a master's manifest
//!   [`LunDisk`]     its bytes, through qemu-storage-daemon              restoring, importing
//! ```
//! Names and URLs are parsed without any I/O. There are no locks over iSCSI: who may write is in the
//! master's records ([`crate::clone::Ownership`]), and nothing here keeps a foreign initiator away.
//!
//! After RFC 7143 (§4.2.7, names; §12.1, CHAP), RFC 3720 (§3.2.6, the same names), RFC 3980 (naa
//! names), and <https://www.qemu.org/docs/master/interop/qemu-qmp-ref.html> (`BlockdevOptionsIscsi`).

mod access;
mod chap;
mod disk;
mod error;
mod name;
mod portal;
mod seal;
#[cfg(test)]
mod tests;

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use access::LunAccess;
pub(crate) use access::{Mode, OpenLun};
pub(crate) use chap::Accounts;
pub use chap::{ChapSecret, ChapUser};
pub use disk::LunDisk;
pub use error::{AddressError, LunError};
pub use name::{InitiatorName, IscsiName};
pub use portal::Portal;
pub use seal::LunSeal;
pub(crate) use seal::serial;

/// The highest number of a LUN. libiscsi puts the number into the first two bytes of the address as it
/// is, which is SAM-5's peripheral addressing up to here and another method beyond.
const HIGHEST: u8 = u8::MAX;

/// The longest URL that is read, in bytes: a host's name of 253, a target's of 223, a user's of 255.
const LONGEST: usize = 1024;

const SCHEME: &str = "iscsi://";

/// How long one of a LUN's requests may take, in seconds, before QEMU gives it up and tries again.
pub const REQUEST_SECONDS: u32 = 30;

/// A logical unit of an iSCSI target, and as whom CHAP logs in to it.
///
/// As text, `iscsi://[USER@]HOST[:PORT]/TARGET/NUMBER`, the form of libiscsi and QEMU without the
/// secret: one in a URL would be in records, command lines and logs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Lun {
    portal: Portal,
    target: IscsiName,
    number: u8,
    user: Option<ChapUser>,
}

impl Lun {
    /// Reads a URL.
    ///
    /// # Errors
    /// [`AddressError`] says which part of it is no such thing. None repeats the user's part: somebody
    /// may have put a secret there.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if text.len() > LONGEST {
            return Err(AddressError::TooLong);
        }
        let rest = text.strip_prefix(SCHEME).ok_or(AddressError::NotIscsi)?;
        // Neither a host's nor a target's name has this sign.
        let (user, rest) = match rest.rsplit_once('@') {
            Some((user, rest)) => (Some(ChapUser::parse(user)?), rest),
            None => (None, rest),
        };
        let mut parts = rest.split('/');
        let (Some(portal), Some(target), Some(number), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(AddressError::Parts);
        };
        Ok(Self {
            portal: Portal::parse(portal)?,
            target: IscsiName::parse(target)?,
            number: parse_number(number)?,
            user,
        })
    }

    /// Where the target listens.
    pub fn portal(&self) -> &Portal {
        &self.portal
    }

    /// The target.
    pub fn target(&self) -> &IscsiName {
        &self.target
    }

    /// Which of the target's logical units.
    pub fn number(&self) -> u8 {
        self.number
    }

    /// As whom CHAP logs in, if it does.
    pub fn user(&self) -> Option<&ChapUser> {
        self.user.as_ref()
    }

    /// Whether it is the same logical unit, by its target's name, which is one in the world; portals
    /// and users may differ.
    pub fn is_same_unit(&self, other: &Self) -> bool {
        (&self.target, self.number) == (&other.target, other.number)
    }

    /// The URL without a user: what an overlay names as its backing file, and libiscsi's tools take.
    pub(crate) fn bare(&self) -> String {
        format!("{SCHEME}{}/{}/{}", self.portal, self.target, self.number)
    }

    /// QEMU's protocol node, whose secret has this name there. Without an initiator QEMU says its own
    /// name, which hangs on its machine's.
    pub(crate) fn node(&self, initiator: Option<&InitiatorName>, secret: &str) -> Value {
        let mut node = json!({
            "driver": "iscsi",
            "transport": "tcp",
            "portal": self.portal.to_string(),
            "target": self.target.as_str(),
            "lun": self.number,
            "timeout": REQUEST_SECONDS,
        });
        if let Some(initiator) = initiator {
            node["initiator-name"] = initiator.as_str().into();
        }
        if let Some(user) = &self.user {
            node["user"] = user.as_str().into();
            node["password-secret"] = secret.into();
        }
        node
    }
}

/// A number in decimal, spelled in the one way: two spellings would be two texts of one LUN.
fn parse_number(text: &str) -> Result<u8, AddressError> {
    let number: u8 = text.parse().map_err(|_| AddressError::Number { highest: HIGHEST })?;
    if number.to_string() == text {
        Ok(number)
    } else {
        Err(AddressError::Number { highest: HIGHEST })
    }
}

impl fmt::Display for Lun {
    fn fmt(&self, into: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { portal, target, number, user } = self;
        into.write_str(SCHEME)?;
        if let Some(user) = user {
            write!(into, "{user}@")?;
        }
        write!(into, "{portal}/{target}/{number}")
    }
}

impl FromStr for Lun {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Lun {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        Self::parse(&text)
    }
}

impl From<Lun> for String {
    fn from(lun: Lun) -> Self {
        lun.to_string()
    }
}

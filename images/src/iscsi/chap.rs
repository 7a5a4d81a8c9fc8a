//! CHAP: as whom QEMU logs in to a target, and by which secret (RFC 7143, §12.1).
//!
//! A user's name goes over the wire in the clear and is no secret; it is part of a LUN's URL. The secret
//! has no `Debug`, is in no record of ours, and its memory is zeroed. It goes to QEMU's programs as a
//! `secret` object ([`crate::encryption::secret`]). Where it is kept is the caller's affair.
//!
//! CHAP with MD5, which is all that libiscsi and most targets have, tells the target who we are and
//! protects nothing that is sent: the wire between a hypervisor and its storage is to be a network of
//! its own. That the target proves who it is (mutual CHAP) is not in QEMU's driver.

use std::{collections::HashMap, fmt};

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{AddressError, IscsiName, Lun};
use crate::encryption::MissingKey;

/// The shortest secret, in bytes: RFC 7143, §9.2.1, wants 96 random bits.
const SHORTEST: usize = 12;
/// The longest user or secret, in bytes.
const LONGEST: usize = 255;

/// As whom CHAP logs in: 1 to 255 letters, digits and `-._:`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ChapUser(String);

impl ChapUser {
    /// The user, if it is one.
    ///
    /// # Errors
    /// [`AddressError::User`], also for `USER%SECRET`, which other programs take.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
        if (1..=LONGEST).contains(&text.len()) && text.bytes().all(is_known) {
            Ok(Self(text.into()))
        } else {
            Err(AddressError::User)
        }
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ChapUser {
    fn fmt(&self, into: &mut fmt::Formatter<'_>) -> fmt::Result {
        into.write_str(&self.0)
    }
}

impl TryFrom<String> for ChapUser {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        Self::parse(&text)
    }
}

impl From<ChapUser> for String {
    fn from(user: ChapUser) -> Self {
        user.0
    }
}

/// A CHAP secret: 12 to 255 printable ASCII characters. It has no `Debug`.
#[derive(Clone)]
pub struct ChapSecret(Zeroizing<String>);

impl ChapSecret {
    /// The secret, if it is one.
    pub fn parse(text: Zeroizing<String>) -> Result<Self, AddressError> {
        let is_printable = text.bytes().all(|byte| byte.is_ascii_graphic());
        if (SHORTEST..=LONGEST).contains(&text.len()) && is_printable {
            Ok(Self(text))
        } else {
            Err(AddressError::Secret)
        }
    }

    /// Its text, to be handed on or sealed.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl PartialEq for ChapSecret {
    /// In constant time.
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for ChapSecret {}

/// The secrets of targets' users. It has no `Debug`.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Accounts(HashMap<(IscsiName, ChapUser), ChapSecret>);

impl Accounts {
    /// One more.
    pub(crate) fn insert(&mut self, target: IscsiName, user: ChapUser, secret: ChapSecret) {
        self.0.insert((target, user), secret);
    }

    /// All of others, too.
    pub(crate) fn extend(&mut self, others: &Self) {
        let others = others.0.iter().map(|(account, secret)| (account.clone(), secret.clone()));
        self.0.extend(others);
    }

    /// The secret that a LUN is reached with; none if it is without CHAP.
    pub(crate) fn of(&self, lun: &Lun) -> Result<Option<&ChapSecret>, MissingKey> {
        let Some(user) = lun.user() else { return Ok(None) };
        let account = (lun.target().clone(), user.clone());
        let missing = || MissingKey::named(format!("of {user} at {}", lun.target()));
        self.0.get(&account).map(Some).ok_or_else(missing)
    }
}

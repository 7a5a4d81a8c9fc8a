//! Names of targets and initiators: which in the world, wherever they are.
//!
//! After RFC 7143, §4.2.7 (RFC 3720, §3.2.6): `iqn.` with a month and a domain of whoever gave it,
//! `eui.` with 16 hexadecimal digits, `naa.` with 16 or 32 (RFC 3980); 223 bytes at most. ASCII alone
//! is taken. RFC 3722 folds names to small letters, and there are targets that compare them as they are
//! (Synology's have capitals in theirs), so the part behind the domain is kept as it is.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::AddressError;

/// The longest name, in bytes.
const LONGEST: usize = 223;

/// The name of a target or an initiator.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IscsiName(String);

impl IscsiName {
    /// The name, if it is one.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let is_name = match text.split_at_checked(4) {
            _ if text.len() > LONGEST => false,
            Some(("iqn.", rest)) => is_qualified(rest),
            Some(("eui.", rest)) => is_hexadecimal(rest, &[16]),
            Some(("naa.", rest)) => is_hexadecimal(rest, &[16, 32]),
            _ => false,
        };
        if is_name {
            return Ok(Self(text.into()));
        }
        // What somebody pasted is told, but not all of a long text.
        Err(AddressError::Name(text.chars().take(LONGEST).collect()))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What is behind `iqn.`: a month, a reversed domain, and perhaps a colon and what its owner likes.
fn is_qualified(rest: &str) -> bool {
    let Some((date, rest)) = rest.split_once('.') else { return false };
    let (domain, own) = match rest.split_once(':') {
        Some((domain, own)) => (domain, Some(own)),
        None => (rest, None),
    };
    is_month(date) && domain.split('.').all(is_label) && own.is_none_or(is_own)
}

fn is_month(date: &str) -> bool {
    let Some((year, month)) = date.split_once('-') else { return false };
    let is_number =
        |text: &str, length| text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number(year, 4)
        && is_number(month, 2)
        && month.parse().is_ok_and(|month: u8| (1..=12).contains(&month))
}

fn is_label(label: &str) -> bool {
    let is_known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&label.len())
        && label.bytes().all(is_known)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

fn is_own(own: &str) -> bool {
    !own.is_empty()
        && own.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.:".contains(&byte))
}

fn is_hexadecimal(rest: &str, lengths: &[usize]) -> bool {
    lengths.contains(&rest.len()) && rest.bytes().all(|byte| byte.is_ascii_hexdigit())
}

impl fmt::Display for IscsiName {
    fn fmt(&self, into: &mut fmt::Formatter<'_>) -> fmt::Result {
        into.write_str(&self.0)
    }
}

impl TryFrom<String> for IscsiName {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        Self::parse(&text)
    }
}

impl From<IscsiName> for String {
    fn from(name: IscsiName) -> Self {
        name.0
    }
}

/// The name of a hypervisor as an initiator, the same for all of its QEMUs and after each start: what
/// a target's list of who may log in has.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InitiatorName(IscsiName);

impl InitiatorName {
    /// A name that somebody gave.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        IscsiName::parse(text).map(Self)
    }

    /// The one in the text of `/etc/iscsi/initiatorname.iscsi`, open-iscsi's file; so a host's kernel
    /// and its QEMUs have one name. None if it names none.
    pub fn in_file(text: &str) -> Result<Option<Self>, AddressError> {
        let named =
            |line: &str| Some(line.trim().strip_prefix("InitiatorName=")?.trim().to_owned());
        text.lines().find_map(named).map(|name| Self::parse(&name)).transpose()
    }

    /// One made of the host's machine-id(5), which it doesn't tell: a locally assigned `naa.` name (a
    /// digit 3, then 60 bits of a keyed digest), for which no domain is needed.
    pub fn of_machine(machine_id: &str) -> Self {
        let key =
            blake3::derive_key("mezame 2026 iSCSI initiator name", machine_id.trim().as_bytes());
        let digits: String = key.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Self(IscsiName(format!("naa.3{}", &digits[1..])))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for InitiatorName {
    fn fmt(&self, into: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(into)
    }
}

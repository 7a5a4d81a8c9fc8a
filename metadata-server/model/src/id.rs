//! Names that operators give and ids that the provisioner makes.
//!
//! One newtype each, so that a port's name can't be passed where an instance's id is wanted.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a text is no valid id or name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {value:?} is not valid: {rule}")]
pub struct IdError {
    /// What it should have been.
    pub what: &'static str,
    /// The offending text, cut to 80 characters.
    pub value: String,
    /// The rule that it breaks.
    pub rule: &'static str,
}

macro_rules! text_newtype {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// What this is called in messages.
            pub const WHAT: &'static str = $what;
            /// The rule that every value keeps.
            pub const RULE: &'static str = $rule;

            /// Parses a text, or says which rule it breaks.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                let check: fn(&str) -> bool = $check;
                if check(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(IdError { what: $what, value: text.chars().take(80).collect(), rule: $rule })
                }
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                let check: fn(&str) -> bool = $check;
                // Taken over, not copied: a ledger has hundreds of thousands of these.
                if check(&text) { Ok(Self(text.into_boxed_str())) } else { Self::parse(&text) }
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.into()
            }
        }

        impl std::str::FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::parse(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(out, "{:?}", &self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}
pub(crate) use text_newtype;

/// 1 to 63 of `a-z 0-9 -`, beginning and ending with a letter or digit (RFC 1123 label).
fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    let plain = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    (1..=63).contains(&bytes.len())
        && bytes.iter().all(|b| plain(b) || *b == b'-')
        && bytes.first().is_some_and(plain)
        && bytes.last().is_some_and(plain)
}

/// `prefix` and 17 lower-case hexadecimal digits, as EC2 ids are.
fn is_made_id(text: &str, prefix: &str) -> bool {
    text.strip_prefix(prefix).is_some_and(|hex| {
        hex.len() == 17 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    })
}

const LABEL: &str = "1 to 63 characters of a-z, 0-9 and '-', not beginning or ending with '-'";

macro_rules! name_newtype {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        text_newtype!($(#[$doc])* $name, $what,
            "1 to 63 characters of a-z, 0-9 and '-', not beginning or ending with '-'", is_label);
    };
}

name_newtype!(/// A project's name, unique in the installation.
    ProjectName, "project name");
name_newtype!(/// A network's name, unique in its project.
    NetworkName, "network name");
name_newtype!(/// A port's name, unique in its project.
    PortName, "port name");
name_newtype!(/// An instance's name, unique in its project.
    InstanceName, "instance name");
name_newtype!(/// The name of a read-once secret, unique in its instance.
    SecretName, "secret name");
name_newtype!(/// The name of an encrypted volume's key, unique in its instance.
    VolumeName, "volume name");

text_newtype!(
    /// An instance's id, `i-` and 17 hexadecimal digits. Made anew for each instance, so that a
    /// guest that is deleted and made again under its old name runs its first-boot steps.
    InstanceId, "instance id", "'i-' and 17 digits of 0-9 and a-f", |t| is_made_id(t, "i-"));
text_newtype!(
    /// A port's id, `eni-` and 17 hexadecimal digits.
    PortId, "port id", "'eni-' and 17 digits of 0-9 and a-f", |t| is_made_id(t, "eni-"));
text_newtype!(
    /// A network's id, `net-` and 17 hexadecimal digits.
    NetworkId, "network id", "'net-' and 17 digits of 0-9 and a-f", |t| is_made_id(t, "net-"));
text_newtype!(
    /// A network device's name on the hypervisor (Linux: 1 to 15 bytes, no '/' and no blank).
    DeviceName, "device name", "1 to 15 printable ASCII characters without '/', ':' or blanks, not '.' or '..'",
    |t| (1..=15).contains(&t.len()) && t != "." && t != ".."
        && t.bytes().all(|b| b.is_ascii_graphic() && b != b'/' && b != b':'));
text_newtype!(
    /// A user's name in a guest (as `useradd` takes it).
    UserName, "user name", "1 to 32 characters of a-z, 0-9, '_' and '-', beginning with a letter or '_'",
    |t| (1..=32).contains(&t.len())
        && t.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b == b'_')
        && t.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-'));

/// The last 60 bits of a made id, so that a signed 64-bit integer holds it. Two ids share a number
/// only if, drawn at random, they differ in nothing but the first two digits.
fn number(id: &str) -> u64 {
    let digits = id.rsplit('-').next().unwrap_or_default();
    u64::from_str_radix(digits.get(2..).unwrap_or_default(), 16).unwrap_or_default()
}

impl InstanceId {
    /// As a number, for the dialects whose ids are numbers: the last 60 bits.
    pub fn number(&self) -> u64 {
        number(self.as_str())
    }
}

impl NetworkId {
    /// As a number, for the dialects whose ids are numbers: the last 60 bits.
    pub fn number(&self) -> u64 {
        number(self.as_str())
    }
}

impl DeviceName {
    /// The tap name that a port has unless its record names another: `tap` and the first eleven
    /// digits of the port's id, as fits Linux's 15 bytes.
    pub fn of_port(port: &PortId) -> Self {
        let digits = port.as_str().trim_start_matches("eni-");
        Self(format!("tap{}", &digits[..11]).into())
    }
}

/// Says whether a host name may be given to a guest: labels of 1 to 63 letters, digits and '-',
/// at most 253 characters (RFC 1123, section 2.1).
pub fn is_hostname(text: &str) -> bool {
    (1..=253).contains(&text.len())
        && text.split('.').all(|label| is_label(&label.to_ascii_lowercase()))
}

/// The rule that [`is_hostname`] checks, for messages.
pub const HOSTNAME_RULE: &str =
    "labels of 1 to 63 letters, digits and '-' joined by '.', at most 253 characters";

/// The rule for names, for messages.
pub const NAME_RULE: &str = LABEL;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_rfc_1123_labels() {
        for good in ["a", "web-0", "0x", &"a".repeat(63)] {
            assert!(InstanceName::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a/b", "ä", "a\0", &"a".repeat(64)] {
            assert!(InstanceName::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_tap_name_made_of_a_port_id_fits_the_kernels_limit() {
        let port = PortId::parse("eni-0123456789abcdef0").unwrap();
        let device = DeviceName::of_port(&port);
        assert_eq!(device.as_str(), "tap0123456789a");
        assert!(DeviceName::parse(device.as_str()).is_ok());
    }

    #[test]
    fn an_id_as_a_number_is_its_last_fifteen_digits() {
        let id = InstanceId::parse("i-0123456789abcdef0").unwrap();
        assert_eq!(id.number(), 0x0234_5678_9abc_def0);
        let id = NetworkId::parse("net-fffffffffffffffff").unwrap();
        assert_eq!(id.number(), (1 << 60) - 1);
    }

    #[test]
    fn an_id_of_one_kind_is_not_parsed_as_another() {
        assert!(InstanceId::parse("eni-0123456789abcdef0").is_err());
        assert!(PortId::parse("i-0123456789abcdef0").is_err());
    }
}

//! A public key by which a Windows guest is asked for a password, as Google's tools ask for one.
//!
//! In JSON it has the names that stand in the metadata of Compute Engine: each line of the attribute
//! `windows-keys` is one ("Automating Windows password generation" in Google's documentation). The
//! guest makes a password for the user, encrypts it to the key and answers on its fourth serial port.

use serde::{Deserialize, Serialize};

use crate::date;

/// An ask for a password, and the key that it is to be encrypted to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WindowsKey {
    /// Whose password.
    pub user_name: Box<str>,
    /// Of RSA, in base64, the most significant byte first.
    pub modulus: Box<str>,
    /// The same.
    pub exponent: Box<str>,
    /// From then on the ask is void: a time by RFC 3339.
    pub expire_on: Box<str>,
    /// Who asks; for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<Box<str>>,
    /// OAEP's: `sha1`, `sha256` or `sha512`; `sha1` without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash_function: Option<Box<str>>,
}

impl WindowsKey {
    /// The most of an instance.
    pub const COUNT_MAX: usize = 16;
    /// The shortest modulus, in bytes: 2,048 bits.
    pub const MODULUS_MIN: usize = 256;
    /// The longest modulus, in bytes: 4,096 bits.
    pub const MODULUS_MAX: usize = 512;
    /// The hash functions that are known.
    pub const HASHES: [&str; 3] = ["sha1", "sha256", "sha512"];

    /// When the ask becomes void, in seconds since 1970-01-01T00:00:00Z; None where the text is no
    /// time of these centuries by RFC 3339.
    pub fn expires_at(&self) -> Option<u64> {
        date::seconds(&self.expire_on)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_names_are_googles() {
        let text = r#"{"userName":"ops","modulus":"AQ==","exponent":"AQAB","expireOn":"2026-11-26T05:24:30Z","email":"a@b"}"#;
        let key: WindowsKey = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&key).unwrap(), text);
    }
}

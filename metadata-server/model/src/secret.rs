//! Texts and bytes that must not be seen: Debug shows nothing, dropping zeroes the memory.
//!
//! `Serialize` writes the true value, since feed, ledger and store need it; each of those seals
//! what it writes. Nothing that an operator or a log reads may serialize these types: the API's
//! own types carry no secret. Two of them are compared in a time that tells only whether their
//! lengths differ.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A secret text, such as a password's hash.
#[derive(Clone)]
pub struct SecretString(Zeroizing<Box<str>>);

impl SecretString {
    /// Takes the text over.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text.into_boxed_str()))
    }

    /// The text itself, for the one place that must hand it out.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl PartialEq for SecretString {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for SecretString {}

impl std::fmt::Debug for SecretString {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("SecretString(..)")
    }
}

impl Serialize for SecretString {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SecretString {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        String::deserialize(input).map(Self::new)
    }
}

/// Secret bytes, such as a key. In JSON: base64.
#[derive(Clone)]
pub struct SecretBytes(Zeroizing<Box<[u8]>>);

impl SecretBytes {
    /// Takes the bytes over.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes.into_boxed_slice()))
    }

    /// The bytes themselves, for the one place that must use them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq for SecretBytes {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for SecretBytes {}

impl std::fmt::Debug for SecretBytes {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("SecretBytes(..)")
    }
}

impl Serialize for SecretBytes {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        crate::user_data::base64_text::serialize(&self.0, out)
    }
}

impl<'de> Deserialize<'de> for SecretBytes {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        crate::user_data::base64_text::deserialize(input).map(Self::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_secret() {
        assert!(!format!("{:?}", SecretString::new("hunter2".into())).contains("hunter2"));
        assert!(!format!("{:?}", SecretBytes::new(vec![77, 78])).contains("77"));
    }

    #[test]
    fn secrets_are_equal_only_where_every_byte_is() {
        let text = |text: &str| SecretString::new(text.into());
        let bytes = |bytes: &[u8]| SecretBytes::new(bytes.to_vec());
        assert_eq!(text("hunter2"), text("hunter2"));
        assert_eq!(bytes(&[1, 2]), bytes(&[1, 2]));
        for other in ["", "hunter", "hunter3", "Hunter2", "hunter22"] {
            assert_ne!(text("hunter2"), text(other), "{other}");
            assert_ne!(bytes(b"hunter2"), bytes(other.as_bytes()), "{other}");
        }
    }
}

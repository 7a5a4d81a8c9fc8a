//! Texts and bytes that must not be seen: Debug shows nothing, dropping zeroes the memory. And the
//! digest that tells one value of a secret from another.
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

/// Tells one value of a read-once secret from another: a SHA-256 over instance, name and value.
/// In JSON: 64 lower-case hexadecimal digits.
///
/// Made by the protocol crate. Whoever sees it can try guesses at a short value, so Debug does not
/// show it; neither an operator nor a guest is ever shown it, and on disk it lies sealed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SecretDigest([u8; 32]);

impl SecretDigest {
    /// Takes the bytes of the digest.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The digits.
    pub fn hex(&self) -> String {
        use std::fmt::Write;
        self.0.iter().fold(String::with_capacity(64), |mut text, byte| {
            // Writing to a String does not fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// Reads the digits. None where the text is anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if pairs.len() != bytes.len() || !rest.is_empty() {
            return None;
        }
        let value = |digit: u8| match digit {
            b'0'..=b'9' => Some(digit - b'0'),
            b'a'..=b'f' => Some(digit - b'a' + 10),
            _ => None,
        };
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = value(*high)? << 4 | value(*low)?;
        }
        Some(Self(bytes))
    }
}

impl std::fmt::Debug for SecretDigest {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("SecretDigest(..)")
    }
}

impl Serialize for SecretDigest {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&self.hex())
    }
}

impl<'de> Deserialize<'de> for SecretDigest {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = String::deserialize(input)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not a secret's digest"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_secret() {
        assert!(!format!("{:?}", SecretString::new("hunter2".into())).contains("hunter2"));
        assert!(!format!("{:?}", SecretBytes::new(vec![77, 78])).contains("77"));
        assert_eq!(format!("{:?}", SecretDigest::new([77; 32])), "SecretDigest(..)");
    }

    #[test]
    fn a_digest_is_64_small_hexadecimal_digits_and_nothing_else() {
        let digest = SecretDigest::new(std::array::from_fn(|at| at as u8 * 8 + 7));
        let json = serde_json::to_string(&digest).unwrap();
        assert!(json.starts_with("\"070f171f") && json.len() == 66, "{json}");
        assert_eq!(serde_json::from_str::<SecretDigest>(&json).unwrap(), digest);
        let text = digest.hex();
        for other in [&text[1..], &text[2..], &format!("{text}00"), &text.to_uppercase(), "", "é"]
        {
            assert_eq!(SecretDigest::parse(other), None, "{other}");
        }
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

//! What an operator hands to a guest unread: user-data and vendor-data.
//!
//! Up to 1 MiB of any bytes; nothing here looks inside. Shared, not copied. Debug shows only the
//! length, since people put secrets into user-data.

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// User-data or vendor-data: any bytes, at most [`UserData::MAX`].
#[derive(Clone, PartialEq, Eq)]
pub struct UserData(Bytes);

/// The data is longer than [`UserData::MAX`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{length} bytes are more than the {} that user-data may have", UserData::MAX)]
pub struct TooLong {
    /// How long it is, in bytes.
    pub length: usize,
}

impl UserData {
    /// The greatest length, in bytes: 1 MiB.
    pub const MAX: usize = 1 << 20;

    /// Takes the bytes, if they are not too many.
    pub fn new(bytes: impl Into<Bytes>) -> Result<Self, TooLong> {
        let bytes = bytes.into();
        if bytes.len() > Self::MAX { Err(TooLong { length: bytes.len() }) } else { Ok(Self(bytes)) }
    }

    /// The bytes; cloning them copies nothing.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }
}

impl std::fmt::Debug for UserData {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "UserData({} bytes)", self.0.len())
    }
}

impl Serialize for UserData {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        base64_text::serialize(&self.0, out)
    }
}

impl<'de> Deserialize<'de> for UserData {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        Self::new(base64_text::deserialize(input)?).map_err(serde::de::Error::custom)
    }
}

/// Bytes as base64 text (RFC 4648, section 4, with padding), for `#[serde(with = …)]`.
pub mod base64_text {
    use base64::{Engine, engine::general_purpose::STANDARD};
    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes the bytes as base64.
    pub fn serialize<S: Serializer>(bytes: &[u8], out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&STANDARD.encode(bytes))
    }

    /// Reads base64 back.
    pub fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<u8>, D::Error> {
        let text = std::borrow::Cow::<'_, str>::deserialize(input)?;
        STANDARD.decode(text.as_bytes()).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_mebibyte_is_taken_and_one_byte_more_is_refused() {
        assert!(UserData::new(vec![0; UserData::MAX]).is_ok());
        assert_eq!(
            UserData::new(vec![0; UserData::MAX + 1]),
            Err(TooLong { length: UserData::MAX + 1 })
        );
    }

    #[test]
    fn any_bytes_come_back_from_json() {
        let data = UserData::new((0..=255u8).collect::<Vec<_>>()).unwrap();
        let json = serde_json::to_string(&data).unwrap();
        assert_eq!(serde_json::from_str::<UserData>(&json).unwrap(), data);
    }
}

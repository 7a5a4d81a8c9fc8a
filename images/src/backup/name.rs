//! Names of points in time, and of the bitmaps that say what was written since.
//!
//! A bitmap is named after the point in time from which on it records, and after the one before,
//! whose bitmap was stopped when this one began. So what QEMU has says by itself what it is of,
//! whatever became of the process that asked for it. Pure.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::archive::id::parse_hex;

/// What our bitmaps' names begin with; others are nobody's business here.
const OURS: &str = "mezame-";

/// A text that is no point's id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no id of a point in time: that is 32 digits of 0-9 and a-f")]
pub struct PointIdError(String);

/// A point in time of one disk: 32 hexadecimal digits, drawn at random.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PointId([u8; 16]);

impl PointId {
    /// The id of these random bytes.
    pub fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Parses what [`fmt::Display`] writes.
    pub fn parse(text: &str) -> Result<Self, PointIdError> {
        parse_hex(text).map(Self).ok_or_else(|| PointIdError(text.chars().take(80).collect()))
    }
}

impl fmt::Display for PointId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

impl fmt::Debug for PointId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl TryFrom<String> for PointId {
    type Error = PointIdError;

    fn try_from(text: String) -> Result<Self, PointIdError> {
        Self::parse(&text)
    }
}

impl From<PointId> for String {
    fn from(point: PointId) -> Self {
        point.to_string()
    }
}

/// The name of a bitmap of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BitmapName {
    /// The point in time from which on it records.
    pub since: PointId,
    /// The point whose bitmap was stopped then.
    pub previous: Option<PointId>,
}

impl BitmapName {
    /// Parses what [`fmt::Display`] writes; None of anybody else's.
    pub fn parse(name: &str) -> Option<Self> {
        let rest = name.strip_prefix(OURS)?;
        let (since, previous) = match rest.split_once('-') {
            Some((since, previous)) => (since, Some(PointId::parse(previous).ok()?)),
            None => (rest, None),
        };
        Some(Self { since: PointId::parse(since).ok()?, previous })
    }
}

impl fmt::Display for BitmapName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{OURS}{}", self.since)?;
        self.previous.map_or(Ok(()), |previous| write!(out, "-{previous}"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_bitmaps_name_is_read_back(since: [u8; 16], previous: Option<[u8; 16]>) {
            let name = BitmapName {
                since: PointId::new(since), previous: previous.map(PointId::new),
            };
            prop_assert_eq!(BitmapName::parse(&name.to_string()), Some(name));
        }

        #[test]
        fn a_name_that_is_taken_for_ours_is_spelt_as_we_do(name in "(mezame-)?[0-9a-fA-F-]{0,70}") {
            if let Some(parsed) = BitmapName::parse(&name) {
                prop_assert_eq!(parsed.to_string(), name);
            }
        }
    }
}

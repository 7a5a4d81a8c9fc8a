//! Volumes' ids: names of files, of QEMU's nodes and of disks' serials at once.

use serde::{Deserialize, Serialize};

/// The longest id. QEMU's node names have 31 bytes at most, of which we add up to 12.
const LONGEST: usize = 19;

/// A volume's id: 1 to 19 of `a-z`, `0-9` and `-`, the first of them a letter.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VolumeId(String);

/// A text that is no volume's id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no volume's id: 1 to {LONGEST} of a-z, 0-9 and -, the first of them a letter")]
pub struct IdError(String);

impl VolumeId {
    /// The id, if it is one.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let is_known =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let begins = text.bytes().next().is_some_and(|first| first.is_ascii_lowercase());
        if begins && text.len() <= LONGEST && text.bytes().all(is_known) {
            Ok(Self(text.into()))
        } else {
            Err(IdError(text.into()))
        }
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of one of its nodes in QEMU, or of what belongs to it there; its own, without a part.
    /// Between the two is a dot, which no id has, so that no name is another volume's.
    pub(crate) fn node(&self, part: &str) -> String {
        if part.is_empty() { self.0.clone() } else { format!("{}.{part}", self.0) }
    }

    /// What a guest sees under /dev/disk/by-id as `virtio-…`.
    pub fn serial(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for VolumeId {
    fn fmt(&self, into: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        into.write_str(&self.0)
    }
}

impl TryFrom<String> for VolumeId {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        Self::parse(&text)
    }
}

impl From<VolumeId> for String {
    fn from(id: VolumeId) -> Self {
        id.0
    }
}

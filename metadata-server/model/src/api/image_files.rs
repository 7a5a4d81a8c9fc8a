//! The wire types of the calls for single files of an image.
//!
//! | Call | Answer |
//! |---|---|
//! | `GET /v1/projects/P/images/I/partitions` | [`ImageDisk`] |
//! | `GET …/images/I/files?path=PATH` | [`ImageFiles`] |
//! | `GET …/images/I/files/content?path=PATH` | the file's bytes |
//! | `GET …/images/I/files/tar?path=PATH` | a tar stream |
//!
//! A path is bytes, percent-encoded; `partition` says of which partition.

use serde::{Deserialize, Serialize};

/// How an image's disk is divided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageDisk {
    /// `mbr`, `gpt` or `none`.
    pub table: String,
    /// By their numbers; all of the disk, as number 0, where there is no table.
    pub partitions: Vec<ImagePartition>,
}

/// A part of an image's disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImagePartition {
    /// As Linux numbers it.
    pub number: u32,
    /// Where it begins, in bytes.
    pub offset: u64,
    /// Its length in bytes.
    pub size: u64,
    /// What its table calls it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// What is in it, in words.
    pub holds: String,
    /// Whether files can be read out of it.
    pub is_readable: bool,
}

/// What is in a folder of an image's disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageFiles {
    /// Which partition was looked at.
    pub partition: u32,
    /// In the order of their bytes.
    pub items: Vec<ImageFile>,
    /// Whether there are more after them.
    pub more: bool,
}

/// A name in a folder of an image's disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageFile {
    /// As text; what is none of it is replaced.
    pub name: String,
    /// Its bytes in hexadecimal digits, where they are no text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<String>,
    /// `file`, `folder`, `link`, or `special`: a device, a pipe or a socket.
    pub kind: String,
    /// Bytes.
    pub size: u64,
    /// The lower twelve bits of its mode.
    pub mode: u32,
    /// Its owner's number.
    pub uid: u32,
    /// Its group's.
    pub gid: u32,
    /// When it was last written, in seconds since 1970.
    pub modified: i64,
    /// Where a symbolic link leads, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

//! The wire types of what volumes lie on and stand on: pools and their disks, masters, and what restores have kept there.
//!
//! Of the volumes themselves [`super`] tells.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What a pool is made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PoolKind {
    /// A directory, with any number of volumes.
    #[default]
    Directory,
    /// Block devices, each of which carries one volume.
    Devices,
    /// LUNs of an iSCSI target, likewise.
    Luns,
}

impl PoolKind {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Directory => "directory",
            Self::Devices => "devices",
            Self::Luns => "luns",
        }
    }
}

/// What is known of a disk of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PoolDiskState {
    /// It carries nothing.
    Free,
    /// It carries a volume.
    Taken,
    /// It is not the pool's, or not yet: `why` says what is there.
    NotTakenIn,
    /// It can't be read.
    Away,
}

impl PoolDiskState {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Taken => "taken",
            Self::NotTakenIn => "not-taken-in",
            Self::Away => "away",
        }
    }
}

/// A device or LUN of a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolDisk {
    /// Its path, or its URL.
    pub disk: String,
    /// What is known of it.
    pub state: PoolDiskState,
    /// What a volume can take of it, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// What it carries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<String>,
    /// What is there instead, or why it can't be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// How a pool is made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewPool {
    /// Disks of it, as the settings name them, of whose contents nothing is needed any more.
    #[serde(default)]
    pub take_over: Vec<String>,
}

/// What volumes lie on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// What it is called.
    pub name: String,
    /// What it is made of.
    #[serde(default)]
    pub kind: PoolKind,
    /// Where it is, if it is a directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<PathBuf>,
    /// On which host.
    pub host: String,
    /// Whether volumes lie here where none is named.
    pub is_default: bool,
    /// Whether it can be used now.
    pub is_there: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Of a directory its file system's length, else that of all disks that were taken in, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// What of it is used, by others too; of disks, the length of those that carry a volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<u64>,
    /// What is left: of disks, the length of those that are free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free: Option<u64>,
    /// Its disks, in the order of the settings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<PoolDisk>,
}

/// What volumes of one image and length are clones of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Master {
    /// What it is called.
    pub name: String,
    /// The image that it is of; zeros without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// On which host.
    pub host: String,
    /// Whether it can be used.
    pub state: MasterState,
    /// Bytes that it takes there.
    pub bytes: u64,
    /// Its length, as guests see it, of one that is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Whether it has a key of its own, which goes with the last of its volumes.
    pub encrypted: bool,
    /// How many volumes are clones of it.
    pub volumes: usize,
}

/// How much of a master is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MasterState {
    /// All of it.
    Whole,
    /// A part: it is being fetched or removed, or that was cut short.
    Partial,
    /// It can't be read what it is.
    Damaged,
}

impl MasterState {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Partial => "partial",
            Self::Damaged => "damaged",
        }
    }
}

/// Old contents of a volume that a restore in place has kept, or a file of one that is not known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leftover {
    /// The pool that it lies in.
    pub pool: String,
    /// What it is called there.
    pub file: String,
    /// Of which volume it was.
    pub volume: String,
    /// Whether there is such a volume; else it is not deleted by a call.
    pub known: bool,
    /// Bytes that it takes.
    pub bytes: u64,
    /// On which host.
    pub host: String,
}

//! The wire types of what volumes lie in and stand on: pools, masters, and what restores have kept there.
//!
//! Of the volumes themselves [`super`] tells.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A directory that volumes lie in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// What it is called.
    pub name: String,
    /// Where it is.
    pub directory: PathBuf,
    /// On which host.
    pub host: String,
    /// Whether volumes lie here where none is named.
    pub is_default: bool,
    /// Whether it can be used now.
    pub is_there: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
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

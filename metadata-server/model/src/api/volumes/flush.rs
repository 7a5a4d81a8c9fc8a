//! How a running guest's volume is flushed by its host, as operators see it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How a volume that its host flushes is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FlushState {
    /// Its QEMU is not there yet.
    Waiting,
    /// No write waits for longer than the interval.
    Kept,
    /// Writes wait for longer, or it can't be told.
    Late,
}

impl FlushState {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Waiting, Self::Kept, Self::Late];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Kept => "kept",
            Self::Late => "late",
        }
    }
}

/// How a running guest's volume is flushed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeFlush {
    /// The QMP socket of the QEMU that has it open.
    pub qmp: PathBuf,
    /// Whether the interval is kept now.
    pub state: FlushState,
    /// Until when all that was acknowledged is durable, in milliseconds since 1970-01-01T00:00:00Z.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durable_until_ms: Option<u64>,
    /// How many flushes have succeeded since this process began it.
    pub flushes: u64,
    /// How many have failed.
    pub failures: u64,
    /// How often a write may have waited for longer than the interval.
    pub lates: u64,
    /// What is in the way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

//! Backups as they are asked for, shown and pruned.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::api::{Fault, freezing::Freezing, schedules::Keep};

/// A backup that is to be made: one point in time of several volumes of one guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewBackup {
    /// The volumes' ids.
    pub volumes: Vec<String>,
    /// The QMP socket of the QEMU that has them open; that which they were opened for last without. Where
    /// nobody listens there, all of them are read as they are, under QEMU's lock: no guest may run on them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qmp: Option<PathBuf>,
    /// Whether all is read, whatever is known of changes.
    #[serde(default)]
    pub full: bool,
    /// What the images are called; `backup of VOLUME` without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Who freezes the guest for the moment; nobody without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freeze: Option<Freezing>,
}

/// A backup: an image, and what it is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backup {
    /// The image's id.
    pub id: String,
    /// What it is called; absent where it is encrypted and its key is away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Of which volume.
    pub volume: String,
    /// The point in time: volumes that were backed up together have the same one.
    pub point: String,
    /// When it was, in milliseconds since 1970-01-01T00:00:00Z.
    pub taken_ms: u64,
    /// `application`, `crash` (as after a power cut), or `stopped`: no guest ran on it.
    pub consistency: String,
    /// Of a `crash`: why the guest was not frozen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why_crash: Option<String>,
    /// Of an `application`: file systems that were not frozen though the others were, each with why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_out: Option<String>,
    /// `incremental`, or `all: ` and why.
    pub read: String,
    /// The disk's length in bytes.
    pub size: u64,
    /// The schedule that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
}

/// Which backups of a volume are deleted: those that are not kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PruneBackups {
    /// The volume, as the backups' label `backup.volume` has it.
    pub volume: String,
    /// Which ones are kept; all, if all are zero.
    #[serde(default)]
    pub keep: Keep,
}

/// What was deleted, or would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pruned {
    /// Ids of the backups that are kept, oldest first.
    pub kept: Vec<String>,
    /// Ids of those that are deleted.
    pub dropped: Vec<String>,
    /// Why others that are not to be kept are still there; the place is an id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Fault>,
}

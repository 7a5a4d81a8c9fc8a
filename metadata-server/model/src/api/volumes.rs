//! The wire types of the calls about volumes and their backups.
//!
//! | Call | Answer |
//! |---|---|
//! | `GET /v1/pools` · `POST /v1/pools/POOL` ([`NewPool`], or nothing) | `[`[`Pool`]`]` · [`Pool`], 201: makes it |
//! | `GET /v1/masters` · `DELETE /v1/masters/MASTER` | `[`[`Master`]`]`, sorted by name · 204: one without volumes |
//! | `GET /v1/leftovers` · `DELETE /v1/leftovers/POOL/FILE` | `[`[`Leftover`]`]` · [`VolumeDeleted`] |
//! | `GET /v1/projects/P/volumes` | `[`[`Volume`]`]`, sorted by id |
//! | `POST /v1/projects/P/volumes` ([`NewVolume`]) | a job, 202 |
//! | `GET`, `DELETE …/volumes/V` | [`Volume`] · [`VolumeDeleted`] |
//! | `POST …/volumes/V/open` ([`Monitor`], or nothing) | [`VolumeStart`] |
//! | `PUT …/volumes/V/flush` ([`Monitor`]) | [`Volume`]: flushed from now on |
//! | `DELETE …/volumes/V/flush` | [`Volume`]: no more |
//! | `PUT …/volumes/V/limits` ([`VolumeLimits`]) | [`Volume`] |
//! | `POST …/volumes/V/resize` ([`ResizeVolume`]) | a job, 202 |
//! | `POST …/volumes/V/rotate-key` ([`Monitor`]) | a job, 202 |
//! | `POST …/volumes/V/hydrate` ([`Hydrate`]) | a job, 202 |
//! | `POST …/volumes/V/hydration/{pause,resume}` ([`Monitor`]) | 204 |
//! | `POST …/volumes/V/restore` ([`RestoreVolume`]) | a job, 202 |
//! | `DELETE …/volumes/V/restore` | 204: gives up one that was cut short |
//! | `POST …/volumes/V/capture` ([`Capture`]) | a job, 202 |
//! | `GET`, `POST /v1/projects/P/backups` ([`NewBackup`]) | `[`[`Backup`]`]`, newest first · a job, 202 |
//! | `POST …/backups/prune[?dry_run=true]` ([`PruneBackups`]) | [`Pruned`] |
//! | `GET`, `DELETE …/backups/IMAGE` | [`Backup`] · 204 |
//!
//! Jobs are those of [`super::jobs`].

mod backups;
mod flush;
mod pools;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::{
    backups::{Backup, NewBackup, PruneBackups, Pruned},
    flush::{FlushState, VolumeFlush},
    pools::{Leftover, Master, MasterState, NewPool, Pool, PoolDisk, PoolDiskState, PoolKind},
};
use super::freezing::Freezing;

/// What a hard stop takes of a volume's last writes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VolumeClass {
    /// What a hard stop of QEMU leaves is put back when the volume is opened next.
    #[default]
    Recovered,
    /// The host flushes so often that no write waits for longer than an interval.
    Bounded,
    /// Each write is flushed before it is acknowledged.
    Synchronous,
    /// What the guest has not flushed may be gone.
    FlushHonouring,
    /// No overlay: all of it was copied, or it is on a disk of its own. None else is made so.
    Plain,
}

impl VolumeClass {
    /// Those that a volume can be made of.
    pub const ALL: [Self; 4] =
        [Self::Recovered, Self::Bounded, Self::Synchronous, Self::FlushHonouring];

    /// Whether the host flushes its volumes.
    pub fn is_flushed(self) -> bool {
        matches!(self, Self::Recovered | Self::Bounded)
    }

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Recovered => "recovered",
            Self::Bounded => "bounded",
            Self::Synchronous => "synchronous",
            Self::FlushHonouring => "flush-honouring",
            Self::Plain => "plain",
        }
    }
}

/// The most that a guest may do with a volume, reads and writes together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Operations a second; no limit without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iops: Option<u32>,
    /// Bytes a second; no limit without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// A volume that is to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewVolume {
    /// 1 to 19 of `a-z`, `0-9` and `-`, a letter first; no other volume of the site has it.
    pub id: String,
    /// The image, or backup, that it begins as; zeros without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Which pool it lies in; the site's default without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// What a hard stop takes.
    #[serde(default)]
    pub class: VolumeClass,
    /// How long a write waits at most for the host's flush, in milliseconds, 100 to 60000; 1000
    /// without. Of classes that are flushed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flush_ms: Option<u32>,
    /// Its length in bytes, whole MiB, at least the image's; the image's without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Whether what its guest writes is encrypted.
    #[serde(default)]
    pub encrypted: bool,
    /// What its guest may do.
    #[serde(default)]
    pub limits: Limits,
}

/// Whether a volume can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VolumeState {
    /// It is being made; if no job does, its making was cut short, and it can be deleted.
    Creating,
    /// It can be used.
    Ready,
}

impl VolumeState {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Ready => "ready",
        }
    }
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Its id: the name of its node in QEMU, and its disk's serial in the guest.
    pub id: String,
    /// Whose it is.
    pub project: String,
    /// The caller who had it made.
    pub owner: String,
    /// The host whose pool it is in.
    pub host: String,
    /// Which pool.
    pub pool: String,
    /// The device or LUN that it is on, where it has one of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// The image that it began as, or that it was restored from last; zeros without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Its length in bytes.
    pub size: u64,
    /// What a hard stop takes.
    pub class: VolumeClass,
    /// How long a write waits at most for the host's flush, in milliseconds; none of a class that is
    /// not flushed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flush_ms: Option<u32>,
    /// How it is flushed; none while nobody has said which QEMU has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flush: Option<VolumeFlush>,
    /// Whether what its guest writes is encrypted.
    pub encrypted: bool,
    /// The numbers of the keys that are kept for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<u32>,
    /// What its guest may do.
    #[serde(default)]
    pub limits: Limits,
    /// The QMP socket of the QEMU that it was opened for last: what calls mean that name none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qmp: Option<PathBuf>,
    /// Whether it can be used.
    pub state: VolumeState,
    /// When it was asked for, in milliseconds since 1970-01-01T00:00:00Z.
    pub created_ms: u64,
    /// A restore that was begun and has not ended. One that is written over is half of each until then,
    /// and is not opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restoring: Option<RestoreWay>,
    /// How long it is to be, in bytes, where making it longer was begun and has not ended. Until then it
    /// has either length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resizing: Option<u64>,
    /// Whether a change of its key was begun and has not ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rotating: bool,
    /// The job that is at work on it, or waits for its turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// Files on its host that restores have kept of it. They are nobody's but the operator's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<String>,
}

/// How a volume is restored in place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RestoreWay {
    /// To a new file, which takes the old one's place at the end. There must be room for both.
    #[default]
    Beside,
    /// Over a plain volume as it lies there. Until it is done the volume is half of each.
    Over,
}

/// An image that is to take the place of what a volume holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestoreVolume {
    /// The image, or backup.
    pub image: String,
    /// How.
    #[serde(default)]
    pub way: RestoreWay,
    /// Whether a plain volume's old file is kept, under another name in its pool.
    #[serde(default)]
    pub keep_old: bool,
}

/// An image that is to be made of what a volume holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capture {
    /// What it is called: 1 to 255 characters.
    pub name: String,
    /// Whether `guest-agent seal` was run before the guest stopped; it is noted in the image, and not
    /// looked for.
    #[serde(default)]
    pub sealed: bool,
    /// The QMP socket of the QEMU that has the volume open; that which it was opened for last without.
    /// Where nobody listens there, it is read as it is, under QEMU's lock: no guest may run on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qmp: Option<PathBuf>,
    /// Who freezes that guest for the moment; nobody without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freeze: Option<Freezing>,
}

/// What became of a volume's keys when it was deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeDeleted {
    /// Which volume.
    pub id: String,
    /// `in-place`: its header is written over; `unsure`: it is, and a copy may be left; `nothing`:
    /// it was not encrypted, or not there.
    pub erased: String,
    /// Why that is not sure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doubt: Option<String>,
    /// How many keys were forgotten with it.
    pub keys_forgotten: usize,
    /// Files that restores have kept of it, and that are there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<String>,
    /// Schedules of backups that name it, and that fail from now on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schedules: Vec<String>,
}

/// What QEMU is started with for a volume. It may hold secrets.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeStart {
    /// Which volume.
    pub id: String,
    /// Its class now: `plain` once it was hydrated.
    pub class: VolumeClass,
    /// The argument of `-blockdev`.
    pub blockdev: Value,
    /// The argument of `-device`.
    pub device: Value,
    /// What is secret, before both: the arguments of `-object`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretObject>,
    /// Bytes that a hard stop had taken and that were put back now.
    pub recovered_bytes: u64,
    /// What the guest may do: set once QEMU runs, where its monitor is known.
    #[serde(default)]
    pub limits: Limits,
}

/// One of QEMU's `secret` objects.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretObject {
    /// Its id.
    pub id: String,
    /// `raw` or `base64`: how QEMU is to read it.
    pub format: String,
    /// The secret, of ASCII alone.
    pub data: String,
}

impl std::fmt::Debug for SecretObject {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("SecretObject").field("id", &self.id).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for VolumeStart {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut start = out.debug_struct("VolumeStart");
        start.field("id", &self.id).field("secrets", &self.secrets).finish_non_exhaustive()
    }
}

/// What limits are to be, in place of those that are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumeLimits {
    /// The limits.
    #[serde(default)]
    pub limits: Limits,
    /// The QEMU that has it open is told before they are set; without, that which it was opened for last
    /// is told soon after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qmp: Option<PathBuf>,
}

/// How long a volume is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResizeVolume {
    /// In bytes, whole MiB: no less than it has.
    pub size: u64,
}

/// The QEMU that has a volume open; where none is named, that which it was opened for last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Monitor {
    /// Its QMP socket on the volume's host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qmp: Option<PathBuf>,
}

/// A hydration that is to begin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hydrate {
    /// The QMP socket of the QEMU that has the volume open; that which it was opened for last without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qmp: Option<PathBuf>,
    /// Bytes a second; no limit without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speed: Option<u64>,
}

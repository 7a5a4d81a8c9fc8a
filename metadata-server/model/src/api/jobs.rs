//! The wire types of long work on images and [volumes](super::volumes): jobs go on when who asked for
//! them has gone.
//!
//! | Call | Answer |
//! |---|---|
//! | `GET /v1/projects/P/jobs` · `…/JOB` | `[`[`Job`]`]`, newest first · [`Job`] |
//! | `POST /v1/projects/P/jobs/JOB/cancel` | [`Job`] |
//! | `GET /v1/jobs` · `…/JOB`, `POST …/JOB/cancel` | as those of a project, of all |

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Fault;

/// What long work is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobKind {
    /// A file is sent, checked, converted and archived.
    Import,
    /// All of an image is read.
    Verify,
    /// Garbage is collected.
    Collect,
    /// All packs are read.
    Scrub,
    /// A volume is made.
    #[serde(rename = "create-volume")]
    CreateVolume,
    /// A volume gets another key.
    #[serde(rename = "rotate-key")]
    RotateKey,
    /// A volume is copied into a plain one while its guest runs.
    Hydrate,
    /// Volumes of a running guest are backed up.
    Backup,
    /// What a volume holds is replaced by an image.
    #[serde(rename = "restore-volume")]
    RestoreVolume,
    /// An image is made of what a volume holds.
    Capture,
    /// A volume is made longer.
    #[serde(rename = "resize-volume")]
    ResizeVolume,
}

impl JobKind {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Import => "import",
            Self::Verify => "verify",
            Self::Collect => "collect",
            Self::Scrub => "scrub",
            Self::CreateVolume => "create-volume",
            Self::RotateKey => "rotate-key",
            Self::Hydrate => "hydrate",
            Self::Backup => "backup",
            Self::RestoreVolume => "restore-volume",
            Self::Capture => "capture",
            Self::ResizeVolume => "resize-volume",
        }
    }
}

/// How far long work is.
///
/// ```text
/// awaiting ─► uploading ─► queued ─► running ─► done
///     └───────────┴──────────┴─────────┴─────► failed | cancelled | interrupted
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// It waits for its file.
    Awaiting,
    /// Its file comes.
    Uploading,
    /// It waits for its turn.
    Queued,
    /// It is at work.
    Running,
    /// It did what it was asked.
    Done,
    /// It could not; the faults say why.
    Failed,
    /// Somebody ended it.
    Cancelled,
    /// The provisioner ended before it did. It is not gone on with; do it again.
    Interrupted,
}

impl JobState {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Awaiting => "awaiting",
            Self::Uploading => "uploading",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Interrupted => "interrupted",
        }
    }

    /// Whether nothing more comes of it.
    pub fn is_end(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled | Self::Interrupted)
    }
}

/// Long work about images and [volumes](super::volumes).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// `job-` and 28 hexadecimal digits; later ones are greater.
    pub id: String,
    /// What is done.
    pub what: JobKind,
    /// In which project; none of the operator's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// The image that it is about, or that came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The volumes that it is about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<String>,
    /// The images that came of a backup, one for each volume.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backups: Vec<String>,
    /// How far it is.
    pub state: JobState,
    /// Which part of an import is at work: `checking`, `converting` or `archiving`; what is done
    /// and in all is of this part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// Bytes that are dealt with: of the file while it comes, then of the disk.
    pub done: u64,
    /// Bytes in all; 0 where that is not known.
    pub total: u64,
    /// When it was asked for, in milliseconds since 1970-01-01T00:00:00Z.
    pub created_ms: u64,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_ms: Option<u64>,
    /// What came of it: bytes `written` by an import; `chunks` and `damaged` of a verification;
    /// packs `deleted`, bytes `freed` and `copied`, lists `waiting`, sessions `ended` and packs
    /// `unread` of a collection.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub figures: BTreeMap<String, u64>,
    /// Why it failed, or what it found damaged: the place is a field of what was asked, or
    /// `offset N` on the disk in bytes, or a pack.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Fault>,
}

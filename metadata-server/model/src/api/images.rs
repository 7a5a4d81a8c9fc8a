//! The wire types of the image archive's calls.
//!
//! | Call | Answer |
//! |---|---|
//! | `GET /v1/projects/P/images[?limit=N&after=ID]` | [`ImageList`], sorted by id |
//! | `POST /v1/projects/P/images` ([`NewImage`]) | [`ImageJob`], 201: it waits for the file |
//! | `PUT /v1/projects/P/image-jobs/JOB/content` (the file) | [`ImageJob`], 202 |
//! | `GET …/images/ID` · `…/images/ID/content` (`Range: bytes=N-`) | [`Image`] · the raw disk |
//! | `DELETE …/images/ID` | 204 |
//! | `POST …/images/ID/verify` | [`ImageJob`], 202 |
//! | `PUT`, `DELETE …/images/ID/shares` (all projects) · `…/shares/PROJECT` | 204 |
//! | `POST /v1/projects/P/image-retention[?dry_run=true]` ([`ImageRetention`]) | [`Retained`] |
//! | `GET /v1/projects/P/image-jobs` · `…/JOB` | `[`[`ImageJob`]`]`, newest first · [`ImageJob`] |
//! | `POST /v1/projects/P/image-jobs/JOB/cancel` | [`ImageJob`] |
//! | `GET`, `POST /v1/archive` | [`ArchiveStatus`]; the latter makes the archive, 201 |
//! | `POST /v1/archive/{collect,verify}` | [`ImageJob`], 202 |
//! | `GET /v1/archive/jobs` · `…/JOB`, `POST …/JOB/cancel` | as those of a project, of all |
//! | `GET /v1/archive/images[?limit=N&after=ID]` · `DELETE …/ID` | [`ImageList`] of all · 204 |
//! | `GET /v1/archive/quarantine` · `PUT`, `DELETE …/PACK` | `[`[`String`]`]` · 204 |

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Fault;

/// The form of a file that is imported: said, and never guessed, since a raw disk's first bytes
/// are the guest's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageFormat {
    /// The disk's bytes and nothing else.
    Raw,
    /// QEMU's, without a backing file.
    Qcow2,
    /// VMware's, in one file.
    Vmdk,
    /// Hyper-V's.
    Vhdx,
}

impl ImageFormat {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Raw, Self::Qcow2, Self::Vmdk, Self::Vhdx];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Vmdk => "vmdk",
            Self::Vhdx => "vhdx",
        }
    }
}

/// What is to be imported, told before the file is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewImage {
    /// What it is called. Not unique.
    pub name: String,
    /// The file's form.
    pub format: ImageFormat,
    /// The file's length in bytes, if it is known: what does not fit is refused at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// The caller's own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The SHA-256 that the file must have, in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// The SHA-512 that the file must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha512: Option<String>,
    /// A signature of the file, as `ssh-keygen -Y sign -n mezame-image` writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// The keys of which one must have made it, as lines of `.pub` files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trusted: Vec<String>,
    /// How large the disk may be, in bytes; what the site allows without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub largest: Option<u64>,
    /// Where it comes from, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// An image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// `img-` and 32 hexadecimal digits.
    pub id: String,
    /// Whose it is.
    pub project: String,
    /// `imported`, `captured` or `backup`.
    pub kind: String,
    /// When its import began, in milliseconds since 1970-01-01T00:00:00Z.
    pub created_ms: u64,
    /// Its length as a disk, in bytes.
    pub size: u64,
    /// The digest of its contents: the same for the same contents in one project.
    pub content: String,
    /// The name of the key that it is encrypted with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What it is called; absent where it is encrypted and its key is away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The caller's own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The form of what was imported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// SHA-256 of the file that was imported, where it was checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// The key whose signature of that file was verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signer: Option<String>,
    /// What the importer said of its origin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Of an own image that is asked for by itself: who sees it besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shares: Option<Shares>,
}

/// Who sees an image besides its own project.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shares {
    /// Whether all projects do.
    pub all: bool,
    /// These do.
    pub projects: Vec<String>,
}

/// A page of images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageList {
    /// Sorted by id.
    pub items: Vec<Image>,
}

/// What long work is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageWork {
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

impl ImageWork {
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
pub struct ImageJob {
    /// `job-` and 28 hexadecimal digits; later ones are greater.
    pub id: String,
    /// What is done.
    pub what: ImageWork,
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

/// Which backups of a volume are kept. All zero keeps all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageRetention {
    /// The volume, as the backups' label `backup.volume` has it.
    pub volume: String,
    /// The newest ones.
    #[serde(default)]
    pub last: u32,
    /// The newest of each of so many hours that have any.
    #[serde(default)]
    pub hourly: u32,
    /// The newest of each of so many days that have any, in UTC.
    #[serde(default)]
    pub daily: u32,
    /// The newest of each of so many weeks that have any, from Monday.
    #[serde(default)]
    pub weekly: u32,
    /// The newest of each of so many months that have any.
    #[serde(default)]
    pub monthly: u32,
    /// The newest of each of so many years that have any.
    #[serde(default)]
    pub yearly: u32,
}

/// What a retention did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retained {
    /// Ids of the backups that are kept, oldest first.
    pub kept: Vec<String>,
    /// Ids of those that are deleted.
    pub dropped: Vec<String>,
    /// Why others that are not to be kept are still there; the place is an id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Fault>,
}

/// The archive as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveStatus {
    /// Where it is: a directory, or a bucket.
    pub place: String,
    /// Images, and tombstones of sessions that were ended.
    pub records: u64,
    /// Packs of chunks.
    pub packs: u64,
    /// Bytes of all of these.
    pub bytes: u64,
    /// Imports, backups and collections that are under way, on any machine.
    pub sessions: u64,
    /// Packs in quarantine.
    pub quarantined: u64,
    /// Bytes of files that are being imported here.
    pub uploading: u64,
    /// How many bytes these may have.
    pub uploading_most: u64,
    /// Jobs that have not ended.
    pub jobs: u64,
}

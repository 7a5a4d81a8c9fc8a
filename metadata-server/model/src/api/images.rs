//! The wire types of the image archive's calls.
//!
//! | Call | Answer |
//! |---|---|
//! | `GET /v1/projects/P/images[?limit=N&after=ID]` | [`ImageList`], sorted by id |
//! | `POST /v1/projects/P/images` ([`NewImage`]) | [`Job`], 201: it waits for the file |
//! | `PUT /v1/projects/P/jobs/JOB/content` (the file) | [`Job`], 202 |
//! | `GET …/images/ID` · `…/images/ID/content` (`Range: bytes=N-`) | [`Image`] · the raw disk |
//! | `DELETE …/images/ID` | 204 |
//! | `POST …/images/ID/verify` | [`Job`], 202 |
//! | `PUT`, `DELETE …/images/ID/shares` (all projects) · `…/shares/PROJECT` | 204 |
//! | `GET`, `POST /v1/archive` | [`ArchiveStatus`]; the latter makes the archive, 201 |
//! | `POST /v1/archive/{collect,verify}` | [`Job`], 202 |
//! | `GET /v1/archive/images[?limit=N&after=ID]` · `DELETE …/ID` | [`ImageList`] of all · 204 |
//! | `GET /v1/archive/quarantine` · `PUT`, `DELETE …/PACK` | `[`[`String`]`]` · 204 |
//!
//! [`Job`]: super::jobs::Job

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

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

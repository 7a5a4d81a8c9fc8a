//! An image's record: whose it is, what it is called, where it came from, and its pages.
//!
//! ```text
//! "mezimag1" | length u32 | head (JSON) | length u32 | detail (JSON, sealed where the project is)
//!            | pages (32 each) | authenticity (32) | digest (32)
//! ```
//! The head lies open, since garbage must be told from images where a project's key is not at
//! hand; names, labels and origin are the detail. The authenticity is keyed with the project's
//! key, so that who only has the store can't make or change an image; the digest is without a key.
//!
//! In a record's place there can be a tombstone: the session that would have written it was ended.
//! Pure: nothing here reads or writes.

use std::collections::BTreeMap;

use mezame_model::ProjectName;
use serde::{Deserialize, Serialize};

use super::{
    ArchiveError,
    chunk::CHUNK,
    domain::Domain,
    id::{ChunkId, ContentId, ImageId},
    page::PAGE,
};
use crate::environment::{Environment, NoRandomness};

/// No image is larger: 16 TiB.
pub const LARGEST: u64 = 1 << 44;
/// No record is longer; the pages of the largest image take 8 MiB of it.
pub(crate) const LONGEST: u64 = 16 * 1024 * 1024;

/// Bytes of JSON that an image's name, labels and origin may have together.
pub const LONGEST_DETAIL: usize = 64 * 1024;

const IMAGE: &[u8; 8] = b"mezimag1";
const TOMBSTONE: &[u8; 8] = b"mezdead1";
/// The associated data of a sealed detail; the authenticity ties it to the rest.
const DETAIL: &[u8] = b"detail";
const DIGESTS: usize = 64;

/// How an image came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A file that somebody brought.
    Imported,
    /// A system storage that was made an image.
    Captured,
    /// A point in time of a volume.
    Backup,
}

/// Where an image's bytes came from, and who vouched for them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// The form of what was imported: `raw`, `qcow2`, `vmdk`, `vhdx`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// SHA-256 of the file that was imported, in hexadecimal digits, where it was checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// The key whose signature of that file was verified, as `ssh-keygen -l` shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signer: Option<String>,
    /// What the caller says of it: a path, an instance, a volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// What an image is, as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its id.
    pub id: ImageId,
    /// The project that it belongs to.
    pub project: ProjectName,
    /// How it came to be.
    pub kind: Kind,
    /// When its import began, in milliseconds since 1970.
    pub created_ms: u64,
    /// Its length as a disk, in bytes.
    pub size: u64,
    /// The digest of its contents.
    pub content: ContentId,
    /// Which key the project is encrypted with, if it is.
    pub key: Option<String>,
    /// What only who has the key can read; None without it.
    pub detail: Option<Detail>,
}

/// An image's name and origin.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detail {
    /// What it is called. Not unique.
    pub name: String,
    /// The caller's own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Where its bytes came from.
    #[serde(default)]
    pub provenance: Provenance,
}

#[derive(Serialize, Deserialize)]
struct Head {
    id: String,
    project: ProjectName,
    kind: Kind,
    created_ms: u64,
    size: u64,
    chunk: u32,
    content: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

/// Why bytes are no image's record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordFault {
    /// Not of this form, or of a newer one.
    #[error("it is no record of a known form")]
    Form,
    /// It was changed.
    #[error("it has another digest")]
    Digest,
    /// It names what can't be.
    #[error("its {0} can't be")]
    Impossible(&'static str),
    /// It was written or changed by somebody who does not have the project's key.
    #[error("it was not written with the project's key")]
    Forged,
    /// It is of a project that is encrypted with another key, or with none.
    #[error("it is of the key {of}, not of the key {given}")]
    OtherKey {
        /// Which key it is of.
        of: String,
        /// Which was given.
        given: String,
    },
}

/// What lies at an image's name.
pub(crate) enum Slot {
    Image(Box<Record>),
    /// The session was ended before it published one.
    Ended,
}

/// A record whose digest was checked; its authenticity is when it is opened.
pub(crate) struct Record {
    pub(crate) image: Image,
    pub(crate) pages: Vec<ChunkId>,
    sealed: Vec<u8>,
    signed: Vec<u8>,
    authenticity: [u8; 32],
}

/// Refuses what would make a record too long to be read.
pub(crate) fn check_detail(detail: &Detail) -> Result<(), ArchiveError> {
    let length = serde_json::to_vec(detail).map_or(usize::MAX, |json| json.len());
    if length > LONGEST_DETAIL { Err(ArchiveError::Detail { length }) } else { Ok(()) }
}

/// How many chunks and pages a disk of this size has.
pub(crate) fn counts(size: u64) -> (u64, u64) {
    let chunks = size.div_ceil(CHUNK as u64);
    (chunks, chunks.div_ceil(PAGE as u64))
}

/// The digest of contents of this size and these pages.
pub(crate) fn content(size: u64, pages: &[ChunkId]) -> ContentId {
    let mut hasher = blake3::Hasher::new_derive_key("mezame archive 2026-11 contents of an image");
    hasher.update(&size.to_le_bytes());
    for page in pages {
        hasher.update(&page.0);
    }
    ContentId(*hasher.finalize().as_bytes())
}

/// The record of an image. Its `key` and `content` are worked out here.
pub(crate) fn encode(
    image: &Image,
    pages: &[ChunkId],
    domain: &Domain,
    from: &dyn Environment,
) -> Result<Vec<u8>, NoRandomness> {
    let head = Head {
        id: image.id.to_string(),
        project: image.project.clone(),
        kind: image.kind,
        created_ms: image.created_ms,
        size: image.size,
        chunk: CHUNK as u32,
        content: content(image.size, pages).to_string(),
        key: domain.name().map(str::to_owned),
    };
    let mut bytes = IMAGE.to_vec();
    let mut part = |body: &[u8]| {
        bytes.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend_from_slice(body);
    };
    // Neither has a map with keys that JSON can't have, so these can't fail.
    part(&serde_json::to_vec(&head).unwrap_or_default());
    let detail = serde_json::to_vec(&image.detail.clone().unwrap_or_default()).unwrap_or_default();
    let mut sealed = Vec::new();
    domain.seal(DETAIL, &detail, &mut sealed, from)?;
    part(&sealed);
    for page in pages {
        bytes.extend_from_slice(&page.0);
    }
    let authenticity = domain.authenticate(&bytes);
    bytes.extend_from_slice(authenticity.as_bytes());
    let digest = blake3::hash(&bytes);
    bytes.extend_from_slice(digest.as_bytes());
    Ok(bytes)
}

/// What takes the place of a record that shall never come.
pub(crate) fn tombstone(now_ms: u64) -> Vec<u8> {
    let mut bytes = TOMBSTONE.to_vec();
    bytes.extend_from_slice(&now_ms.to_le_bytes());
    bytes
}

/// Reads what lies at the name of this image.
pub(crate) fn parse(id: ImageId, bytes: &[u8]) -> Result<Slot, RecordFault> {
    if bytes.starts_with(TOMBSTONE) && bytes.len() == 16 {
        return Ok(Slot::Ended);
    }
    let split = bytes.len().checked_sub(DIGESTS).ok_or(RecordFault::Form)?;
    let (signed, digests) = bytes.split_at(split);
    let mut rest = signed.strip_prefix(IMAGE).ok_or(RecordFault::Form)?;
    if blake3::hash(&bytes[..split + 32]).as_bytes() != &digests[32..] {
        return Err(RecordFault::Digest);
    }
    let head = take_part(&mut rest)?;
    let sealed = take_part(&mut rest)?.to_vec();
    let head: Head = serde_json::from_slice(head).map_err(|_| RecordFault::Form)?;
    let (pages, beyond) = rest.as_chunks::<32>();
    let pages: Vec<ChunkId> = pages.iter().map(|page| ChunkId(*page)).collect();
    let image = judge(id, head, &pages, beyond)?;
    let mut authenticity = [0; 32];
    authenticity.copy_from_slice(&digests[..32]);
    let record = Record { image, pages, sealed, signed: signed.to_vec(), authenticity };
    Ok(Slot::Image(Box::new(record)))
}

fn take_part<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], RecordFault> {
    let (length, after) = rest.split_first_chunk::<4>().ok_or(RecordFault::Form)?;
    let length = u32::from_le_bytes(*length) as usize;
    let (part, after) = after.split_at_checked(length).ok_or(RecordFault::Form)?;
    *rest = after;
    Ok(part)
}

fn judge(id: ImageId, head: Head, pages: &[ChunkId], beyond: &[u8]) -> Result<Image, RecordFault> {
    if ImageId::parse(&head.id) != Ok(id) {
        return Err(RecordFault::Impossible("id"));
    }
    if head.chunk as usize != CHUNK {
        return Err(RecordFault::Impossible("length of chunks"));
    }
    if head.size > LARGEST {
        return Err(RecordFault::Impossible("size"));
    }
    if !beyond.is_empty() || pages.len() as u64 != counts(head.size).1 {
        return Err(RecordFault::Impossible("number of pages"));
    }
    let content = content(head.size, pages);
    if head.content != content.to_string() {
        return Err(RecordFault::Impossible("content"));
    }
    Ok(Image {
        id,
        project: head.project,
        kind: head.kind,
        created_ms: head.created_ms,
        size: head.size,
        content,
        key: head.key,
        detail: None,
    })
}

impl Record {
    /// The image with its detail, if this is the domain that the record was written in.
    pub(crate) fn open(&self, domain: &Domain) -> Result<Image, RecordFault> {
        if self.image.key.as_deref() != domain.name() {
            let name = |key: Option<&str>| key.unwrap_or("none").to_owned();
            return Err(RecordFault::OtherKey {
                of: name(self.image.key.as_deref()),
                given: name(domain.name()),
            });
        }
        // Compared in constant time.
        if domain.authenticate(&self.signed) != blake3::Hash::from_bytes(self.authenticity) {
            return Err(RecordFault::Forged);
        }
        let mut sealed = self.sealed.clone();
        let detail = domain.open(DETAIL, &mut sealed).map_err(|_| RecordFault::Forged)?;
        let detail = serde_json::from_slice(detail).map_err(|_| RecordFault::Form)?;
        Ok(Image { detail: Some(detail), ..self.image.clone() })
    }
}

#[cfg(test)]
mod tests;

//! Destroying a volume's LUKS header, so that its data can't be read by anybody, whoever has its key.
//!
//! The key material is written over where it lies and flushed; then the file system is asked whether
//! that is where it was: that all of it is written space, none of it shared, and each block where it
//! was before. Only then it is said to be [`Erased::InPlace`]. A file system that writes elsewhere
//! (btrfs, ZFS), or a snapshot, keeps the old blocks; and what is below the file system (a flash
//! disk, a storage's snapshots, a journal with data in it) is seen by nobody here. **What makes a
//! deletion sure is that the volume's key is forgotten wherever it was kept.** This is for the case
//! that it was not.
//!
//! Nothing here removes a file.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Seek, SeekFrom},
    ops::Range,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::PathBuf,
};

use nix::{
    fcntl::{OFlag, PosixFadviseAdvice, posix_fadvise},
    sys::statfs::{EXT4_SUPER_MAGIC, FsType, XFS_SUPER_MAGIC, fstatfs},
};

use super::header::{HEAD, HeaderFault, Luks, in_qcow2};
use crate::{
    clone::keep_from_qemu,
    volume::{
        Place,
        recovery::{Extent, extents_of},
    },
};

/// The file system's blocks are compared in this size; no file system here has smaller extents.
const BLOCK: u64 = 4096;
/// How much is written at once.
const CHUNK: u64 = 64 << 10;

/// How far an erasure can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Erased {
    /// There was nothing to erase: it is not encrypted.
    Nothing,
    /// The file system says that it is overwritten where it was.
    InPlace,
    /// It is overwritten as the file shows it, and a copy may be left.
    Unsure(Doubt),
}

/// Where a copy of the key material may be left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// The file system is none of those that overwrite in place (ext4, XFS).
    FileSystem,
    /// Blocks were shared with another file or a snapshot.
    Shared,
    /// Blocks are elsewhere than they were.
    Moved,
    /// Blocks are not on the device as they were written: holes, or compressed.
    NotWritten,
    /// It is a block device: whether it keeps old blocks is not seen from here.
    Device,
    /// The file's header doesn't say where its keys are; nothing was overwritten.
    NoHeader,
    /// Writing over them failed, all or in part.
    Failed,
}

impl std::fmt::Display for Doubt {
    fn fmt(&self, into: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        into.write_str(match self {
            Self::FileSystem => "the file system may have written elsewhere than over it",
            Self::Shared => "its blocks were shared with a copy or a snapshot",
            Self::Moved => "the file system has written elsewhere than over it",
            Self::NotWritten => "the file system has not stored what was written over it",
            Self::Device => "the device may keep what is written over",
            Self::NoHeader => "the file does not say where its keys are",
            Self::Failed => "its keys could not be written over",
        })
    }
}

/// Why a header is not erased, or only a part of it.
#[derive(Debug, thiserror::Error)]
pub enum EraseError {
    /// It can't be read or written.
    #[error("erasing the keys in {}", path.display())]
    Io {
        /// The file or device.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// What was written is not what is read.
    #[error("{} does not hold what was written over its keys", .0.display())]
    Unwritten(PathBuf),
    /// QEMU has it open.
    #[error("{} is in use", .0.display())]
    InUse(PathBuf),
    /// There is no header to erase; it may have been erased before.
    #[error("{}", path.display())]
    Header {
        /// The file or device.
        path: PathBuf,
        /// What is wrong.
        source: HeaderFault,
    },
}

/// Erases the header of a plain encrypted volume that nobody has open. What is behind the header stays,
/// and is noise.
pub fn erase(place: &Place) -> Result<Erased, EraseError> {
    let path = place.called();
    let io = |source| EraseError::Io { path: path.clone(), source };
    // That it is a file, or a device, as is said.
    place.open().map_err(io)?;
    let mut options = File::options();
    options.read(true).write(true).custom_flags(OFlag::O_NOFOLLOW.bits());
    // A device has its name by a link most often.
    let resolved = path.canonicalize().map_err(io)?;
    let file = options.open(resolved).map_err(io)?;
    if !keep_from_qemu(&file).map_err(io)? {
        return Err(EraseError::InUse(path));
    }
    erase_held(&file, place)
}

/// The same of one that the caller keeps QEMU from.
pub(crate) fn erase_held(file: &File, place: &Place) -> Result<Erased, EraseError> {
    let path = place.called();
    let head = head(file).map_err(|source| EraseError::Io { path: path.clone(), source })?;
    let luks = Luks::parse(&head).map_err(|source| EraseError::Header { path, source })?;
    overwrite(file, 0..luks.payload, place)
}

/// Erases the header in an overlay, if it has one. The caller keeps QEMU from it.
pub(crate) fn erase_overlay(file: &File, place: &Place) -> Result<Erased, EraseError> {
    let io = |source| EraseError::Io { path: place.called(), source };
    let head = head(file).map_err(io)?;
    match in_qcow2(&head) {
        Ok(None) => Ok(Erased::Nothing),
        // Nothing is written where the file is not: it would become longer.
        Ok(Some(range)) if range.end <= { file }.seek(SeekFrom::End(0)).map_err(io)? => {
            overwrite(file, range, place)
        }
        _ => Ok(Erased::Unsure(Doubt::NoHeader)),
    }
}

/// A file's first bytes, fewer if it is shorter.
fn head(file: &File) -> io::Result<Vec<u8>> {
    let mut head = vec![0; HEAD];
    let mut length = 0;
    while length < HEAD {
        match file.read_at(&mut head[length..], length as u64)? {
            0 => break,
            read => length += read,
        }
    }
    head.truncate(length);
    Ok(head)
}

/// Writes over all of a range, and sees what has become of it. A header's first block is written over
/// last, so that an erasure that was stopped is repeated.
fn overwrite(file: &File, range: Range<u64>, place: &Place) -> Result<Erased, EraseError> {
    let io = |source| EraseError::Io { path: place.called(), source };
    let is_file = matches!(place, Place::File(_));
    let before = if is_file { Map::of(file, &range).map_err(io)? } else { None };
    let keys = (range.start + BLOCK).min(range.end);
    for part in [keys..range.end, range.start..keys] {
        let mut at = part.start;
        while at < part.end {
            let end = (at + CHUNK).min(part.end);
            file.write_all_at(&noise(at..end), at).map_err(io)?;
            at = end;
        }
        file.sync_all().map_err(io)?;
    }
    if !is_overwritten(file, &range).map_err(io)? {
        return Err(EraseError::Unwritten(place.called()));
    }
    if !is_file {
        return Ok(Erased::Unsure(Doubt::Device));
    }
    let after = Map::of(file, &range).map_err(io)?;
    let kind = fstatfs(file).map_err(|error| io(error.into()))?.filesystem_type();
    Ok(judge(kind, before.as_ref(), after.as_ref(), &range).map_or(Erased::InPlace, Erased::Unsure))
}

/// What may be left, by where the blocks were and are.
fn judge(
    kind: FsType,
    before: Option<&Map>,
    after: Option<&Map>,
    range: &Range<u64>,
) -> Option<Doubt> {
    let (Some(before), Some(after)) = (before, after) else { return Some(Doubt::FileSystem) };
    let is_moved =
        before.blocks.iter().any(|(at, physical)| after.blocks.get(at) != Some(physical));
    let blocks = range.start / BLOCK..range.end.div_ceil(BLOCK);
    if before.is_shared || after.is_shared {
        Some(Doubt::Shared)
    } else if before.is_inexact || after.is_inexact || blocks.clone().any(|at| !after.has(at)) {
        Some(Doubt::NotWritten)
    } else if is_moved {
        Some(Doubt::Moved)
    } else if kind != EXT4_SUPER_MAGIC && kind != XFS_SUPER_MAGIC {
        Some(Doubt::FileSystem)
    } else {
        None
    }
}

/// Where on the device the blocks of a part of a file are.
#[derive(Debug, Default)]
struct Map {
    blocks: BTreeMap<u64, u64>,
    is_shared: bool,
    is_inexact: bool,
}

impl Map {
    /// None if the file system has no map.
    fn of(file: &File, range: &Range<u64>) -> io::Result<Option<Self>> {
        match extents_of(file, range) {
            Ok(extents) => Ok(Some(Self::from(&extents, range))),
            Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn from(extents: &[Extent], range: &Range<u64>) -> Self {
        let mut map = Self::default();
        for extent in extents.iter().filter(|extent| extent.is_written()) {
            map.is_shared |= extent.is_shared();
            map.is_inexact |= !extent.is_exact();
            let whole = extent.logical..extent.logical.saturating_add(extent.length);
            let begin = whole.start.max(range.start) / BLOCK;
            let end = whole.end.min(range.end).div_ceil(BLOCK);
            for at in begin..end {
                let within = (at * BLOCK).saturating_sub(extent.logical);
                map.blocks.insert(at, extent.physical.saturating_add(within));
            }
        }
        map
    }

    fn has(&self, block: u64) -> bool {
        self.blocks.contains_key(&block)
    }
}

/// Whether the device has what was written, past the host's cache where that can be dropped.
fn is_overwritten(file: &File, range: &Range<u64>) -> io::Result<bool> {
    // Whether the kernel follows the advice is its own affair.
    let _ = posix_fadvise(file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
    let mut at = range.start;
    while at < range.end {
        let end = (at + CHUNK).min(range.end);
        let expected = noise(at..end);
        let mut read = vec![0; expected.len()];
        file.read_exact_at(&mut read, at)?;
        if read != expected {
            return Ok(false);
        }
        at = end;
    }
    Ok(true)
}

/// What is written over keys: nothing secret, no zeroes (which may become a hole), and no block the
/// same as another (which may be stored once).
fn noise(range: Range<u64>) -> Vec<u8> {
    let word = |at: u64| (at / 8).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29) | 1;
    let bytes = range.map(|at| word(at).to_le_bytes()[usize::try_from(at % 8).unwrap_or(0)]);
    bytes.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One extent of the first three blocks.
    fn map(physical: u64, flags: u32) -> Map {
        let mut extent = Extent::default();
        (extent.physical, extent.length, extent.flags) = (physical, 3 * BLOCK, flags);
        Map::from(&[extent], &(0..3 * BLOCK))
    }

    #[test]
    fn what_a_file_system_may_have_kept_is_told() {
        let range = 0..3 * BLOCK;
        let judge =
            |before: &Map, after: &Map| judge(EXT4_SUPER_MAGIC, Some(before), Some(after), &range);
        assert_eq!(judge(&map(BLOCK, 0), &map(BLOCK, 0)), None);
        // Space that was a hole, or reserved, has no block to keep.
        assert_eq!(judge(&Map::default(), &map(BLOCK, 0)), None);
        assert_eq!(judge(&map(BLOCK, 0x800), &map(BLOCK, 0)), None);
        assert_eq!(judge(&map(BLOCK, 0), &map(9 * BLOCK, 0)), Some(Doubt::Moved));
        assert_eq!(judge(&map(BLOCK, 0x2000), &map(BLOCK, 0)), Some(Doubt::Shared));
        // Compressed; not allocated yet; reserved; a hole.
        for flags in [0x8, 0x4, 0x800] {
            assert_eq!(judge(&map(BLOCK, 0), &map(BLOCK, flags)), Some(Doubt::NotWritten));
        }
        assert_eq!(judge(&map(BLOCK, 0), &Map::default()), Some(Doubt::NotWritten));
        let other = super::judge(FsType(0x9123_683e), Some(&map(0, 0)), Some(&map(0, 0)), &range);
        assert_eq!(other, Some(Doubt::FileSystem));
        assert_eq!(super::judge(EXT4_SUPER_MAGIC, None, None, &range), Some(Doubt::FileSystem));
    }

    #[test]
    fn what_is_written_over_keys_has_no_block_twice_and_none_of_zeroes() {
        let bytes = noise(0..16 * BLOCK);
        let blocks: std::collections::HashSet<_> = bytes.chunks(4096).collect();
        assert_eq!(blocks.len(), 16);
        assert!(bytes.chunks(512).all(|sector| sector.iter().any(|byte| *byte != 0)));
        assert_eq!(noise(4096..4104), bytes[4096..4104]);
    }
}

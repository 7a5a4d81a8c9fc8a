//! Where a file has data and where holes, as its file system has recorded it (`FS_IOC_FIEMAP`).
//!
//! Space that was reserved and never written is a hole here. lseek(2) can't tell: ext4 and XFS
//! answer `SEEK_DATA` out of the page cache for such space, and a page that was merely read there,
//! or read ahead, makes it data. A map of the extents says of each whether it was written. What is
//! still in the cache is written out before the map is made (`FIEMAP_FLAG_SYNC`).
//!
//! tmpfs has no such map and needs none: it has nothing but the cache, and tells pages that were
//! reserved from those that were written, whoever reads them. Any other file system without a map
//! is refused, and so is one whose map is not exact; [`check_holes`] finds those.
//!
//! After <https://docs.kernel.org/filesystems/fiemap.html>.

use std::{
    collections::VecDeque,
    fs::File,
    io,
    ops::Range,
    os::{
        fd::{AsFd, AsRawFd},
        unix::fs::FileExt,
    },
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::{FallocateFlags, fallocate},
    sys::statfs::{TMPFS_MAGIC, fstatfs},
    unistd::{Whence, lseek},
};

use super::RecoveryError;
use crate::nameless::nameless;

/// How many extents are asked for at once.
const EXTENTS: usize = 128;
/// `FIEMAP_FLAG_SYNC`: write out first.
const SYNC: u32 = 1;
/// `FIEMAP_EXTENT_LAST`: none is behind it.
const LAST: u32 = 1;
/// `FIEMAP_EXTENT_UNWRITTEN`: reserved, and reads as zeroes.
const UNWRITTEN: u32 = 0x800;
/// `FIEMAP_EXTENT_SHARED`: another file has it too.
const SHARED: u32 = 0x2000;
/// `FIEMAP_EXTENT_UNKNOWN`, `_DELALLOC`, `_ENCODED`, `_DATA_ENCRYPTED`, `_NOT_ALIGNED`, `_DATA_INLINE`,
/// `_DATA_TAIL`: what is on the device is not the data, or not alone, or not where it is said.
const INEXACT: u32 = 0x2 | 0x4 | 0x8 | 0x80 | 0x100 | 0x200 | 0x400;
/// How often a map is asked for more of a stretch.
const ASKS: u32 = 1024;

/// Where a file has data, from its beginning on.
#[derive(Debug)]
pub(super) struct DataMap<'a> {
    file: &'a File,
    has_extents: bool,
    /// Known data that was not asked for yet, in order.
    known: VecDeque<Range<u64>>,
    /// What is before this is known; none if all is.
    asked: Option<u64>,
}

impl<'a> DataMap<'a> {
    /// The map of a file.
    ///
    /// # Errors
    /// [`io::ErrorKind::Unsupported`] if its file system can't tell space that was written from
    /// space that was reserved.
    pub(super) fn of(file: &'a File) -> io::Result<Self> {
        let has_extents = fstatfs(file)?.filesystem_type() != TMPFS_MAGIC;
        Ok(Self { file, has_extents, known: VecDeque::new(), asked: Some(0) })
    }

    /// The first stretch of data that is not before `from`, if any is. Each `from` is to be no
    /// less than the one before.
    pub(super) fn next(&mut self, from: u64) -> io::Result<Option<Range<u64>>> {
        loop {
            while let Some(range) = self.known.front() {
                if range.end > from {
                    return Ok(Some(range.start.max(from)..range.end));
                }
                self.known.pop_front();
            }
            let Some(asked) = self.asked else { return Ok(None) };
            if self.has_extents { self.ask(asked.max(from))? } else { self.seek(asked.max(from))? }
        }
    }

    /// The extents from here on.
    fn ask(&mut self, from: u64) -> io::Result<()> {
        let extents = ask(self.file, from)?;
        let end = extents.last().map(|last| last.logical.saturating_add(last.length));
        let is_last = extents.last().is_none_or(|last| last.flags & LAST != 0);
        // An answer that leads nowhere is not asked for again.
        self.asked = end.filter(|end| !is_last && *end > from);
        self.known.extend(
            extents
                .iter()
                .filter(|extent| extent.flags & UNWRITTEN == 0)
                .map(|extent| extent.logical..extent.logical.saturating_add(extent.length)),
        );
        Ok(())
    }

    /// The next stretch, as lseek(2) says.
    fn seek(&mut self, from: u64) -> io::Result<()> {
        let seek = |from: u64, whence| {
            let Ok(from) = i64::try_from(from) else { return Ok(None) };
            match lseek(self.file, from, whence) {
                Ok(at) => Ok(u64::try_from(at).ok()),
                Err(Errno::ENXIO) => Ok(None),
                Err(error) => Err(io::Error::from(error)),
            }
        };
        self.asked = None;
        let Some(begin) = seek(from, Whence::SeekData)? else { return Ok(()) };
        // A hole is at the file's end at the latest.
        if let Some(end) = seek(begin, Whence::SeekHole)?.filter(|end| *end > begin) {
            self.known.push_back(begin..end);
            self.asked = Some(end);
        }
        Ok(())
    }
}

/// The extents of a file from here on, the first of them.
fn ask(file: &File, from: u64) -> io::Result<Vec<Extent>> {
    let mut map = ExtentMap {
        start: from,
        length: u64::MAX - from,
        flags: SYNC,
        mapped: 0,
        count: EXTENTS as u32,
        reserved: 0,
        extents: [Extent::default(); EXTENTS],
    };
    // SAFETY: the kernel writes no more than `count` extents behind the head, and the file is
    // open for as long as it is borrowed.
    match unsafe { extent_map(file.as_raw_fd(), &raw mut map) } {
        Err(Errno::EOPNOTSUPP | Errno::ENOTTY) => {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "the file system has no map of extents (FIEMAP)",
            ));
        }
        answer => answer?,
    };
    let mapped = usize::try_from(map.mapped).unwrap_or(EXTENTS).min(EXTENTS);
    Ok(map.extents[..mapped].to_vec())
}

/// All extents of a stretch of a file.
///
/// # Errors
/// [`io::ErrorKind::Unsupported`] where the file system has no map.
pub(crate) fn extents_of(file: &File, range: &Range<u64>) -> io::Result<Vec<Extent>> {
    let mut all: Vec<Extent> = Vec::new();
    let mut from = range.start;
    for _ in 0..ASKS {
        let extents = ask(file, from)?;
        let Some(last) = extents.last() else { return Ok(all) };
        let end = last.logical.saturating_add(last.length);
        let is_last = last.flags & LAST != 0 || end >= range.end || end <= from;
        all.extend(extents.iter().filter(|extent| extent.logical < range.end));
        if is_last {
            return Ok(all);
        }
        from = end;
    }
    Err(io::Error::other("the file is in too many pieces"))
}

/// `struct fiemap`, with its extents.
#[repr(C)]
struct ExtentMap {
    start: u64,
    length: u64,
    flags: u32,
    mapped: u32,
    count: u32,
    reserved: u32,
    extents: [Extent; EXTENTS],
}

/// `struct fiemap_extent`.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct Extent {
    /// In the file, in bytes.
    pub(crate) logical: u64,
    /// On the file system's device, in bytes.
    pub(crate) physical: u64,
    pub(crate) length: u64,
    reserved_long: [u64; 2],
    pub(crate) flags: u32,
    reserved: [u32; 3],
}

impl Extent {
    /// Whether it is not merely reserved.
    pub(crate) fn is_written(&self) -> bool {
        self.flags & UNWRITTEN == 0
    }

    /// Whether another file has it too.
    pub(crate) fn is_shared(&self) -> bool {
        self.flags & SHARED != 0
    }

    /// Whether the device has the data as it is, where the extent says.
    pub(crate) fn is_exact(&self) -> bool {
        self.flags & INEXACT == 0
    }
}

/// The length of `struct fiemap` without its extents, which is what the request's number holds.
const HEAD: usize = 32;

nix::ioctl_readwrite_bad!(extent_map, nix::request_code_readwrite!(b'f', 11, HEAD), ExtentMap);

/// Whether the file system of a directory tells holes to the block of 4 KiB, reserved space among
/// them; it is asked by a file without a name.
///
/// # Errors
/// [`RecoveryError::NoHoles`] where it doesn't: no overlay of a class that is recovered may be
/// made there.
pub fn check_holes(directory: &Path) -> Result<(), RecoveryError> {
    match nameless(directory).and_then(|file| is_exact(&file)) {
        Ok(true) => Ok(()),
        Err(source) if source.kind() != io::ErrorKind::Unsupported => {
            Err(RecoveryError::Io { path: directory.into(), source })
        }
        _ => Err(RecoveryError::NoHoles { path: directory.into() }),
    }
}

/// Whether the map of a new file shows a block that is written and one that is written with zeroes
/// (which some file systems make a hole), and neither what is around them nor space that was
/// reserved, also when that has been read.
fn is_exact(file: &File) -> io::Result<bool> {
    const LENGTH: u64 = 4 << 20;
    const BLOCK: u64 = 4096;
    const WRITTEN: u64 = (1 << 20) + 2 * BLOCK;
    const ZEROES: u64 = (3 << 20) + 5 * BLOCK;
    const RESERVED: u64 = 2 << 20;
    const RESERVE: usize = 256 << 10;
    file.set_len(LENGTH)?;
    file.write_all_at(&[7; BLOCK as usize], WRITTEN)?;
    file.write_all_at(&[0; BLOCK as usize], ZEROES)?;
    let begin = RESERVED.cast_signed();
    match fallocate(file.as_fd(), FallocateFlags::empty(), begin, RESERVE as i64) {
        // Nothing can be reserved there.
        Err(Errno::EOPNOTSUPP) => {}
        reserved => reserved?,
    }
    file.sync_all()?;
    file.read_exact_at(&mut vec![0; RESERVE], RESERVED)?;
    let mut map = DataMap::of(file)?;
    for block in [WRITTEN, ZEROES] {
        if map.next(0)? != Some(block..block + BLOCK) {
            return Ok(false);
        }
        map.next(block + BLOCK)?;
    }
    Ok(map.next(ZEROES + BLOCK)?.is_none())
}

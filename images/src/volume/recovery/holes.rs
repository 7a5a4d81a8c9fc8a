//! Where a file has data and where holes, as its file system says (lseek(2), `SEEK_DATA`).
//!
//! Space that was reserved and never written counts as a hole on ext4, XFS, btrfs and tmpfs. A
//! file system that knows nothing of holes calls the whole file data; [`check_holes`] finds those.

use std::{fs::File, io, ops::Range, os::unix::fs::FileExt, path::Path};

use nix::{
    errno::Errno,
    unistd::{Whence, lseek},
};

use super::RecoveryError;

/// The first stretch of data that is not before `from`, if any is.
pub(super) fn next_data(file: &File, from: u64) -> io::Result<Option<Range<u64>>> {
    let Some(begin) = seek(file, from, Whence::SeekData)? else { return Ok(None) };
    // A hole is at the file's end at the latest.
    let end = seek(file, begin, Whence::SeekHole)?.unwrap_or(begin);
    Ok((end > begin).then_some(begin..end))
}

fn seek(file: &File, from: u64, whence: Whence) -> io::Result<Option<u64>> {
    let Ok(from) = i64::try_from(from) else { return Ok(None) };
    match lseek(file, from, whence) {
        Ok(at) => Ok(u64::try_from(at).ok()),
        Err(Errno::ENXIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether the file system of a directory tells holes to the block of 4 KiB; it is asked by a file
/// without a name.
///
/// # Errors
/// [`RecoveryError::NoHoles`] where it doesn't: no overlay of a class that is recovered may be
/// made there.
pub fn check_holes(directory: &Path) -> Result<(), RecoveryError> {
    const LENGTH: u64 = 4 << 20;
    const AT: u64 = (1 << 20) + (8 << 10);
    const BLOCK: [u8; 4096] = [7; 4096];
    let io = |source| RecoveryError::Io { path: directory.into(), source };
    let file = unnamed(directory).map_err(io)?;
    file.set_len(LENGTH).map_err(io)?;
    file.write_all_at(&BLOCK, AT).map_err(io)?;
    let data = next_data(&file, 0).map_err(io)?;
    let further = next_data(&file, AT + 4096).map_err(io)?;
    if data == Some(AT..AT + 4096) && further.is_none() {
        return Ok(());
    }
    Err(RecoveryError::NoHoles { path: directory.into() })
}

fn unnamed(directory: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    File::options()
        .read(true)
        .write(true)
        .custom_flags(nix::fcntl::OFlag::O_TMPFILE.bits())
        .mode(0o600)
        .open(directory)
}

//! Locks: ours on a directory whose files change, and QEMU's on an image.
//!
//! Ours is flock(2) on a file of its own; the kernel gives it back when its holder ends, however
//! it ends. QEMU's are open file description locks on bytes 100 to 299 of each image that it has
//! open, one byte for each thing that it may do or that others may not.
//!
//! After flock(2), fcntl(2) and `raw_apply_lock_bytes` in QEMU's block/file-posix.c.

use std::{
    fs::{File, TryLockError},
    io,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, fcntl},
    libc,
};

use super::{CloneError, failed};

/// How long another process of ours may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Holds a directory's lock file, until it is dropped.
pub(super) fn hold(path: &Path) -> Result<File, CloneError> {
    let file = File::open(path).map_err(failed("opening", path))?;
    let begin = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(source)) => return Err(failed("locking", path)(source)),
            Err(TryLockError::WouldBlock) if begin.elapsed() > PATIENCE => {
                return Err(CloneError::Busy { path: path.into() });
            }
            Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// Keeps QEMU from opening an image, until the file is dropped. Whether nobody has it open.
pub(super) fn keep_from_qemu(image: &File) -> io::Result<bool> {
    // SAFETY: it is numbers and nothing else, of which all zeroes are some.
    let mut range: libc::flock = unsafe { std::mem::zeroed() };
    range.l_type = libc::F_WRLCK as libc::c_short;
    range.l_whence = libc::SEEK_SET as libc::c_short;
    range.l_start = 100;
    range.l_len = 200;
    match fcntl(image, FcntlArg::F_OFD_SETLK(&range)) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

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

/// How long a program that another thread starts has our files, and so our locks, until it is another
/// program.
const A_START: Duration = Duration::from_millis(200);

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
pub(crate) fn keep_from_qemu(image: &File) -> io::Result<bool> {
    // SAFETY: it is numbers and nothing else, of which all zeroes are some.
    let mut range: libc::flock = unsafe { std::mem::zeroed() };
    range.l_type = libc::F_WRLCK as libc::c_short;
    range.l_whence = libc::SEEK_SET as libc::c_short;
    range.l_start = 100;
    range.l_len = 200;
    let begin = Instant::now();
    loop {
        match fcntl(image, FcntlArg::F_OFD_SETLK(&range)) {
            Ok(_) => return Ok(true),
            Err(Errno::EAGAIN | Errno::EACCES) if begin.elapsed() > A_START => return Ok(false),
            Err(Errno::EAGAIN | Errno::EACCES) => thread::sleep(Duration::from_millis(5)),
            Err(error) => return Err(error.into()),
        }
    }
}

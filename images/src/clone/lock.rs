//! Locks: ours on a directory whose files change, and QEMU's on an image, which restoring takes too.
//!
//! Ours is flock(2) on a file of its own; the kernel gives it back when its holder ends, however
//! it ends. QEMU's are open file description locks on bytes 100 to 299 of each image that it has
//! open, one byte for each thing that it may do or that others may not.
//!
//! After flock(2), fcntl(2) and `raw_apply_lock_bytes` in QEMU's block/file-posix.c.

use std::{
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    libc,
};

use super::{CloneError, failed};
use crate::volume::Place;

/// How long another process of ours may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a program that another thread starts has our files, and so our locks, until it is another
/// program.
const A_START: Duration = Duration::from_millis(200);

/// How often a file that is to be reserved may be another one by then.
const REPLACED: u32 = 8;

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

/// Opens a volume's file or device, which QEMU can't open from then on, until it is dropped.
///
/// # Errors
/// [`io::ErrorKind::ResourceBusy`], where QEMU has it open, or it is mounted, or others put file after
/// file in its place; [`io::ErrorKind::Unsupported`] of a LUN.
pub(crate) fn reserve(place: &Place) -> io::Result<File> {
    let path = place.path().ok_or(io::ErrorKind::Unsupported)?;
    for _ in 0..REPLACED {
        let file = reserve_named(place, path)?;
        if is_named(&file, path)? {
            return Ok(file);
        }
    }
    Err(io::ErrorKind::ResourceBusy.into())
}

/// Whether that is the file's name. It may be another's since it was opened: who holds its lock may have
/// put a new one in its place.
pub(crate) fn is_named(file: &File, path: &Path) -> io::Result<bool> {
    let there = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        there => there?,
    };
    let held = file.metadata()?;
    Ok((held.dev(), held.ino()) == (there.dev(), there.ino()))
}

fn reserve_named(place: &Place, path: &Path) -> io::Result<File> {
    // That it is a file or a device as it is said to be.
    place.open()?;
    let mut flags = OFlag::O_NONBLOCK;
    if matches!(place, Place::Device(_)) {
        // Nobody else may hold it like this, as mounting does (open(2)).
        flags |= OFlag::O_EXCL;
    }
    let mut options = File::options();
    let file = options.read(true).write(true).custom_flags(flags.bits()).open(path)?;
    if keep_from_qemu(&file)? { Ok(file) } else { Err(io::ErrorKind::ResourceBusy.into()) }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_replaced_while_its_lock_is_waited_for_is_not_the_one_that_is_held() {
        let directory = tempfile::tempdir().unwrap();
        let (path, new) = (directory.path().join("disk"), directory.path().join("new"));
        fs::write(&path, "old").unwrap();
        let held = reserve(&Place::File(path.clone())).unwrap();
        assert!(is_named(&held, &path).unwrap());
        thread::scope(|scope| {
            let waiting = scope.spawn(|| reserve(&Place::File(path.clone())));
            thread::sleep(A_START / 4);
            fs::write(&new, "new").unwrap();
            fs::rename(&new, &path).unwrap();
            // Who has opened it is told, however late the other one is.
            assert!(!is_named(&held, &path).unwrap());
            drop(held);
            let file = waiting.join().unwrap().unwrap();
            assert_eq!(io::read_to_string(&file).unwrap(), "new");
            assert!(is_named(&file, &path).unwrap());
        });
        fs::remove_file(&path).unwrap();
        assert!(reserve(&Place::File(path)).is_err());
    }
}

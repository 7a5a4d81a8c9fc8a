//! The entries of one directory that is open: made, read and replaced by name, through its
//! descriptor.
//!
//! Here because what happens in a directory of a user's must not depend on the names that lead to
//! it. Never follows a link, never writes into a file that is there: openat(2), renameat(2).

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{Read, Write},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::{AtFlags, OFlag, openat, renameat},
    sys::stat::{FileStat, Mode, fchmod, fstat, fstatat, mkdirat},
    unistd::{Gid, Uid, UnlinkatFlags, fchown, unlinkat},
};

use super::{Access, file_error, io_error};
use crate::platform::{Change, PlatformError, Result};

/// The longest file that is read back.
const MAX_FILE: u64 = 32 << 20;

/// Makes one directory and opens it. It gets its owner and mode under another name: a crash in
/// between must not leave one that looks finished and belongs to somebody else.
pub(in crate::platform::linux) fn make_directory(
    at: BorrowedFd<'_>,
    name: &OsStr,
    access: Access,
) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let temporary = beside(name);
    // What a crash left there is empty.
    let _ = unlinkat(at, temporary.as_os_str(), UnlinkatFlags::RemoveDir);
    mkdirat(at, temporary.as_os_str(), Mode::from_bits_truncate(0o700))?;
    let fd = openat(at, temporary.as_os_str(), flags, Mode::empty())?;
    set_access(fd.as_fd(), access)?;
    match renameat(at, temporary.as_os_str(), at, name) {
        Ok(()) => Ok(fd),
        // Somebody was faster: theirs is looked at as any that was there before.
        Err(Errno::ENOTEMPTY | Errno::EEXIST | Errno::ENOTDIR) => {
            let _ = unlinkat(at, temporary.as_os_str(), UnlinkatFlags::RemoveDir);
            openat(at, name, flags, Mode::empty())
        }
        Err(errno) => Err(errno),
    }
}

/// Reads a regular file in a directory, with its state; none where it is not there. Links and
/// other kinds of files are refused.
pub(in crate::platform::linux) fn read_at(
    directory: BorrowedFd<'_>,
    name: &OsStr,
    path: &Path,
) -> Result<Option<(Vec<u8>, FileStat)>> {
    // Non-blocking: opening a named pipe must not hang.
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let fd = match openat(directory, name, flags, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::ENOENT) => return Ok(None),
        Err(errno) => return Err(file_error(path, errno)),
    };
    let stat = fstat(&fd).map_err(|errno| file_error(path, errno))?;
    if stat.st_mode & libc::S_IFMT != libc::S_IFREG {
        return Err(PlatformError::Untrusted { path: path.into(), why: "not a regular file" });
    }
    let mut bytes = Vec::new();
    let read = File::from(fd).take(MAX_FILE + 1).read_to_end(&mut bytes);
    read.map_err(|source| io_error(path, source))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(PlatformError::TooLong { path: path.into() });
    }
    Ok(Some((bytes, stat)))
}

/// Makes a file in a directory hold these bytes: written beside it, renamed over it.
pub(in crate::platform::linux) fn write_at(
    directory: BorrowedFd<'_>,
    name: &OsStr,
    bytes: &[u8],
    access: Option<Access>,
    path: &Path,
) -> Result<Change> {
    replace(directory, name, bytes, access.unwrap_or(Access::root(0o644)), path, false)
}

pub(super) fn kept_access(directory: BorrowedFd<'_>, name: &OsStr) -> Option<Access> {
    let stat = fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW).ok()?;
    (stat.st_mode & libc::S_IFMT == libc::S_IFREG).then(|| access_of(&stat))
}

pub(super) fn replace(
    directory: BorrowedFd<'_>,
    name: &OsStr,
    bytes: &[u8],
    access: Access,
    path: &Path,
    durably: bool,
) -> Result<Change> {
    let error = |errno: Errno| file_error(path, errno);
    match read_at(directory, name, path) {
        Ok(Some((known, stat))) if known == bytes && access_of(&stat) == access => {
            return Ok(Change::Same);
        }
        // Whatever is there instead is replaced, never written through.
        _ => {}
    }
    let temporary = beside(name);
    remove_at(directory, &temporary).map_err(error)?;
    let flags =
        OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let fd = openat(directory, temporary.as_os_str(), flags, Mode::from_bits_truncate(0o600))
        .map_err(error)?;
    copy_label(directory, name, fd.as_fd());
    let mut file = File::from(fd);
    file.write_all(bytes).map_err(|source| io_error(path, source))?;
    set_access(file.as_fd(), access).map_err(error)?;
    if durably {
        file.sync_all().map_err(|source| io_error(path, source))?;
    }
    renameat(directory, temporary.as_os_str(), directory, name).map_err(error)?;
    if durably {
        // The name, too, is only then on the disk.
        nix::unistd::fsync(directory).map_err(error)?;
    }
    Ok(Change::Changed)
}

/// The mode comes last: changing the owner clears set-user-id.
pub(in crate::platform::linux) fn set_access(
    fd: BorrowedFd<'_>,
    access: Access,
) -> nix::Result<()> {
    let stat = fstat(fd)?;
    if (stat.st_uid, stat.st_gid) != (access.uid, access.gid) {
        fchown(fd, Some(Uid::from_raw(access.uid)), Some(Gid::from_raw(access.gid)))?;
    }
    fchmod(fd, Mode::from_bits_truncate(access.mode))
}

pub(in crate::platform::linux) fn access_of(stat: &FileStat) -> Access {
    Access { mode: stat.st_mode & 0o7777, uid: stat.st_uid, gid: stat.st_gid }
}

/// The same name each time, so that what a crash leaves behind is overwritten by the next run.
pub(super) fn beside(name: &OsStr) -> OsString {
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(".mezame-new");
    temporary
}

pub(super) fn remove_at(directory: BorrowedFd<'_>, name: &OsStr) -> nix::Result<()> {
    match unlinkat(directory, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// A file that replaces another takes over its SELinux label; without one, or without SELinux,
/// nothing happens.
fn copy_label(directory: BorrowedFd<'_>, name: &OsStr, to: BorrowedFd<'_>) {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let Ok(from) = openat(directory, name, flags, Mode::empty()) else { return };
    let attribute = c"security.selinux";
    let mut value = [0_u8; 256];
    // SAFETY: the descriptor is open, the name ends in NUL, and the length is the buffer's.
    let length = unsafe {
        libc::fgetxattr(
            from.as_raw_fd(),
            attribute.as_ptr(),
            value.as_mut_ptr().cast(),
            value.len(),
        )
    };
    if let Ok(length @ 1..) = usize::try_from(length) {
        // SAFETY: as above; the kernel wrote `length` bytes of the buffer.
        unsafe {
            libc::fsetxattr(to.as_raw_fd(), attribute.as_ptr(), value.as_ptr().cast(), length, 0);
        }
    }
}

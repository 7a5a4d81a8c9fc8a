//! Files below a root directory, reached without following what a user could have put there.
//!
//! Every path is walked component by component from the root's descriptor (openat(2) with
//! O_NOFOLLOW). A symbolic link is followed only where root owns it, and then inside the root: so
//! a rehearsal stays in its directory, and a tenant's user who replaces a directory of theirs by
//! a link to `/etc` gets an error and not a file of root's. A file is written beside its place and
//! renamed into it, so that no reader and no crash sees a half of it.

use std::{
    collections::VecDeque,
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::{Component, Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{AtFlags, OFlag, openat, readlinkat, renameat},
    sys::stat::{FileStat, Mode, fchmod, fstat, fstatat, mkdirat},
    unistd::{Gid, Uid, UnlinkatFlags, fchown, unlinkat},
};

use crate::platform::{Change, PlatformError, Result};

/// The longest file that is read back.
const MAX_FILE: u64 = 32 << 20;
/// As the kernel: more links in a path are a loop.
const MAX_LINKS: usize = 40;

/// Who a file belongs to and what may be done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Access {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Access {
    pub(super) const fn root(mode: u32) -> Self {
        Self { mode, uid: 0, gid: 0 }
    }
}

/// A root directory.
#[derive(Debug)]
pub(super) struct Tree {
    root: OwnedFd,
    path: PathBuf,
}

impl Tree {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file =
            File::open(path).map_err(|source| PlatformError::File { path: path.into(), source })?;
        Ok(Self { root: file.into(), path: path.into() })
    }

    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// The place outside the root, for programs that must be handed a path.
    pub(super) fn outside(&self, path: &str) -> PathBuf {
        self.path.join(path.trim_start_matches('/'))
    }

    /// Opens a directory; with `make`, missing ones are made with that access.
    pub(super) fn directory(&self, path: &Path, make: Option<Access>) -> Result<OwnedFd> {
        let error = |errno: Errno| file_error(path, errno);
        let mut queue: VecDeque<OsString> = VecDeque::new();
        push_front(&mut queue, path);
        let mut stack = vec![self.root.try_clone().map_err(|e| io_error(path, e))?];
        let mut links = 0;
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        while let Some(name) = queue.pop_front() {
            if name == ".." {
                if stack.len() > 1 {
                    stack.pop();
                }
                continue;
            }
            let here = &stack[stack.len() - 1];
            let next = match openat(here, name.as_os_str(), flags, Mode::empty()) {
                Err(Errno::ENOENT) if make.is_some() => {
                    let access = make.unwrap_or(Access::root(0o755));
                    make_directory(here.as_fd(), &name, access)
                }
                other => other,
            };
            match next {
                Ok(fd) => stack.push(fd),
                Err(errno @ (Errno::ELOOP | Errno::ENOTDIR)) => {
                    let stat = fstatat(here, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW)
                        .map_err(error)?;
                    if stat.st_mode & libc::S_IFMT != libc::S_IFLNK {
                        return Err(error(errno));
                    }
                    if stat.st_uid != 0 || links >= MAX_LINKS {
                        let why = "a symbolic link on the way does not belong to root";
                        return Err(PlatformError::Untrusted { path: path.into(), why });
                    }
                    links += 1;
                    let target = readlinkat(here, name.as_os_str()).map_err(error)?;
                    let target = PathBuf::from(target);
                    if target.is_absolute() {
                        stack.truncate(1);
                    }
                    push_front(&mut queue, &target);
                }
                Err(errno) => return Err(error(errno)),
            }
        }
        stack.pop().ok_or_else(|| error(Errno::ENOENT))
    }

    /// The directory of a file, and the file's name.
    fn parent(&self, path: &str, make: bool) -> Result<(OwnedFd, OsString)> {
        let path = Path::new(path);
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(file_error(path, Errno::EISDIR));
        };
        let make = make.then_some(Access::root(0o755));
        Ok((self.directory(parent, make)?, name.to_owned()))
    }

    /// Reads a file; none where it, or its directory, is not there. A last link is followed as the
    /// ones on the way are: where root made it.
    pub(super) fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let mut at = PathBuf::from(path);
        for _ in 0..MAX_LINKS {
            let text = at.to_string_lossy().into_owned();
            let (directory, name) = match self.parent(&text, false) {
                Err(PlatformError::File { source, .. })
                    if source.kind() == io::ErrorKind::NotFound =>
                {
                    return Ok(None);
                }
                other => other?,
            };
            match read_at(directory.as_fd(), &name, Path::new(path)) {
                Err(PlatformError::File { source, .. })
                    if source.raw_os_error() == Some(libc::ELOOP) =>
                {
                    let stat = fstatat(&directory, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW)
                        .map_err(|errno| file_error(Path::new(path), errno))?;
                    if stat.st_uid != 0 {
                        let why = "a symbolic link on the way does not belong to root";
                        return Err(PlatformError::Untrusted { path: path.into(), why });
                    }
                    let target = readlinkat(&directory, name.as_os_str())
                        .map_err(|errno| file_error(Path::new(path), errno))?;
                    at = at.parent().unwrap_or(Path::new("/")).join(target);
                }
                other => return other.map(|found| found.map(|(bytes, _)| bytes)),
            }
        }
        Err(file_error(Path::new(path), Errno::ELOOP))
    }

    /// The text of a file; empty where it is not there. Bytes that are not UTF-8 are refused,
    /// since writing the text back would change them.
    pub(super) fn text(&self, path: &str) -> Result<String> {
        String::from_utf8(self.read(path)?.unwrap_or_default()).map_err(|_| {
            PlatformError::Untrusted { path: path.into(), why: "the file is not UTF-8" }
        })
    }

    /// Whether something is there; a last link is not followed.
    pub(super) fn exists(&self, path: &str) -> bool {
        self.parent(path, false).is_ok_and(|(directory, name)| {
            fstatat(&directory, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW).is_ok()
        })
    }

    /// Makes a file hold this, with this access, in one step.
    pub(super) fn write(&self, path: &str, bytes: &[u8], access: Access) -> Result<Change> {
        let (directory, name) = self.parent(path, true)?;
        write_at(directory.as_fd(), &name, bytes, Some(access), Path::new(path))
    }

    /// The same for a file of the system's: what is there keeps its owner and mode.
    pub(super) fn edit(&self, path: &str, bytes: &[u8], new: Access) -> Result<Change> {
        let (directory, name) = self.parent(path, true)?;
        let access = fstatat(&directory, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW)
            .ok()
            .filter(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFREG)
            .map_or(new, |stat| access_of(&stat));
        write_at(directory.as_fd(), &name, bytes, Some(access), Path::new(path))
    }

    /// Takes a file away.
    pub(super) fn remove(&self, path: &str) -> Result<Change> {
        let (directory, name) = match self.parent(path, false) {
            Err(PlatformError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(Change::Same);
            }
            other => other?,
        };
        match unlinkat(&directory, name.as_os_str(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) => Ok(Change::Changed),
            Err(Errno::ENOENT) => Ok(Change::Same),
            Err(errno) => Err(file_error(Path::new(path), errno)),
        }
    }

    /// Makes a symbolic link, in one step.
    pub(super) fn link(&self, path: &str, target: &str) -> Result<Change> {
        let (directory, name) = self.parent(path, true)?;
        let error = |errno| file_error(Path::new(path), errno);
        if readlinkat(&directory, name.as_os_str()).is_ok_and(|known| known == *target) {
            return Ok(Change::Same);
        }
        let temporary = beside(&name);
        remove_at(directory.as_fd(), &temporary).map_err(error)?;
        nix::unistd::symlinkat(target, &directory, temporary.as_os_str()).map_err(error)?;
        renameat(&directory, temporary.as_os_str(), &directory, name.as_os_str()).map_err(error)?;
        Ok(Change::Changed)
    }

    /// The names in a directory; none where it is not there.
    pub(super) fn list(&self, path: &str) -> Vec<String> {
        let Ok(fd) = self.directory(Path::new(path), None) else { return Vec::new() };
        let Ok(entries) = std::fs::read_dir(format!("/proc/self/fd/{}", fd.as_raw_fd())) else {
            return Vec::new();
        };
        let mut names: Vec<String> = entries
            .take(4096)
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect();
        names.sort();
        names
    }
}

/// Makes one directory and opens it. It gets its owner and mode under another name: a crash in
/// between must not leave one that looks finished and belongs to somebody else.
pub(super) fn make_directory(
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
pub(super) fn read_at(
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
pub(super) fn write_at(
    directory: BorrowedFd<'_>,
    name: &OsStr,
    bytes: &[u8],
    access: Option<Access>,
    path: &Path,
) -> Result<Change> {
    let error = |errno: Errno| file_error(path, errno);
    let access = access.unwrap_or(Access::root(0o644));
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
    renameat(directory, temporary.as_os_str(), directory, name).map_err(error)?;
    Ok(Change::Changed)
}

/// The mode comes last: changing the owner clears set-user-id.
pub(super) fn set_access(fd: BorrowedFd<'_>, access: Access) -> nix::Result<()> {
    let stat = fstat(fd)?;
    if (stat.st_uid, stat.st_gid) != (access.uid, access.gid) {
        fchown(fd, Some(Uid::from_raw(access.uid)), Some(Gid::from_raw(access.gid)))?;
    }
    fchmod(fd, Mode::from_bits_truncate(access.mode))
}

pub(super) fn access_of(stat: &FileStat) -> Access {
    Access { mode: stat.st_mode & 0o7777, uid: stat.st_uid, gid: stat.st_gid }
}

/// The same name each time, so that what a crash leaves behind is overwritten by the next run.
fn beside(name: &OsStr) -> OsString {
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(".mezame-new");
    temporary
}

fn remove_at(directory: BorrowedFd<'_>, name: &OsStr) -> nix::Result<()> {
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

fn push_front(queue: &mut VecDeque<OsString>, path: &Path) {
    for component in path.components().rev() {
        match component {
            Component::Normal(name) => queue.push_front(name.to_owned()),
            Component::ParentDir => queue.push_front("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
}

pub(super) fn file_error(path: &Path, errno: Errno) -> PlatformError {
    io_error(path, errno.into())
}

fn io_error(path: &Path, source: io::Error) -> PlatformError {
    PlatformError::File { path: path.into(), source }
}

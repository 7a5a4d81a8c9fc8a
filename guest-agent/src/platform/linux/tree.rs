//! Files below a root directory, reached without following what a user could have put there.
//!
//! Every path is walked component by component from the root's descriptor (openat(2) with
//! O_NOFOLLOW). A symbolic link is followed only where root owns it, and then inside the root: so
//! a rehearsal stays in its directory, and a tenant's user who replaces a directory of theirs by
//! a link to `/etc` gets an error and not a file of root's. A file is written beside its place and
//! renamed into it, so that no reader and no crash sees a half of it.

mod entry;

use std::{
    collections::VecDeque,
    ffi::OsString,
    fs::File,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::{Component, Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{AtFlags, OFlag, openat, readlinkat, renameat},
    sys::stat::{Mode, fstatat},
    unistd::{UnlinkatFlags, unlinkat},
};

use self::entry::{beside, kept_access, remove_at, replace};
pub(super) use self::entry::{make_directory, read_at, set_access, write_at};

use crate::platform::{Change, PlatformError, Result};

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
        let access = kept_access(directory.as_fd(), &name).unwrap_or(new);
        write_at(directory.as_fd(), &name, bytes, Some(access), Path::new(path))
    }

    /// The same for a file without which nobody can log in: on the disk before it takes the old
    /// one's place, so that a power cut leaves the old one or the new one, and never an empty one.
    pub(super) fn edit_durably(&self, path: &str, bytes: &[u8], new: Access) -> Result<Change> {
        let (directory, name) = self.parent(path, true)?;
        let access = kept_access(directory.as_fd(), &name).unwrap_or(new);
        replace(directory.as_fd(), &name, bytes, access, Path::new(path), true)
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

//! authorized_keys of a user who is not trusted, and the host's own public keys.
//!
//! The home directory belongs to its user, who can rename, link and replace in it at any moment.
//! So `.ssh` is opened once, by descriptor and without following a link, its owner is looked at
//! through that descriptor, and everything after happens through it: whatever the user does with
//! the names meanwhile, root reads no file and writes no file outside that directory.

use std::{
    ffi::OsStr,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, openat},
    sys::stat::{Mode, fstat},
};

use super::{
    accounts,
    tree::{self, Access, Tree},
};
use crate::{
    account::Entry,
    authorized_keys,
    platform::{Change, PlatformError, Result},
};

const MAX_KEYS_FILE: usize = 1 << 20;

pub(super) fn authorize(tree: &Tree, user: &str, keys: &[String]) -> Result<Change> {
    let entry = match accounts::find(tree, user) {
        // Nothing to take away from somebody who is gone.
        Err(PlatformError::NoSuchUser { .. }) if keys.is_empty() => return Ok(Change::Same),
        other => other?,
    };
    let home = match tree.directory(entry.home.as_ref(), None) {
        Ok(home) => home,
        Err(_) if keys.is_empty() => return Ok(Change::Same),
        Err(PlatformError::File { source, .. })
            if source.kind() == std::io::ErrorKind::NotFound =>
        {
            // Only the home is the user's; what leads to it is root's.
            let home: &Path = entry.home.as_ref();
            tree.directory(home.parent().unwrap_or(home), Some(Access::root(0o755)))?;
            let access = Access { mode: 0o700, uid: entry.uid, gid: entry.gid };
            tree.directory(home, Some(access))?
        }
        Err(error) => return Err(error),
    };
    let path = PathBuf::from(&entry.home).join(".ssh");
    check_owner(&home, &entry, entry.home.as_ref())?;
    let Some(directory) = open_ssh_directory(&home, &entry, &path, !keys.is_empty())? else {
        return Ok(Change::Same);
    };
    edit_file(&directory, &entry, &path.join("authorized_keys"), keys)
}

/// sshd's StrictModes wants the directories to belong to the user or to root, and so do we.
fn check_owner(fd: &OwnedFd, entry: &Entry, path: &Path) -> Result<()> {
    let stat = fstat(fd).map_err(|errno| tree::file_error(path, errno))?;
    if stat.st_uid == entry.uid || stat.st_uid == 0 {
        return Ok(());
    }
    let why = "the directory belongs neither to the user nor to root";
    Err(PlatformError::Untrusted { path: path.into(), why })
}

fn open_ssh_directory(
    home: &OwnedFd,
    entry: &Entry,
    path: &Path,
    make: bool,
) -> Result<Option<OwnedFd>> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let name = OsStr::new(".ssh");
    let fd = match openat(home, name, flags, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::ENOENT) if !make => return Ok(None),
        Err(Errno::ENOENT) => {
            let access = Access { mode: 0o700, uid: entry.uid, gid: entry.gid };
            tree::make_directory(home.as_fd(), name, access)
                .map_err(|errno| tree::file_error(path, errno))?
        }
        Err(Errno::ELOOP | Errno::ENOTDIR) => {
            let why = "it is a symbolic link or no directory";
            return Err(PlatformError::Untrusted { path: path.into(), why });
        }
        Err(errno) => return Err(tree::file_error(path, errno)),
    };
    check_owner(&fd, entry, path)?;
    // Writable by others, sshd would ignore the keys.
    let stat = fstat(&fd).map_err(|errno| tree::file_error(path, errno))?;
    if stat.st_mode & 0o022 != 0 {
        let access = Access { mode: stat.st_mode & 0o755, uid: stat.st_uid, gid: stat.st_gid };
        tree::set_access(fd.as_fd(), access).map_err(|errno| tree::file_error(path, errno))?;
    }
    Ok(Some(fd))
}

fn edit_file(directory: &OwnedFd, entry: &Entry, path: &Path, keys: &[String]) -> Result<Change> {
    let name = OsStr::new("authorized_keys");
    let own = Access { mode: 0o600, uid: entry.uid, gid: entry.gid };
    let (text, access) = match tree::read_at(directory.as_fd(), name, path) {
        Ok(None) => (Vec::new(), own),
        Ok(Some((bytes, stat))) => {
            // A hard link to a file of somebody else's would be read with root's rights.
            if stat.st_uid != entry.uid && stat.st_uid != 0 || stat.st_nlink > 1 {
                let why = "the file belongs to somebody else or has several names";
                return Err(PlatformError::Untrusted { path: path.into(), why });
            }
            // The user may have moved a file of root's here, to be given what it holds.
            if stat.st_uid == 0 && entry.uid != 0 && stat.st_mode & 0o004 == 0 {
                let why = "the file is for root alone";
                return Err(PlatformError::Untrusted { path: path.into(), why });
            }
            let mode = stat.st_mode & 0o7777 & 0o644;
            (bytes, Access { mode: mode | 0o600, uid: entry.uid, gid: entry.gid })
        }
        Err(PlatformError::File { source, .. }) if source.raw_os_error() == Some(libc::ELOOP) => {
            let why = "it is a symbolic link";
            return Err(PlatformError::Untrusted { path: path.into(), why });
        }
        Err(error) => return Err(error),
    };
    if text.len() > MAX_KEYS_FILE {
        return Err(PlatformError::TooLong { path: path.into() });
    }
    let edited = authorized_keys::edit(&text, keys);
    if edited.is_none() && text.is_empty() {
        return Ok(Change::Same);
    }
    let text = edited.unwrap_or(text);
    tree::write_at(directory.as_fd(), name, &text, Some(access), path)
}

/// OpenSSH's public keys, and dropbear's where the image wrote them beside its private ones.
pub(super) fn host_keys(tree: &Tree) -> Vec<String> {
    let mut keys = Vec::new();
    for directory in ["/etc/ssh", "/etc/dropbear"] {
        for name in tree.list(directory).into_iter().filter(|name| {
            name.ends_with(".pub")
                && (name.starts_with("ssh_host_") || name.starts_with("dropbear"))
        }) {
            let Ok(Some(bytes)) = tree.read(&format!("{directory}/{name}")) else { continue };
            keys.extend(authorized_keys::host_key(&bytes).filter(|_| keys.len() < 16));
        }
    }
    keys
}

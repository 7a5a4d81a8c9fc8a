//! The namespace's name: a mount under `/run/netns`, as iproute2 keeps them (ip-netns(8)).

use std::{
    fs::{self, OpenOptions},
    io,
    os::{fd::OwnedFd, unix::fs::OpenOptionsExt},
    path::{Path, PathBuf},
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
    sys::statfs::{FsType, fstatfs},
};

use super::{NamespaceError, open};

const DIRECTORY: &str = "/run/netns";

/// `NSFS_MAGIC` of linux/magic.h: what a namespace's file is on.
const NSFS: FsType = FsType(0x6e73_6673);

fn path_of(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name)
}

/// Opens the named namespace, and makes it where it is missing or its file is a dead one.
pub(super) fn ensure(name: &str) -> Result<OwnedFd, NamespaceError> {
    let path = path_of(name);
    let failed = |what| {
        let path = path.clone();
        move |source| NamespaceError::File { path, what, source }
    };
    match open(&path) {
        Ok(fd) if is_namespace(&fd) => return Ok(fd),
        // Left by a crash between making the file and mounting on it.
        Ok(_) => fs::remove_file(&path).map_err(failed("removing a dead file"))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed("opening the namespace")(error)),
    }
    share_directory()?;
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o444)
        .open(&path)
        .map_err(failed("making the namespace's file"))?;
    let made = std::thread::scope(|scope| {
        scope
            .spawn(|| -> nix::Result<()> {
                unshare(CloneFlags::CLONE_NEWNET)?;
                mount(
                    Some("/proc/thread-self/ns/net"),
                    &path,
                    None::<&str>,
                    MsFlags::MS_BIND,
                    None::<&str>,
                )
            })
            .join()
    });
    match made {
        Ok(Ok(())) => open(&path).map_err(failed("opening the namespace")),
        Ok(Err(errno)) => {
            // An empty file would be taken for a namespace by other tools.
            let _ = fs::remove_file(&path);
            Err(NamespaceError::system("making a network namespace", errno.into()))
        }
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Takes the name away; the namespace goes when nobody is left inside.
pub(super) fn remove(name: &str) -> Result<(), NamespaceError> {
    let path = path_of(name);
    if !path.exists() {
        return Ok(());
    }
    match umount2(&path, MntFlags::MNT_DETACH) {
        // EINVAL: a dead file, on which nothing is mounted.
        Ok(()) | Err(nix::Error::EINVAL) => {}
        Err(errno) => {
            return Err(NamespaceError::system("unmounting the namespace", errno.into()));
        }
    }
    fs::remove_file(&path).map_err(|source| NamespaceError::File {
        path,
        what: "removing the namespace's file",
        source,
    })
}

fn is_namespace(fd: &OwnedFd) -> bool {
    fstatfs(fd).is_ok_and(|stat| stat.filesystem_type() == NSFS)
}

/// Makes the directory a mount that is shared with other mount namespaces, so that the name is
/// seen by services which were started before it was made.
fn share_directory() -> Result<(), NamespaceError> {
    let directory = Path::new(DIRECTORY);
    fs::create_dir_all(directory).map_err(|source| NamespaceError::File {
        path: directory.into(),
        what: "making the directory",
        source,
    })?;
    let shared = MsFlags::MS_SHARED | MsFlags::MS_REC;
    let share = || mount(None::<&str>, directory, None::<&str>, shared, None::<&str>);
    match share() {
        Err(nix::Error::EINVAL) => {}
        done => {
            return done.map_err(|errno| {
                NamespaceError::system("sharing the namespaces' directory", errno.into())
            });
        }
    }
    // Not a mount point yet: bind it on itself first.
    mount(
        Some(directory),
        directory,
        None::<&str>,
        MsFlags::MS_BIND | MsFlags::MS_REC,
        None::<&str>,
    )
    .and_then(|()| share())
    .map_err(|errno| NamespaceError::system("sharing the namespaces' directory", errno.into()))
}

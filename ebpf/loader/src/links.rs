//! Pinned links: a program at a device, which stays when this process goes.

use std::{
    fs, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use crate::syscall::{self, LinkPlace};

/// The directory of links.
pub(crate) struct Links(PathBuf);

const UPLINK: &str = "uplink";
const PORT: &str = "port-";

impl Links {
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self(directory)
    }

    pub(crate) fn port(&self, ifindex: u32) -> Link {
        Link(self.0.join(format!("{PORT}{ifindex}")))
    }

    pub(crate) fn uplink(&self) -> Link {
        Link(self.0.join(UPLINK))
    }

    /// The devices that a link was pinned for.
    pub(crate) fn ports(&self) -> io::Result<Vec<u32>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix(PORT));
            found.extend(number.and_then(|number| number.parse::<u32>().ok()));
        }
        Ok(found)
    }
}

/// The place of one link, pinned or not.
pub(crate) struct Link(PathBuf);

impl Link {
    /// The link, if it is pinned.
    fn open(&self) -> io::Result<Option<OwnedFd>> {
        match syscall::open_pin(&self.0) {
            Ok(link) => Ok(Some(link)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn place(&self) -> io::Result<Option<LinkPlace>> {
        let Some(link) = self.open()? else { return Ok(None) };
        syscall::link_place(link.as_fd()).map(Some)
    }

    /// Whether the link is pinned and its device is there.
    pub(crate) fn is_alive(&self) -> io::Result<bool> {
        Ok(self.place()?.is_some_and(|place| place.ifindex != 0))
    }

    /// The id of the program that it runs, if it is pinned.
    pub(crate) fn program(&self) -> io::Result<Option<u32>> {
        Ok(self.place()?.map(|place| place.program))
    }

    /// Attaches a program to a device and pins the link, unless it is so already. A link that is
    /// at another device, or whose device is gone, is replaced.
    pub(crate) fn ensure(&self, program: BorrowedFd<'_>, ifindex: u32) -> io::Result<()> {
        if let Some(link) = self.open()? {
            if syscall::link_place(link.as_fd())?.ifindex == ifindex {
                return Ok(());
            }
            self.remove()?;
        }
        let link = syscall::create_link(program, ifindex)?;
        // Not pinned, it is detached as it is dropped.
        syscall::pin(link.as_fd(), &self.0)
    }

    /// Puts another program in place, atomically. False where there is no device any more.
    pub(crate) fn update(&self, program: BorrowedFd<'_>) -> io::Result<bool> {
        let Some(link) = self.open()? else { return Ok(false) };
        match syscall::update_link(link.as_fd(), program) {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOLINK) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Detaches it and takes the pin away.
    pub(crate) fn remove(&self) -> io::Result<()> {
        let Some(link) = self.open()? else { return Ok(()) };
        syscall::detach_link(link.as_fd())?;
        unlink(&self.0)
    }
}

/// Removes a file that may be gone already.
pub(crate) fn unlink(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Detaches every link in a directory and takes the pins away.
pub(crate) fn remove_all(directory: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        Link(entry?.path()).remove()?;
    }
    Ok(())
}

//! Where a volume's bytes are, and whether a file is still the one that was made.

use std::{
    fs::{File, Metadata},
    io::{self, ErrorKind},
    os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use nix::fcntl::OFlag;
use serde::{Deserialize, Serialize};

use crate::iscsi::Lun;

/// A file, a block device, or a LUN that QEMU reaches by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// A regular file.
    File(PathBuf),
    /// A block device of the host.
    Device(PathBuf),
    /// A LUN of an iSCSI target.
    Lun(Lun),
}

impl Place {
    /// Its path, if the host has one of it.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::File(path) | Self::Device(path) => Some(path),
            Self::Lun(_) => None,
        }
    }

    /// What errors call it: its path, or its URL.
    pub(crate) fn called(&self) -> PathBuf {
        match self {
            Self::File(path) | Self::Device(path) => path.clone(),
            Self::Lun(lun) => lun.to_string().into(),
        }
    }

    /// Opens it to read, if it is what it is said to be; its length in bytes.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] for anything but a regular file or a block device;
    /// [`io::ErrorKind::Unsupported`] for a LUN, which QEMU alone reaches.
    pub(crate) fn open(&self) -> io::Result<(File, u64)> {
        let Some(path) = self.path() else {
            let said = "QEMU alone reaches a LUN";
            return Err(io::Error::new(ErrorKind::Unsupported, said));
        };
        // A device that waits for its carrier, or a pipe, is not waited for.
        let mut options = File::options();
        let file = options.read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
        let metadata = file.metadata()?;
        let kind = metadata.file_type();
        match self {
            Self::File(_) if kind.is_file() => Ok((file, metadata.len())),
            Self::Device(_) if kind.is_block_device() => {
                let length = io::Seek::seek(&mut &file, io::SeekFrom::End(0))?;
                Ok((file, length))
            }
            Self::File(_) => Err(io::Error::new(ErrorKind::InvalidInput, "it is no regular file")),
            Self::Device(_) | Self::Lun(_) => {
                Err(io::Error::new(ErrorKind::InvalidInput, "it is no block device"))
            }
        }
    }
}

/// Tells a file from a copy of it, by its inode and when that was made.
///
/// A copy has the same bytes and may have other holes; what is told by holes is told of the file
/// alone in which QEMU made them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileIdentity {
    inode: u64,
    /// Nanoseconds since 1970, where the file system keeps it.
    born: Option<u64>,
}

impl FileIdentity {
    /// That of an open file.
    pub fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self { inode: metadata.ino(), born: born(&metadata) })
    }
}

impl std::fmt::Display for FileIdentity {
    /// In a form that is part of a file's name.
    fn fmt(&self, into: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(into, "{:x}-{:x}", self.inode, self.born.unwrap_or(0))
    }
}

fn born(metadata: &Metadata) -> Option<u64> {
    let since = metadata.created().ok()?.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since.as_nanos()).ok()
}

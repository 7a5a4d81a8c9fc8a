//! Why a file of an image can't be had.

use std::io;

use super::probe::Kind;
use crate::archive::ArchiveError;

/// Why a file of an image can't be had.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The archive, or a damaged chunk.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// There is a table of partitions that is damaged.
    #[error("the disk's table of partitions is damaged: {0}")]
    Table(&'static str),
    /// There is no such partition.
    #[error("the disk has no partition {number}")]
    NoPartition {
        /// Its number.
        number: u32,
    },
    /// What is there can't be read here.
    #[error("partition {number} is {kind}, which can't be read here")]
    Unsupported {
        /// Its number.
        number: u32,
        /// What is there.
        kind: Kind,
    },
    /// An ext file system that is damaged, or has something that is not understood.
    #[error("the ext file system can't be read{}", at(path))]
    Ext {
        /// At which path; none of all of it.
        path: String,
        /// Why.
        #[source]
        source: Box<ext4_view::Ext4Error>,
    },
    /// An ext superblock that is none, or made to do harm.
    #[error("the ext file system can't be read: {0}")]
    Superblock(&'static str),
    /// There is nothing of this name.
    #[error("there is no {path}")]
    NotFound {
        /// The path.
        path: String,
    },
    /// A path has `.` or `..`, a name longer than 255 bytes, or is itself too long or too deep.
    #[error("{path:?} is no path that is looked for")]
    Path {
        /// The path.
        path: String,
    },
    /// A folder on the way is a symbolic link. Ask where it leads.
    #[error("{path} is a symbolic link, and none is followed")]
    Link {
        /// Which.
        path: String,
    },
    /// It is no folder.
    #[error("{path} is no folder")]
    NotADirectory {
        /// The path.
        path: String,
    },
    /// It is no symbolic link.
    #[error("{path} is no symbolic link")]
    NotALink {
        /// The path.
        path: String,
    },
    /// It is a folder, a link, a device, a pipe or a socket.
    #[error("{path} is no file")]
    NotAFile {
        /// The path.
        path: String,
    },
    /// It is longer than is wanted.
    #[error("{path} has {size} bytes, which are more than was allowed")]
    TooLarge {
        /// The path.
        path: String,
        /// Its length.
        size: u64,
    },
    /// There are more names or bytes than is wanted, or folders lie deeper than any does.
    #[error("{path} has more in it than was allowed, or lies too deep")]
    TooMany {
        /// Where that was seen.
        path: String,
    },
    /// A file's bytes can't be read.
    #[error("reading {path}")]
    Read {
        /// The path.
        path: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Who takes the bytes does not take them.
    #[error("the reader of the files is gone, or has no room")]
    Sink(#[source] io::Error),
    /// The parser failed in a way that it should not.
    #[error("the file system is damaged so that its parser gave up{}", at(path))]
    GaveUp {
        /// At which path.
        path: String,
    },
}

fn at(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!(" at {path}") }
}

//! Single files out of an image, without restoring it and without mounting anything.
//!
//! ```text
//!  image ──► [`Disk`] ──► partitions ──► [`FileSystem`] ──► list, read, a tar stream
//! ```
//! A guest's disk is whatever the guest has written, so all of it is parsed in this process and never
//! by the host's kernel, each step with a bound, and only what is asked for is fetched from the archive.
//! No symbolic link is followed, nothing is written, and nothing is done as anybody: whoever reads here
//! reads all of the disk, whatever modes its files have.
//!
//! What is read: MBR and GPT ([`partitions`]), and ext2, ext3 and ext4 ([`ext`]). What else there is is
//! known by its name ([`probe`]) and told.

mod error;
mod ext;
mod part;
pub mod partitions;
pub mod probe;
mod stream;
mod superblock;
#[cfg(test)]
mod tests;

use std::{
    cell::RefCell,
    io::{self, Read, Write},
    rc::Rc,
    sync::Arc,
};

pub use error::FilesError;
pub use stream::{Archived, Limits};

use self::{
    part::Part,
    partitions::{Partition, Table},
    probe::Kind,
};
use crate::archive::{Archive, ImageReader, Visible};

/// The longest path that is looked for, in bytes.
const LONGEST_PATH: usize = 4096;
/// The deepest folder.
const DEEPEST: usize = 128;
/// Names in one folder.
const MOST_NAMES: usize = 1_000_000;
/// Bytes that are copied at once.
const AT_ONCE: usize = 256 << 10;

/// An image, read as a guest's disk. It stays in the thread that opened it.
#[derive(Debug)]
pub struct Disk {
    image: Rc<RefCell<ImageReader>>,
    table: Table,
    parts: Vec<(Partition, Kind)>,
}

/// What a name in a folder stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A file that has bytes.
    File,
    /// A folder.
    Directory,
    /// A symbolic link, which is not followed.
    Symlink,
    /// A device, a pipe or a socket.
    Special,
}

/// A name in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name, which need not be text. It has no `/` and no zero byte.
    pub name: Vec<u8>,
    /// What it stands for.
    pub kind: FileKind,
    /// Bytes.
    pub size: u64,
    /// The lower twelve bits of its mode.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// When it was last written, in seconds since 1970.
    pub modified: i64,
}

/// A guest's file system.
pub struct FileSystem(Box<dyn Tree>);

/// What each file system does in its own way. A path is a row of names that were checked.
trait Tree {
    fn entry(&self, path: &[&[u8]]) -> Result<Entry, FilesError>;
    fn list(&self, path: &[&[u8]]) -> Result<Vec<Entry>, FilesError>;
    fn link(&self, path: &[&[u8]]) -> Result<Vec<u8>, FilesError>;
    fn open(&self, path: &[&[u8]]) -> Result<Box<dyn Read>, FilesError>;
}

impl Disk {
    /// Looks at an image's partitions. A disk without a table is one partition, of number 0.
    ///
    /// # Errors
    /// [`FilesError::Archive`]; a damaged table is [`FilesError::Table`].
    pub fn open(archive: Arc<Archive>, image: Visible) -> Result<Self, FilesError> {
        let mut reader = ImageReader::open(archive, image)?;
        let size = reader.size();
        let mut read = |offset: u64, buffer: &mut [u8]| reader.read_at(offset, buffer);
        let whole = probe::probe(size, &mut read)?;
        let (table, partitions) = match whole {
            // A file system over all of the disk may end its first block as a table does.
            Kind::Unknown => partitions::read(size, &mut read)?,
            _ => (Table::None, vec![Partition::whole(size)]),
        };
        let mut parts = Vec::with_capacity(partitions.len());
        for partition in partitions {
            let Partition { offset, length, .. } = partition;
            let mut within = |at: u64, buffer: &mut [u8]| reader.read_at(offset + at, buffer);
            let kind = probe::probe(length, &mut within)?;
            parts.push((partition, kind));
        }
        Ok(Self { image: Rc::new(RefCell::new(reader)), table, parts })
    }

    /// How the disk is divided.
    pub fn table(&self) -> Table {
        self.table
    }

    /// Its partitions, by their numbers, and what is in each.
    pub fn partitions(&self) -> &[(Partition, Kind)] {
        &self.parts
    }

    /// Opens a partition's file system.
    ///
    /// # Errors
    /// [`FilesError::Unsupported`] says what is there instead.
    pub fn file_system(&self, number: u32) -> Result<FileSystem, FilesError> {
        let found = self.parts.iter().find(|(partition, _)| partition.number == number);
        let (partition, kind) = found.ok_or(FilesError::NoPartition { number })?;
        let part = Part::of(self.image.clone(), partition.offset, partition.length);
        match kind {
            Kind::Ext => Ok(FileSystem(Box::new(ext::Ext::open(part)?))),
            kind => Err(FilesError::Unsupported { number, kind: *kind }),
        }
    }

    /// Chunks of the image that were fetched from the archive so far.
    pub fn fetched(&self) -> u64 {
        self.image.borrow().fetched()
    }
}

impl FileSystem {
    /// What a path stands for. It begins at the file system's root, whether it is written with a `/`
    /// at its front or not.
    ///
    /// # Errors
    /// [`FilesError::Link`] where a folder on the way is a symbolic link.
    pub fn entry(&self, path: &[u8]) -> Result<Entry, FilesError> {
        let path = names(path)?;
        self.check_way(&path)?;
        self.0.entry(&path)
    }

    /// The names in a folder, in their order as bytes.
    pub fn list(&self, path: &[u8]) -> Result<Vec<Entry>, FilesError> {
        let path = names(path)?;
        self.check_way(&path)?;
        self.listed(&path)
    }

    /// What a symbolic link says.
    pub fn link(&self, path: &[u8]) -> Result<Vec<u8>, FilesError> {
        let path = names(path)?;
        self.check_way(&path)?;
        self.0.link(&path)
    }

    /// Writes a file's bytes, `largest` at most, holes as zeros; gives how many.
    ///
    /// # Errors
    /// [`FilesError::TooLarge`] before anything is written; [`FilesError::NotAFile`]. After any other
    /// one a part was written.
    pub fn read(&self, path: &[u8], largest: u64, sink: &mut dyn Write) -> Result<u64, FilesError> {
        let path = names(path)?;
        self.check_way(&path)?;
        let entry = self.0.entry(&path)?;
        if entry.kind != FileKind::File {
            return Err(FilesError::NotAFile { path: text(&path) });
        }
        if entry.size > largest {
            return Err(FilesError::TooLarge { path: text(&path), size: entry.size });
        }
        let mut file = self.0.open(&path)?.take(entry.size);
        let mut buffer = vec![0; AT_ONCE];
        let mut done = 0;
        loop {
            let length = match file.read(&mut buffer) {
                Ok(0) => break,
                read => read.map_err(|source| FilesError::Read { path: text(&path), source })?,
            };
            sink.write_all(&buffer[..length]).map_err(FilesError::Sink)?;
            done += length as u64;
        }
        if done < entry.size {
            let source = io::ErrorKind::UnexpectedEof.into();
            return Err(FilesError::Read { path: text(&path), source });
        }
        sink.flush().map_err(FilesError::Sink)?;
        Ok(done)
    }

    /// Writes a file, or a folder with all that is in it, as a tar stream. Symbolic links are in it as
    /// such; devices, pipes and sockets are left out and counted.
    ///
    /// # Errors
    /// [`FilesError::TooMany`], when a limit is reached: what was written until then is no whole stream.
    pub fn tar(
        &self,
        path: &[u8],
        limits: Limits,
        sink: &mut dyn Write,
    ) -> Result<Archived, FilesError> {
        let path = names(path)?;
        self.check_way(&path)?;
        stream::write(self, &path, limits, sink)
    }

    fn listed(&self, path: &[&[u8]]) -> Result<Vec<Entry>, FilesError> {
        let mut entries = self.0.list(path)?;
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        // A damaged folder may have a name twice: the first one is what is found by it.
        entries.dedup_by(|one, other| one.name == other.name);
        Ok(entries)
    }

    /// That no folder on the way is a symbolic link.
    fn check_way(&self, path: &[&[u8]]) -> Result<(), FilesError> {
        for length in 1..path.len() {
            let way = &path[..length];
            match self.0.entry(way)?.kind {
                FileKind::Directory => {}
                FileKind::Symlink => return Err(FilesError::Link { path: text(way) }),
                FileKind::File | FileKind::Special => {
                    return Err(FilesError::NotADirectory { path: text(way) });
                }
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for FileSystem {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("FileSystem").finish_non_exhaustive()
    }
}

/// A path's names.
fn names(path: &[u8]) -> Result<Vec<&[u8]>, FilesError> {
    let refused = || FilesError::Path { path: String::from_utf8_lossy(path).into_owned() };
    if path.len() > LONGEST_PATH {
        return Err(FilesError::Path { path: "(longer than 4096 bytes)".into() });
    }
    let names: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|it| !it.is_empty()).collect();
    let is_bad = |name: &&[u8]| matches!(*name, b"." | b"..") || !is_name(name);
    if names.len() > DEEPEST || names.iter().any(is_bad) { Err(refused()) } else { Ok(names) }
}

/// Whether a name can be one in a folder.
fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.len() <= 255 && !name.iter().any(|byte| matches!(byte, 0 | b'/'))
}

/// A path as it is told.
fn text(path: &[&[u8]]) -> String {
    let names = path.iter().map(|name| String::from_utf8_lossy(name));
    names.fold(String::new(), |whole, name| whole + "/" + &name)
}

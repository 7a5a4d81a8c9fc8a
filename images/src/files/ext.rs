//! ext2, ext3 and ext4, by the crate `ext4-view`, which reads alone and is made for what is not
//! trusted: its rule is that no input makes it panic or go on for ever. It replays a journal in memory,
//! so a disk that was backed up while its guest ran is read as after a start.
//!
//! All that leads out of a folder is refused here before it is asked: the crate itself would follow
//! symbolic links, within the file system. Should it panic all the same, that is an error here.

use std::{
    error::Error,
    io::{self, Read},
    panic::{AssertUnwindSafe, catch_unwind},
};

use ext4_view::{Ext4, Ext4Error, Ext4Read, File, FileType, Metadata, PathBuf};

use super::{Entry, FileKind, FilesError, MOST_NAMES, Tree, is_name, part::Part, superblock, text};

/// `PATH_MAX` of Linux.
const LONGEST_LINK: u64 = 4096;

/// An ext file system.
pub(super) struct Ext {
    part: Part,
    ext: Ext4,
}

impl Ext4Read for Part {
    fn read(
        &mut self,
        start: u64,
        into: &mut [u8],
    ) -> Result<(), Box<dyn Error + Send + Sync + 'static>> {
        Ok(self.read_at(start, into)?)
    }
}

impl Ext {
    pub(super) fn open(part: Part) -> Result<Self, FilesError> {
        part.allow(0);
        let mut head = [0; superblock::LENGTH];
        let read = part.read_at(superblock::AT, &mut head);
        read.map_err(|source| FilesError::Read { path: "the superblock".into(), source })?;
        if let Some(fault) = superblock::fault_in(&head, part.length()) {
            return Err(FilesError::Superblock(fault));
        }
        let ext = guarded(&[], || Ext4::load(Box::new(part.clone())))?;
        Ok(Self { part, ext })
    }

    fn ask<T>(
        &self,
        path: &[&[u8]],
        ask: impl FnOnce(&Ext4, &PathBuf) -> Result<T, Ext4Error>,
    ) -> Result<T, FilesError> {
        self.part.allow(0);
        let at = [b"/".as_slice(), &path.join(b"/".as_slice())].concat();
        let at = PathBuf::try_from(at).map_err(|_| FilesError::Path { path: text(path) })?;
        guarded(path, || ask(&self.ext, &at))
    }
}

impl Tree for Ext {
    fn entry(&self, path: &[&[u8]]) -> Result<Entry, FilesError> {
        let metadata = self.ask(path, |ext, at| ext.symlink_metadata(at))?;
        let name = path.last().map(|name| name.to_vec()).unwrap_or_default();
        Ok(entry(name, &metadata))
    }

    fn list(&self, path: &[&[u8]]) -> Result<Vec<Entry>, FilesError> {
        if self.entry(path)?.kind != FileKind::Directory {
            return Err(FilesError::NotADirectory { path: text(path) });
        }
        let mut entries = Vec::new();
        self.ask(path, |ext, at| {
            for found in ext.read_dir(at)? {
                let found = found?;
                let name = found.file_name().as_ref().to_vec();
                // A name that can't be one is a damaged folder's.
                if !matches!(&name[..], b"." | b"..") && is_name(&name) {
                    entries.push(entry(name, &found.metadata()?));
                }
                if entries.len() > MOST_NAMES {
                    break;
                }
            }
            Ok(())
        })?;
        if entries.len() > MOST_NAMES {
            return Err(FilesError::TooMany { path: text(path) });
        }
        Ok(entries)
    }

    fn link(&self, path: &[&[u8]]) -> Result<Vec<u8>, FilesError> {
        let entry = self.entry(path)?;
        if entry.kind != FileKind::Symlink {
            return Err(FilesError::NotALink { path: text(path) });
        }
        // Its parser makes room for whatever the inode says.
        if entry.size > LONGEST_LINK {
            return Err(FilesError::TooLarge { path: text(path), size: entry.size });
        }
        let target = self.ask(path, |ext, at| ext.read_link(at))?;
        Ok(target.as_ref().to_vec())
    }

    fn open(&self, path: &[&[u8]]) -> Result<Box<dyn Read>, FilesError> {
        let file = self.ask(path, |ext, at| ext.open(at))?;
        self.part.allow(file.metadata().len());
        Ok(Box::new(Guarded(file)))
    }
}

/// A file whose reader does not panic.
struct Guarded(File);

impl Read for Guarded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let gave_up = || io::Error::new(io::ErrorKind::InvalidData, "the parser gave up");
        catch_unwind(AssertUnwindSafe(|| self.0.read(buffer))).unwrap_or_else(|_| Err(gave_up()))
    }
}

fn guarded<T>(path: &[&[u8]], ask: impl FnOnce() -> Result<T, Ext4Error>) -> Result<T, FilesError> {
    let path = || text(path);
    match catch_unwind(AssertUnwindSafe(ask)) {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(Ext4Error::NotFound)) => Err(FilesError::NotFound { path: path() }),
        Ok(Err(source)) => Err(FilesError::Ext { path: path(), source: Box::new(source) }),
        Err(_) => Err(FilesError::GaveUp { path: path() }),
    }
}

fn entry(name: Vec<u8>, metadata: &Metadata) -> Entry {
    let kind = match metadata.file_type() {
        FileType::Regular => FileKind::File,
        FileType::Directory => FileKind::Directory,
        FileType::Symlink => FileKind::Symlink,
        _ => FileKind::Special,
    };
    Entry {
        name,
        kind,
        size: metadata.len(),
        mode: metadata.mode().into(),
        uid: metadata.uid(),
        gid: metadata.gid(),
        modified: metadata.modified().seconds(),
    }
}

//! Files of a guest as a tar stream, which any host can unpack as whoever unpacks it.
//!
//! A hostile file system can have a folder that is in itself, or a thousand million names: the depth, the
//! names and the bytes are bounded. Names are relative and have neither `.` nor `..`. Symbolic links are
//! in the stream as they are on the disk, and may lead anywhere on the machine of who unpacks them:
//! `tar` defers such links, other programs should be asked to.

use std::io::{Read, Write};

use tar::{Builder, EntryType, Header};

use super::{DEEPEST, Entry, FileKind, FileSystem, FilesError, text};

/// What a stream may have.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Names, those of what is left out among them.
    pub names: u64,
    /// Bytes of files, in all.
    pub bytes: u64,
}

/// What a stream has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Archived {
    /// Names: files, folders and links.
    pub names: u64,
    /// Bytes of files.
    pub bytes: u64,
    /// Devices, pipes and sockets, which are left out.
    pub left_out: u64,
}

/// Writes what lies at a path.
pub(super) fn write(
    of: &FileSystem,
    path: &[&[u8]],
    limits: Limits,
    sink: &mut dyn Write,
) -> Result<Archived, FilesError> {
    let done = Archived::default();
    let mut work = Work { of, limits, builder: Builder::new(sink), done, listed: 0 };
    let root = of.0.entry(path)?;
    // What is asked for is called by its last name, as `tar -C` would have it.
    let name = path.last().map(|name| vec![*name]).unwrap_or_default();
    work.add(path, &name, &root)?;
    work.builder.into_inner().map_err(FilesError::Sink)?.flush().map_err(FilesError::Sink)?;
    Ok(work.done)
}

struct Work<'a> {
    of: &'a FileSystem,
    limits: Limits,
    builder: Builder<&'a mut dyn Write>,
    done: Archived,
    /// Names that were found in folders.
    listed: u64,
}

impl Work<'_> {
    /// Adds what is at `path`, called `name`, and all below.
    fn add(&mut self, path: &[&[u8]], name: &[&[u8]], entry: &Entry) -> Result<(), FilesError> {
        self.done.names += 1;
        let is_over = self.done.names > self.limits.names || path.len() > DEEPEST;
        if is_over {
            return Err(FilesError::TooMany { path: text(path) });
        }
        let mut header = header_of(entry);
        let called = name.join(b"/".as_slice());
        match entry.kind {
            FileKind::Special => {
                self.done.names -= 1;
                self.done.left_out += 1;
                Ok(())
            }
            FileKind::File => self.file(path, &called, &mut header, entry.size),
            FileKind::Symlink => {
                header.set_entry_type(EntryType::Symlink);
                let target = self.of.0.link(path)?;
                let added =
                    self.builder.append_link(&mut header, as_path(&called), as_path(&target));
                added.map_err(FilesError::Sink)
            }
            FileKind::Directory => {
                header.set_entry_type(EntryType::Directory);
                if !called.is_empty() {
                    let added =
                        self.builder.append_data(&mut header, as_path(&called), std::io::empty());
                    added.map_err(FilesError::Sink)?;
                }
                let listed = self.of.listed(path)?;
                // All of them are held at once, down to the deepest folder.
                self.listed = self.listed.saturating_add(listed.len() as u64);
                if self.listed > self.limits.names {
                    return Err(FilesError::TooMany { path: text(path) });
                }
                for below in listed {
                    let (mut path, mut name) = (path.to_vec(), name.to_vec());
                    path.push(&below.name);
                    name.push(&below.name);
                    self.add(&path, &name, &below)?;
                }
                Ok(())
            }
        }
    }

    fn file(
        &mut self,
        path: &[&[u8]],
        called: &[u8],
        header: &mut Header,
        size: u64,
    ) -> Result<(), FilesError> {
        self.done.bytes = self.done.bytes.saturating_add(size);
        if self.done.bytes > self.limits.bytes {
            return Err(FilesError::TooMany { path: text(path) });
        }
        header.set_size(size);
        // The file may be shorter than its own word for it: then the stream would be no tar.
        let mut file = Exactly { file: self.of.0.open(path)?, left: size, fault: None };
        let added = self.builder.append_data(header, as_path(called), &mut file);
        if let Some(source) = file.fault {
            return Err(FilesError::Read { path: text(path), source });
        }
        added.map_err(FilesError::Sink)
    }
}

/// A file of exactly so many bytes; anything else is its fault, and not the sink's.
struct Exactly {
    file: Box<dyn Read>,
    left: u64,
    fault: Option<std::io::Error>,
}

impl Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let most = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let read = match self.file.read(&mut buffer[..most]) {
            Ok(0) if most > 0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
            read => read,
        };
        match read {
            Ok(length) => {
                self.left -= length as u64;
                Ok(length)
            }
            Err(error) => {
                let kind = error.kind();
                self.fault = Some(error);
                Err(kind.into())
            }
        }
    }
}

fn header_of(entry: &Entry) -> Header {
    let mut header = Header::new_gnu();
    header.set_mode(entry.mode);
    header.set_uid(entry.uid.into());
    header.set_gid(entry.gid.into());
    header.set_mtime(u64::try_from(entry.modified).unwrap_or(0));
    header.set_size(0);
    header
}

fn as_path(bytes: &[u8]) -> &std::path::Path {
    std::path::Path::new(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(bytes))
}

//! What an image is restored to: a new file, or a file or block device that is there.
//!
//! A new file stays sparse. Of what is there each chunk is read first and written only where it
//! differs: so a restore that was cut short goes on where it was, and an old state of a volume
//! comes back for as much writing as has changed since.

use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Seek, SeekFrom},
    os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt},
    path::Path,
};

use nix::fcntl::{FallocateFlags, OFlag, fallocate};

use super::chunk::is_zeros;
use crate::clone::{is_named, keep_from_qemu};

/// A multiple of any device's block.
const EDGE: u64 = 1024 * 1024;
static ZEROS: [u8; 65536] = [0; 65536];

/// Where an image's bytes are written. Several threads write to it.
pub trait Target: Sync {
    /// Makes room for this many bytes; fails where there is none.
    fn prepare(&self, size: u64) -> io::Result<()>;

    /// Whether it is known to hold nothing but zeros now.
    fn is_blank(&self) -> bool;

    /// Fills the buffer with what is at `offset`.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes there.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes this part zeros, if it can without writing them.
    fn write_zeros(&self, length: u64, offset: u64) -> io::Result<()>;

    /// Makes all of it durable.
    fn finish(&self) -> io::Result<()>;
}

/// A file, or a block device. As long as it is there nobody else may use it: neither QEMU, by its
/// own locks, nor the kernel, where it is a device.
#[derive(Debug)]
pub struct FileTarget {
    file: File,
    /// Of a new file: what makes its name durable.
    folder: Option<File>,
    is_blank: bool,
    is_device: bool,
}

impl FileTarget {
    /// A new file, of mode 0600; fails where there is one.
    pub fn create(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).mode(0o600).open(path)?;
        lock(&file)?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let folder = Some(File::open(parent.unwrap_or(Path::new(".")))?);
        Ok(Self { file, folder, is_blank: true, is_device: false })
    }

    /// One that is there. Its mode stays as it is.
    ///
    /// # Errors
    /// `ResourceBusy` of a device that is mounted, or is part of another one; and of what QEMU has
    /// open to write, or as something that must not change.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        // Without O_CREAT it means devices alone (open(2)): nobody else may hold it like this, as
        // mounting does. A pipe would block the opening.
        let flags = OFlag::O_EXCL | OFlag::O_NONBLOCK;
        let file = options.read(true).write(true).custom_flags(flags.bits()).open(path)?;
        let kind = file.metadata()?.file_type();
        if !kind.is_file() && !kind.is_block_device() {
            return Err(ErrorKind::InvalidInput.into());
        }
        lock(&file)?;
        if !is_named(&file, path)? {
            return Err(ErrorKind::ResourceBusy.into());
        }
        let is_device = kind.is_block_device();
        Ok(Self { file, folder: None, is_blank: false, is_device })
    }

    /// Writes zeros up to a place that is good for [`Target::write_zeros`], which devices do by
    /// whole blocks alone; gives the place.
    fn zero_edge(&self, from: u64, end: u64) -> io::Result<u64> {
        let edge = from.next_multiple_of(EDGE).min(end);
        self.overwrite_with_zeros(edge - from, from)?;
        Ok(edge)
    }

    /// Reads first: what is zeros already takes no space of a thin device for it.
    fn overwrite_with_zeros(&self, length: u64, offset: u64) -> io::Result<()> {
        let mut there = vec![0; ZEROS.len()];
        let mut done = 0;
        while done < length {
            let part = usize::try_from(length - done).map_or(ZEROS.len(), |l| l.min(ZEROS.len()));
            let at = offset + done;
            self.file.read_exact_at(&mut there[..part], at)?;
            if !is_zeros(&there[..part]) {
                self.file.write_all_at(&ZEROS[..part], at)?;
            }
            done += part as u64;
        }
        Ok(())
    }
}

/// Keeps QEMU from using it; fails where QEMU does.
fn lock(file: &File) -> io::Result<()> {
    if keep_from_qemu(file)? { Ok(()) } else { Err(ErrorKind::ResourceBusy.into()) }
}

impl Target for FileTarget {
    /// Of a device what lies behind the image becomes zeros: it was somebody's.
    fn prepare(&self, size: u64) -> io::Result<()> {
        if !self.is_device {
            return self.file.set_len(size);
        }
        let room = (&self.file).seek(SeekFrom::End(0))?;
        if room < size {
            return Err(ErrorKind::StorageFull.into());
        }
        let rest = self.zero_edge(size, room)?;
        if rest == room { Ok(()) } else { self.write_zeros(room - rest, rest) }
    }

    fn is_blank(&self) -> bool {
        self.is_blank
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn write_zeros(&self, length: u64, offset: u64) -> io::Result<()> {
        let number = |value: u64| i64::try_from(value).map_err(|_| ErrorKind::InvalidInput);
        let keep = FallocateFlags::FALLOC_FL_KEEP_SIZE;
        // Both are zeros afterwards, of devices too (`blkdev_fallocate` in the kernel).
        let ways = [FallocateFlags::FALLOC_FL_PUNCH_HOLE, FallocateFlags::FALLOC_FL_ZERO_RANGE];
        for way in ways {
            if fallocate(&self.file, way | keep, number(offset)?, number(length)?).is_ok() {
                return Ok(());
            }
        }
        self.overwrite_with_zeros(length, offset)
    }

    fn finish(&self) -> io::Result<()> {
        self.file.sync_all()?;
        self.folder.as_ref().map_or(Ok(()), File::sync_all)
    }
}

#[cfg(test)]
mod tests;

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

use nix::fcntl::{FallocateFlags, fallocate};

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

/// A file, or a block device.
#[derive(Debug)]
pub struct FileTarget {
    file: File,
    is_blank: bool,
    is_device: bool,
}

impl FileTarget {
    /// A new file, of mode 0600; fails where there is one.
    pub fn create(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).mode(0o600).open(path)?;
        Ok(Self { file, is_blank: true, is_device: false })
    }

    /// One that is there.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let is_device = file.metadata()?.file_type().is_block_device();
        Ok(Self { file, is_blank: false, is_device })
    }
}

impl Target for FileTarget {
    fn prepare(&self, size: u64) -> io::Result<()> {
        if !self.is_device {
            return self.file.set_len(size);
        }
        let room = (&self.file).seek(SeekFrom::End(0))?;
        if room < size { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
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
        let punch = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        if fallocate(&self.file, punch, number(offset)?, number(length)?).is_ok() {
            return Ok(());
        }
        let zeros = [0; 65536];
        let mut written = 0;
        while written < length {
            let part =
                usize::try_from(length - written).map_or(zeros.len(), |l| l.min(zeros.len()));
            self.file.write_all_at(&zeros[..part], offset + written)?;
            written += part as u64;
        }
        Ok(())
    }

    fn finish(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

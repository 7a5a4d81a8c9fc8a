//! A target that is written through QEMU's storage daemon, which enciphers it.
//!
//! Of LUKS over a raw file, what was never written is noise and not zeros, so each chunk is read first, as
//! of anything that is there; of a new qcow2 file it is zeros.

use std::{
    io::{self, ErrorKind},
    sync::{Mutex, PoisonError},
};

use crate::{
    archive::target::Target,
    nbd::{Nbd, NbdError},
    storage_daemon::{DaemonError, StorageDaemon},
};

/// Zeros are written so many at once, at most.
static ZEROS: [u8; 256 << 10] = [0; 256 << 10];

/// A volume that a daemon of ours has open.
pub(super) struct ThroughQemu<'a> {
    daemon: &'a StorageDaemon,
    size: u64,
    is_blank: bool,
    idle: Mutex<Vec<Nbd>>,
}

impl<'a> ThroughQemu<'a> {
    pub(super) fn new(daemon: &'a StorageDaemon) -> Result<Self, DaemonError> {
        let first = daemon.open()?;
        let size = first.size();
        Ok(Self { daemon, size, is_blank: false, idle: Mutex::new(vec![first]) })
    }

    /// One that reads as zeros, since nothing was written to it.
    pub(super) fn blank(daemon: &'a StorageDaemon) -> Result<Self, DaemonError> {
        Ok(Self { is_blank: true, ..Self::new(daemon)? })
    }

    /// How long the volume is, in bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Does this by a connection that nobody else uses.
    fn by<T>(&self, ask: impl FnOnce(&mut Nbd) -> Result<T, NbdError>) -> io::Result<T> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = idle().pop();
        let mut nbd = taken.map_or_else(|| self.daemon.open(), Ok).map_err(io::Error::other)?;
        let answer = ask(&mut nbd).map_err(io::Error::other)?;
        idle().push(nbd);
        Ok(answer)
    }
}

impl Target for ThroughQemu<'_> {
    /// What a longer device has behind the image becomes zeros: it was somebody's.
    fn prepare(&self, size: u64) -> io::Result<()> {
        if self.size < size {
            return Err(ErrorKind::StorageFull.into());
        }
        if self.is_blank { Ok(()) } else { self.write_zeros(self.size - size, size) }
    }

    fn is_blank(&self) -> bool {
        self.is_blank
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.by(|nbd| nbd.read(offset, buffer))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.by(|nbd| nbd.write(offset, bytes))
    }

    fn write_zeros(&self, length: u64, offset: u64) -> io::Result<()> {
        let mut done = 0;
        while done < length {
            let part = usize::try_from(length - done).map_or(ZEROS.len(), |l| l.min(ZEROS.len()));
            self.write_at(&ZEROS[..part], offset + done)?;
            done += part as u64;
        }
        Ok(())
    }

    fn finish(&self) -> io::Result<()> {
        self.by(Nbd::flush)
    }
}

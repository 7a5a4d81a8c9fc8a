//! A LUN's bytes for the archive: restored to, and imported from, through qemu-storage-daemon.
//!
//! Nobody else may use it meanwhile: there is no lock over iSCSI that would tell.

use std::{
    io,
    sync::{Mutex, PoisonError},
};

use super::{
    Lun, LunAccess, LunError,
    access::{Mode, OpenLun},
};
use crate::{
    archive::{
        source::{Extent, Source},
        target::Target,
    },
    nbd::{Nbd, NbdError},
    storage_daemon::DaemonError,
};

/// How much is read and made zeroes at once, in bytes.
const STEP: u64 = 4 << 20;
static ZEROS: [u8; 65536] = [0; 65536];

/// A LUN that is open here, and nowhere else.
pub struct LunDisk {
    lun: Lun,
    open: OpenLun,
    size: u64,
    /// Connections that no thread uses now. The archive's threads are few.
    idle: Mutex<Vec<Nbd>>,
}

impl LunDisk {
    /// Opens it to be read.
    pub fn read(lun: &Lun, access: &LunAccess) -> Result<Self, LunError> {
        Self::open(lun, access, Mode::Read)
    }

    /// Opens it to be written over.
    ///
    /// # Errors
    /// [`LunError::Open`], also of one that its target keeps from being written.
    pub fn write(lun: &Lun, access: &LunAccess) -> Result<Self, LunError> {
        Self::open(lun, access, Mode::Write)
    }

    fn open(lun: &Lun, access: &LunAccess, mode: Mode) -> Result<Self, LunError> {
        let open = access.open(lun, mode)?;
        let first = open.daemon.open();
        let first =
            first.map_err(|source| LunError::Open { lun: Box::new(lun.clone()), source })?;
        let size = first.size();
        Ok(Self { lun: lun.clone(), open, size, idle: Mutex::new(vec![first]) })
    }

    /// Closes it, and says whether that went well.
    pub fn close(self) -> Result<(), LunError> {
        drop(self.idle);
        let lun = Box::new(self.lun);
        self.open.daemon.end().map_err(|source| LunError::Open { lun, source })
    }

    /// Does something by a connection that is this thread's alone.
    fn with<T>(&self, act: impl FnOnce(&mut Nbd) -> Result<T, NbdError>) -> io::Result<T> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = idle().pop();
        let mut blocks = match kept {
            Some(blocks) => blocks,
            None => self.open.daemon.open().map_err(failed)?,
        };
        let done = act(&mut blocks).map_err(io::Error::other)?;
        // After an error it may be of no use any more.
        idle().push(blocks);
        Ok(done)
    }

    /// Reads first: what is zeroes already takes no space of a thin LUN for it.
    fn zero(&self, length: u64, offset: u64) -> io::Result<()> {
        let mut there = vec![0; usize::try_from(length.min(STEP)).unwrap_or(0)];
        let mut done = 0;
        while done < length {
            let part = usize::try_from((length - done).min(STEP)).unwrap_or(0);
            self.read_there(&mut there[..part], offset + done)?;
            for (at, piece) in
                (offset + done..).step_by(ZEROS.len()).zip(there[..part].chunks(ZEROS.len()))
            {
                if piece.iter().any(|byte| *byte != 0) {
                    self.with(|blocks| blocks.write(at, &ZEROS[..piece.len()]))?;
                }
            }
            done += part as u64;
        }
        Ok(())
    }

    fn read_there(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.with(|blocks| blocks.read(offset, buffer))
    }
}

fn failed(error: DaemonError) -> io::Error {
    io::Error::other(error)
}

impl Source for LunDisk {
    fn size(&self) -> u64 {
        self.size
    }

    /// All is data: what a target says of its blocks is not asked.
    fn extents(&self) -> io::Result<Vec<Extent>> {
        Ok(Vec::new())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_there(buffer, offset)
    }
}

impl Target for LunDisk {
    /// What lies behind the image becomes zeroes: it was somebody's.
    fn prepare(&self, size: u64) -> io::Result<()> {
        if self.size < size {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.zero(self.size - size, size)
    }

    fn is_blank(&self) -> bool {
        false
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_there(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.with(|blocks| blocks.write(offset, bytes))
    }

    fn write_zeros(&self, length: u64, offset: u64) -> io::Result<()> {
        self.zero(length, offset)
    }

    fn finish(&self) -> io::Result<()> {
        self.with(Nbd::flush)
    }
}

//! A point in time as an archive reads it: over NBD, with a connection for each thread that reads.
//!
//! It is private to [`super::pull`], which is what keeps an image's unchanged parts those of the
//! one base that the bitmap begins at.

use std::{
    io,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{
    extents::Extents,
    name::BitmapName,
    offer::Offer,
    pace::{LATE, LEAST_MAPPED, LEAST_READ, Pace},
};
use crate::{
    archive::{
        Watch,
        source::{Extent, Source},
    },
    nbd::{ALLOCATION, DIRTY_BITMAP, Nbd, NbdError},
};

/// How long connecting, or a read of up to 4 MiB, may take.
const BOUND: Duration = Duration::from_secs(60);
/// How much of a disk is asked about at once.
const MAPPED: u64 = 1 << 30;
/// A server that says less at once than this, on average, says nothing.
const LEAST_AT_ONCE: u64 = 1 << 20;

/// A disk at a point in time, elsewhere.
pub(super) struct NbdSource<'a> {
    offer: &'a Offer,
    changes: Option<BitmapName>,
    watch: &'a dyn Watch,
    pace: Pace,
    idle: Mutex<Vec<Nbd>>,
    changed: AtomicU64,
    read: AtomicU64,
    received: AtomicU64,
    is_refused: AtomicBool,
    is_cancelled: AtomicBool,
}

/// What went over the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    /// The disk's length in bytes.
    pub size: u64,
    /// Bytes that the bitmap says were written since the base; None where all is read.
    pub changed: Option<u64>,
    /// Bytes that the archive asked for: all chunks in which something was written.
    pub read: u64,
    /// Bytes of these that came as data; the rest were holes.
    pub received: u64,
}

impl Moved {
    /// How much came for each byte that was written; None where nothing was, or all was read.
    pub fn ratio(&self) -> Option<f64> {
        let changed = self.changed.filter(|changed| *changed > 0)?;
        // Of figures that are told to people.
        #[allow(clippy::cast_precision_loss)]
        Some(self.received as f64 / changed as f64)
    }
}

impl<'a> NbdSource<'a> {
    /// Reads what has changed where `changes` says so, else all.
    pub(super) fn new(offer: &'a Offer, changes: Option<BitmapName>, watch: &'a dyn Watch) -> Self {
        Self {
            offer,
            changes,
            watch,
            pace: Pace::new(LATE),
            idle: Mutex::default(),
            changed: AtomicU64::new(0),
            read: AtomicU64::new(0),
            received: AtomicU64::new(0),
            is_refused: AtomicBool::new(false),
            is_cancelled: AtomicBool::new(false),
        }
    }

    pub(super) fn moved(&self) -> Moved {
        let at = |count: &AtomicU64| count.load(Ordering::SeqCst);
        Moved {
            size: self.offer.size,
            changed: self.changes.map(|_| at(&self.changed)),
            read: at(&self.read),
            received: at(&self.received),
        }
    }

    /// Whether the server refused to read: the point in time has broken, or the disk can't be read.
    pub(super) fn is_refused(&self) -> bool {
        self.is_refused.load(Ordering::SeqCst)
    }

    /// Whether it ended since it was told to.
    pub(super) fn is_cancelled(&self) -> bool {
        self.is_cancelled.load(Ordering::SeqCst)
    }

    fn connect(&self, maps: &[&str]) -> Result<Nbd, NbdError> {
        let nbd = Nbd::open(&self.offer.address, &self.offer.export, maps, BOUND)?;
        if nbd.size() == self.offer.size { Ok(nbd) } else { Err(NbdError::NotNbd("length")) }
    }

    fn map(&self) -> Result<Vec<Extent>, NbdError> {
        let bitmap = self.changes.map(|name| format!("{DIRTY_BITMAP}{name}"));
        let maps: Vec<&str> = [ALLOCATION].into_iter().chain(bitmap.as_deref()).collect();
        let mut nbd = self.connect(&maps)?;
        let size = self.offer.size;
        let mut extents = Extents::new(size);
        for _ in 0..size / LEAST_AT_ONCE + 64 {
            if self.watch.is_cancelled() {
                self.is_cancelled.store(true, Ordering::SeqCst);
                return Err(io::Error::from(io::ErrorKind::Interrupted).into());
            }
            let left = size - extents.at();
            if left == 0 {
                self.changed.store(extents.changed(), Ordering::SeqCst);
                self.keep(nbd);
                return Ok(extents.finish());
            }
            // No more than `MAPPED`, which fits.
            let length = u32::try_from(left.min(MAPPED)).unwrap_or(u32::MAX);
            let from = extents.at();
            let add = || {
                let status = nbd.status(from, length)?;
                let mut status = status.iter().map(Vec::as_slice);
                let holes = status.next().unwrap_or_default();
                extents.add(holes, status.next());
                Ok(extents.at() - from)
            };
            self.pace.wait(LEAST_MAPPED, add, |mapped| *mapped)?;
        }
        Err(NbdError::NotNbd("map"))
    }

    fn fill(&self, buffer: &mut [u8], offset: u64) -> Result<(), NbdError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut nbd = idle.map_or_else(|| self.connect(&[ALLOCATION]), Ok)?;
        let before = nbd.received();
        let length = buffer.len() as u64;
        self.pace.wait(LEAST_READ, || nbd.read(offset, buffer), |()| length)?;
        self.read.fetch_add(length, Ordering::SeqCst);
        self.received.fetch_add(nbd.received() - before, Ordering::SeqCst);
        self.keep(nbd);
        Ok(())
    }

    fn keep(&self, nbd: Nbd) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(nbd);
    }

    fn as_io<T>(&self, result: Result<T, NbdError>) -> io::Result<T> {
        result.map_err(|error| {
            if matches!(error, NbdError::Failed { .. }) {
                self.is_refused.store(true, Ordering::SeqCst);
            }
            io::Error::other(error)
        })
    }
}

impl Source for NbdSource<'_> {
    fn size(&self) -> u64 {
        self.offer.size
    }

    fn extents(&self) -> io::Result<Vec<Extent>> {
        self.as_io(self.map())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.as_io(self.fill(buffer, offset))
    }
}

#[cfg(test)]
mod tests;

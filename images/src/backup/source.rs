//! A point in time as an archive reads it: over NBD, with a connection for each thread that reads.
//!
//! An archive reads whole chunks. Of one in which something has changed, only that is moved; the rest
//! is the base's, out of the archive itself.
//!
//! What reads less than all is private to [`super::pull`], which is what keeps an image's unchanged
//! parts those of the one base that the bitmap begins at.

use std::{
    io, iter,
    ops::Range,
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::available_parallelism,
    time::Duration,
};

use super::{
    base::Base,
    changed::Changed,
    extents::Extents,
    gate::{AT_ONCE, Gate},
    name::BitmapName,
    offer::Offer,
    pace::{LATE, LEAST_MAPPED, LEAST_READ, Pace},
};
use crate::{
    archive::{
        Watch,
        chunk::CHUNK,
        source::{Extent, Source},
    },
    background::give_way,
    nbd::{ALLOCATION, DIRTY_BITMAP, Nbd, NbdError, Protection},
};

/// How long connecting, or a read, may take.
const BOUND: Duration = Duration::from_secs(60);
/// How much of a disk is asked about at once.
const MAPPED: u64 = 1 << 30;
/// A server that says less at once than this, on average, says nothing.
const LEAST_AT_ONCE: u64 = 1 << 20;

/// A disk at a point in time, elsewhere.
pub(crate) struct NbdSource<'a> {
    offer: &'a Offer,
    protection: Protection<'a>,
    /// The bitmap that says what has changed since the base.
    changes: Option<(BitmapName, Base<'a>)>,
    /// What it says, once that was asked for.
    blocks: OnceLock<Changed>,
    watch: &'a dyn Watch,
    pace: Pace,
    gate: Gate,
    idle: Mutex<Vec<Nbd>>,
    changed: AtomicU64,
    read: AtomicU64,
    received: AtomicU64,
    passed: AtomicU64,
    is_refused: AtomicBool,
    is_cut: AtomicBool,
    is_cancelled: AtomicBool,
}

/// What went over the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    /// The disk's length in bytes.
    pub size: u64,
    /// Bytes that the bitmap says were written since the base; None where all is read.
    pub changed: Option<u64>,
    /// Bytes of the disk that were asked for: what was written since, and whole chunks where the
    /// base's can't be read any more.
    pub read: u64,
    /// Bytes of these that came as data; the rest were holes.
    pub received: u64,
    /// All that went over sockets, in both directions: requests, maps and data.
    pub passed: u64,
}

impl Moved {
    /// How much went over sockets for each byte that was written; None where nothing was, or all was
    /// read.
    pub fn ratio(&self) -> Option<f64> {
        let changed = self.changed.filter(|changed| *changed > 0)?;
        // Of figures that are told to people.
        #[allow(clippy::cast_precision_loss)]
        Some(self.passed as f64 / changed as f64)
    }
}

impl<'a> NbdSource<'a> {
    /// Reads all, but for holes.
    pub(crate) fn whole(offer: &'a Offer, watch: &'a dyn Watch) -> Self {
        Self::new(offer, offer.protection(Protection::Clear), None, watch)
    }

    /// Reads what has changed where `changes` says so, else all.
    pub(super) fn new(
        offer: &'a Offer,
        protection: Protection<'a>,
        changes: Option<(BitmapName, Base<'a>)>,
        watch: &'a dyn Watch,
    ) -> Self {
        Self {
            offer,
            protection,
            changes,
            blocks: OnceLock::new(),
            watch,
            pace: Pace::new(LATE),
            gate: if offer.address.exposed().is_some() { Gate::far() } else { Gate::local() },
            idle: Mutex::default(),
            changed: AtomicU64::new(0),
            read: AtomicU64::new(0),
            received: AtomicU64::new(0),
            passed: AtomicU64::new(0),
            is_refused: AtomicBool::new(false),
            is_cut: AtomicBool::new(false),
            is_cancelled: AtomicBool::new(false),
        }
    }

    pub(super) fn moved(&self) -> Moved {
        let at = |count: &AtomicU64| count.load(Ordering::SeqCst);
        Moved {
            size: self.offer.size,
            changed: self.changes.as_ref().map(|_| at(&self.changed)),
            read: at(&self.read),
            received: at(&self.received),
            passed: at(&self.passed),
        }
    }

    /// Whether the server refused to read: the point in time has broken, or the disk can't be read.
    pub(super) fn is_refused(&self) -> bool {
        self.is_refused.load(Ordering::SeqCst)
    }

    /// Whether the point in time is not there any more: a connection ended, and whoever still answers
    /// at its address has no such export, or nobody listens.
    pub(super) fn is_taken_down(&self) -> bool {
        const BOUND: Duration = Duration::from_secs(10);
        let is_refused = |error: &io::Error| {
            matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound)
        };
        let open = || {
            let (address, export) = (&self.offer.address, &self.offer.export);
            Nbd::open(address, self.protection, export, &[ALLOCATION], BOUND)
        };
        self.is_cut.load(Ordering::SeqCst)
            && match open() {
                Err(NbdError::NoExport { .. }) => true,
                Err(NbdError::Connect { source, .. }) => is_refused(&source),
                _ => false,
            }
    }

    /// Whether it ended since it was told to.
    pub(super) fn is_cancelled(&self) -> bool {
        self.is_cancelled.load(Ordering::SeqCst)
    }

    fn connect(&self, maps: &[&str]) -> Result<Nbd, NbdError> {
        let (address, export) = (&self.offer.address, &self.offer.export);
        let nbd = Nbd::open(address, self.protection, export, maps, BOUND)?;
        if nbd.size() == self.offer.size { Ok(nbd) } else { Err(NbdError::NotNbd("length")) }
    }

    fn map(&self) -> Result<Vec<Extent>, NbdError> {
        let bitmap = self.changes.as_ref().map(|(name, _)| format!("{DIRTY_BITMAP}{name}"));
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
                if let Some(blocks) = extents.take_blocks() {
                    // A second question has the same answer.
                    let _ = self.blocks.set(blocks);
                }
                self.keep(nbd, 0);
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
        for part in self.missing(buffer, offset) {
            let at = |place: u64| usize::try_from(place - offset).unwrap_or(usize::MAX);
            self.receive(&mut buffer[at(part.start)..at(part.end)], part.start)?;
        }
        Ok(())
    }

    /// What of the buffer has to be moved; the rest was filled with the base's.
    fn missing(&self, buffer: &mut [u8], offset: u64) -> Vec<Range<u64>> {
        let (chunk, end) = (CHUNK as u64, offset + buffer.len() as u64);
        let known = self.changes.as_ref().zip(self.blocks.get());
        let Some(((_, base), blocks)) = known.filter(|_| offset.is_multiple_of(chunk)) else {
            return iter::once(offset..end).collect();
        };
        let chunks: Vec<_> =
            (offset..end).step_by(CHUNK).map(|at| at..end.min(at + chunk)).collect();
        let changed: Vec<_> = chunks.iter().map(|chunk| blocks.within(chunk.clone())).collect();
        let is_whole = |(chunk, changed): (_, &Vec<_>)| changed.first() == Some(chunk);
        let is_wanted: Vec<_> =
            chunks.iter().zip(&changed).map(|of_chunk| !is_whole(of_chunk)).collect();
        let first = usize::try_from(offset / chunk).unwrap_or(usize::MAX);
        let is_filled = base.fill(first, buffer, &is_wanted);
        let mut missing: Vec<Range<u64>> = Vec::new();
        for ((chunk, changed), is_filled) in chunks.into_iter().zip(changed).zip(is_filled) {
            for part in if is_filled { changed } else { Vec::from([chunk]) } {
                match missing.last_mut() {
                    Some(last) if last.end == part.start => last.end = part.end,
                    _ => missing.push(part),
                }
            }
        }
        missing
    }

    fn receive(&self, buffer: &mut [u8], offset: u64) -> Result<(), NbdError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let passed = idle.as_ref().map_or(0, Nbd::passed);
        let mut nbd = idle.map_or_else(|| self.connect(&[ALLOCATION]), Ok)?;
        let before = nbd.received();
        let mut at = offset;
        for part in buffer.chunks_mut(AT_ONCE) {
            give_way();
            let length = part.len() as u64;
            self.gate.pass(part.len(), || {
                self.pace.wait(LEAST_READ, || nbd.read(at, part), |()| length)
            })?;
            self.read.fetch_add(length, Ordering::SeqCst);
            at += length;
        }
        self.received.fetch_add(nbd.received() - before, Ordering::SeqCst);
        self.keep(nbd, passed);
        Ok(())
    }

    /// Keeps a connection for the next one who reads. So much had gone over it before.
    fn keep(&self, nbd: Nbd, passed: u64) {
        self.passed.fetch_add(nbd.passed() - passed, Ordering::SeqCst);
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(nbd);
    }

    fn as_io<T>(&self, result: Result<T, NbdError>) -> io::Result<T> {
        result.map_err(|error| {
            match error {
                NbdError::Failed { .. } => self.is_refused.store(true, Ordering::SeqCst),
                NbdError::Io(_) | NbdError::Connect { .. } | NbdError::NoExport { .. } => {
                    self.is_cut.store(true, Ordering::SeqCst);
                }
                _ => {}
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

    /// Where the guest runs, half of the processors stay its own.
    fn most_threads(&self) -> usize {
        if self.offer.address.exposed().is_some() {
            return usize::MAX;
        }
        available_parallelism().map_or(1, |processors| (processors.get() / 2).max(1))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.as_io(self.fill(buffer, offset))
    }
}

#[cfg(test)]
mod tests;

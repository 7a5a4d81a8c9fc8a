//! Restoring an image: to a new file, or over what is there.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use super::{
    Archive, ArchiveError, Progress, Visible, Watch,
    chunk::{CHUNK, is_zeros},
    domain::Domain,
    id::ChunkId,
    read::{Of, Reader, Scratch, broken},
    target::Target,
};

/// Chunks in a piece of work.
const PIECE: usize = 64;

/// An image that was restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exported {
    /// The disk's length in bytes.
    pub size: u64,
    /// Bytes that were written; the others were there, or are holes.
    pub written: u64,
}

impl Archive {
    /// How many bytes of an image are no holes, by whole chunks: what a file that it is written to takes of
    /// its file system at most. The image's lists of chunks are read for it, and no chunk.
    pub fn data_bytes(&self, image: &Visible) -> Result<u64, ArchiveError> {
        let chunks = Reader::new(self)?.chunks(&image.record, &mut Scratch::new()?)?;
        let data = chunks.iter().filter(|id| **id != ChunkId::ZEROS).count() as u64;
        Ok(data.saturating_mul(CHUNK as u64).min(image.record.image.size))
    }

    /// Writes an image's bytes to the target, each chunk checked, and makes them durable.
    ///
    /// Where it fails the target holds a part of the image. Doing it again goes on where it was.
    pub fn export(
        &self,
        image: &Visible,
        target: &dyn Target,
        watch: &dyn Watch,
    ) -> Result<Exported, ArchiveError> {
        let size = image.record.image.size;
        let at = |offset| move |source| ArchiveError::Target { offset, source };
        target.prepare(size).map_err(at(0))?;
        let reader = Reader::new(self)?;
        let chunks = reader.chunks(&image.record, &mut Scratch::new()?)?;
        let work = Work {
            reader: &reader,
            domain: &image.domain,
            target,
            size,
            watch,
            done: AtomicU64::new(0),
            written: AtomicU64::new(0),
            is_failed: AtomicBool::new(false),
        };
        let threads = self.settings.threads.clamp(1, chunks.len().div_ceil(PIECE).max(1));
        work.run(&chunks, threads)?;
        target.finish().map_err(at(0))?;
        Ok(Exported { size, written: work.written.load(Ordering::SeqCst) })
    }
}

struct Work<'a> {
    reader: &'a Reader<'a>,
    domain: &'a Domain,
    target: &'a dyn Target,
    size: u64,
    watch: &'a dyn Watch,
    done: AtomicU64,
    written: AtomicU64,
    is_failed: AtomicBool,
}

impl Work<'_> {
    fn run(&self, chunks: &[ChunkId], threads: usize) -> Result<(), ArchiveError> {
        let pieces = Mutex::new(chunks.chunks(PIECE).enumerate());
        let next = || pieces.lock().unwrap_or_else(PoisonError::into_inner).next();
        std::thread::scope(|scope| {
            let worker = || {
                let result = self.work(&next);
                if result.is_err() {
                    self.is_failed.store(true, Ordering::SeqCst);
                }
                result
            };
            let mut running = Vec::new();
            for _ in 1..threads {
                let thread = std::thread::Builder::new().name("archive-export".into());
                // With fewer threads it is done later.
                running.extend(thread.spawn_scoped(scope, worker).ok());
            }
            let mut failures = vec![worker()];
            for thread in running {
                let end = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                failures.push(end);
            }
            // Not what another thread gave up for.
            failures.sort_by_key(|end| matches!(end, Err(ArchiveError::Cancelled)));
            failures.into_iter().collect()
        })
    }

    fn work<'c>(
        &self,
        next: &(dyn Fn() -> Option<(usize, &'c [ChunkId])> + Sync),
    ) -> Result<(), ArchiveError> {
        let mut scratch = Scratch::new()?;
        let mut there = vec![0; CHUNK];
        while let Some((piece, ids)) = next() {
            if self.watch.is_cancelled() || self.is_failed.load(Ordering::SeqCst) {
                return Err(ArchiveError::Cancelled);
            }
            let first = piece * PIECE;
            let (mut places, mut wanted) = (Vec::new(), Vec::new());
            for (place, id) in (first..).zip(ids) {
                if !self.is_there(place, *id, &mut there)? {
                    places.push(place);
                    wanted.push(*id);
                }
            }
            let of = Of::Disk(self.domain);
            self.reader.read(of, &wanted, &mut scratch, &mut |at, plain| {
                let plain = plain.map_err(|fault| broken(wanted[at], fault))?;
                self.write(places[at], wanted[at], plain)
            })?;
            let length = (0..ids.len()).map(|n| self.length(first + n) as u64).sum::<u64>();
            let done = self.done.fetch_add(length, Ordering::SeqCst) + length;
            let written = self.written.load(Ordering::SeqCst);
            self.watch.tell(Progress { done, total: self.size, written });
        }
        Ok(())
    }

    /// Bytes of the disk in the chunk at this place.
    fn length(&self, place: usize) -> usize {
        let rest = self.size.saturating_sub((place * CHUNK) as u64);
        usize::try_from(rest).map_or(CHUNK, |rest| rest.min(CHUNK))
    }

    /// Whether the target has this chunk already. Afterwards it has it where it is of zeros.
    fn is_there(&self, place: usize, id: ChunkId, buffer: &mut [u8]) -> Result<bool, ArchiveError> {
        if self.target.is_blank() {
            return Ok(id == ChunkId::ZEROS);
        }
        let offset = (place * CHUNK) as u64;
        let failed = |source| ArchiveError::Target { offset, source };
        let there = &mut buffer[..self.length(place)];
        self.target.read_at(there, offset).map_err(failed)?;
        if is_zeros(there) {
            return Ok(id == ChunkId::ZEROS);
        }
        if id == ChunkId::ZEROS {
            self.target.write_zeros(there.len() as u64, offset).map_err(failed)?;
            self.written.fetch_add(there.len() as u64, Ordering::SeqCst);
            return Ok(true);
        }
        Ok(self.domain.address(there) == id)
    }

    fn write(&self, place: usize, id: ChunkId, plain: &[u8]) -> Result<(), ArchiveError> {
        let offset = (place * CHUNK) as u64;
        if plain.len() != self.length(place) {
            return Err(broken(id, super::ChunkFault::Length));
        }
        let written = self.target.write_at(plain, offset);
        written.map_err(|source| ArchiveError::Target { offset, source })?;
        self.written.fetch_add(plain.len() as u64, Ordering::SeqCst);
        Ok(())
    }
}

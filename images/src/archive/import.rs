//! Making an image: chunks are read, addressed, and written where they are not there yet.
//!
//! All threads take pieces of 4 MiB off one list. Each fills a pack of its own, so that they don't
//! wait for each other and chunks that follow each other on the disk do so in their pack.
//!
//! An import that was cut short is resumed by doing it again: what it has written is found by its
//! addresses, and only reading and digests are done twice.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use mezame_model::ProjectName;

use super::{
    Archive, ArchiveError, Detail, Image, Kind, Phase, Progress, ProjectKey, Visible, Watch,
    chunk::{CHUNK, Press, is_zeros},
    domain::Domain,
    id::ChunkId,
    pack::Builder,
    page::{self, PAGE},
    read::{Reader, Scratch},
    record::{self, LARGEST},
    session::Session,
    source::{Content, Source, cut},
};

/// Chunks in a piece of work.
const PIECE: usize = 16;

/// What an image is to be.
#[derive(Debug)]
pub struct NewImage<'a> {
    /// Whose it is.
    pub project: &'a ProjectName,
    /// How it comes to be.
    pub kind: Kind,
    /// Its name and origin.
    pub detail: Detail,
    /// The project's key, if it is encrypted.
    pub key: Option<&'a ProjectKey>,
    /// The image that the source's unchanged parts are those of. The new one does not hang on it.
    pub base: Option<&'a Visible>,
}

/// An image that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The image.
    pub image: Image,
    /// Bytes that were written for it; all else was there.
    pub written: u64,
}

impl Archive {
    /// Makes an image of a disk. It is there when this returns, whole and durable, or not at all.
    pub fn import(
        &self,
        new: &NewImage<'_>,
        source: &dyn Source,
        watch: &dyn Watch,
    ) -> Result<Imported, ArchiveError> {
        let size = source.size();
        if size > LARGEST {
            return Err(ArchiveError::TooLarge { size });
        }
        record::check_detail(&new.detail)?;
        let domain = Domain::of(new.key);
        let session = Session::begin(self)?;
        let base = self.base(new, &domain)?;
        let extents =
            source.extents().map_err(|source| ArchiveError::Source { offset: 0, source })?;
        let parts = cut(size, &extents);
        let mut chunks = vec![ChunkId::ZEROS; parts.len()];
        watch.enter(Phase::Archiving);
        let work = Work {
            archive: self,
            session: &session,
            domain: &domain,
            source,
            size,
            base: &base,
            parts: &parts,
            watch,
            done: Mutex::new(0),
            is_failed: AtomicBool::new(false),
        };
        let rests = work.run(&mut chunks)?;
        let pages = write_pages(self, &session, rests, &chunks)?;
        let image = Image {
            id: session.id,
            project: new.project.clone(),
            kind: new.kind,
            created_ms: session.began_ms,
            size,
            content: record::content(size, &pages),
            key: domain.name().map(str::to_owned),
            detail: Some(new.detail.clone()),
        };
        source.settle().map_err(|source| ArchiveError::Source { offset: size, source })?;
        let record = record::encode(&image, &pages, &domain, &*self.environment)?;
        let written = session.written() + record.len() as u64;
        session.publish(&record)?;
        Ok(Imported { image, written })
    }

    /// The chunks of the image that the new one is based on.
    fn base(&self, new: &NewImage<'_>, domain: &Domain) -> Result<Vec<ChunkId>, ArchiveError> {
        let Some(base) = new.base else { return Ok(Vec::new()) };
        if base.image().key.as_deref() != domain.name() {
            return Err(ArchiveError::OtherKey { id: base.image().id });
        }
        Reader::new(self)?.chunks(&base.record, &mut Scratch::new()?)
    }
}

/// What all threads of an import share.
struct Work<'a> {
    archive: &'a Archive,
    session: &'a Session<'a>,
    domain: &'a Domain,
    source: &'a dyn Source,
    size: u64,
    base: &'a [ChunkId],
    parts: &'a [Content],
    watch: &'a dyn Watch,
    /// Told while it is held, so that no thread takes it back.
    done: Mutex<u64>,
    /// One thread has failed, so the others needn't go on.
    is_failed: AtomicBool,
}

impl Work<'_> {
    /// Fills in all chunks' ids; gives what is not written yet of each thread's pack.
    fn run(&self, chunks: &mut [ChunkId]) -> Result<Vec<Builder>, ArchiveError> {
        let most = self.archive.settings.threads.min(self.source.most_threads());
        let threads = most.clamp(1, chunks.len().div_ceil(PIECE).max(1));
        let pieces = Mutex::new(chunks.chunks_mut(PIECE).enumerate());
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
                let thread = std::thread::Builder::new().name("archive-import".into());
                // With fewer threads it is done later.
                running.extend(thread.spawn_scoped(scope, worker).ok());
            }
            let mut rests = vec![worker()];
            for thread in running {
                rests.push(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
            // Not what another thread gave up for.
            let is_cause = |rest: &Result<_, _>| matches!(rest, Err(e) if !is_cancelled(e));
            if let Some(cause) = rests.iter().position(is_cause) {
                return rests.swap_remove(cause).map(|rest| vec![rest]);
            }
            rests.into_iter().collect()
        })
    }

    fn work<'c>(
        &self,
        next: &(dyn Fn() -> Option<(usize, &'c mut [ChunkId])> + Sync),
    ) -> Result<Builder, ArchiveError> {
        let mut press = Press::new().map_err(ArchiveError::Resources)?;
        let mut buffer = vec![0; PIECE * CHUNK];
        let mut pack = Builder::new();
        while let Some((piece, ids)) = next() {
            if self.watch.is_cancelled() || self.is_failed.load(Ordering::SeqCst) {
                return Err(ArchiveError::Cancelled);
            }
            self.piece(piece * PIECE, ids, &mut buffer, &mut press, &mut pack)?;
            if pack.is_full() {
                self.session.write(std::mem::replace(&mut pack, Builder::new()))?;
            }
            let start = (piece * PIECE * CHUNK) as u64;
            let length = self.size.saturating_sub(start).min((PIECE * CHUNK) as u64);
            let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
            *done += length;
            let written = self.session.written();
            self.watch.tell(Progress { done: *done, total: self.size, written });
        }
        Ok(pack)
    }

    /// Deals with the chunks from the `first` on.
    fn piece(
        &self,
        first: usize,
        ids: &mut [ChunkId],
        buffer: &mut [u8],
        press: &mut Press,
        pack: &mut Builder,
    ) -> Result<(), ArchiveError> {
        let mut at = 0;
        while at < ids.len() {
            if let Some(id) = self.without_reading(first + at) {
                ids[at] = id;
                at += 1;
                continue;
            }
            let read = (at..ids.len()).take_while(|n| self.without_reading(first + n).is_none());
            let count = read.count();
            let offset = ((first + at) * CHUNK) as u64;
            let length = self.size.saturating_sub(offset).min((count * CHUNK) as u64);
            let bytes = &mut buffer[..usize::try_from(length).unwrap_or(0)];
            let read = self.source.read_at(bytes, offset);
            read.map_err(|source| ArchiveError::Source { offset, source })?;
            for (id, plain) in ids[at..at + count].iter_mut().zip(bytes.chunks(CHUNK)) {
                *id = self.keep(plain, press, pack)?;
            }
            at += count;
        }
        Ok(())
    }

    /// The chunk's id, where it is known without its bytes.
    fn without_reading(&self, place: usize) -> Option<ChunkId> {
        match self.parts.get(place)? {
            Content::Data => None,
            Content::Zeros => Some(ChunkId::ZEROS),
            // The base may be about to go, and then its chunks are no longer to be counted on. A
            // shorter last chunk of it is no part of a longer disk.
            Content::Unchanged => {
                let is_last = place + 1 >= self.base.len() || place + 1 >= self.parts.len();
                let id = self.base.get(place).filter(|id| !is_last && self.session.has(**id));
                id.copied()
            }
        }
    }

    fn keep(
        &self,
        plain: &[u8],
        press: &mut Press,
        pack: &mut Builder,
    ) -> Result<ChunkId, ArchiveError> {
        if is_zeros(plain) {
            return Ok(ChunkId::ZEROS);
        }
        let id = self.domain.address(plain);
        if self.session.claim(id) {
            let environment = &*self.archive.environment;
            pack.add(|out| press.store(self.domain, id, plain, out, environment))?;
        }
        Ok(id)
    }
}

fn is_cancelled(error: &ArchiveError) -> bool {
    matches!(error, ArchiveError::Cancelled)
}

/// Writes the pages that are not there yet, and with them what is left of the threads' packs.
fn write_pages(
    archive: &Archive,
    session: &Session<'_>,
    rests: Vec<Builder>,
    chunks: &[ChunkId],
) -> Result<Vec<ChunkId>, ArchiveError> {
    let mut pack = Builder::new();
    for rest in rests {
        if !pack.fits(&rest) {
            session.write(std::mem::replace(&mut pack, Builder::new()))?;
        }
        pack.append(&rest);
    }
    let mut press = Press::new().map_err(ArchiveError::Resources)?;
    let open = Domain::of(None);
    let mut pages = Vec::with_capacity(chunks.len().div_ceil(PAGE));
    for chunks in chunks.chunks(PAGE) {
        let plain = page::encode(chunks);
        let id = page::address(&plain);
        if session.claim(id) {
            pack.add(|out| press.store(&open, id, &plain, out, &*archive.environment))?;
        }
        pages.push(id);
        if pack.is_full() {
            session.write(std::mem::replace(&mut pack, Builder::new()))?;
        }
    }
    session.write(pack)?;
    Ok(pages)
}

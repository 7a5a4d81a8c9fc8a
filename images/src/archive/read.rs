//! Reading chunks by their ids, many at once.
//!
//! A pack that is there when a reader looks may be gone when it reads: the collection of garbage
//! has copied what is needed of it. Then the reader looks again, until it has seen the same packs
//! three times: what is in none of them then is lost. Chunks that follow each other in a pack are
//! read at once.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{
    Archive, ArchiveError, ChunkFault,
    chunk::{CHUNK, Press},
    domain::Domain,
    ends::UNREACHED,
    id::{ChunkId, ImageId, ObjectName, PackId},
    index::Index,
    pack::Placed,
    page::{self, PAGE},
    record::{self, Record},
    store::StoreError,
};

/// How often a reader looks again before it believes that a chunk is missing.
const LOOKS: usize = 5;
/// What is in none of the packs is lost where so many looks one after the other found the same
/// ones: a chunk would have to be copied to another pack during each of them to be overlooked.
const SAME: usize = 3;
/// How often it looks in vain before it believes what it has seen: a lost pack has some thousand
/// chunks, and to look is to list all packs.
const LOOKS_IN_VAIN: usize = 32;
/// Bytes that are read at once.
const AT_ONCE: u64 = 4 * 1024 * 1024;

/// An archive that is lent, or one's own share of it.
enum Handle<'a> {
    Lent(&'a Archive),
    Shared(Arc<Archive>),
}

impl std::ops::Deref for Handle<'_> {
    type Target = Archive;

    fn deref(&self) -> &Archive {
        match self {
            Self::Lent(archive) => archive,
            Self::Shared(archive) => archive,
        }
    }
}

/// Reads chunks of all packs that there are.
pub(crate) struct Reader<'a> {
    archive: Handle<'a>,
    seen: RwLock<Seen>,
    /// Since something was last found by looking again.
    looks_in_vain: AtomicUsize,
    /// How often the store did not give what it should have.
    unreached: AtomicUsize,
}

/// What the last look found.
#[derive(Clone, Default)]
struct Seen {
    index: Arc<Index>,
    /// How many looks one after the other found just these packs, none of which went meanwhile.
    same: usize,
    /// Packs of which it is not known what they hold.
    unlisted: usize,
}

/// What a reader uses again and again, one for each thread.
pub(crate) struct Scratch {
    press: Press,
    stored: Vec<u8>,
    plain: Vec<u8>,
}

impl Scratch {
    pub(crate) fn new() -> Result<Self, ArchiveError> {
        let press = Press::new().map_err(ArchiveError::Resources)?;
        Ok(Self { press, stored: Vec::new(), plain: vec![0; CHUNK] })
    }
}

/// What the bytes of a chunk are, and so how its id is made.
#[derive(Clone, Copy)]
pub(crate) enum Of<'a> {
    Disk(&'a Domain),
    Pages,
}

/// Takes a chunk, by its place among those that were asked for.
pub(crate) type Each<'a> =
    dyn FnMut(usize, Result<&[u8], ChunkFault>) -> Result<(), ArchiveError> + 'a;

impl<'a> Reader<'a> {
    pub(crate) fn new(archive: &'a Archive) -> Result<Self, ArchiveError> {
        Self::of(Handle::Lent(archive))
    }

    /// One that hangs on nobody's life.
    pub(crate) fn shared(archive: Arc<Archive>) -> Result<Reader<'static>, ArchiveError> {
        Reader::of(Handle::Shared(archive))
    }

    fn of(archive: Handle<'a>) -> Result<Self, ArchiveError> {
        let (looks_in_vain, unreached) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let reader = Self { archive, seen: RwLock::default(), looks_in_vain, unreached };
        reader.look()?;
        Ok(reader)
    }

    fn look(&self) -> Result<(), ArchiveError> {
        let mut packs = self.archive.packs(&BTreeSet::new())?;
        // Of a chunk that several packs have the index takes the last: a sound one.
        let quarantined = self.archive.in_quarantine()?;
        packs.sound.sort_by_key(|pack| !quarantined.contains(&pack.id));
        let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        let is_same = packs.gone == 0 && seen.index.is_of(&packs.sound);
        let same = if is_same { seen.same + 1 } else { usize::from(packs.gone == 0) };
        let unlisted = packs.damaged.len() + packs.unreached.len();
        *seen = Seen { index: Arc::new(Index::of(packs.sound)), same, unlisted };
        Ok(())
    }

    fn seen(&self) -> Seen {
        self.seen.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether to look again for a chunk that was not found `looks` times; looks if so.
    fn look_again(&self, looks: usize, is_settled: bool) -> Result<bool, ArchiveError> {
        let is_enough = looks >= LOOKS
            || is_settled
            || self.looks_in_vain.fetch_add(1, Ordering::SeqCst) >= LOOKS_IN_VAIN;
        if !is_enough {
            self.look()?;
        }
        Ok(!is_enough)
    }

    /// Reads these chunks, none of zeros, and gives each to `each` in order, by its place in `ids`.
    pub(crate) fn read(
        &self,
        of: Of<'_>,
        ids: &[ChunkId],
        scratch: &mut Scratch,
        each: &mut Each<'_>,
    ) -> Result<(), ArchiveError> {
        let (mut at, mut looks) = (0, 0);
        while at < ids.len() {
            let seen = self.seen();
            let run = self.run(&seen.index, &ids[at..]);
            let read = match run.first() {
                Some(first) => self.fetch(first, &run, &mut scratch.stored),
                None => Ok(false),
            };
            let (run, read) = match read {
                // A bad place of the disk below is no reason to give the others up.
                Err(StoreError::Damaged { .. }) if run.len() > 1 => {
                    let one = &run[..1];
                    (one, self.fetch(&one[0], one, &mut scratch.stored))
                }
                read => (&run[..], read),
            };
            let why = match &read {
                Err(StoreError::Damaged { source, .. }) => Some(source.kind()),
                // Each of the others would be waited for as long.
                Err(StoreError::Io { source, .. })
                    if self.unreached.fetch_add(1, Ordering::SeqCst) < UNREACHED =>
                {
                    Some(source.kind())
                }
                _ => None,
            };
            if let Some(kind) = why {
                each(at, Err(ChunkFault::Read(kind)))?;
                (at, looks) = (at + 1, 0);
                continue;
            }
            if !read? {
                looks += 1;
                // A pack that is seen and can't be found has gone since, whatever was seen before.
                if !self.look_again(looks, seen.same >= SAME && run.is_empty())? {
                    let is_known = seen.unlisted == 0;
                    let why = if is_known { ChunkFault::Missing } else { ChunkFault::Unlisted };
                    each(at, Err(why))?;
                    (at, looks) = (at + 1, 0);
                }
                continue;
            }
            if looks > 0 {
                self.looks_in_vain.store(0, Ordering::SeqCst);
            }
            let start = run.first().map_or(0, |(_, placed)| placed.offset);
            for (_, placed) in run {
                let from = (placed.offset - start) as usize;
                let stored = &mut scratch.stored[from..from + placed.entry.stored as usize];
                let plain = unpack(of, placed, stored, &mut scratch.press, &mut scratch.plain);
                each(at, plain)?;
                at += 1;
            }
            looks = 0;
        }
        Ok(())
    }

    /// The first chunks of `ids` that follow each other in one pack; empty where the first is in
    /// none.
    fn run(&self, index: &Index, ids: &[ChunkId]) -> Vec<(PackId, Placed)> {
        let mut run: Vec<(PackId, Placed)> = Vec::new();
        let mut length = 0;
        for id in ids {
            let Some((pack, placed)) = index.find(*id) else { break };
            length += u64::from(placed.entry.stored);
            let follows = run.last().is_none_or(|(last_pack, last)| {
                *last_pack == pack && last.offset + last.entry.stored == placed.offset
            });
            if !follows || (length > AT_ONCE && !run.is_empty()) {
                break;
            }
            run.push((pack, placed));
        }
        run
    }

    /// Reads a run's bytes; false where its pack is gone.
    fn fetch(
        &self,
        first: &(PackId, Placed),
        run: &[(PackId, Placed)],
        stored: &mut Vec<u8>,
    ) -> Result<bool, StoreError> {
        let length: usize = run.iter().map(|(_, placed)| placed.entry.stored as usize).sum();
        stored.resize(length, 0);
        let name = ObjectName::pack(first.0);
        match self.archive.store.read_at(&name, u64::from(first.1.offset), stored) {
            Err(StoreError::Missing { .. }) => Ok(false),
            other => other.map(|()| true),
        }
    }

    /// All chunks of an image, in order.
    pub(crate) fn chunks(
        &self,
        record: &Record,
        scratch: &mut Scratch,
    ) -> Result<Vec<ChunkId>, ArchiveError> {
        let count = record::counts(record.image.size).0;
        let mut chunks = vec![ChunkId::ZEROS; usize::try_from(count).unwrap_or(usize::MAX)];
        let mut pages = chunks.chunks_mut(PAGE).zip(&record.pages);
        let (mut places, mut ids) = (Vec::new(), Vec::new());
        for (place, id) in pages.by_ref().filter(|(_, id)| **id != ChunkId::ZEROS) {
            places.push(place);
            ids.push(*id);
        }
        self.read(Of::Pages, &ids, scratch, &mut |at, page| {
            let read =
                page.and_then(|page| page::parse(page, places[at].len()).ok_or(ChunkFault::Length));
            let page = read.map_err(|source| broken(ids[at], source))?;
            places[at].copy_from_slice(&page);
            Ok(())
        })?;
        Ok(chunks)
    }
}

/// That a chunk can't be read, as an error.
pub(crate) fn broken(id: ChunkId, source: ChunkFault) -> ArchiveError {
    ArchiveError::Chunk { chunk: format!("{id:?}"), source }
}

fn unpack<'a>(
    of: Of<'_>,
    placed: &Placed,
    stored: &mut [u8],
    press: &mut Press,
    plain: &'a mut [u8],
) -> Result<&'a [u8], ChunkFault> {
    let read = match of {
        Of::Disk(domain) => {
            press.load(domain, &placed.entry, stored, plain, |plain| domain.address(plain))
        }
        Of::Pages => press.load(&Domain::of(None), &placed.entry, stored, plain, page::address),
    };
    read.map(|plain| &*plain).map_err(ChunkFault::from)
}

impl Archive {
    /// An image's record, whoever asks.
    pub(crate) fn record(&self, id: ImageId) -> Result<Record, ArchiveError> {
        let bytes = match self.store.read(&ObjectName::image(id), record::LONGEST) {
            Err(StoreError::Missing { .. }) => return Err(ArchiveError::NoImage { id }),
            other => other?,
        };
        match record::parse(id, &bytes).map_err(|source| ArchiveError::Record { id, source })? {
            record::Slot::Image(record) => Ok(*record),
            record::Slot::Ended => Err(ArchiveError::NoImage { id }),
        }
    }
}

//! A session: one writer's time between its first look at what is there and its image.
//!
//! ```text
//!  put writers/ID ──► list condemned ──► list packs ──► write packs ──► put_new images/ID ──► delete writers/ID
//!                                                        (sign of life now and then)
//! ```
//! A session counts only on chunks of packs that nobody had condemned when it looked, and on its
//! own. The order is what makes that safe: a list of condemned packs that it did not see was
//! written after its own record, and whoever wrote that list waits for it (see `sweep`).
//!
//! The image comes to be by a `put_new` of the one name that the session's id gives it. Who takes
//! the session for dead puts a tombstone there first: one of the two succeeds, and no clock
//! decides which.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use super::{
    Archive, ArchiveError,
    id::{ChunkId, ImageId, ObjectName, PackId},
    index::{ChunkSet, Index},
    pack::Builder,
    record::LONGEST,
    store::{Store, StoreError},
};
use crate::environment::{Environment, random};

/// Ends of sessions' records: nothing but the time of the last sign of life.
pub(crate) fn parse_beat(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_le_bytes)
}

/// A session that is not ended yet.
pub(crate) struct Session<'a> {
    archive: &'a Archive,
    pub(crate) id: ImageId,
    pub(crate) began_ms: u64,
    /// What was there when it began.
    found: Index,
    /// What it has written, or is about to.
    claimed: Mutex<ChunkSet>,
    packs: AtomicU32,
    written: AtomicU64,
    /// Whether its record stays when it ends.
    is_left: bool,
    heart: Option<Beat>,
}

impl<'a> Session<'a> {
    /// Begins one: from here on nothing that it finds is deleted before it ends.
    pub(crate) fn begin(archive: &'a Archive) -> Result<Self, ArchiveError> {
        let id = ImageId::new(random(&*archive.environment)?);
        let began_ms = archive.environment.now_ms();
        archive.store.put_new(&ObjectName::writer(id), &began_ms.to_le_bytes())?;
        let mut session = Self {
            archive,
            id,
            began_ms,
            found: Index::default(),
            claimed: Mutex::default(),
            packs: AtomicU32::new(0),
            written: AtomicU64::new(0),
            is_left: false,
            heart: archive.settings.beat.map(|interval| Beat::start(archive, id, interval)),
        };
        // After the record, and in this order. What fails here ends the session.
        let mut without: BTreeSet<PackId> = archive.condemned()?;
        without.extend(archive.in_quarantine()?);
        session.found = Index::of(archive.packs(&without)?.sound);
        Ok(session)
    }

    /// Whether the chunk is there already and may be counted on.
    pub(crate) fn has(&self, id: ChunkId) -> bool {
        id == ChunkId::ZEROS || self.found.has(id) || self.claimed().contains(&id)
    }

    /// Whether the caller has to write this chunk: nobody has, and nobody else of this session will.
    pub(crate) fn claim(&self, id: ChunkId) -> bool {
        id != ChunkId::ZEROS && !self.found.has(id) && self.claimed().insert(id)
    }

    fn claimed(&self) -> MutexGuard<'_, ChunkSet> {
        self.claimed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a pack. Nothing is written of an empty one.
    pub(crate) fn write(&self, pack: Builder) -> Result<(), ArchiveError> {
        if pack.is_empty() {
            return Ok(());
        }
        let bytes = pack.finish();
        self.archive.write_pack(&bytes, || {
            let number = self.packs.fetch_add(1, Ordering::SeqCst);
            PackId { writer: self.id, number }
        })?;
        self.written.fetch_add(bytes.len() as u64, Ordering::SeqCst);
        Ok(())
    }

    /// Bytes of packs so far.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::SeqCst)
    }

    /// Lets the image come to be. All that it counts on must be written.
    pub(crate) fn publish(mut self, record: &[u8]) -> Result<(), ArchiveError> {
        let name = ObjectName::image(self.id);
        let put = self.archive.store.put_new(&name, record);
        // It may come to be yet: until somebody has ended this session, its packs are kept for it.
        self.is_left = matches!(put, Err(StoreError::Unsettled { .. }));
        match put {
            // By nobody but one who took it for dead: the name is this session's alone.
            Err(StoreError::Exists { .. }) => Err(ArchiveError::Ended),
            // A store that is far away may have done it and not been able to say so. It is not
            // tried again: what was published may have been deleted meanwhile. (`NotDurable` is no
            // such case: that it can be read says nothing.)
            Err(error @ (StoreError::Io { .. } | StoreError::Unsettled { .. })) => {
                match self.archive.store.read(&name, LONGEST) {
                    Ok(there) if there == record => {
                        self.is_left = false;
                        Ok(())
                    }
                    _ => Err(error.into()),
                }
            }
            other => Ok(other?),
        }
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        // First no more signs of life, which would bring the record back.
        self.heart = None;
        if !self.is_left {
            // Where this fails the collection of garbage does it.
            let _ = self.archive.store.delete(&ObjectName::writer(self.id));
        }
    }
}

/// The thread that gives signs of life.
struct Beat {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Beat {
    fn start(archive: &Archive, id: ImageId, interval: Duration) -> Self {
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let (store, environment) = (archive.store.clone(), archive.environment.clone());
        let seen = stop.clone();
        let thread = std::thread::Builder::new().name("archive-beat".into());
        let beat = move || beat(&seen, interval, id, &*store, &*environment);
        // Without one the session is taken for dead if it takes long, which costs it its work.
        Self { stop, thread: thread.spawn(beat).ok() }
    }
}

fn beat(
    stop: &(Mutex<bool>, Condvar),
    interval: Duration,
    id: ImageId,
    store: &dyn Store,
    environment: &dyn Environment,
) {
    let mut is_stopped = stop.0.lock().unwrap_or_else(PoisonError::into_inner);
    while !*is_stopped {
        let waited = stop.1.wait_timeout_while(is_stopped, interval, |stopped| !*stopped);
        is_stopped = waited.unwrap_or_else(PoisonError::into_inner).0;
        if !*is_stopped {
            // A store that fails now may work at the next one.
            let _ = store.replace(&ObjectName::writer(id), &environment.now_ms().to_le_bytes());
        }
    }
}

impl Drop for Beat {
    fn drop(&mut self) {
        *self.stop.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.1.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

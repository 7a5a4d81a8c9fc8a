//! A look at all packs: their ends, which say what is in them, are read and remembered.
//!
//! What lies far away is waited for more than it is worked on, so several are read at once. A pack
//! that is damaged is passed over, and so are a few that can't be reached, which are no damage:
//! nothing is decided against them. Where more can't be reached it is the store that fails, and
//! each of them would be waited for in vain.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{
    Archive, ArchiveError, ObjectName,
    id::{PackId, prefix},
    index::Pack,
    pack::{self, Placed},
    store::StoreError,
};

/// How many are read at once.
const AT_ONCE: usize = 16;

/// How many packs that can't be reached are passed over before it is the store that fails.
pub(super) const UNREACHED: usize = 4;

/// The packs that a look at the store found.
#[derive(Default)]
pub(super) struct Packs {
    pub(super) sound: Vec<Pack>,
    /// Those that can't be used.
    pub(super) damaged: Vec<PackId>,
    /// Those that can't be used now.
    pub(super) unreached: Vec<PackId>,
    /// How many went while it looked.
    pub(super) gone: usize,
}

enum End {
    Read(Arc<[Placed]>),
    Gone,
    Damaged,
}

/// What was asked of a pack of this length.
type Asked = (PackId, u64, Result<End, StoreError>);

impl Archive {
    /// All packs but those in `without`, as they are now.
    pub(super) fn packs(&self, without: &BTreeSet<PackId>) -> Result<Packs, ArchiveError> {
        let listed = self.store.list(prefix::PACKS)?;
        let mut all = Packs { sound: Vec::with_capacity(listed.len()), ..Packs::default() };
        let mut lengths = BTreeMap::new();
        for object in &listed {
            if let Some(id) = object.name.as_pack() {
                lengths.insert(id, object.length);
            }
        }
        self.forget_all_but(&lengths);
        let mut unknown = Vec::new();
        {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            for (id, length) in lengths.into_iter().filter(|(id, _)| !without.contains(id)) {
                match known.get(&id).cloned() {
                    Some(placed) => all.sound.push(Pack { id, length, placed }),
                    None => unknown.push((id, length)),
                }
            }
        }
        for (id, length, end) in self.read_ends(&unknown) {
            match end {
                Ok(End::Read(placed)) => all.sound.push(Pack { id, length, placed }),
                Ok(End::Gone) => all.gone += 1,
                Ok(End::Damaged) | Err(StoreError::Damaged { .. }) => all.damaged.push(id),
                Err(StoreError::Io { .. }) if all.unreached.len() < UNREACHED => {
                    all.unreached.push(id);
                }
                Err(error) => return Err(error.into()),
            }
        }
        all.sound.sort_by_key(|pack| pack.id);
        Ok(all)
    }

    fn forget_all_but(&self, listed: &BTreeMap<PackId, u64>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|id, _| listed.contains_key(id));
    }

    /// The ends of these; of some only, where too many can't be reached.
    fn read_ends(&self, packs: &[(PackId, u64)]) -> Vec<Asked> {
        let (next, failures) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let work = || {
            let mut asked = Vec::new();
            while failures.load(Ordering::SeqCst) <= UNREACHED
                && let Some((id, length)) = packs.get(next.fetch_add(1, Ordering::SeqCst))
            {
                let end = self.read_end(*id, *length);
                if matches!(end, Err(StoreError::Io { .. })) {
                    failures.fetch_add(1, Ordering::SeqCst);
                }
                asked.push((*id, *length, end));
            }
            asked
        };
        let others = if self.settings.threads == 1 { 0 } else { AT_ONCE.min(packs.len()) };
        std::thread::scope(|scope| {
            // Where there are no more threads, those that there are do it.
            let spawn = |_| std::thread::Builder::new().spawn_scoped(scope, work).ok();
            let threads: Vec<_> = (1..others).filter_map(spawn).collect();
            let mut asked = work();
            for thread in threads {
                asked
                    .extend(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
            asked
        })
    }

    fn read_end(&self, id: PackId, length: u64) -> Result<End, StoreError> {
        /// Enough for most packs at once.
        const GUESS: u64 = 4096;
        let name = ObjectName::pack(id);
        let read = |count: u64| -> Result<Option<Vec<u8>>, StoreError> {
            let mut tail = vec![0; usize::try_from(count).unwrap_or(0)];
            match self.store.read_at(&name, length - count, &mut tail) {
                Err(StoreError::Missing { .. }) => Ok(None),
                other => other.map(|()| Some(tail)),
            }
        };
        let Some(mut tail) = read(GUESS.min(length))? else { return Ok(End::Gone) };
        let Some(start) = tail.len().checked_sub(pack::TRAILER) else { return Ok(End::Damaged) };
        let Ok(wanted) = pack::tail_length(length, &tail[start..]) else { return Ok(End::Damaged) };
        if wanted > tail.len() {
            match read(wanted as u64)? {
                Some(longer) => tail = longer,
                None => return Ok(End::Gone),
            }
        }
        let Ok(placed) = pack::parse(length, &tail[tail.len() - wanted..]) else {
            return Ok(End::Damaged);
        };
        let placed: Arc<[Placed]> = placed.into();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(id, placed.clone());
        Ok(End::Read(placed))
    }
}

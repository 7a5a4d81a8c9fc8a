//! The collection of garbage: packs that no image needs are deleted, at any time, beside writers
//! and other collections, and whenever it is killed.
//!
//! ```text
//!   mark ─► plan ─► copy what is needed of wasteful packs ─► put condemned/ID
//!                                                                  │ list writers: waits/ID
//!        these have ended (published, given up, or been ended) ◄───┘
//!     ┌► mark ─► list condemned ─► list packs ─► anything needed that lies in these alone?
//!     │                                             yes │             │ no
//!     └──────────────── copy it ◄───────────────────────┘             ▼
//!                                     delete the packs, then condemned/ID, then waits/ID
//! ```
//! What holds at any moment, and makes it safe (each store operation is one step):
//!
//! 1. *A condemned pack is never acquitted.* What is still needed of it is copied, then it goes. A
//!    name that is gone never comes back, so a deletion that is late deletes nothing else.
//! 2. *A session that began after the list was written does not count on its packs* (`session`);
//!    one that began before it is in `waits/ID`, and no pack of the list is deleted before it has
//!    ended. So after that, no image that comes to be needs what lies in these packs alone.
//! 3. *A pack is deleted only when everything needed of it lies in one that was there and not
//!    condemned* when it was looked for, after its own condemnation. If that other one is
//!    condemned later, whoever does it finds this one condemned or gone, and copies.
//!
//! A killed collection leaves at most copies that are there twice, and lists that the next one
//! finishes. A pack that can't be read, or is in quarantine, is no copy of anything: it goes when all
//! that is needed lies elsewhere, and is reported until then. Where an image can't be read, nothing is deleted at all; nor where the folder of images
//! or of sessions is not there: a listing counts only with its marker in it.

mod copy;
pub(crate) mod list;
pub(crate) mod plan;

use std::{collections::BTreeSet, io::ErrorKind, time::Duration};

use self::copy::Copier;
use super::{
    Archive, ArchiveError, ImageId, Progress, Watch,
    ends::Packs,
    id::{ChunkId, ObjectName, PackId, prefix},
    index::{ChunkSet, Pack},
    read::{Reader, Scratch},
    record, session,
    store::StoreError,
};
use crate::environment::random;

/// How often a list is looked through before it is left to the next collection: each time
/// something was needed after all.
const ROUNDS: usize = 8;

/// A session's record has eight bytes; one that is a little longer is to be told from a failure.
const LONGEST_BEAT: u64 = 4096;

/// What a collection did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// Packs that were deleted.
    pub deleted: u64,
    /// Bytes that these had.
    pub freed: u64,
    /// Bytes that were copied out of them before.
    pub copied: u64,
    /// Lists of packs that wait for sessions which began before them; the next collection goes on.
    pub waiting: u64,
    /// Sessions that were ended for dead.
    pub ended: u64,
    /// Packs that could not be read, in whole or in part: they were passed over.
    pub unread: BTreeSet<ObjectName>,
}

impl Swept {
    fn pass_over(&mut self, packs: impl IntoIterator<Item = PackId>) {
        self.unread.extend(packs.into_iter().map(ObjectName::pack));
    }
}

impl Archive {
    /// Collects garbage. Safe at any time; what sessions still hold is left to the next one.
    pub fn gc(&self, watch: &dyn Watch) -> Result<Swept, ArchiveError> {
        let mut swept = Swept::default();
        let id = ImageId::new(random(&*self.environment)?);
        let mut copier = Copier::new(self, id);
        self.settle_all(&mut copier, &mut swept, watch)?;
        let living = self.living(&mut swept)?;
        let mut plan = self.plan(&living, &mut swept, watch)?;
        if !plan.condemned.is_empty() {
            let unread = copier.copy(&plan.copied, watch)?;
            plan.condemned.retain(|id| !unread.contains(id));
            swept.pass_over(unread);
        }
        if !plan.condemned.is_empty() {
            let list = list::packs(&plan.condemned);
            self.store.put_new(&ObjectName::condemned(id), &list)?;
            swept.waiting = 0;
            self.settle_all(&mut copier, &mut swept, watch)?;
        }
        self.tidy()?;
        swept.copied = copier.copied();
        Ok(swept)
    }

    /// Which packs are to go.
    fn plan(
        &self,
        living: &BTreeSet<ImageId>,
        swept: &mut Swept,
        watch: &dyn Watch,
    ) -> Result<plan::Plan, ArchiveError> {
        let condemned = self.condemned()?;
        let quarantined = self.in_quarantine()?;
        let Packs { mut sound, mut damaged, unreached, .. } = self.packs(&condemned)?;
        swept.pass_over(damaged.iter().copied());
        // Nothing is known of these, so they are not condemned.
        swept.pass_over(unreached);
        damaged.extend(sound.iter().map(|pack| pack.id).filter(|id| quarantined.contains(id)));
        sound.retain(|pack| !quarantined.contains(&pack.id));
        // After the packs: what an image needs that is published meanwhile lies in packs that
        // are of a living session, or that were needed before, or the second look finds it.
        let needed = self.mark(watch)?;
        let mut plan = plan::plan(&sound, &needed, living);
        if !damaged.is_empty() && plan::have_all(&sound, &needed) {
            plan.condemned.extend(damaged.iter().filter(|id| !living.contains(&id.writer)));
        }
        Ok(plan)
    }

    /// Sessions that may still publish; those that gave no sign of life for long are ended here.
    fn living(&self, swept: &mut Swept) -> Result<BTreeSet<ImageId>, ArchiveError> {
        let mut living = BTreeSet::new();
        for object in self.list_marked(prefix::WRITERS)? {
            if let Some(id) = object.name.as_id(prefix::WRITERS)
                && !self.has_ended(id, swept)?
            {
                living.insert(id);
            }
        }
        Ok(living)
    }

    /// Whether this session can't publish any more. One that seems dead is made unable to.
    fn has_ended(&self, id: ImageId, swept: &mut Swept) -> Result<bool, ArchiveError> {
        let writer = ObjectName::writer(id);
        let bytes = match self.store.read(&writer, LONGEST_BEAT) {
            // It has published, or given up.
            Err(StoreError::Missing { .. }) => return Ok(true),
            // What is no sign of life at all is none.
            Err(StoreError::Damaged { source, .. }) if source.kind() == ErrorKind::FileTooLarge => {
                Vec::new()
            }
            other => other?,
        };
        let image = ObjectName::image(id);
        if !self.exists(&image)? {
            let now = self.environment.now_ms();
            // One of a time that is yet to come would keep the session alive until then.
            let is_alive = session::parse_beat(&bytes).is_some_and(|beat| {
                Duration::from_millis(now.abs_diff(beat)) < self.settings.dead_after
            });
            if is_alive {
                return Ok(false);
            }
            match self.store.put_new(&image, &record::tombstone(now)) {
                // It was not dead, and has published just now.
                Err(StoreError::Exists { .. }) => {}
                other => {
                    other?;
                    swept.ended += 1;
                }
            }
        }
        self.store.delete(&writer)?;
        Ok(true)
    }

    /// All chunks, pages included, that any image needs.
    fn mark(&self, watch: &dyn Watch) -> Result<ChunkSet, ArchiveError> {
        let mut needed = ChunkSet::default();
        let listed = self.list_marked(prefix::IMAGES)?;
        let reader = Reader::new(self)?;
        let mut scratch = Scratch::new()?;
        for (done, object) in (1..).zip(&listed) {
            if watch.is_cancelled() {
                return Err(ArchiveError::Cancelled);
            }
            let Some(id) = object.name.as_id(prefix::IMAGES) else { continue };
            if let Err(error) = self.mark_one(id, &reader, &mut scratch, &mut needed) {
                match error {
                    // Deleted meanwhile, or a tombstone.
                    ArchiveError::NoImage { .. } => {}
                    // Its pages went because it did.
                    _ if !self.exists(&object.name)? => {}
                    error => return Err(ArchiveError::Unreadable { id, source: error.into() }),
                }
            }
            watch.tell(Progress { done, total: listed.len() as u64, written: 0 });
        }
        needed.remove(&ChunkId::ZEROS);
        Ok(needed)
    }

    fn mark_one(
        &self,
        id: ImageId,
        reader: &Reader<'_>,
        scratch: &mut Scratch,
        needed: &mut ChunkSet,
    ) -> Result<(), ArchiveError> {
        let mut record = self.record(id)?;
        // Pages that other images have too were read already; where the last is shorter it differs.
        let known: Vec<bool> = record.pages.iter().map(|page| needed.contains(page)).collect();
        let pages = std::mem::take(&mut record.pages);
        record.pages = pages
            .iter()
            .zip(&known)
            .map(|(page, known)| if *known { ChunkId::ZEROS } else { *page })
            .collect();
        needed.extend(reader.chunks(&record, scratch)?);
        needed.extend(pages);
        Ok(())
    }

    /// Goes on with all lists of condemned packs, those of collections that were killed too.
    fn settle_all(
        &self,
        copier: &mut Copier<'_>,
        swept: &mut Swept,
        watch: &dyn Watch,
    ) -> Result<(), ArchiveError> {
        for object in self.list_marked(prefix::CONDEMNED)? {
            if let Some(id) = object.name.as_id(prefix::CONDEMNED)
                && !self.settle(id, copier, swept, watch)?
            {
                swept.waiting += 1;
            }
        }
        Ok(())
    }

    /// Deletes the packs of one list if it can be done; false where it has to wait.
    fn settle(
        &self,
        list: ImageId,
        copier: &mut Copier<'_>,
        swept: &mut Swept,
        watch: &dyn Watch,
    ) -> Result<bool, ArchiveError> {
        for writer in self.waited_for(list)? {
            if !self.has_ended(writer, swept)? {
                return Ok(false);
            }
        }
        // Those of the list that could not be copied from.
        let mut unread = BTreeSet::new();
        for _ in 0..ROUNDS {
            let Some(ids) = self.condemned_by(list, super::LONGEST_LIST)? else { return Ok(true) };
            // Images, condemned packs, packs: in this order.
            let needed = self.mark(watch)?;
            let mut others = self.condemned()?;
            others.extend(self.in_quarantine()?);
            let packs = self.packs(&BTreeSet::new())?;
            unread.extend(packs.damaged);
            unread.extend(packs.unreached);
            unread.retain(|id| ids.contains(id));
            let (staying, mut condemned): (Vec<Pack>, Vec<Pack>) =
                packs.sound.into_iter().partition(|pack| !others.contains(&pack.id));
            condemned.retain(|pack| ids.contains(&pack.id));
            let mut readable = condemned.clone();
            readable.retain(|pack| !unread.contains(&pack.id));
            let last = plan::last_copies(&readable, &staying, &needed);
            if last.is_empty() {
                // What is needed and nowhere else may be in one of those that can't be read.
                if unread.is_empty() || plan::have_all(&staying, &needed) {
                    self.delete_packs(&condemned, &ids, swept)?;
                    // Not before the packs: until then nobody may count on them.
                    self.store.delete(&ObjectName::condemned(list))?;
                    self.store.delete(&ObjectName::wait(list))?;
                    return Ok(true);
                }
                let ids: Vec<PackId> = ids.into_iter().filter(|id| !unread.contains(id)).collect();
                self.delete_packs(&readable, &ids, swept)?;
                swept.pass_over(unread);
                return Ok(false);
            }
            unread.extend(copier.copy(&last, watch)?);
        }
        Ok(false)
    }

    fn delete_packs(
        &self,
        packs: &[Pack],
        ids: &[PackId],
        swept: &mut Swept,
    ) -> Result<(), ArchiveError> {
        for id in ids {
            self.store.delete(&ObjectName::pack(*id))?;
        }
        swept.deleted += packs.len() as u64;
        swept.freed += packs.iter().map(|pack| pack.length).sum::<u64>();
        Ok(())
    }

    /// The sessions that may not have seen this list: all that were there after it was written.
    fn waited_for(&self, list: ImageId) -> Result<Vec<ImageId>, ArchiveError> {
        let name = ObjectName::wait(list);
        // One that was damaged is none: a list that is made now serves as well.
        let read = || match self.store.read(&name, super::LONGEST_LIST) {
            Err(StoreError::Missing { .. }) => Ok(None),
            other => other.map(|bytes| list::parse_writers(&bytes)),
        };
        if let Some(writers) = read()? {
            return Ok(writers);
        }
        let listed = self.list_marked(prefix::WRITERS)?;
        let writers: Vec<_> =
            listed.iter().filter_map(|object| object.name.as_id(prefix::WRITERS)).collect();
        match self.store.put_new(&name, &list::writers(&writers)) {
            // Another collection was faster. Its list serves as well: it is of later than the
            // condemnation too.
            Err(StoreError::Exists { .. }) => match read()? {
                Some(writers) => Ok(writers),
                None => {
                    self.store.replace(&name, &list::writers(&writers))?;
                    Ok(writers)
                }
            },
            other => Ok(other.map(|()| writers)?),
        }
    }

    /// Removes what is left over of lists and images that are gone.
    fn tidy(&self) -> Result<(), ArchiveError> {
        for object in self.store.list(prefix::WAITS)? {
            if let Some(id) = object.name.as_id(prefix::WAITS)
                && !self.exists(&ObjectName::condemned(id))?
            {
                self.store.delete(&object.name)?;
            }
        }
        for object in self.store.list(prefix::QUARANTINED)? {
            if let Some(id) = object.name.as_quarantined()
                && !self.exists(&ObjectName::pack(id))?
            {
                self.store.delete(&object.name)?;
            }
        }
        for object in self.store.list(prefix::SHARES)? {
            if let Some((id, _)) = object.name.as_share()
                && !self.exists(&ObjectName::image(id))?
            {
                self.store.delete(&object.name)?;
            }
        }
        Ok(())
    }
}

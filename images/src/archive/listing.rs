//! Which images a viewer sees: all of them, or a page.
//!
//! Only what is shown is read, several at once, since a store may be far away. A record never
//! changes, and whose it is lies open in it: what was read once is not read again to be passed over.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use mezame_model::ProjectName;

use super::{
    Archive, ArchiveError, Image, ImageId, Viewer, id::prefix, record::Record, view::Keys,
};

/// Records that are read at once, at most; each may have some MiB.
pub(super) const BATCH: usize = 32;
/// A page ends after so many bytes of names, labels and origins.
const PAGE_BYTES: usize = 4 << 20;

/// Whose images are, as far as that was read.
pub(super) type Owners = Mutex<BTreeMap<ImageId, ProjectName>>;

/// Some of the images that a viewer sees.
#[derive(Debug)]
pub struct Page {
    /// Sorted by id.
    pub images: Vec<Image>,
    /// Whether there may be more after these.
    pub has_more: bool,
}

impl Archive {
    /// All images that the viewer may see, oldest first. Where a key is missing, the detail is.
    ///
    /// Images that go while it looks are left out. A damaged record, or one that was not written
    /// with its project's key, is an error for the operator, who can [`Self::forget`] it; nobody
    /// knows whose it is, so projects' lists go without it.
    pub fn list(&self, viewer: Viewer<'_>, keys: Keys<'_>) -> Result<Vec<Image>, ArchiveError> {
        let mut seen = self.seen(viewer, keys)?;
        let mut images = Vec::new();
        while let Some(image) = seen.next(BATCH)? {
            images.push(image);
        }
        images.sort_by_key(|image| (image.created_ms, image.id));
        Ok(images)
    }

    /// At most `most` of them, sorted by id, after the id `after`; fewer where their names and
    /// labels are long, but one at least.
    pub fn page(
        &self,
        viewer: Viewer<'_>,
        keys: Keys<'_>,
        after: Option<&str>,
        most: usize,
    ) -> Result<Page, ArchiveError> {
        let mut seen = self.seen(viewer, keys)?;
        seen.left.retain(|id| after.is_none_or(|after| *id.to_string() > *after));
        let (mut images, mut bytes) = (Vec::new(), 0);
        // One more than are shown tells whether there is one.
        while let Some(image) = seen.next(most.saturating_add(1) - images.len())? {
            if images.len() >= most || bytes > PAGE_BYTES {
                return Ok(Page { images, has_more: true });
            }
            bytes += weight(&image);
            images.push(image);
        }
        Ok(Page { images, has_more: false })
    }

    /// How many images are a project's own. Those whose records are damaged are nobody's.
    pub fn count_own(&self, project: &ProjectName) -> Result<usize, ArchiveError> {
        let ids = self.listed_ids()?;
        let mut count = 0;
        let mut unknown = Vec::new();
        for id in ids {
            match self.owner(id) {
                Some(owner) => count += usize::from(owner == *project),
                None => unknown.push(id),
            }
        }
        for batch in unknown.chunks(BATCH) {
            for record in self.records(batch) {
                match record {
                    Ok(record) => count += usize::from(record.image.project == *project),
                    Err(ArchiveError::NoImage { .. } | ArchiveError::Record { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(count)
    }

    fn seen<'a>(&'a self, viewer: Viewer<'a>, keys: Keys<'a>) -> Result<Seen<'a>, ArchiveError> {
        let shares = self.store.list(prefix::SHARES)?;
        let shares = shares.iter().filter_map(|share| share.name.as_share());
        let shared: BTreeSet<ImageId> = shares
            .filter(|(_, with)| match (with, viewer) {
                (Some(with), Viewer::Project(project)) => with == project,
                _ => true,
            })
            .map(|(id, _)| id)
            .collect();
        let mut left: VecDeque<ImageId> = self.listed_ids()?.into();
        if let Viewer::Project(project) = viewer {
            left.retain(|id| {
                shared.contains(id) || self.owner(*id).is_none_or(|owner| owner == *project)
            });
        }
        Ok(Seen::of(self, viewer, keys, shared, left))
    }

    /// Sorted. What is known of others is forgotten: they are gone.
    pub(super) fn listed_ids(&self) -> Result<Vec<ImageId>, ArchiveError> {
        let listed = self.list_marked(prefix::IMAGES)?;
        let ids: BTreeSet<ImageId> =
            listed.iter().filter_map(|object| object.name.as_id(prefix::IMAGES)).collect();
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        owners.retain(|id, _| ids.contains(id));
        Ok(ids.into_iter().collect())
    }

    pub(super) fn owner(&self, id: ImageId) -> Option<ProjectName> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// These records, each or why it can't be had, in their order; several are read at once.
    fn records(&self, ids: &[ImageId]) -> Vec<Result<Record, ArchiveError>> {
        let next = AtomicUsize::new(0);
        let work = || {
            let mut read = Vec::new();
            loop {
                let at = next.fetch_add(1, Ordering::SeqCst);
                let Some(id) = ids.get(at) else { return read };
                read.push((at, self.record(*id)));
            }
        };
        let mut read = std::thread::scope(|scope| {
            let mut running = Vec::new();
            for _ in 1..self.settings.threads.min(ids.len()) {
                let thread = std::thread::Builder::new().name("archive-list".into());
                // With fewer threads it is done later.
                running.extend(thread.spawn_scoped(scope, work).ok());
            }
            let mut read = work();
            for thread in running {
                let more = thread.join();
                read.extend(more.unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
            read
        });
        read.sort_unstable_by_key(|(at, _)| *at);
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        for (at, record) in &read {
            if let Ok(record) = record {
                owners.insert(ids[*at], record.image.project.clone());
            }
        }
        drop(owners);
        read.into_iter().map(|(_, record)| record).collect()
    }
}

/// The images that a viewer sees, one after the other.
pub(super) struct Seen<'a> {
    archive: &'a Archive,
    viewer: Viewer<'a>,
    keys: Keys<'a>,
    /// Those of which somebody says that they are shared with the viewer.
    shared: BTreeSet<ImageId>,
    /// Not read yet.
    left: VecDeque<ImageId>,
    /// Read, and not shown yet.
    read: VecDeque<Image>,
}

impl<'a> Seen<'a> {
    /// These images, as far as the viewer sees them.
    pub(super) fn of(
        archive: &'a Archive,
        viewer: Viewer<'a>,
        keys: Keys<'a>,
        shared: BTreeSet<ImageId>,
        left: VecDeque<ImageId>,
    ) -> Self {
        Self { archive, viewer, keys, shared, left, read: VecDeque::new() }
    }

    /// The next one; `wanted` is how many more will be asked for, as far as that is known.
    pub(super) fn next(&mut self, wanted: usize) -> Result<Option<Image>, ArchiveError> {
        while self.read.is_empty() && !self.left.is_empty() {
            let count = wanted.clamp(1, BATCH).min(self.left.len());
            let ids: Vec<ImageId> = self.left.drain(..count).collect();
            for (id, record) in ids.iter().zip(self.archive.records(&ids)) {
                let image = record.and_then(|record| {
                    self.archive.listed(*id, record, self.viewer, self.keys, &self.shared)
                });
                match image {
                    Ok(image) => self.read.extend(image),
                    Err(ArchiveError::NoImage { .. }) => {}
                    Err(ArchiveError::Record { .. }) if self.viewer != Viewer::Operator => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(self.read.pop_front())
    }
}

/// About how many bytes of text an image has.
fn weight(image: &Image) -> usize {
    let Some(detail) = &image.detail else { return 0 };
    let labels = detail.labels.iter().map(|(label, value)| label.len() + value.len());
    let source = detail.provenance.source.as_ref().map_or(0, String::len);
    detail.name.len() + source + labels.sum::<usize>()
}

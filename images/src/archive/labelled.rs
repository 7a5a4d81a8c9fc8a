//! A project's own images by what one of their labels says, such as the backups of some volumes.
//!
//! A store knows no labels, and those of an encrypted project are sealed. So a record is read to know its
//! label, and then never again by this process unless it is asked for: a record never changes. What
//! an image is used for still hangs on its own record, which is read and opened each time.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use mezame_model::ProjectName;

use super::{
    Archive, ArchiveError, Image, ImageId, Viewer,
    listing::{BATCH, Seen},
    view::Keys,
};

/// A longer word is not remembered, and so read again.
const LONGEST_WORD: usize = 256;

/// By label: what images say there, as far as that was read.
pub(super) type Labels = Mutex<ByLabel>;

type ByLabel = BTreeMap<Box<str>, BTreeMap<ImageId, Option<Box<str>>>>;

impl Archive {
    /// A project's own images whose label says one of these words, oldest first. Those whose label
    /// can't be read, since a key is away or a record damaged, are none of them.
    ///
    /// Of a project's other images only those are read that this process has not read before.
    pub fn list_labelled(
        &self,
        project: &ProjectName,
        keys: Keys<'_>,
        label: &str,
        words: &BTreeSet<&str>,
    ) -> Result<Vec<Image>, ArchiveError> {
        let mut left = self.listed_ids()?;
        {
            let mut labels = self.labels();
            let known = labels.entry(label.into()).or_default();
            known.retain(|id, _| left.binary_search(id).is_ok());
            let may_say = |id: &ImageId| match known.get(id) {
                Some(word) => word.as_deref().is_some_and(|word| words.contains(word)),
                None => true,
            };
            left.retain(|id| may_say(id) && self.owner(*id).is_none_or(|owner| owner == *project));
        }
        // What is shared with the project is not its own.
        let viewer = Viewer::Project(project);
        let mut seen = Seen::of(self, viewer, keys, BTreeSet::new(), left.into());
        let mut images = Vec::new();
        while let Some(image) = seen.next(BATCH)? {
            let Some(detail) = &image.detail else { continue };
            let word = detail.labels.get(label).map(String::as_str);
            if word.is_none_or(|word| word.len() <= LONGEST_WORD) {
                let mut labels = self.labels();
                labels.entry(label.into()).or_default().insert(image.id, word.map(Into::into));
            }
            if word.is_some_and(|word| words.contains(word)) {
                images.push(image);
            }
        }
        images.sort_by_key(|image| (image.created_ms, image.id));
        Ok(images)
    }

    fn labels(&self) -> MutexGuard<'_, ByLabel> {
        self.labels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

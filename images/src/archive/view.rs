//! Who sees which images: a project its own and those that are shared with it.
//!
//! What an image can be used for hangs on a value that only a look at it gives, so that no way
//! leads past the question who asks.

use std::collections::BTreeSet;

use mezame_model::ProjectName;

use super::{
    Archive, ArchiveError, Image, ImageId, ProjectKey,
    domain::Domain,
    id::{ObjectName, prefix},
    record::{Record, RecordFault},
    store::StoreError,
};

/// A share is 32 bytes; what is longer is none.
const LONGEST_SHARE: u64 = 4096;

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Viewer<'a> {
    /// The installation's operator, who sees all.
    Operator,
    /// Somebody of this project.
    Project(&'a ProjectName),
}

/// What is known of a project's key. A record says itself whether it is encrypted, and who can
/// write to the store can say so, too: only the caller knows what the project's images must be.
#[derive(Debug, Clone)]
pub enum KeyOf {
    /// The project is not encrypted.
    Open,
    /// It is encrypted with this key.
    Key(ProjectKey),
    /// It is encrypted, and its key is not at hand, or is gone.
    Away,
}

/// Where projects' keys come from.
pub type Keys<'a> = &'a dyn Fn(&ProjectName) -> KeyOf;

/// An image that the one who asked may see, opened.
pub struct Visible {
    pub(crate) record: Record,
    pub(crate) domain: Domain,
    image: Image,
    is_own: bool,
}

impl Visible {
    /// What it is.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// Whether it is of the project that looked at it, which alone may change it.
    pub fn is_own(&self) -> bool {
        self.is_own
    }
}

impl std::fmt::Debug for Visible {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_tuple("Visible").field(&self.image).finish()
    }
}

impl Archive {
    /// Looks at an image. One that the viewer may not see is `NoImage`, as one that is not there.
    pub fn view(
        &self,
        id: ImageId,
        viewer: Viewer<'_>,
        keys: Keys<'_>,
    ) -> Result<Visible, ArchiveError> {
        let record = self.record(id)?;
        let is_own = match viewer {
            Viewer::Operator => true,
            Viewer::Project(project) => *project == record.image.project,
        };
        let opened = open(&record, keys);
        let may_see = match (&opened, viewer) {
            (_, Viewer::Project(_)) if is_own => true,
            (Ok((domain, _)), Viewer::Project(project)) => self.is_shared(id, project, domain)?,
            // Whether it is shared can't be told without its project's key.
            (Err(_), Viewer::Project(_)) => false,
            (_, Viewer::Operator) => true,
        };
        if !may_see {
            return Err(ArchiveError::NoImage { id });
        }
        let (domain, image) = opened?;
        Ok(Visible { record, domain, image, is_own })
    }

    /// Whether somebody who has the key of the image's project has shared it with this one.
    fn is_shared(
        &self,
        id: ImageId,
        with: &ProjectName,
        domain: &Domain,
    ) -> Result<bool, ArchiveError> {
        Ok(self.is_share(&ObjectName::share(id, None), domain)?
            || self.is_share(&ObjectName::share(id, Some(with)), domain)?)
    }

    /// Whether there is such a share, and not only an object of its name.
    fn is_share(&self, share: &ObjectName, domain: &Domain) -> Result<bool, ArchiveError> {
        let there = match self.store.read(share, LONGEST_SHARE) {
            Err(StoreError::Missing { .. }) => return Ok(false),
            other => other?,
        };
        let there = <[u8; 32]>::try_from(there).map(blake3::Hash::from_bytes);
        // Compared in constant time.
        Ok(there.is_ok_and(|there| domain.authenticate_share(share) == there))
    }

    /// An image as a listing shows it, if it does.
    pub(super) fn listed(
        &self,
        id: ImageId,
        record: Record,
        viewer: Viewer<'_>,
        keys: Keys<'_>,
        shared: &BTreeSet<ImageId>,
    ) -> Result<Option<Image>, ArchiveError> {
        let lent_to = match viewer {
            Viewer::Project(project) if *project != record.image.project => Some(project),
            _ => None,
        };
        if lent_to.is_some() && !shared.contains(&id) {
            return Ok(None);
        }
        match (open(&record, keys), lent_to) {
            (Ok((domain, image)), Some(project)) => {
                Ok(self.is_shared(id, project, &domain)?.then_some(image))
            }
            (Ok((_, image)), None) => Ok(Some(image)),
            (Err(ArchiveError::KeyNeeded { .. }), None) => Ok(Some(record.image)),
            (Err(ArchiveError::KeyNeeded { .. }), Some(_)) => Ok(None),
            (Err(error), _) => Err(error),
        }
    }

    /// Shares an image with another project, or with all where `with` is None.
    pub fn share(&self, image: &Visible, with: Option<&ProjectName>) -> Result<(), ArchiveError> {
        let share = ObjectName::share(own(image)?, with);
        let authenticity = image.domain.authenticate_share(&share);
        match self.store.put_new(&share, authenticity.as_bytes()) {
            // One that somebody without the key has put there is no share.
            Err(StoreError::Exists { .. }) if !self.is_share(&share, &image.domain)? => {
                Ok(self.store.replace(&share, authenticity.as_bytes())?)
            }
            Err(StoreError::Exists { .. }) => Ok(()),
            other => Ok(other?),
        }
    }

    /// Takes that back. What was exported meanwhile is not.
    pub fn unshare(&self, image: &Visible, with: Option<&ProjectName>) -> Result<(), ArchiveError> {
        Ok(self.store.delete(&ObjectName::share(own(image)?, with))?)
    }

    /// With which projects an own image is shared; None stands for all of them.
    pub fn shares(&self, image: &Visible) -> Result<Vec<Option<ProjectName>>, ArchiveError> {
        let id = own(image)?;
        let mut with = Vec::new();
        for object in self.store.list(prefix::SHARES)? {
            match object.name.as_share() {
                Some((of, project))
                    if of == id && self.is_share(&object.name, &image.domain)? =>
                {
                    with.push(project);
                }
                _ => {}
            }
        }
        with.sort();
        Ok(with)
    }

    /// Deletes an image. Its bytes are deleted by the next collections of garbage, as far as no
    /// other image has them.
    pub fn delete(&self, image: &Visible) -> Result<(), ArchiveError> {
        self.forget(own(image)?)
    }

    /// Deletes an image without opening it: one that is damaged, or whose key is gone for good.
    /// For the operator.
    pub fn forget(&self, id: ImageId) -> Result<(), ArchiveError> {
        // A tombstone is no image: without it a session that was ended could publish after all.
        if let Err(missing @ ArchiveError::NoImage { .. }) = self.record(id) {
            return Err(missing);
        }
        self.store.delete(&ObjectName::image(id))?;
        for object in self.store.list(prefix::SHARES)? {
            if object.name.as_share().is_some_and(|(of, _)| of == id) {
                self.store.delete(&object.name)?;
            }
        }
        Ok(())
    }
}

/// Opens a record with what its project's images must be encrypted with.
fn open(record: &Record, keys: Keys<'_>) -> Result<(Domain, Image), ArchiveError> {
    let id = record.image.id;
    let domain = match (keys(&record.image.project), &record.image.key) {
        (KeyOf::Key(key), _) => Domain::of(Some(&key)),
        (KeyOf::Open, None) => Domain::of(None),
        (KeyOf::Open | KeyOf::Away, Some(key)) => {
            return Err(ArchiveError::KeyNeeded { id, key: key.clone() });
        }
        (KeyOf::Away, None) => {
            return Err(ArchiveError::Record { id, source: RecordFault::Forged });
        }
    };
    let image = record.open(&domain).map_err(|source| ArchiveError::Record { id, source })?;
    Ok((domain, image))
}

fn own(image: &Visible) -> Result<ImageId, ArchiveError> {
    let id = image.record.image.id;
    if image.is_own { Ok(id) } else { Err(ArchiveError::OtherProject { id }) }
}

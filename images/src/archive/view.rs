//! Who sees which images: a project its own and those that are shared with it.
//!
//! What an image can be used for hangs on a value that only a look at it gives, so that no way
//! leads past the question who asks.

use mezame_model::ProjectName;

use super::{
    Archive, ArchiveError, Image, ImageId, ProjectKey,
    domain::Domain,
    id::{ObjectName, prefix},
    record::Record,
    store::StoreError,
};

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Viewer<'a> {
    /// The installation's operator, who sees all.
    Operator,
    /// Somebody of this project.
    Project(&'a ProjectName),
}

/// Where projects' keys come from; None of a project that is not encrypted, or whose key is gone.
pub type Keys<'a> = &'a dyn Fn(&ProjectName) -> Option<ProjectKey>;

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
        if !is_own && !self.is_shared(id, viewer)? {
            return Err(ArchiveError::NoImage { id });
        }
        let key = record.image.key.as_ref().and_then(|_| keys(&record.image.project));
        if let (Some(wanted), None) = (&record.image.key, &key) {
            return Err(ArchiveError::KeyNeeded { id, key: wanted.clone() });
        }
        let domain = Domain::of(key.as_ref());
        let image = record.open(&domain).map_err(|source| ArchiveError::Record { id, source })?;
        Ok(Visible { record, domain, image, is_own })
    }

    fn is_shared(&self, id: ImageId, viewer: Viewer<'_>) -> Result<bool, ArchiveError> {
        let Viewer::Project(project) = viewer else { return Ok(true) };
        Ok(self.exists(&ObjectName::share(id, None))?
            || self.exists(&ObjectName::share(id, Some(project)))?)
    }

    /// All images that the viewer may see, oldest first. Where a key is missing, the detail is.
    ///
    /// Images that go while it looks are left out. A damaged record is an error for the operator,
    /// who can [`Self::forget`] it; nobody knows whose it was, so projects' lists go without it.
    pub fn list(&self, viewer: Viewer<'_>, keys: Keys<'_>) -> Result<Vec<Image>, ArchiveError> {
        let mut images = Vec::new();
        let shares = self.store.list(prefix::SHARES)?;
        let shares: Vec<_> = shares.iter().filter_map(|share| share.name.as_share()).collect();
        for object in self.list_marked(prefix::IMAGES)? {
            let Some(id) = object.name.as_id(prefix::IMAGES) else { continue };
            let record = match self.record(id) {
                Err(ArchiveError::NoImage { .. }) => continue,
                Err(ArchiveError::Record { .. }) if viewer != Viewer::Operator => continue,
                other => other?,
            };
            let is_visible = match viewer {
                Viewer::Operator => true,
                Viewer::Project(project) => {
                    *project == record.image.project
                        || shares.iter().any(|(of, with)| {
                            *of == id && with.as_ref().is_none_or(|with| with == project)
                        })
                }
            };
            if is_visible {
                let key = record.image.key.as_ref().and_then(|_| keys(&record.image.project));
                let opened = record.open(&Domain::of(key.as_ref()));
                images.push(opened.unwrap_or(record.image));
            }
        }
        images.sort_by_key(|image| (image.created_ms, image.id));
        Ok(images)
    }

    /// Shares an image with another project, or with all where `with` is None.
    pub fn share(&self, image: &Visible, with: Option<&ProjectName>) -> Result<(), ArchiveError> {
        let id = own(image)?;
        match self.store.put_new(&ObjectName::share(id, with), b"") {
            Err(StoreError::Exists { .. }) => Ok(()),
            other => Ok(other?),
        }
    }

    /// Takes that back. What was exported meanwhile is not.
    pub fn unshare(&self, image: &Visible, with: Option<&ProjectName>) -> Result<(), ArchiveError> {
        Ok(self.store.delete(&ObjectName::share(own(image)?, with))?)
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

fn own(image: &Visible) -> Result<ImageId, ArchiveError> {
    let id = image.record.image.id;
    if image.is_own { Ok(id) } else { Err(ArchiveError::OtherProject { id }) }
}

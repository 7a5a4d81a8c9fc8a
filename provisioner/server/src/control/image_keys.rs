//! What the control plane keeps for the image archive: the keys that projects' images are encrypted
//! with, and whether there ever was an archive.
//!
//! The keys lie in the projects' records, which the store seals; no document, answer or snapshot
//! has them. A key that is gone can't be had again, so nothing lets a project go while its images
//! may lie in an archive that is only away.

use std::sync::Arc;

use mezame_images::archive::{KeyOf, ProjectKey};
use mezame_model::ProjectName;

use super::{Control, ControlError, uncut};
use crate::{state::Changes, store::Batch};

impl Control {
    /// What the images of a project are encrypted with. Of a project that is not there nothing is
    /// known, so what lies open is open.
    pub(crate) fn image_key(&self, project: &ProjectName) -> KeyOf {
        let state = self.state();
        let Some(tenant) = state.tenant(project) else { return KeyOf::Open };
        let record = &tenant.project.record;
        if !record.encrypted_images {
            return KeyOf::Open;
        }
        let key = record.image_key.as_ref().and_then(|key| key.expose().try_into().ok());
        key.map_or(KeyOf::Away, |key| KeyOf::Key(ProjectKey::new(key)))
    }

    /// Whether it is noted that there is an image archive.
    pub(crate) fn has_noted_archive(&self) -> bool {
        self.state().site.had_archive() == Some(true)
    }

    /// Notes for good that there is an image archive.
    pub(crate) async fn note_archive(self: &Arc<Self>) -> Result<(), ControlError> {
        let control = Arc::clone(self);
        uncut(async move {
            let _turn = control.turn.lock().await;
            let site = control.state().site.with_archive();
            if site.is_some() {
                let changes = Changes { site, ..Changes::default() };
                control.commit(changes, Batch::default()).await?;
            }
            Ok(())
        })
        .await
    }

    /// Whether a project may have images in an archive that can't be seen. `is_named` is whether
    /// the settings name one.
    pub(crate) fn may_have_images(&self, project: &ProjectName, is_named: bool) -> bool {
        let state = self.state();
        let is_sealed = || state.tenant(project).is_some_and(|t| t.project.record.encrypted_images);
        state.site.had_archive().unwrap_or_else(|| is_named || is_sealed())
    }
}

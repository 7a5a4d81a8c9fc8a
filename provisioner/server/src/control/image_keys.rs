//! The keys that projects' images are encrypted with. They lie in the projects' records, which the
//! store seals; no document, answer or snapshot has them.

use mezame_images::archive::{KeyOf, ProjectKey};
use mezame_model::ProjectName;

use super::Control;

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
}

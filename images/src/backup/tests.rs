//! Backups of a real QEMU whose disks are written while they are read.

mod captured;
mod failures;
mod guest;
mod held;
mod hydrated;
mod points;
mod stale;

use std::collections::BTreeMap;

use super::{
    freeze::{Consistency, CrashReason, Freeze, FreezeError},
    plan::{Decision, FullReason, Plan, Published, decide},
    point::{Point, PointError, Server, Settings, resize, survey},
    pull::{Destination, PullError, Pulled, published, pull},
};
use crate::{
    archive::{ImageId, KeyOf, Progress, ProjectKey, Unwatched, Viewer, Watch},
    environment::SystemEnvironment,
    nbd::NbdAddress,
    testing::vault::Vault,
};

impl Vault {
    fn keys(&self) -> KeyOf {
        self.key.clone().map_or(KeyOf::Open, KeyOf::Key)
    }

    fn published(&self, disk: &super::disk::Disk) -> Vec<Published> {
        published(&self.archive, &self.project, self.key.as_ref(), disk.id()).unwrap()
    }

    fn decide(&self, disk: &super::disk::Disk, survey: &super::plan::Survey) -> Decision {
        decide(survey, &self.published(disk), false)
    }

    fn pull(&self, offer: &super::offer::Offer, watch: &dyn Watch) -> Result<Pulled, PullError> {
        // As it travels to another process.
        let offer = serde_json::from_str(&serde_json::to_string(offer).unwrap()).unwrap();
        let to = Destination {
            project: &self.project,
            key: self.key.as_ref(),
            name: "nightly".into(),
            labels: BTreeMap::from([("by".into(), "a test".into())]),
        };
        pull(&self.archive, &to, &offer, watch)
    }

    /// A label of an image.
    fn label(&self, image: ImageId, label: &str) -> String {
        let viewer = Viewer::Project(&self.project);
        let visible = self.archive.view(image, viewer, &|_| self.keys()).unwrap();
        visible.image().detail.as_ref().unwrap().labels[label].clone()
    }

    fn forget(&self, image: ImageId) {
        let viewer = Viewer::Project(&self.project);
        let visible = self.archive.view(image, viewer, &|_| self.keys()).unwrap();
        self.archive.delete(&visible).unwrap();
    }
}

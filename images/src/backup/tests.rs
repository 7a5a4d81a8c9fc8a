//! Backups of a real QEMU whose disks are written while they are read.

mod captured;
mod encrypted;
mod failures;
mod guest;
mod held;
mod hydrated;
mod over_tls;
mod points;
mod stale;

use std::collections::BTreeMap;

use super::{
    freeze::{Consistency, CrashReason, Freeze, FreezeError, LeftOut},
    offer::Offer,
    plan::{Decision, FullReason, Plan, Published, decide},
    point::{Point, PointError, Server, Settings, resize, survey},
    pull::{Destination, Exceptions, PullError, Pulled, published, pull},
};
use crate::{
    archive::{ImageId, Progress, ProjectKey, Unwatched, Watch, store::Store, target::FileTarget},
    environment::SystemEnvironment,
    nbd::NbdAddress,
    testing::vault::Vault,
};

impl Vault {
    fn published(&self, disk: &super::disk::Disk) -> Vec<Published> {
        published(&self.archive, &self.project, self.key.as_ref(), disk.id()).unwrap()
    }

    fn decide(&self, disk: &super::disk::Disk, survey: &super::plan::Survey) -> Decision {
        decide(survey, &self.published(disk), false)
    }

    fn pull(&self, offer: &Offer, watch: &dyn Watch) -> Result<Pulled, PullError> {
        self.pull_with(offer, Exceptions::default(), watch)
    }

    fn pull_with(
        &self,
        offer: &Offer,
        exceptions: Exceptions,
        watch: &dyn Watch,
    ) -> Result<Pulled, PullError> {
        // As it travels to another process.
        let offer = serde_json::from_str(&serde_json::to_string(offer).unwrap()).unwrap();
        let to = Destination {
            project: &self.project,
            key: self.key.as_ref(),
            name: "nightly".into(),
            labels: BTreeMap::from([("by".into(), "a test".into())]),
            exceptions,
        };
        pull(&self.archive, &to, &offer, watch)
    }

    /// A label of an image.
    fn label(&self, image: ImageId, label: &str) -> String {
        self.labels(image)[label].clone()
    }

    fn labels(&self, image: ImageId) -> BTreeMap<String, String> {
        self.view(image).image().detail.as_ref().unwrap().labels.clone()
    }

    fn forget(&self, image: ImageId) {
        self.archive.delete(&self.view(image)).unwrap();
    }
}

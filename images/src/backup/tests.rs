//! Backups of a real QEMU whose disks are written while they are read.

mod encrypted;
mod failures;
mod guest;
mod held;
mod hydrated;
mod over_tls;
mod points;
mod stale;

use std::{collections::BTreeMap, sync::Arc};

use mezame_model::ProjectName;

use super::{
    freeze::{Consistency, CrashReason, Freeze, FreezeError},
    offer::Offer,
    plan::{Decision, FullReason, Plan, Published, decide},
    point::{Point, PointError, Server, Settings, resize, survey},
    pull::{Destination, Exceptions, PullError, Pulled, published, pull},
};
use crate::{
    archive::{
        Archive, ImageId, KeyOf, Progress, ProjectKey, Unwatched, Viewer, Visible, Watch,
        store::{Store, memory::Memory},
        target::FileTarget,
    },
    environment::SystemEnvironment,
    nbd::NbdAddress,
};

/// An archive, and whose the backups are.
struct Vault {
    archive: Archive,
    store: Arc<Memory>,
    project: ProjectName,
    key: Option<ProjectKey>,
}

impl Vault {
    fn new(key: Option<ProjectKey>) -> Self {
        let settings = crate::archive::Settings { threads: 4, ..Default::default() };
        let environment = Arc::new(SystemEnvironment::new());
        let store = Arc::new(Memory::new());
        let archive = Archive::create(store.clone(), environment, settings).unwrap();
        Self { archive, store, project: ProjectName::parse("acme").unwrap(), key }
    }

    fn keys(&self) -> KeyOf {
        self.key.clone().map_or(KeyOf::Open, KeyOf::Key)
    }

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

    fn visible(&self, image: ImageId) -> Visible {
        self.archive.view(image, Viewer::Project(&self.project), &|_| self.keys()).unwrap()
    }

    /// All of an image.
    fn restored(&self, image: ImageId) -> Vec<u8> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk");
        let visible = self.visible(image);
        let target = FileTarget::create(&path).unwrap();
        self.archive.export(&visible, &target, &Unwatched).unwrap();
        std::fs::read(path).unwrap()
    }

    /// A label of an image.
    fn label(&self, image: ImageId, label: &str) -> String {
        self.visible(image).image().detail.as_ref().unwrap().labels[label].clone()
    }

    /// Damages most of the chunks that there are, and no list of any.
    fn damage(&self) {
        for pack in self.store.list("packs/").unwrap() {
            let mut bytes = self.store.read(&pack.name, u64::MAX).unwrap();
            let most = bytes.len() * 3 / 4;
            bytes[..most].iter_mut().step_by(16 << 10).skip(1).for_each(|byte| *byte ^= 1);
            self.store.replace(&pack.name, &bytes).unwrap();
        }
    }

    fn forget(&self, image: ImageId) {
        self.archive.delete(&self.visible(image)).unwrap();
    }
}

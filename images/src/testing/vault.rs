//! An archive in memory, and whose images are in it.

use std::sync::Arc;

use mezame_model::ProjectName;

use crate::{
    archive::{
        Archive, Detail, ImageId, KeyOf, Kind, NewImage, ProjectKey, Settings, Unwatched, Viewer,
        Visible,
        source::FileSource,
        store::{Store, memory::Memory},
        target::FileTarget,
    },
    environment::{SystemEnvironment, fixed::FixedEnvironment},
};

/// An archive, and a project.
pub(crate) struct Vault {
    pub(crate) archive: Archive,
    pub(crate) store: Arc<Memory>,
    pub(crate) project: ProjectName,
    pub(crate) key: Option<ProjectKey>,
}

/// A project's key.
pub(crate) fn project_key() -> ProjectKey {
    ProjectKey::make(&FixedEnvironment::new(11)).unwrap()
}

impl Vault {
    pub(crate) fn new(key: Option<ProjectKey>) -> Self {
        Self::made(key, 4)
    }

    fn made(key: Option<ProjectKey>, threads: usize) -> Self {
        let settings = Settings { threads, ..Default::default() };
        let store = Arc::new(Memory::new());
        let environment = Arc::new(SystemEnvironment::new());
        let archive = Archive::create(store.clone(), environment, settings).unwrap();
        Self { archive, store, project: ProjectName::parse("acme").unwrap(), key }
    }

    /// An image as the project sees it.
    pub(crate) fn view(&self, image: ImageId) -> Visible {
        let keys = |_: &ProjectName| self.key.clone().map_or(KeyOf::Open, KeyOf::Key);
        self.archive.view(image, Viewer::Project(&self.project), &keys).unwrap()
    }

    /// One whose exports are done by one thread, in the disk's order.
    pub(crate) fn with_threads(threads: usize) -> Self {
        Self::made(None, threads)
    }

    /// An image of these bytes, which is a backup of a volume of this name.
    pub(crate) fn backup(&self, volume: &str, bytes: &[u8]) -> Visible {
        self.view(Self::backup_in(&self.archive, &self.project, self.key.as_ref(), volume, bytes))
    }

    /// The same in any archive.
    pub(crate) fn backup_in(
        archive: &Archive,
        project: &ProjectName,
        key: Option<&ProjectKey>,
        volume: &str,
        bytes: &[u8],
    ) -> ImageId {
        let label = (crate::backup::pull::VOLUME, volume);
        Self::image_in(archive, project, key, label, bytes)
    }

    /// An image of these bytes whose label of this name is `yes`.
    pub(crate) fn labelled(&self, label: &str, bytes: &[u8]) -> Visible {
        let (archive, key) = (&self.archive, self.key.as_ref());
        self.view(Self::image_in(archive, &self.project, key, (label, "yes"), bytes))
    }

    fn image_in(
        archive: &Archive,
        project: &ProjectName,
        key: Option<&ProjectKey>,
        (label, value): (&str, &str),
        bytes: &[u8],
    ) -> ImageId {
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, bytes).unwrap();
        let labels = [(label.into(), value.into())].into();
        let detail = Detail { name: "nightly".into(), labels, ..Detail::default() };
        let new = NewImage { project, kind: Kind::Backup, detail, key, base: None };
        let source = FileSource::of(file).unwrap();
        archive.import(&new, &source, &Unwatched).unwrap().image.id
    }

    /// All of an image.
    pub(crate) fn restored(&self, image: ImageId) -> Vec<u8> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk");
        let target = FileTarget::create(&path).unwrap();
        self.archive.export(&self.view(image), &target, &Unwatched).unwrap();
        std::fs::read(path).unwrap()
    }

    /// Damages most of the chunks that there are, and no list of any.
    pub(crate) fn damage(&self) {
        for pack in self.store.list("packs/").unwrap() {
            let mut bytes = self.store.read(&pack.name, u64::MAX).unwrap();
            let most = bytes.len() * 3 / 4;
            bytes[..most].iter_mut().step_by(16 << 10).skip(1).for_each(|byte| *byte ^= 1);
            self.store.replace(&pack.name, &bytes).unwrap();
        }
    }
}

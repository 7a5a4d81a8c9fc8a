//! A host with a QEMU, and an archive.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use mezame_model::ProjectName;
use serde_json::json;

use crate::{
    archive::{
        Archive, KeyOf, Unwatched, Viewer, Watch, store::memory::Memory, target::FileTarget,
    },
    backup::{
        disk::Disk,
        offer::Offer,
        plan::{Plan, decide},
        point::{Point, PointError, Server, Settings as PointSettings, survey},
        pull::{Destination, Exceptions, PullError, Pulled, published, pull},
    },
    environment::SystemEnvironment,
    migration::{Known, MigrationAddress, Settled, prepare, settle},
    nbd::NbdAddress,
    qmp::Qmp,
    testing::{Daemon, first_difference, ids, master, pool},
    volume::{Data, Durability, FlushInterval, HostCache, Limits, Place, Volume, VolumeId},
};

const BOUND: Duration = Duration::from_secs(60);

/// A QEMU.
pub(super) struct Host {
    pub(super) qmp: Qmp,
    /// Another monitor of it, for who looks on.
    pub(super) watcher: Qmp,
    pub(super) volume: Volume,
    pub(super) disk: Disk,
    pub(super) directory: PathBuf,
    name: String,
    pub(super) daemon: Daemon,
}

impl Host {
    /// One whose guest runs.
    pub(super) fn start(directory: &Path, volume: &Volume) -> Self {
        Self::begin(directory, volume, "here", &[])
    }

    /// One that listens for a guest.
    pub(super) fn wait_for_guest(directory: &Path, volume: &Volume) -> (Self, MigrationAddress) {
        let mut host = Self::begin(directory, volume, "there", &["-S", "-incoming", "defer"]);
        let address = MigrationAddress::Unix(directory.join("migration"));
        prepare(&mut host.qmp, &address).unwrap();
        (host, address)
    }

    pub(super) fn begin(directory: &Path, volume: &Volume, name: &str, further: &[&str]) -> Self {
        let sockets = ["qmp", "watcher"].map(|of| directory.join(format!("{of}-{name}")));
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args(["-machine", "q35", "-accel", "tcg", "-m", "64", "-nodefaults"])
            .args(["-no-user-config", "-display", "none"])
            .args(["-blockdev", &volume.blockdev().to_string()])
            .args(["-device", &volume.device().to_string()])
            .args(further)
            // What `qemu-io` says of each write.
            .stdout(Stdio::null());
        for socket in &sockets {
            qemu.arg("-qmp").arg(format!("unix:{},server=on,wait=off", socket.display()));
        }
        let daemon = Daemon::start(&mut qemu, &sockets.each_ref().map(PathBuf::as_path));
        let [qmp, watcher] = sockets.map(|socket| Qmp::connect(&socket, BOUND).unwrap());
        let (volume, disk) = (volume.clone(), Disk::of(volume));
        Self { qmp, watcher, volume, disk, directory: directory.into(), name: name.into(), daemon }
    }

    /// Fills a part of the disk with a byte, as the guest would.
    pub(super) fn fill(&mut self, contents: &mut [u8], at: usize, length: usize, with: u8) {
        let device = self.disk.device();
        let line = format!("qemu-io -d {device} \"write -P {with} {at} {length}\"");
        let said = self.qmp.execute("human-monitor-command", json!({ "command-line": line }));
        assert_eq!(said.unwrap(), "");
        contents[at..at + length].fill(with);
    }

    pub(super) fn open(&mut self, vault: &Vault) -> Result<Point, PointError> {
        let disk = self.disk.clone();
        let surveys = survey(&mut self.qmp, std::slice::from_ref(&disk), None)?;
        let published = published(&vault.archive, &vault.project, None, disk.id()).unwrap();
        let decided = vec![(disk, decide(&surveys[0], &published, false))];
        let socket = self.directory.join(format!("nbd-{}", self.name));
        let server = Server::Start(NbdAddress::Unix(socket));
        let settings = PointSettings::new(self.directory.clone(), server);
        Point::open(&mut self.qmp, decided, &settings, None, &SystemEnvironment::new())
    }

    pub(super) fn back_up(&mut self, vault: &Vault) -> Pulled {
        let point = self.open(vault).unwrap();
        let pulled = vault.pull(&point.offers()[0], &Unwatched).unwrap();
        let closed = point.close(&mut self.qmp, &[self.disk.id().clone()], None).unwrap();
        assert!(closed.broken.is_empty());
        pulled
    }

    /// The next backup is incremental, and the disk.
    pub(super) fn check_next(&mut self, vault: &Vault, contents: &[u8]) {
        let pulled = self.back_up(vault);
        assert!(matches!(pulled.plan, Plan::Incremental { .. }), "{:?}", pulled.plan);
        assert_eq!(first_difference(&vault.restored(&pulled), contents), None);
    }

    pub(super) fn settle(&mut self, known: &[Known]) -> Settled {
        let volumes = [(self.volume.clone(), Limits::default())];
        settle(&mut self.qmp, &volumes, known).unwrap()
    }
}

/// An archive.
pub(super) struct Vault {
    archive: Archive,
    project: ProjectName,
}

impl Vault {
    pub(super) fn new() -> Self {
        let settings = crate::archive::Settings { threads: 2, ..Default::default() };
        let environment = Arc::new(SystemEnvironment::new());
        let archive = Archive::create(Arc::new(Memory::new()), environment, settings).unwrap();
        Self { archive, project: ProjectName::parse("acme").unwrap() }
    }

    pub(super) fn pull(&self, offer: &Offer, watch: &dyn Watch) -> Result<Pulled, PullError> {
        let name = "nightly".into();
        let (labels, exceptions) = (BTreeMap::new(), Exceptions::default());
        let to = Destination { project: &self.project, key: None, name, labels, exceptions };
        pull(&self.archive, &to, offer, watch)
    }

    pub(super) fn restored(&self, pulled: &Pulled) -> Vec<u8> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk");
        let viewer = Viewer::Project(&self.project);
        let image = self.archive.view(pulled.image.id, viewer, &|_| KeyOf::Open).unwrap();
        self.archive.export(&image, &FileTarget::create(&path).unwrap(), &Unwatched).unwrap();
        std::fs::read(path).unwrap()
    }
}

/// A clone of the usual master, of the default class; and its bytes.
pub(super) fn clone(directory: &Path) -> (Volume, Vec<u8>) {
    let (master, bytes) = master(directory);
    let clone = master.clone_into(&pool(directory), &ids(1)).unwrap().remove(0);
    let class = Durability::Recovered(FlushInterval::default());
    (clone.volume(class, HostCache::Direct).unwrap(), bytes)
}

/// A raw volume of 8 MiB.
pub(super) fn plain(directory: &Path) -> (Volume, Vec<u8>) {
    let bytes = vec![7; 8 << 20];
    let path = directory.join("plain");
    std::fs::write(&path, &bytes).unwrap();
    let (id, data) = (VolumeId::parse("plain").unwrap(), Data::Plain(Place::File(path)));
    (Volume::new(id, data, Durability::Plain, HostCache::Direct).unwrap(), bytes)
}

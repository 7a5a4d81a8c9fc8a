//! Two hosts, a guest with two clones, and an archive on a third host.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use mezame_images::{
    archive::{
        Archive, KeyOf, Settings as ArchiveSettings, Unwatched, Viewer, Watch,
        store::memory::Memory, target::FileTarget,
    },
    backup::{
        disk::Disk,
        offer::Offer,
        plan::decide,
        point::{Point, Server, Settings, survey},
        pull::{Destination, Exceptions, Pulled, published, pull},
    },
    clone::{InstantClone, Master, Pool},
    environment::SystemEnvironment,
    qmp::Qmp,
    volume::{Durability, Format, HostCache, Volume, VolumeId},
};
use mezame_model::ProjectName;
use mezame_tests::{
    guest_image::GuestImage,
    namespace::Namespace,
    process::{self, Background},
    wait::{self, A_BOOT},
};
use serde_json::json;

use crate::durability::guest::{acknowledged, machine, repeated, until_written, writer};

const BLOCK: usize = 4 << 10;
const DISK: usize = 24 << 20;
/// Where QEMU serves, on each of the two hosts.
const PORT: u16 = 10809;

/// A QEMU on a host.
pub(super) struct Host {
    pub(super) host: Namespace,
    address: [u8; 4],
    name: String,
    pub(super) guest: Background,
    pub(super) qmp: Qmp,
}

impl Host {
    /// The last number that was acknowledged here.
    pub(super) fn written(&self) -> Result<u64> {
        Ok(acknowledged(&self.guest.log())?.last().copied().unwrap_or(0))
    }

    /// Waits for some more.
    pub(super) fn write_on(&mut self, more: usize) -> Result<()> {
        let already = acknowledged(&self.guest.log())?.len();
        until_written(&mut self.guest, already + more)
    }
}

/// What all hosts see.
pub(super) struct Desk {
    directory: tempfile::TempDir,
    /// Where the guests' consoles are written.
    consoles: PathBuf,
    image: GuestImage,
    master: Option<Master>,
    clones: Vec<InstantClone>,
    hosts: [Namespace; 2],
    pub(super) archive: Namespace,
    pub(super) disks: Vec<Disk>,
}

impl Desk {
    pub(super) fn lay(consoles: &Path) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let root = directory.path();
        let image = root.join("image");
        std::fs::write(&image, repeated("nothing yet", DISK))?;
        let master = Master::seal(&image, Format::Raw, &root.join("master"))?;
        let ids = [VolumeId::parse("one")?, VolumeId::parse("two")?];
        let clones = master.clone_into(&Pool::create(root)?, &ids)?;
        let image = writer(root)?;
        let (hosts, archive) = network()?;
        let master = Some(master);
        let disks = Vec::new();
        let consoles = consoles.to_owned();
        let mut desk = Self { directory, consoles, image, master, clones, hosts, archive, disks };
        desk.disks = desk.volumes()?.iter().map(Disk::of).collect();
        Ok(desk)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(super) fn volumes(&self) -> Result<Vec<Volume>> {
        let volume =
            |clone: &InstantClone| Ok(clone.volume(Durability::default(), HostCache::Direct)?);
        self.clones.iter().map(volume).collect()
    }

    /// Starts the guest on the first host.
    pub(super) fn boot(&self) -> Result<Host> {
        for clone in &self.clones {
            clone.recover(HostCache::Direct, self.directory.path())?;
        }
        self.machine(0, &[])
    }

    /// A QEMU with the guest's machine.
    pub(super) fn machine(&self, at: u8, further: &[&str]) -> Result<Host> {
        let host = self.hosts[usize::from(at)].clone();
        let name = format!("host-{at}");
        let monitors = ["qmp", "watcher"].map(|monitor| self.path(&format!("{monitor}-{name}")));
        let qemu = host.command("qemu-system-x86_64");
        let mut qemu = machine(qemu, &self.image, &monitors, "writer=disks after=0")?;
        for volume in self.volumes()? {
            qemu.args(["-blockdev", &volume.blockdev().to_string()]);
            qemu.args(["-device", &volume.device().to_string()]);
        }
        qemu.args(further);
        let guest = Background::start(&name, &mut qemu, &self.consoles.join(&name))?;
        let qmp = self.connect("qmp", &name)?;
        Ok(Host { host, address: [192, 0, 2, at + 1], name, guest, qmp })
    }

    fn connect(&self, monitor: &str, name: &str) -> Result<Qmp> {
        let path = self.path(&format!("{monitor}-{name}"));
        wait::until("QEMU's monitor", A_BOOT, || Ok(Qmp::connect(&path, Duration::from_secs(60))?))
    }

    /// Another monitor of the same QEMU.
    pub(super) fn watcher(&self, host: &Host) -> Result<Qmp> {
        self.connect("watcher", &host.name)
    }

    /// Opens a point in time of both disks, served to the network.
    pub(super) fn open(&self, host: &mut Host, vault: &Vault) -> Result<Point> {
        let surveys = survey(&mut host.qmp, &self.disks, None)?;
        let mut decided = Vec::new();
        for (disk, survey) in self.disks.iter().zip(&surveys) {
            let published = published(&vault.archive, &vault.project, None, disk.id())?;
            decided.push((disk.clone(), decide(survey, &published, false)));
        }
        let server = Server::StartClear((host.address, PORT).into());
        let settings = Settings::new(self.directory.path().into(), server);
        let environment = SystemEnvironment::new();
        Ok(Point::open(&mut host.qmp, decided, &settings, None, &environment)?)
    }

    /// A backup of both disks, after which the one before is deleted.
    pub(super) fn back_up(&self, host: &mut Host, vault: &mut Vault) -> Result<Vec<Pulled>> {
        let point = self.open(host, vault)?;
        let pulled = vault.pull_all(point.offers())?;
        let all: Vec<_> = self.disks.iter().map(|disk| disk.id().clone()).collect();
        let (here, qmp) = (host.host.clone(), &mut host.qmp);
        let closed = here.run(move || point.close(qmp, &all, None))??;
        ensure!(closed.broken.is_empty());
        vault.keep(&pulled)?;
        Ok(pulled)
    }

    /// The last number of what the guest had written, if there is none behind the first that is
    /// missing.
    pub(super) fn last_of(&self, disks: &[Vec<u8>]) -> Result<u64> {
        let most = (self.disks.len() * DISK / BLOCK) as u64 - 1;
        let is_there = |number: u64| {
            let (disk, place, block) = write(number);
            disks[disk][place..place + BLOCK] == block[..]
        };
        let last = (1..=most).take_while(|number| is_there(*number)).count() as u64;
        ensure!(last < most, "the disks are full");
        Ok(last)
    }

    /// What both disks are after so many writes: those and nothing else.
    pub(super) fn replayed(&self, last: u64) -> Vec<Vec<u8>> {
        let mut disks = vec![repeated("nothing yet", DISK); 2];
        for number in 1..=last {
            let (disk, place, block) = write(number);
            disks[disk][place..place + BLOCK].copy_from_slice(&block);
        }
        disks
    }

    /// Ends a guest's QEMU in good order.
    pub(super) fn quit(&self, mut host: Host) -> Result<()> {
        // The reply may be lost with the socket.
        let _ = host.qmp.execute("quit", json!({}));
        host.guest.wait(A_BOOT).map(drop)
    }

    /// Both disks as raw files, read by QEMU's own tool.
    pub(super) fn read(&self) -> Result<Vec<PathBuf>> {
        let read = |clone: &InstantClone| {
            let raw = self.path(&format!("{}.original", clone.id()));
            let mut convert = process::command("qemu-img");
            convert.args(["convert", "-f", "qcow2", "-O", "raw"]).arg(clone.path()).arg(&raw);
            process::succeed(&mut convert).map(|()| raw)
        };
        self.clones.iter().map(read).collect()
    }

    /// Removes the clones and their master.
    pub(super) fn destroy(&mut self) -> Result<()> {
        let master = self.master.take().context("it is gone already")?;
        for clone in self.clones.drain(..) {
            master.remove_clone(&clone)?;
        }
        Ok(master.remove()?)
    }
}

/// Where the guest writes a number, and what.
fn write(number: u64) -> (usize, usize, Vec<u8>) {
    let (disk, place) = (number % 2, usize::try_from(number / 2).unwrap_or(0));
    let block = repeated(&format!("disk {disk} write {number}"), BLOCK);
    (usize::from(disk == 1), place * BLOCK, block)
}

/// Two hosts at 192.0.2.1 and .2, and the archive's at .3, which is the switch as well.
fn network() -> Result<([Namespace; 2], Namespace)> {
    let archive = Namespace::create()?;
    archive.ip("link add br0 type bridge")?;
    archive.ip("address add 192.0.2.3/24 dev br0")?;
    archive.ip("link set br0 up")?;
    let plug = |at: u8| -> Result<Namespace> {
        let host = Namespace::create()?;
        archive.veth(&format!("host{at}"), &host, "eth0")?;
        archive.ip(&format!("link set host{at} master br0 up"))?;
        host.ip(&format!("address add 192.0.2.{at}/24 dev eth0"))?;
        host.ip("link set eth0 up")?;
        Ok(host)
    };
    Ok(([plug(1)?, plug(2)?], archive))
}

/// The archive, on a host of its own.
pub(super) struct Vault {
    directory: tempfile::TempDir,
    host: Namespace,
    archive: Archive,
    project: ProjectName,
    kept: Vec<Pulled>,
}

impl Vault {
    pub(super) fn new(host: Namespace) -> Result<Self> {
        let environment = Arc::new(SystemEnvironment::new());
        let archive =
            Archive::create(Arc::new(Memory::new()), environment, ArchiveSettings::default())?;
        let project = ProjectName::parse("acme")?;
        Ok(Self { directory: tempfile::tempdir()?, host, archive, project, kept: Vec::new() })
    }

    /// Pulls from its own network.
    pub(super) fn pull(&self, offer: &Offer, watch: &dyn Watch) -> Result<Pulled> {
        let name = "nightly".into();
        // The networks are the test's own.
        let exceptions = Exceptions { clear_network: true, ..Exceptions::default() };
        let labels = BTreeMap::new();
        let to = Destination { project: &self.project, key: None, name, labels, exceptions };
        Ok(self.host.run(|| pull(&self.archive, &to, offer, watch))??)
    }

    pub(super) fn pull_all(&self, offers: &[Offer]) -> Result<Vec<Pulled>> {
        offers.iter().map(|offer| self.pull(offer, &Unwatched)).collect()
    }

    /// Deletes the images that were kept before.
    pub(super) fn keep(&mut self, pulled: &[Pulled]) -> Result<()> {
        for before in std::mem::replace(&mut self.kept, pulled.to_vec()) {
            let viewer = Viewer::Project(&self.project);
            let image = self.archive.view(before.image.id, viewer, &|_| KeyOf::Open)?;
            self.archive.delete(&image)?;
        }
        Ok(())
    }

    /// Removes what no image needs any more.
    pub(super) fn collect(&self) -> Result<()> {
        self.archive.gc(&Unwatched)?;
        Ok(())
    }

    pub(super) fn restore(&self, pulled: &Pulled) -> Result<PathBuf> {
        let path = self.directory.path().join(pulled.image.id.to_string());
        let viewer = Viewer::Project(&self.project);
        let image = self.archive.view(pulled.image.id, viewer, &|_| KeyOf::Open)?;
        self.archive.export(&image, &FileTarget::create(&path)?, &Unwatched)?;
        Ok(path)
    }

    pub(super) fn restored_all(&self, pulled: &[Pulled]) -> Result<Vec<Vec<u8>>> {
        pulled.iter().map(|pulled| Ok(std::fs::read(self.restore(pulled)?)?)).collect()
    }
}

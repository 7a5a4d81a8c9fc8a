//! A guest whose disk is a clone on a LUN of a master on another LUN, of a real iSCSI target: it is
//! backed up while it writes, moved to another QEMU and stopped hard there, and nothing that it was
//! told is missing. QEMU's own initiator reaches the target; all traffic is on loopback.

#[allow(dead_code, reason = "the archive's and clones' own tests want more of it")]
#[path = "../../images/tests/iscsi/target.rs"]
pub(crate) mod target;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Result, ensure};
use mezame_images::{
    archive::{
        Archive, KeyOf, Settings as ArchiveSettings, Unwatched, Viewer, store::memory::Memory,
        target::FileTarget,
    },
    backup::{
        disk::Disk,
        plan::{Plan, decide},
        point::{Point, Server, Settings, survey},
        pull::{Destination, Exceptions, Pulled, published, pull},
    },
    clone::{Claim, CloneError, HostName, Master, Ownership, Start},
    environment::SystemEnvironment,
    iscsi::{ChapSecret, ChapUser, InitiatorName, IscsiName, Lun, LunAccess},
    migration::{MigrationAddress, Settings as MigrationSettings, move_guest, prepare, settle},
    nbd::NbdAddress,
    qmp::Qmp,
    storage_daemon::StorageDaemon,
    volume::{Durability, Format, HostCache, Limits, Volume, VolumeId},
};
use mezame_model::ProjectName;
use mezame_tests::{
    guest_image::GuestImage,
    process::{self, Background},
    wait::{self, A_BOOT},
};
use serde_json::json;
use target::Target;
use zeroize::Zeroizing;

use crate::{
    durability::guest::{acknowledged, machine, missing_in, repeated, until_written, writer},
    migration::emulation::{retried, until_it_writes},
};

const DISK: u64 = 16 << 20;
/// The numbers of the LUNs.
const MASTER: u8 = 1;
const CLONE: u8 = 2;

/// A target, two hypervisors' views of one master, and an archive.
struct Desk {
    directory: tempfile::TempDir,
    /// Where guests' consoles are written.
    consoles: PathBuf,
    target: Target,
    image: GuestImage,
    id: VolumeId,
    archive: Archive,
    project: ProjectName,
}

impl Desk {
    fn lay() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let mut target = Target::start(directory.path());
        let master = target.add(MASTER, DISK);
        std::fs::write(master, repeated("the master", usize::try_from(DISK)?))?;
        target.protect(MASTER, true);
        target.add(CLONE, 3 * DISK);
        let image = writer(directory.path())?;
        let environment = Arc::new(SystemEnvironment::new());
        let archive =
            Archive::create(Arc::new(Memory::new()), environment, ArchiveSettings::default())?;
        let (id, project) = (VolumeId::parse("disk")?, ProjectName::parse("acme")?);
        let consoles = directory.path().into();
        Ok(Self { directory, consoles, target, image, id, archive, project })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn lun(&self, number: u8) -> Result<Lun> {
        Ok(Lun::parse(&self.target.url(number))?)
    }

    fn access(&self, host: &str) -> Result<LunAccess> {
        let secret = ChapSecret::parse(Zeroizing::new(target::SECRET.into()))?;
        let (target, user) = (IscsiName::parse(target::TARGET)?, ChapUser::parse(target::USER)?);
        let access = LunAccess::new(InitiatorName::of_machine(host), self.directory.path());
        Ok(access.with(target, user, secret))
    }

    /// The master as a hypervisor has it.
    fn master(&self, host: &str) -> Result<Master> {
        let (lun, at) = (self.lun(MASTER)?, self.path("master"));
        Ok(Master::seal_lun(&lun, Format::Raw, &at, &self.access(host)?)?)
    }

    /// A hypervisor's QEMU with the guest.
    fn machine(&self, host: &str, volume: &Volume, further: &[&str]) -> Result<Background> {
        let monitor = self.path(&format!("qmp-{host}"));
        let qemu = process::command("qemu-system-x86_64");
        let mut qemu = machine(qemu, &self.image, &[monitor], "writer=blocks after=0")?;
        volume.secrets(self.access(host)?.keys())?.attach(&mut qemu)?;
        qemu.args(["-blockdev", &volume.blockdev().to_string()])
            .args(["-device", &volume.device().to_string()])
            .args(further);
        let console = self.consoles.join(format!("console-{host}"));
        Background::start("the writing guest", &mut qemu, &console)
    }

    fn qmp(&self, host: &str) -> Result<Qmp> {
        let monitor = self.path(&format!("qmp-{host}"));
        wait::until("QEMU's monitor", A_BOOT, || {
            Ok(Qmp::connect(&monitor, Duration::from_secs(60))?)
        })
    }

    /// Backs the volume up while its guest runs; what was pulled, and the disk that comes of it.
    fn back_up(&self, qmp: &mut Qmp, volume: &Volume) -> Result<(Pulled, Vec<u8>)> {
        let disk = Disk::of(volume);
        let surveyed = survey(qmp, std::slice::from_ref(&disk), None)?;
        let published = published(&self.archive, &self.project, None, disk.id())?;
        let decided = vec![(disk, decide(&surveyed[0], &published, false))];
        let server = Server::Start(NbdAddress::Unix(self.path("nbd")));
        let settings = Settings::new(self.directory.path().into(), server);
        let point = Point::open(qmp, decided, &settings, None, &SystemEnvironment::new())?;
        let name = "nightly".into();
        let to = Destination {
            project: &self.project,
            key: None,
            name,
            labels: BTreeMap::new(),
            exceptions: Exceptions::default(),
        };
        let pulled = pull(&self.archive, &to, &point.offers()[0], &Unwatched)?;
        let closed = point.close(qmp, std::slice::from_ref(&self.id), None)?;
        ensure!(closed.broken.is_empty(), "{:?}", closed.broken);
        let id = pulled.image.id;
        let image = self.archive.view(id, Viewer::Project(&self.project), &|_| KeyOf::Open)?;
        let path = self.path(&id.to_string());
        self.archive.export(&image, &FileTarget::create(&path)?, &Unwatched)?;
        Ok((pulled, std::fs::read(path)?))
    }

    /// All of the volume, which no guest has open.
    fn contents(&self, host: &str, volume: &Volume) -> Result<Vec<u8>> {
        let secrets = volume.secrets(self.access(host)?.keys())?;
        let run = self.directory.path();
        let daemon = StorageDaemon::start_with(&volume.blockdev(), &secrets, run)?;
        let mut bytes = vec![0; usize::try_from(DISK)?];
        daemon.open()?.read(0, &mut bytes)?;
        daemon.end()?;
        Ok(bytes)
    }
}

fn volume(master: &Master, claim: &Claim, start: Start) -> Result<Volume, CloneError> {
    let clone = master.find_lun_clone(&claim.volume)?;
    clone.volume(master, Durability::Synchronous, HostCache::Direct, claim, start)
}

/// The last write of each place, by the numbers that were acknowledged in order.
fn last_writes(numbers: impl IntoIterator<Item = u64>) -> BTreeMap<u64, u64> {
    numbers.into_iter().map(|number| (number * 7 % 96, number)).collect()
}

/// What a target has of a LUN; the guest stands still.
fn stored(file: &Path) -> Result<Vec<u8>> {
    Ok(std::fs::read(file)?)
}

#[test]
fn a_guest_on_luns_is_backed_up_moved_and_stopped_hard_and_misses_nothing() -> Result<()> {
    retried(backed_up_moved_and_stopped)
}

fn backed_up_moved_and_stopped(consoles: &Path) -> Result<()> {
    let desk = Desk { consoles: consoles.into(), ..Desk::lay()? };
    let (here, there) = (desk.master("here")?, desk.master("there")?);
    here.clone_onto(&desk.lun(CLONE)?, &desk.id)?;
    let (host_here, host_there) = (HostName::parse("here")?, HostName::parse("there")?);
    let first = here.claim(&desk.id, &host_here)?;
    let volume_here = volume(&here, &first, Start::Cold)?;
    let mut guest = desk.machine("here", &volume_here, &[])?;
    let mut qmp_here = desk.qmp("here")?;
    until_written(&mut guest, 10)?;

    // An online backup: all that was acknowledged before is in it.
    let before = last_writes(acknowledged(&guest.log())?);
    let (full, disk) = desk.back_up(&mut qmp_here, &volume_here)?;
    ensure!(matches!(full.plan, Plan::Full(_)), "{:?}", full.plan);
    ensure!(missing_in(&disk, &before).is_empty());
    let written = acknowledged(&guest.log())?.len();
    until_written(&mut guest, written + 5)?;

    // Another hypervisor may not have it, until it is offered, and then only to wait.
    ensure!(there.claim(&desk.id, &host_there).is_err());
    let second = here.offer(&first, &host_there)?;
    for (master, claim) in [(&here, &first), (&there, &second)] {
        let refused = volume(master, claim, Start::Cold);
        ensure!(matches!(refused, Err(CloneError::NotOwner { .. })), "{refused:?}");
    }
    let volume_there = volume(&there, &second, Start::Incoming)?;
    // Who waits writes nothing: the LUN is byte for byte what the first one has left.
    qmp_here.execute("stop", json!({}))?;
    let file = desk.path(&format!("lun-{CLONE}"));
    let left = stored(&file)?;
    let to = MigrationAddress::Unix(desk.path("migration"));
    let mut moved = desk.machine("there", &volume_there, &["-S", "-incoming", "defer"])?;
    let mut qmp_there = desk.qmp("there")?;
    prepare(&mut qmp_there, &to)?;
    ensure!(stored(&file)? == left, "the QEMU that waits has written");
    qmp_here.execute("cont", json!({}))?;
    let disks = [Disk::of(&volume_here)];
    let usual = MigrationSettings::usual();
    let system = SystemEnvironment::new();
    let left_here = move_guest(&mut qmp_here, &disks, &to, &usual, &mut None, &system)?;
    ensure!(here.hand_over(&first, &host_there)? == second);
    let volumes = [(volume_there.clone(), Limits::default())];
    let settled = settle(&mut qmp_there, &volumes, &left_here)?;
    ensure!(settled.lost.is_empty(), "{settled:?}");
    guest.kill()?;
    ensure!(here.claim(&desk.id, &host_here).is_err());
    until_it_writes(&mut moved)?;
    until_written(&mut moved, 10)?;

    // Backed up there, too, while nothing is written; then it is stopped hard.
    qmp_there.execute("stop", json!({}))?;
    let (changed, disk) = desk.back_up(&mut qmp_there, &volume_there)?;
    ensure!(matches!(changed.plan, Plan::Incremental { .. }), "{:?}", changed.plan);
    let numbers = [&guest, &moved].map(|qemu| acknowledged(&qemu.log()));
    moved.kill()?;
    let owner = there.find_lun_clone(&desk.id)?.ownership().clone();
    ensure!(owner == Ownership::Held(second.owner.clone()), "{owner:?}");
    let contents = desk.contents("there", &volume(&there, &second, Start::Cold)?)?;
    let mut all = Vec::new();
    for numbers in numbers {
        all.extend(numbers?);
    }
    let missing = missing_in(&contents, &last_writes(all.iter().copied()));
    // One more may have been on its way, over the place of another.
    let next = all.last().map(|last| (last + 1) * 7 % 96);
    ensure!(missing.iter().all(|place| Some(*place) == next), "{missing:?} of {}", all.len());
    ensure!(contents == disk, "the backup differs from the volume");
    // The master is as it was, and its clone goes once it is nobody's.
    there.check()?;
    ensure!(there.remove_lun_clone(&desk.id).is_err());
    there.release(&second)?;
    there.remove_lun_clone(&desk.id)?;
    there.remove()?;
    Ok(())
}

#[test]
fn a_guest_waits_for_its_target_and_goes_on_when_that_is_back() -> Result<()> {
    let mut desk = Desk::lay()?;
    let master = desk.master("here")?;
    master.clone_onto(&desk.lun(CLONE)?, &desk.id)?;
    let claim = master.claim(&desk.id, &HostName::parse("here")?)?;
    let volume = volume(&master, &claim, Start::Cold)?;
    let mut guest = desk.machine("here", &volume, &[])?;
    until_written(&mut guest, 10)?;
    desk.target.kill();
    // Longer than it takes to write one more, many times; whether it waits can't be awaited.
    std::thread::sleep(Duration::from_secs(10));
    let waiting = acknowledged(&guest.log())?.len();
    std::thread::sleep(Duration::from_secs(5));
    ensure!(acknowledged(&guest.log())?.len() == waiting, "it wrote on without its target");
    desk.target.restart();
    until_written(&mut guest, waiting + 10)?;
    let numbers = acknowledged(&guest.log())?;
    guest.kill()?;
    let contents = desk.contents("here", &volume)?;
    let missing = missing_in(&contents, &last_writes(numbers.iter().copied()));
    let unsure: Vec<_> =
        (1..=3).filter_map(|more| Some((numbers.last()? + more) * 7 % 96)).collect();
    ensure!(missing.iter().all(|place| unsure.contains(place)), "{missing:?}");
    Ok(())
}

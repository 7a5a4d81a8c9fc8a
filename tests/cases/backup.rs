//! Backups of a real guest with two disks, which it writes in turn: its processors are held up for
//! an instant and no longer, and nothing that becomes of a backup holds them up again.
//!
//! Each block that it writes says its number, and none is written before the one before is on the
//! other disk. So a point in time of both has all numbers up to some one and none behind it, or it
//! is no point in time.

mod encrypted;
mod over_tls;

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use mezame_images::{
    archive::{
        Archive, ImageId, KeyOf, ProjectKey, Settings as ArchiveSettings, Unwatched, Viewer,
        Visible,
        store::{Store, memory::Memory},
        target::FileTarget,
    },
    backup::{
        disk::Disk,
        offer::Offer,
        plan::{Plan, decide},
        point::{Point, Server, Settings, survey},
        pull::{Destination, Exceptions, Pulled, published, pull},
    },
    encryption::VolumeKeys,
    environment::SystemEnvironment,
    nbd::NbdAddress,
    qmp::Qmp,
    volume::{Data, Durability, HostCache, Place, Volume, VolumeId},
};
use mezame_model::ProjectName;
use mezame_tests::{
    guest_image::{GuestImage, Start},
    process::{self, Background},
    wait::{self, A_BOOT},
};
use serde_json::json;

use crate::durability::guest::{acknowledged, module, repeated, until_written};

const BLOCK: usize = 4 << 10;
const DISK: u64 = 8 << 20;

/// A guest with two raw volumes, an archive, and who does both.
struct Desk {
    directory: tempfile::TempDir,
    guest: Background,
    qmp: Qmp,
    disks: Vec<Disk>,
    archive: Archive,
    project: ProjectName,
    /// The project's, if it is encrypted.
    key: Option<ProjectKey>,
}

impl Desk {
    fn lay() -> Result<Self> {
        Self::lay_by(process::command("qemu-system-x86_64"))
    }

    fn lay_by(qemu: Command) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let volumes = [volume(directory.path(), "one")?, volume(directory.path(), "two")?];
        let store = Arc::new(Memory::new());
        Self::lay_on(qemu, directory, &volumes, &VolumeKeys::none(), store)
    }

    /// A guest with these volumes, and an archive that is kept there.
    fn lay_on(
        mut qemu: Command,
        directory: tempfile::TempDir,
        volumes: &[Volume],
        keys: &VolumeKeys,
        store: Arc<dyn Store>,
    ) -> Result<Self> {
        let root = directory.path();
        let init = Path::new(env!("CARGO_MANIFEST_DIR")).join("../images/recipes/writer/init");
        let driver = module("virtio_blk.ko")?;
        let programs = [("init", init.as_path()), ("lib/modules/virtio_blk.ko", &driver)];
        let Start::Kernel { kernel, initrd } = GuestImage::small_with(&programs, root)?.start
        else {
            bail!("no kernel")
        };
        let monitor = root.join("qmp");
        qemu.args(["-machine", "q35", "-accel", "tcg", "-cpu", "max", "-smp", "1", "-m", "160"])
            .args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"])
            .args(["-serial", "stdio", "-qmp"])
            .arg(format!("unix:{},server=on,wait=off", monitor.display()))
            .arg("-kernel")
            .arg(kernel)
            .arg("-initrd")
            .arg(initrd)
            // On a busy host Linux finds its timer too slow at boot, and panics.
            .args(["-append", "console=ttyS0 quiet panic=-1 no_timer_check writer=disks after=0"]);
        for volume in volumes {
            volume.secrets(keys)?.attach(&mut qemu)?;
            qemu.args(["-blockdev", &volume.blockdev().to_string()]);
            qemu.args(["-device", &volume.device().to_string()]);
        }
        let guest = Background::start("the writing guest", &mut qemu, &root.join("console"))?;
        let stream = wait::until("QEMU's monitor", A_BOOT, || Ok(UnixStream::connect(&monitor)?))?;
        let qmp = Qmp::over(slowed(stream)?, Duration::from_secs(60))?;
        let disks = volumes.iter().map(|volume| Disk::of(volume).with_keys(keys)).collect();
        let environment = Arc::new(SystemEnvironment::new());
        let archive = Archive::create(store, environment, ArchiveSettings::default())?;
        let project = ProjectName::parse("acme")?;
        Ok(Self { directory, guest, qmp, disks, archive, project, key: None })
    }

    fn open(&mut self) -> Result<Point> {
        self.open_at(Server::Start(NbdAddress::Unix(self.directory.path().join("nbd"))))
    }

    fn open_at(&mut self, server: Server) -> Result<Point> {
        let surveys = survey(&mut self.qmp, &self.disks, None)?;
        let mut decided = Vec::new();
        for (disk, survey) in self.disks.iter().zip(&surveys) {
            let published = published(&self.archive, &self.project, self.key.as_ref(), disk.id())?;
            decided.push((disk.clone(), decide(survey, &published, false)));
        }
        let root = self.directory.path();
        let settings = Settings::new(root.into(), server);
        let environment = SystemEnvironment::new();
        Ok(Point::open(&mut self.qmp, decided, &settings, None, &environment)?)
    }

    fn pull(&self, offer: &Offer) -> Result<Pulled> {
        self.pull_with(offer, Exceptions::default())
    }

    fn pull_with(&self, offer: &Offer, exceptions: Exceptions) -> Result<Pulled> {
        let name = "nightly".into();
        let labels = BTreeMap::new();
        let (project, key) = (&self.project, self.key.as_ref());
        let to = Destination { project, key, name, labels, exceptions };
        Ok(pull(&self.archive, &to, offer, &Unwatched)?)
    }

    /// Pulls all disks; what they hold.
    fn pull_all(&self, point: &Point) -> Result<Vec<(Pulled, Vec<u8>)>> {
        let pulled = point.offers().iter().map(|offer| {
            let pulled = self.pull(offer)?;
            let bytes = self.restored(pulled.image.id)?;
            Ok((pulled, bytes))
        });
        pulled.collect()
    }

    fn visible(&self, image: ImageId) -> Result<Visible> {
        let key = |_: &ProjectName| self.key.clone().map_or(KeyOf::Open, KeyOf::Key);
        Ok(self.archive.view(image, Viewer::Project(&self.project), &key)?)
    }

    fn restored(&self, image: ImageId) -> Result<Vec<u8>> {
        let path = self.directory.path().join(image.to_string());
        self.archive.export(&self.visible(image)?, &FileTarget::create(&path)?, &Unwatched)?;
        Ok(std::fs::read(path)?)
    }

    fn written(&self) -> Result<u64> {
        Ok(acknowledged(&self.guest.log())?.last().copied().unwrap_or(0))
    }

    fn all(&self) -> Vec<VolumeId> {
        self.disks.iter().map(|disk| disk.id().clone()).collect()
    }
}

/// A way to QEMU on which each disk's switch takes as long as several of the guest's writes: two
/// disks that are switched one after the other are far apart.
fn slowed(qemu: UnixStream) -> Result<UnixStream> {
    let (ours, theirs) = UnixStream::pair()?;
    let (commands, mut replies) = (BufReader::new(theirs.try_clone()?), theirs);
    let (mut to, mut from) = (qemu.try_clone()?, qemu);
    std::thread::spawn(move || {
        for line in commands.lines().map_while(Result::ok) {
            if line.contains("qom-set") {
                std::thread::sleep(Duration::from_millis(150));
            }
            // QEMU may have ended.
            if writeln!(to, "{line}").is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
    std::thread::spawn(move || std::io::copy(&mut from, &mut replies));
    Ok(ours)
}

/// A raw volume, full of what the guest never writes.
fn volume(root: &Path, name: &str) -> Result<Volume> {
    let path: PathBuf = root.join(name);
    std::fs::write(&path, repeated("nothing yet", usize::try_from(DISK)?))?;
    let data = Data::Plain(Place::File(path));
    Ok(Volume::new(VolumeId::parse(name)?, data, Durability::Plain, HostCache::Direct)?)
}

/// The last number of what the guest had written, if there is none behind the first that is missing.
fn last_of(disks: &[Vec<u8>]) -> Result<u64> {
    let is_there = |number: u64| {
        let (disk, place) = (number % 2, usize::try_from(number / 2).unwrap_or(usize::MAX));
        let there = &disks[usize::from(disk == 1)][place * BLOCK..(place + 1) * BLOCK];
        there == &repeated(&format!("disk {disk} write {number}"), BLOCK)[..]
    };
    let most = DISK / BLOCK as u64 * 2 - 1;
    let last = (1..=most).take_while(|number| is_there(*number)).count() as u64;
    let behind = (last + 1..=most).find(|number| is_there(*number));
    ensure!(behind.is_none(), "{last} is the last of those in order, but {behind:?} is there too");
    Ok(last)
}

#[test]
fn both_disks_of_a_guest_are_of_one_instant_while_it_writes() -> Result<()> {
    let mut desk = Desk::lay()?;
    until_written(&mut desk.guest, 10)?;
    for round in 0..3 {
        // Each time at another moment between two writes.
        let already = usize::try_from(desk.written()?)?;
        until_written(&mut desk.guest, already + 5)?;
        std::thread::sleep(Duration::from_millis(7 * round));
        let before = desk.written()?;
        let point = desk.open()?;
        let after = desk.written()?;
        let pulled = desk.pull_all(&point)?;
        let is_full = |pulled: &Pulled| matches!(pulled.plan, Plan::Full(_));
        ensure!(pulled.iter().all(|(pulled, _)| is_full(pulled) == (round == 0)));
        let disks: Vec<_> = pulled.iter().map(|(_, bytes)| bytes.clone()).collect();
        let last = last_of(&disks)?;
        // One more may be done without our having read of it.
        ensure!((before..=after + 2).contains(&last), "{last}, not of {before} to {after}");
        println!(
            "of {last} writes; stopped for {:?}; moved {:?}",
            point.held().stopped,
            pulled.iter().map(|(pulled, _)| pulled.moved).collect::<Vec<_>>()
        );
        // It wrote on.
        ensure!(desk.written()? > last);
        let all = desk.all();
        let closed = point.close(&mut desk.qmp, &all, None)?;
        ensure!(closed.broken.is_empty());
    }
    Ok(())
}

#[test]
fn a_puller_that_is_killed_holds_up_no_guest_and_the_next_backup_is_right() -> Result<()> {
    let mut desk = Desk::lay()?;
    until_written(&mut desk.guest, 10)?;
    let point = desk.open()?;
    desk.pull_all(&point)?;
    let all = desk.all();
    point.close(&mut desk.qmp, &all, None)?;
    let point = desk.open()?;
    let NbdAddress::Unix(socket) = &point.offers()[0].address else { bail!("no UNIX socket") };
    let mut pullers = Vec::new();
    for offer in point.offers() {
        let from = format!(
            "driver=nbd,server.type=unix,server.path={},export={}",
            socket.display(),
            offer.export
        );
        let to = desk.directory.path().join(format!("{}.pulled", offer.volume));
        let mut convert = process::command("qemu-img");
        // So slowly that it does not end by itself.
        convert.args(["convert", "-r", "64K", "-O", "raw", "--image-opts", &from]).arg(&to);
        let log = desk.directory.path().join(format!("{}.log", offer.volume));
        pullers.push(Background::start("who pulls", &mut convert, &log)?);
    }
    let held = |desk: &mut Desk, what: &str| -> Result<()> {
        let (before, begin) = (desk.written()?, Instant::now());
        until_written(&mut desk.guest, usize::try_from(before)? + 20)?;
        println!("20 writes {what}: {:?}", begin.elapsed());
        Ok(())
    };
    held(&mut desk, "while two pull")?;
    for puller in &mut pullers {
        puller.ensure_running().context("it was to be killed in the middle")?;
        puller.kill()?;
    }
    held(&mut desk, "after both were killed")?;
    point.close(&mut desk.qmp, &[], None)?;
    held(&mut desk, "after the point in time was closed")?;
    let point = desk.open()?;
    let pulled = desk.pull_all(&point)?;
    point.close(&mut desk.qmp, &all, None)?;
    ensure!(pulled.iter().all(|(pulled, _)| matches!(pulled.plan, Plan::Incremental { .. })));
    let disks: Vec<_> = pulled.iter().map(|(_, bytes)| bytes.clone()).collect();
    let last = last_of(&disks)?;
    // The guest stands still at last: the disks' own files are what a backup of them says.
    desk.qmp.execute("stop", json!({}))?;
    let point = desk.open()?;
    let pulled = desk.pull_all(&point)?;
    point.close(&mut desk.qmp, &all, None)?;
    desk.guest.kill()?;
    for (name, (pulled, bytes)) in ["one", "two"].iter().zip(&pulled) {
        ensure!(matches!(pulled.plan, Plan::Incremental { .. }), "{:?}", pulled.plan);
        let same = std::fs::read(desk.directory.path().join(name))? == *bytes;
        ensure!(same, "the backup of {name} differs from its file");
    }
    let disks: Vec<_> = pulled.into_iter().map(|(_, bytes)| bytes).collect();
    ensure!(last_of(&disks)? >= last);
    Ok(())
}

//! Backups of a real guest that writes to ext4, frozen by its agent: our own, by the metadata-server,
//! and QEMU's, by a serial port. What is backed up while it is frozen needs no journal; and whatever
//! becomes of those who froze it, it writes on.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use mezame_images::{
    archive::{
        Archive, KeyOf, Settings as ArchiveSettings, Unwatched, Viewer, store::memory::Memory,
        target::FileTarget,
    },
    backup::{
        disk::Disk,
        freeze::{
            Consistency, CrashReason, Freeze, metadata_server::MetadataServer,
            qemu_agent::QemuAgent,
        },
        plan::decide,
        point::{Held, Point, Server, Settings, survey},
        pull::{Destination, Exceptions, published, pull},
    },
    environment::SystemEnvironment,
    nbd::NbdAddress,
    qmp::Qmp,
    volume::{Data, Durability, HostCache, Place, Volume, VolumeId},
};
use mezame_model::{InstanceId, ProjectName};
use mezame_tests::{
    Lab,
    guest_image::{GuestImage, cached},
    process::{self, tail},
    qemu::{Machine, QemuGuest},
    wait::{self, A_BOOT, SOON},
};
use serde_json::{Value, json};

use crate::{
    durability::guest::{acknowledged, module},
    seeds::{self, MAC},
};

/// No freeze is longer than this, here: the longest that there is, since a machine in software emulation
/// is slow beside others.
const BOUND: Duration = Duration::from_secs(60);

/// A guest that writes, and who backs it up.
struct Desk {
    guest: QemuGuest,
    qmp: Qmp,
    disk: Disk,
    archive: Archive,
    project: ProjectName,
    lab: Lab,
}

impl Desk {
    /// With this agent and this hook, or none.
    fn lay(agent: &str, hook: &str) -> Result<Self> {
        let lab = Lab::start()?;
        lab.operator.apply(&seeds::tenant(
            "tenant-a",
            1000,
            "tapa",
            &json!({ "dialects": ["mezame"] }),
        ))?;
        let root = lab.directory().to_path_buf();
        let volume = ext4(&root)?;
        let (monitor, serial) = (root.join("qmp"), root.join("qga"));
        let words = [
            "-qmp".into(),
            format!("unix:{},server=on,wait=off", monitor.display()),
            "-chardev".into(),
            format!("socket,id=qga,path={},server=on,wait=off", serial.display()),
            "-device".into(),
            "virtio-serial".into(),
            "-device".into(),
            "virtserialport,chardev=qga,name=org.qemu.guest_agent.0".into(),
            "-blockdev".into(),
            volume.blockdev().to_string(),
            "-device".into(),
            volume.device().to_string(),
        ];
        let machine = Machine {
            command_line: format!("agent={agent} hook={hook}"),
            words: words.into(),
            ..Machine::new("frozen", MAC)
        };
        let image = image(&lab)?;
        let tap = lab.tap("tapa")?;
        let guest = QemuGuest::boot(&lab.hypervisor, &image, &machine, tap, &root)?;
        let qmp = wait::until("QEMU's monitor", A_BOOT, || {
            Ok(Qmp::connect(&monitor, Duration::from_secs(60))?)
        })?;
        let environment = Arc::new(SystemEnvironment::new());
        let archive =
            Archive::create(Arc::new(Memory::new()), environment, ArchiveSettings::default())?;
        let project = ProjectName::parse("acme")?;
        let desk = Self { guest, qmp, disk: Disk::of(&volume), archive, project, lab };
        desk.until_written(5)?;
        Ok(desk)
    }

    fn written(&self) -> Result<u64> {
        written(&self.guest)
    }

    /// Waits until so many writes were acknowledged.
    fn until_written(&self, count: u64) -> Result<()> {
        until_written(&self.guest, count)
    }

    fn ports(&self) -> Result<Value> {
        self.lab.server.as_ref().context("a server")?.local("/ports")?.json()
    }

    /// Our own agent, which waits for orders.
    fn ours(&self) -> Result<MetadataServer> {
        let socket = self.lab.place.run().join("freeze.sock");
        let ports = self.ports()?;
        let id = ports[0]["instance"].as_str().context("the port's instance")?;
        Ok(MetadataServer::at(&socket, InstanceId::parse(id)?))
    }

    /// Waits until the agent in the guest watches its document and waits for orders.
    fn until_obedient(&self) -> Result<()> {
        wait::until("an agent that waits for orders", A_BOOT, || {
            let watches = self.ports()?[0]["watches"].as_u64();
            ensure!(watches == Some(2), "{watches:?}: {}", tail(&self.guest.console(), 10));
            Ok(())
        })
    }

    /// Backs the disk up: how consistent it is, how long the guest was held, and the image in a file.
    fn back_up(&mut self, agent: Option<&dyn Freeze>) -> Result<(Consistency, Held, PathBuf)> {
        let disks = [self.disk.clone()];
        let survey = survey(&mut self.qmp, &disks, agent)?.remove(0);
        let known = published(&self.archive, &self.project, None, self.disk.id())?;
        let decided = vec![(self.disk.clone(), decide(&survey, &known, false))];
        let root = self.lab.directory();
        let server = Server::Start(NbdAddress::Unix(root.join("nbd")));
        let settings = Settings { freeze: BOUND, ..Settings::new(root.into(), server) };
        let environment = SystemEnvironment::new();
        let point = Point::open(&mut self.qmp, decided, &settings, agent, &environment)?;
        let (held, offer) = (point.held(), point.offers()[0].clone());
        let name = "nightly".into();
        let (labels, exceptions) = (BTreeMap::new(), Exceptions::default());
        let to = Destination { project: &self.project, key: None, name, labels, exceptions };
        let record = pull(&self.archive, &to, &offer, &Unwatched)?.image;
        let detail = record.detail.context("an open image")?;
        let label = detail.labels.get("backup.consistency").map(String::as_str);
        ensure!(label == Some(offer.consistency.name()), "{label:?}");
        let image =
            self.archive.view(record.id, Viewer::Project(&self.project), &|_| KeyOf::Open)?;
        let path = root.join(format!("{}.raw", record.id));
        self.archive.export(&image, &FileTarget::create(&path)?, &Unwatched)?;
        point.close(&mut self.qmp, &[self.disk.id().clone()], agent)?;
        Ok((offer.consistency, held, path))
    }

    /// That it writes on.
    fn writes_on(&self) -> Result<()> {
        self.until_written(self.written()? + 5)
    }

    /// That it stands still: not one write in a second.
    fn stands_still(&self) -> Result<()> {
        // One may have been under way, and be told of a while later.
        std::thread::sleep(Duration::from_secs(2));
        let before = self.written()?;
        std::thread::sleep(Duration::from_secs(1));
        ensure!(self.written()? == before, "it writes though it is frozen");
        Ok(())
    }
}

/// A volume with an ext4 on it.
fn ext4(root: &Path) -> Result<Volume> {
    let path = root.join("disk");
    std::fs::File::create(&path)?.set_len(96 << 20)?;
    process::succeed(process::command("mkfs.ext4").arg("-qF").arg(&path))?;
    let data = Data::Plain(Place::File(path));
    Ok(Volume::new(VolumeId::parse("disk")?, data, Durability::Plain, HostCache::Direct)?)
}

/// The number of the guest's last acknowledged write; 0 before the first.
pub(crate) fn written(guest: &QemuGuest) -> Result<u64> {
    Ok(acknowledged(&guest.console())?.last().copied().unwrap_or(0))
}

/// Waits until so many of the guest's writes were acknowledged.
pub(crate) fn until_written(guest: &QemuGuest, count: u64) -> Result<()> {
    wait::until("acknowledged writes", A_BOOT, || {
        let written = written(guest)?;
        ensure!(written >= count, "{written}: {}", tail(&guest.console(), 10));
        Ok(())
    })
}

/// The guest with both agents in it.
pub(crate) fn image(lab: &Lab) -> Result<GuestImage> {
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("../images/recipes/freezing");
    let mut files = vec![
        ("init".to_owned(), recipe.join("init")),
        ("bin/guest-agent".into(), lab.binaries.agent.clone()),
        ("lib/modules/virtio_blk.ko".into(), module("virtio_blk.ko")?),
        ("lib/modules/virtio_console.ko".into(), module("virtio_console.ko")?),
    ];
    for hook in ["fails", "kills-agent", "kills-both", "kills-helper", "quiets"] {
        files.push((format!("hooks/{hook}"), recipe.join("hooks").join(hook)));
    }
    let others = cached("qemu-agent", "test")?;
    let found = process::output(process::command("find").arg(&others).args(["-type", "f"]))?;
    for file in found.lines().map(PathBuf::from) {
        let inside = file.strip_prefix(&others)?.to_str().context("a name in UTF-8")?;
        files.push((inside.to_owned(), file));
    }
    let files: Vec<_> = files.iter().map(|(there, here)| (there.as_str(), &**here)).collect();
    GuestImage::small_with(&files, lab.directory())
}

/// Whether the image's journal is to be replayed; an error, where its file system is not whole.
pub(crate) fn needs_recovery(image: &Path) -> Result<bool> {
    let superblock = process::output(process::command("dumpe2fs").arg("-h").arg(image))?;
    let needs_recovery = superblock.contains("needs_recovery");
    if !needs_recovery {
        // 0: nothing was to be mended.
        process::succeed(process::command("e2fsck").args(["-f", "-n"]).arg(image))?;
    }
    Ok(needs_recovery)
}

/// The text of one of the image's files; an empty one, where it is not there.
fn content(image: &Path, name: &str) -> Result<String> {
    let cat = format!("cat {name}");
    process::output(process::command("debugfs").args(["-R", &cat]).arg(image))
}

/// How many of the files up to this number the image has whole.
pub(crate) fn whole_files(image: &Path, last: u64) -> Result<u64> {
    let mut whole = 0;
    for number in 1..=last {
        let text = content(image, &format!("f{number}"))?;
        let line = format!("file {number}\n");
        whole += u64::from(text == line.repeat(16384 / line.len() + 1)[..16384]);
    }
    Ok(whole)
}

fn backed_up_whole(desk: &mut Desk, agent: &dyn Freeze) -> Result<()> {
    let before = desk.written()?;
    let begin = Instant::now();
    let (consistency, held, image) = desk.back_up(Some(agent))?;
    ensure!(consistency == Consistency::Application, "{consistency:?}");
    println!("frozen for {:?}; all of the backup took {:?}", held.frozen, begin.elapsed());
    ensure!(!held.frozen.is_zero() && held.frozen < BOUND);
    ensure!(!needs_recovery(&image)?, "its journal has to be replayed");
    let whole = whole_files(&image, before)?;
    ensure!(whole == before, "{whole} of the {before} files that were acknowledged are whole");
    desk.writes_on()
}

#[test]
fn a_guest_that_our_agent_freezes_is_backed_up_without_a_need_of_its_journal() {
    let mut desk = Desk::lay("ours", "").unwrap();
    desk.until_obedient().unwrap();
    let agent = desk.ours().unwrap();
    backed_up_whole(&mut desk, &agent).unwrap();
    // What the above would be without.
    let (consistency, held, image) = desk.back_up(None).unwrap();
    assert_eq!(consistency, Consistency::Crash(CrashReason::NoAgent));
    assert!(held.frozen.is_zero() && needs_recovery(&image).unwrap());
    // Its time is over, and nobody says anything.
    agent.freeze(Duration::from_secs(15)).unwrap();
    desk.stands_still().unwrap();
    desk.writes_on().unwrap();
    assert!(!agent.thaw().unwrap(), "it had thawed by itself");
    // Who froze it is gone.
    agent.freeze(Duration::from_secs(60)).unwrap();
    desk.stands_still().unwrap();
    let begin = Instant::now();
    drop(agent);
    desk.writes_on().unwrap();
    assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
    desk.until_obedient().unwrap();
    let agent = desk.ours().unwrap();
    backed_up_whole(&mut desk, &agent).unwrap();
}

#[test]
fn hooks_are_called_before_a_guest_is_frozen_and_after_it_has_thawed() {
    let mut desk = Desk::lay("ours", "quiets").unwrap();
    desk.until_obedient().unwrap();
    let agent = desk.ours().unwrap();
    let (consistency, _, image) = desk.back_up(Some(&agent)).unwrap();
    assert_eq!(consistency, Consistency::Application);
    // What it has written unsynced before is in the image, and what it does afterwards is not.
    assert!(!needs_recovery(&image).unwrap());
    let quiet = content(&image, "quiet").unwrap();
    assert!(quiet.starts_with("quiet since "), "{quiet:?}");
    wait::until("the hook after the thaw", A_BOOT, || {
        let console = desk.guest.console();
        let told: Vec<_> =
            console.lines().filter_map(|it| it.trim().strip_prefix("hook: ")).collect();
        ensure!(told == ["freeze", "thaw"], "{told:?}");
        Ok(())
    })
    .unwrap();
    desk.writes_on().unwrap();
}

#[test]
fn a_guest_goes_on_when_its_agent_or_its_helper_or_both_are_killed_while_it_is_frozen() {
    for hook in ["kills-agent", "kills-helper", "kills-both"] {
        let desk = Desk::lay("ours", hook).unwrap();
        desk.until_obedient().unwrap();
        let agent = desk.ours().unwrap();
        agent.freeze(Duration::from_secs(60)).unwrap();
        let begin = Instant::now();
        desk.writes_on().unwrap();
        let took = begin.elapsed();
        println!("{hook}: it wrote on after {took:?}");
        assert!(took < Duration::from_secs(45), "{took:?}");
        let console = desk.guest.console();
        let is_killed = console.contains("the agent ended with 137");
        assert_eq!(is_killed, hook != "kills-helper", "{}", tail(&console, 20));
        // By its helper, by itself, or by the next one, whose state is frozen.
        let by_the_next = console.contains("that an agent had left frozen were thawed: 1");
        assert_eq!(by_the_next, hook == "kills-both", "{}", tail(&console, 20));
        // And it can be frozen again.
        desk.until_obedient().unwrap();
    }
}

#[test]
fn without_a_freeze_the_backup_is_as_after_a_power_cut_and_says_why() {
    let why = |hook: &str, agent: &str| {
        let mut desk = Desk::lay(agent, hook).unwrap();
        if agent == "ours" {
            desk.until_obedient().unwrap();
        } else {
            wait::until("the port", SOON, || desk.ours().map(drop)).unwrap();
        }
        let ours = desk.ours().unwrap();
        let (consistency, _, image) = desk.back_up(Some(&ours)).unwrap();
        assert!(needs_recovery(&image).unwrap());
        desk.writes_on().unwrap();
        match consistency {
            Consistency::Crash(CrashReason::NotFrozen(why)) => Ok(why),
            other => bail!("{other:?}"),
        }
    };
    let failed = why("fails", "ours").unwrap();
    assert!(failed.contains("the hook /etc/mezame/freeze-hooks.d/10-test failed"), "{failed}");
    // A link to nothing is no hook that is passed over.
    let lost = why("lost", "ours").unwrap();
    assert!(lost.contains("freeze-hooks.d/10-test: No such file"), "{lost}");
    assert_eq!(why("", "none").unwrap(), "no agent in the guest asks for orders");
}

#[test]
fn a_guest_that_qemus_agent_freezes_is_backed_up_without_a_need_of_its_journal() {
    let mut desk = Desk::lay("qemu-ga", "").unwrap();
    let agent = QemuAgent::at(&desk.lab.directory().join("qga"));
    wait::until("qemu-ga", A_BOOT, || Ok(agent.freeze(Duration::from_secs(5))?)).unwrap();
    desk.stands_still().unwrap();
    assert!(agent.thaw().unwrap());
    desk.writes_on().unwrap();
    backed_up_whole(&mut desk, &agent).unwrap();
    // A process that was killed has left it frozen; the next one thaws it.
    agent.freeze(BOUND).unwrap();
    drop(agent);
    desk.stands_still().unwrap();
    let next = QemuAgent::at(&desk.lab.directory().join("qga"));
    assert!(next.thaw().unwrap());
    desk.writes_on().unwrap();
}

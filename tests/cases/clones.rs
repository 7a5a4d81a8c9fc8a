//! Ten clones of one master boot at once as guests, each behind its own tap and port, and each
//! becomes what the service says that it is.
//!
//! The master is the small guest's whole system on ext4; a guest's initramfs finds the disk and hands
//! over to it. What the service makes of a guest is written to its disk, so QEMU is killed in the end,
//! and each clone must have its own guest's marks, and the master none.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use mezame_images::{
    clone::{InstantClone, Master, Pool},
    volume::{Durability, Format, HostCache, VolumeId},
};
use mezame_model::report::{Outcome, Report};
use mezame_tests::{
    Lab,
    guest_image::{GuestImage, cached},
    operator::{instance, network, port, project},
    process::{self, tail},
    qemu::{Machine, QemuGuest},
    ssh::{Key, Login, SshTarget},
    tenant::Tenant,
    wait::{self, A_BOOT, SOON},
};
use serde_json::{Value, json};

use crate::durability::guest::module;

const GUESTS: u8 = 10;
const DISK: u64 = 64 << 20;
/// What the master has that no guest was told.
const MADE_OF: &str = "the one master";
/// Ten boots on two processors, with whatever else is done on them.
const ALL_BOOTS: Duration = A_BOOT.saturating_mul(2);

/// One of the guests, by its number.
struct Sibling {
    name: String,
    number: u8,
    key: Key,
}

impl Sibling {
    fn new(number: u8, directory: &Path) -> Result<Self> {
        let name = format!("clone-{number}");
        let key = Key::generate(directory, &name)?;
        Ok(Self { name, number, key })
    }

    fn mac(&self) -> String {
        format!("52:54:00:00:01:{:02x}", self.number)
    }

    fn address(&self) -> String {
        format!("192.168.0.{}", 10 + self.number)
    }

    fn tap(&self) -> String {
        format!("clone{}", self.number)
    }

    fn documents(&self) -> Result<[Value; 2]> {
        let (mac, address, tap) = (self.mac(), self.address(), self.tap());
        let port = port("fleet", &self.name, "lan", &mac, &[&address], &tap);
        let script = format!("#!/bin/sh\necho '{}' >/var/lib/own\nsync\n", self.mark());
        let more = json!({
            "hostname": self.name, "ssh_keys": [self.key.public()?], "user_data": script,
            "tokens": "required",
        });
        Ok([port, instance("fleet", &self.name, &self.name, &more)])
    }

    fn mark(&self) -> String {
        format!("the disk of {}", self.name)
    }

    fn boot(
        &self,
        lab: &Lab,
        tenant: &Tenant,
        disk: &InstantClone,
        image: &GuestImage,
    ) -> Result<QemuGuest> {
        let tap = lab.tap(&self.tap())?;
        tenant.plug(&self.tap())?;
        let volume = disk.volume(Durability::default(), HostCache::Direct)?;
        let mut machine = Machine::new(&self.name, &self.mac());
        machine.memory = 160;
        machine.words =
            ["-blockdev", &volume.blockdev().to_string(), "-device", &volume.device().to_string()]
                .map(String::from)
                .into();
        QemuGuest::boot(&lab.hypervisor, image, &machine, tap, lab.directory())
    }

    /// What it told the operator, as soon as it is configured.
    fn report(&self, lab: &Lab, guest: &mut QemuGuest, until: Instant) -> Result<Report> {
        let bound = until.saturating_duration_since(Instant::now());
        wait::until(&format!("the report of {}", self.name), bound, || {
            guest.ensure_running()?;
            let newest = lab.operator.reports("fleet", &self.name)?.into_iter().next();
            let newest = newest.with_context(|| tail(&guest.console(), 20))?.report;
            ensure!(newest.outcome == Outcome::Done, "{newest:?}");
            Ok(newest)
        })
    }
}

/// The small guest's system with this agent, as a disk.
fn system(agent: &Path, directory: &Path) -> Result<PathBuf> {
    let (tree, image) = (directory.join("tree"), directory.join("system.raw"));
    fs::create_dir(&tree)?;
    let archive = cached("small-guest", "demo")?.join("initramfs");
    let unpack =
        "exec cpio --extract --make-directories --preserve-modification-time --quiet <\"$1\"";
    process::succeed(
        process::command("sh").args(["-euc", unpack, "sh"]).arg(archive).current_dir(&tree),
    )?;
    fs::copy(agent, tree.join("bin/guest-agent"))?;
    fs::create_dir_all(tree.join("var/lib"))?;
    fs::write(tree.join("etc/made-of"), format!("{MADE_OF}\n"))?;
    fs::File::create(&image)?.set_len(DISK)?;
    process::succeed(process::command("mkfs.ext4").args(["-qF", "-d"]).arg(&tree).arg(&image))?;
    fs::remove_dir_all(tree)?;
    Ok(image)
}

/// What is at a path of a disk that was stopped hard; nothing where there is no such file.
fn file_of(raw: &Path, path: &str) -> Result<String> {
    // The journal is replayed in user space, and nothing is mounted.
    let checked = process::run(process::command("e2fsck").arg("-fy").arg(raw))?;
    ensure!(matches!(checked.status.code(), Some(0 | 1)), "{checked:?}");
    process::output(process::command("debugfs").args(["-R", &format!("cat {path}")]).arg(raw))
}

/// A clone whose QEMU was killed, as a raw file.
fn read(clone: &InstantClone, directory: &Path) -> Result<PathBuf> {
    clone.recover(HostCache::Direct, directory)?;
    let raw = directory.join(format!("{}.read", clone.id()));
    let mut convert = process::command("qemu-img");
    convert.args(["convert", "-f", "qcow2", "-O", "raw"]).arg(clone.path()).arg(&raw);
    process::succeed(&mut convert)?;
    Ok(raw)
}

#[test]
fn ten_clones_of_one_master_boot_at_once_and_each_is_configured_as_its_own() {
    let pool = tempfile::tempdir().unwrap();
    let disks = pool.path();
    let lab = Lab::start().unwrap();
    let siblings: Vec<Sibling> =
        (0..GUESTS).map(|number| Sibling::new(number, lab.directory()).unwrap()).collect();
    let mut documents = vec![project("fleet"), network("fleet", "lan", 1000, "192.168.0.0/24")];
    documents.extend(siblings.iter().flat_map(|it| it.documents().unwrap()));
    lab.operator.apply(&documents).unwrap();
    let image = system(&lab.binaries.agent, disks).unwrap();
    let master = Master::seal(&image, Format::Raw, &disks.join("master")).unwrap();
    let ids: Vec<VolumeId> = siblings.iter().map(|it| VolumeId::parse(&it.name).unwrap()).collect();
    let clones = master.clone_into(&Pool::create(disks).unwrap(), &ids).unwrap();

    let tenant = Tenant::create(&lab.hypervisor, 1000, "192.168.0.1/24").unwrap();
    let driver = module("virtio_blk.ko").unwrap();
    let init = Path::new(env!("CARGO_MANIFEST_DIR")).join("../images/recipes/cloned/init");
    let programs = [("init", init.as_path()), ("lib/modules/virtio_blk.ko", &driver)];
    let start = GuestImage::small_with(&programs, lab.directory()).unwrap();
    let begin = Instant::now();
    let mut guests: Vec<QemuGuest> = siblings
        .iter()
        .zip(&clones)
        .map(|(sibling, clone)| sibling.boot(&lab, &tenant, clone, &start).unwrap())
        .collect();
    let mut host_keys = Vec::new();
    for (sibling, guest) in siblings.iter().zip(&mut guests) {
        let report = sibling.report(&lab, guest, begin + ALL_BOOTS).unwrap();
        host_keys.push(report.host_keys.into_iter().map(|it| it.public_key).collect::<Vec<_>>());
    }
    println!("ten guests are configured after {:.1} s", begin.elapsed().as_secs_f64());

    for (at, sibling) in siblings.iter().enumerate() {
        assert!(!host_keys[at].is_empty());
        let is_own = |other: usize| other == at || host_keys[other] != host_keys[at];
        assert!((0..host_keys.len()).all(is_own), "{} has another's host key", sibling.name);
        let mut server = SshTarget::new(tenant.machine(), &sibling.address(), lab.directory());
        server.believe(&host_keys[at], &sibling.name).unwrap();
        let command = "hostname; cat /etc/made-of /var/lib/own; grep ' / ' /proc/mounts";
        let said = server.until_in("root", &sibling.key, command, SOON).unwrap();
        let wanted = format!("{}\n{MADE_OF}\n{}\n/dev/vda / ext4 ", sibling.name, sibling.mark());
        assert!(said.contains(&wanted), "{said}");
        let other = &siblings[(at + 1) % siblings.len()].key;
        assert_eq!(server.with_key("root", other, "id").unwrap(), Login::Refused);
    }
    // With -9, all of them.
    drop(guests);
    for (sibling, clone) in siblings.iter().zip(&clones) {
        let raw = read(clone, disks).unwrap();
        assert_eq!(file_of(&raw, "/var/lib/own").unwrap(), format!("{}\n", sibling.mark()));
        assert_eq!(file_of(&raw, "/etc/made-of").unwrap(), format!("{MADE_OF}\n"));
        fs::remove_file(raw).unwrap();
        let taken = fs::metadata(clone.path()).unwrap().blocks() * 512;
        println!("{} takes {} KiB", sibling.name, taken >> 10);
        assert!(taken < DISK / 4, "{taken} bytes");
    }
    // Nobody wrote to what all of them share.
    master.check().unwrap();
    let copy = disks.join("master.read");
    fs::copy(master.backing().place.path().unwrap(), &copy).unwrap();
    assert_eq!(file_of(&copy, "/var/lib/own").unwrap(), "");
}

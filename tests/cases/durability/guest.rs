//! A real guest that writes to its disk, and QEMU killed under it: blocks past its cache without a
//! flush, as `dd` does, and files on ext4 that it syncs.
//!
//! The guest is Linux with busybox (`images/recipes/writer`), and says on its console what was
//! acknowledged. It is started again after each stop, on what the stop has left.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use mezame_images::{
    clone::{InstantClone, Master},
    qmp::Qmp,
    volume::{
        Durability, Format, HostCache, Loss, Volume, VolumeId,
        flusher::{self, Flusher},
    },
};
use mezame_tests::{
    guest_image::{GuestImage, Start, cached},
    process::{self, Background},
    wait::{self, A_BOOT},
};

use super::{driver::Numbers, second, seed, stops};

const BLOCK: usize = 64 << 10;
const FILE: usize = 16 << 10;
const DISK: u64 = 16 << 20;

/// How a guest writes.
#[derive(Debug, Clone, Copy)]
enum Writes {
    Blocks,
    Files,
}

impl Writes {
    fn word(self) -> &'static str {
        match self {
            Self::Blocks => "blocks",
            Self::Files => "files",
        }
    }
}

/// A volume, the guest's system, and what the guest was told so far.
struct Desk {
    directory: tempfile::TempDir,
    image: GuestImage,
    clone: InstantClone,
    class: Durability,
    writes: Writes,
    /// The last number that the guest may have used.
    number: u64,
}

impl Desk {
    fn lay(class: Durability, writes: Writes) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let root = directory.path();
        let image = root.join("image");
        std::fs::File::create(&image)?.set_len(DISK)?;
        if let Writes::Files = writes {
            process::succeed(process::command("mkfs.ext4").arg("-qF").arg(&image))?;
        } else {
            // What the guest's blocks would read as if they were lost.
            std::fs::write(&image, repeated("the master", usize::try_from(DISK)?))?;
        }
        let master = Master::seal(&image, Format::Raw, &root.join("master"))?;
        let clone = master.clone_into(root, &[VolumeId::parse("disk")?])?.remove(0);
        let module = module("virtio_blk.ko")?;
        let init = Path::new(env!("CARGO_MANIFEST_DIR")).join("../images/recipes/writer/init");
        let programs = [("init", init.as_path()), ("lib/modules/virtio_blk.ko", &module)];
        let image = GuestImage::small_with(&programs, root)?;
        Ok(Self { directory, image, clone, class, writes, number: 0 })
    }

    fn volume(&self) -> Result<Volume> {
        Ok(self.clone.volume(self.class, HostCache::Direct)?)
    }

    /// Starts the guest, kills QEMU at some moment after its tenth write, and gives the numbers
    /// that were acknowledged.
    fn stop_once(&mut self, numbers: &mut Numbers) -> Result<Vec<u64>> {
        let root = self.directory.path();
        if self.class.needs_recovery() {
            self.clone.recover(HostCache::Direct, root)?;
        }
        let volume = self.volume()?;
        let Start::Kernel { kernel, initrd } = &self.image.start else { bail!("no kernel") };
        let monitor = root.join("qmp");
        let mut qemu = process::command("qemu-system-x86_64");
        qemu.args(["-machine", "q35", "-accel", "tcg", "-cpu", "max", "-smp", "1", "-m", "160"])
            .args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"])
            .args(["-serial", "stdio", "-qmp"])
            .arg(format!("unix:{},server=on,wait=off", monitor.display()))
            .arg("-kernel")
            .arg(kernel)
            .arg("-initrd")
            .arg(initrd)
            .arg("-append")
            .arg(format!(
                "console=ttyS0 quiet panic=-1 writer={} after={}",
                self.writes.word(),
                self.number
            ))
            .args(["-blockdev", &volume.blockdev().to_string()])
            .args(["-device", &volume.device().to_string()]);
        let console = root.join(format!("console-{}", self.number));
        let mut guest = Background::start("the writing guest", &mut qemu, &console)?;
        let _flusher = self.flusher(&volume, &monitor)?;
        wait::until("ten acknowledged writes", A_BOOT, || {
            guest.ensure_running()?;
            let log = guest.log();
            ensure!(acknowledged(&log)?.len() >= 10, "it said last: {}", process::tail(&log, 5));
            Ok(())
        })?;
        std::thread::sleep(Duration::from_millis(numbers.below(3000)));
        guest.kill()?;
        let acknowledged = acknowledged(&guest.log())?;
        // One more may be done without our having read of it, and one be under way.
        self.number = acknowledged.last().context("no write")? + 2;
        Ok(acknowledged)
    }

    fn flusher(&self, volume: &Volume, monitor: &Path) -> Result<Option<Flusher>> {
        let Some(interval) = self.class.flush_interval() else { return Ok(None) };
        let mut qmp = wait::until("QEMU's monitor", A_BOOT, || {
            Ok(Qmp::connect(monitor, Duration::from_secs(60))?)
        })?;
        let socket = self.directory.path().join(format!("flush-{}", self.number));
        flusher::serve(&mut qmp, &socket)?;
        flusher::export(&mut qmp, volume)?;
        Ok(Some(Flusher::start(&socket, volume.id(), interval)?))
    }

    /// The volume as a raw file, read by QEMU's own tool.
    fn read(&self) -> Result<PathBuf> {
        if self.class.needs_recovery() {
            self.clone.recover(HostCache::Direct, self.directory.path())?;
        }
        let raw = self.directory.path().join("raw");
        let mut convert = process::command("qemu-img");
        convert.args(["convert", "-f", "qcow2", "-O", "raw"]).arg(self.clone.path()).arg(&raw);
        process::succeed(&mut convert)?;
        Ok(raw)
    }
}

/// A driver of the guests' kernel.
fn module(name: &str) -> Result<PathBuf> {
    let modules = cached("guest-kernel", "demo")?.join("lib/modules");
    let mut find = process::command("find");
    let found = process::output(find.arg(modules).args(["-name", name]))?;
    let first = found.lines().next().with_context(|| format!("the guest kernel has no {name}"))?;
    Ok(first.into())
}

/// The numbers of whole lines `ACK n`.
fn acknowledged(console: &str) -> Result<Vec<u64>> {
    ensure!(!console.contains("NAK"), "a write failed: {}", process::tail(console, 5));
    let whole = console.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let numbers = whole.lines().filter_map(|line| line.trim().strip_prefix("ACK "));
    numbers.map(|number| Ok(number.parse()?)).collect()
}

fn repeated(text: &str, length: usize) -> Vec<u8> {
    text.bytes().chain([b'\n']).cycle().take(length).collect()
}

/// What was asked of a volume and what was missing.
fn stop_often(class: Durability, writes: Writes) -> (usize, usize) {
    let mut numbers = Numbers(seed());
    let mut desk = Desk::lay(class, writes).unwrap();
    let (mut asked, mut lost) = (0, 0);
    // By their places: the last write of each, and whether it has been missed before.
    let mut expected = BTreeMap::new();
    let sample = stops(10).div_ceil(10);
    for _ in 0..sample {
        let acknowledged = desk.stop_once(&mut numbers).unwrap();
        asked += acknowledged.len();
        let place = |number| if let Writes::Blocks = writes { number * 7 % 96 } else { number };
        expected.extend(acknowledged.into_iter().map(|number| (place(number), number)));
        // Done, and the console was cut; or under way, so half done perhaps.
        for unsure in [desk.number - 1, desk.number] {
            expected.remove(&place(unsure));
        }
        let raw = desk.read().unwrap();
        let missing = match writes {
            Writes::Blocks => missing_blocks(&raw, &expected).unwrap(),
            Writes::Files => missing_files(&raw, &expected).unwrap(),
        };
        lost += missing.len();
        // What is gone is gone once.
        for place in missing {
            expected.remove(&place);
        }
    }
    println!("| {} | {} | {sample} | {asked} | {lost} |", class.name(), writes.word());
    (asked, lost)
}

fn missing_blocks(raw: &Path, expected: &BTreeMap<u64, u64>) -> Result<Vec<u64>> {
    let disk = std::fs::read(raw)?;
    let is_there = |place: u64, number: u64| {
        let at = usize::try_from(place).unwrap() * BLOCK;
        disk[at..at + BLOCK] == repeated(&format!("block {place} write {number}"), BLOCK)[..]
    };
    let missing = expected.iter().filter(|(place, number)| !is_there(**place, **number));
    Ok(missing.map(|(place, _)| *place).collect())
}

/// By e2fsprogs alone: the journal is replayed in user space, and nothing is mounted.
fn missing_files(raw: &Path, expected: &BTreeMap<u64, u64>) -> Result<Vec<u64>> {
    let checked = process::run(process::command("e2fsck").arg("-fy").arg(raw))?;
    // 0: clean; 1: mended, which the journal's replay counts as.
    ensure!(matches!(checked.status.code(), Some(0 | 1)), "{checked:?}");
    let mut missing = Vec::new();
    for number in expected.keys() {
        let mut cat = Command::new("debugfs");
        let said = cat.args(["-R", &format!("cat /f{number}")]).arg(raw).output()?;
        if said.stdout != repeated(&format!("file {number}"), FILE) {
            missing.push(*number);
        }
    }
    Ok(missing)
}

fn loses_nothing(class: Durability, writes: Writes) {
    let (asked, lost) = stop_often(class, writes);
    assert!(asked >= 10);
    assert_eq!(lost, 0, "of {asked}");
}

#[test]
fn a_guest_on_the_default_class_finds_all_of_its_blocks_after_a_stop() {
    assert_eq!(Durability::default().loss_with_qemu(), Loss::Nothing);
    loses_nothing(Durability::default(), Writes::Blocks);
}

#[test]
fn a_guest_on_a_synchronous_clone_finds_all_of_its_blocks_after_a_stop() {
    loses_nothing(Durability::Synchronous, Writes::Blocks);
}

#[test]
fn a_guest_on_a_clone_that_only_honours_flushes_misses_blocks_and_no_synced_file() {
    let (_, lost) = stop_often(Durability::FlushHonouring, Writes::Blocks);
    assert!(lost > 0, "the others' zeroes would say nothing");
    loses_nothing(Durability::FlushHonouring, Writes::Files);
}

#[test]
fn a_guest_finds_all_of_its_synced_files_in_every_class() {
    let bounded = Durability::Bounded(second());
    for class in [Durability::default(), bounded, Durability::Synchronous] {
        loses_nothing(class, Writes::Files);
    }
}

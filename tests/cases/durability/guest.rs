//! A real guest that writes to its disk, and QEMU killed under it: blocks past its cache without a
//! flush, as `dd` does, and files on ext4 that it syncs.
//!
//! The guest is Linux with busybox (`images/recipes/writer`), and says on its console what was
//! acknowledged. It is started again after each stop, on what the stop has left.

use std::{
    collections::BTreeMap,
    num::{NonZeroU32, NonZeroU64},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use mezame_images::{
    clone::{InstantClone, Master, Pool},
    qmp::Qmp,
    volume::{
        Durability, Format, HostCache, Limits, Loss, Volume, VolumeId,
        flusher::{self, Flusher},
    },
};
use mezame_tests::{
    guest_image::{GuestImage, Start, cached},
    process::{self, Background},
    wait::{self, A_BOOT},
};

use serde_json::json;

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
        let clone = master.clone_into(&Pool::create(root)?, &[VolumeId::parse("disk")?])?.remove(0);
        let image = writer(root)?;
        Ok(Self { directory, image, clone, class, writes, number: 0 })
    }

    fn volume(&self) -> Result<Volume> {
        Ok(self.clone.volume(self.class, HostCache::Direct)?)
    }

    fn monitor(&self, host: &str) -> PathBuf {
        self.directory.path().join(format!("qmp-{host}"))
    }

    /// Starts the guest on what is there.
    fn boot(&self) -> Result<Background> {
        if self.class.needs_recovery() {
            self.clone.recover(HostCache::Direct, self.directory.path())?;
        }
        self.machine("here", &[])
    }

    /// A QEMU with the guest's machine; what it has open is not touched before it runs.
    fn machine(&self, host: &str, further: &[&str]) -> Result<Background> {
        let root = self.directory.path();
        let volume = self.volume()?;
        let words = format!("writer={} after={}", self.writes.word(), self.number);
        let mut qemu = qemu(&self.image, &self.monitor(host), &words)?;
        qemu.args(["-blockdev", &volume.blockdev().to_string()])
            .args(["-device", &volume.device().to_string()])
            .args(further);
        let console = root.join(format!("console-{host}-{}", self.number));
        Background::start("the writing guest", &mut qemu, &console)
    }

    /// Starts the guest, kills QEMU at some moment after its tenth write, and gives the numbers
    /// that were acknowledged.
    fn stop_once(&mut self, numbers: &mut Numbers) -> Result<Vec<u64>> {
        let mut guest = self.boot()?;
        let _flusher = self.flusher("here")?;
        until_written(&mut guest, 10)?;
        std::thread::sleep(Duration::from_millis(numbers.below(3000)));
        guest.kill()?;
        let acknowledged = acknowledged(&guest.log())?;
        // One more may be done without our having read of it, and one be under way.
        self.number = acknowledged.last().context("no write")? + 2;
        Ok(acknowledged)
    }

    fn qmp(&self, host: &str) -> Result<Qmp> {
        wait::until("QEMU's monitor", A_BOOT, || {
            Ok(Qmp::connect(&self.monitor(host), Duration::from_secs(60))?)
        })
    }

    fn flusher(&self, host: &str) -> Result<Option<Flusher>> {
        let Some(interval) = self.class.flush_interval() else { return Ok(None) };
        let (mut qmp, volume) = (self.qmp(host)?, self.volume()?);
        let socket = self.directory.path().join(format!("flush-{host}-{}", self.number));
        flusher::serve(&mut qmp, &socket)?;
        flusher::export(&mut qmp, &volume)?;
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

/// The system of a guest that writes.
pub(crate) fn writer(root: &Path) -> Result<GuestImage> {
    let module = module("virtio_blk.ko")?;
    let init = Path::new(env!("CARGO_MANIFEST_DIR")).join("../images/recipes/writer/init");
    let programs = [("init", init.as_path()), ("lib/modules/virtio_blk.ko", &module)];
    GuestImage::small_with(&programs, root)
}

/// Its machine, without a disk; what it is told to write.
pub(crate) fn qemu(image: &GuestImage, monitor: &Path, words: &str) -> Result<Command> {
    let Start::Kernel { kernel, initrd } = &image.start else { bail!("no kernel") };
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
        // On a busy host Linux finds its timer too slow at boot, and panics.
        .arg(format!("console=ttyS0 quiet panic=-1 no_timer_check {words}"));
    Ok(qemu)
}

/// Waits until so many writes were acknowledged.
pub(crate) fn until_written(guest: &mut Background, count: usize) -> Result<()> {
    wait::until("acknowledged writes", A_BOOT, || {
        // One that has ended is not waited for.
        let is_over = guest.ended()?.is_some();
        let log = guest.log();
        let is_enough = acknowledged(&log)?.len() >= count;
        ensure!(is_over || is_enough, "it said last: {}", process::tail(&log, 5));
        Ok(())
    })?;
    guest.ensure_running()
}

/// A driver of the guests' kernel.
pub(crate) fn module(name: &str) -> Result<PathBuf> {
    let modules = cached("guest-kernel", "demo")?.join("lib/modules");
    let mut find = process::command("find");
    let found = process::output(find.arg(modules).args(["-name", name]))?;
    let first = found.lines().next().with_context(|| format!("the guest kernel has no {name}"))?;
    Ok(first.into())
}

/// The numbers of whole lines `ACK n`.
pub(crate) fn acknowledged(console: &str) -> Result<Vec<u64>> {
    ensure!(!console.contains("NAK"), "a write failed: {}", process::tail(console, 5));
    let whole = console.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let numbers = whole.lines().filter_map(|line| line.trim().strip_prefix("ACK "));
    numbers.map(|number| Ok(number.parse()?)).collect()
}

pub(crate) fn repeated(text: &str, length: usize) -> Vec<u8> {
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
    Ok(missing_in(&std::fs::read(raw)?, expected))
}

/// The places of blocks of which the last write that was acknowledged is not on the disk.
pub(crate) fn missing_in(disk: &[u8], expected: &BTreeMap<u64, u64>) -> Vec<u64> {
    let is_there = |place: u64, number: u64| {
        let at = usize::try_from(place).unwrap() * BLOCK;
        disk[at..at + BLOCK] == repeated(&format!("block {place} write {number}"), BLOCK)[..]
    };
    let missing = expected.iter().filter(|(place, number)| !is_there(**place, **number));
    missing.map(|(place, _)| *place).collect()
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

#[test]
fn a_guest_is_held_to_its_limits_and_is_freed_of_them_while_it_runs() {
    let desk = Desk::lay(Durability::default(), Writes::Blocks).unwrap();
    let mut guest = desk.boot().unwrap();
    let (mut qmp, volume) = (desk.qmp("here").unwrap(), desk.volume().unwrap());
    until_written(&mut guest, 10).unwrap();
    let limits = Limits { operations: NonZeroU32::new(2), bytes: None };
    limits.apply(&mut qmp, &volume).unwrap();
    let count = |guest: &Background| acknowledged(&guest.log()).unwrap().len();
    // Twelve more at two a second; what was saved up before is a tenth of a second's worth.
    let (before, begin) = (count(&guest), Instant::now());
    until_written(&mut guest, before + 12).unwrap();
    let held = begin.elapsed();
    assert!(held >= Duration::from_millis(4500), "{held:?}");
    // Two blocks a second again, by their bytes.
    let bytes = NonZeroU64::new(2 * BLOCK as u64);
    Limits { operations: None, bytes }.apply(&mut qmp, &volume).unwrap();
    let (before, begin) = (count(&guest), Instant::now());
    until_written(&mut guest, before + 12).unwrap();
    let held_by_bytes = begin.elapsed();
    assert!(held_by_bytes >= Duration::from_millis(4500), "{held_by_bytes:?}");
    Limits::default().apply(&mut qmp, &volume).unwrap();
    let (before, begin) = (count(&guest), Instant::now());
    until_written(&mut guest, before + 12).unwrap();
    let free = begin.elapsed();
    assert!(free < held && free < held_by_bytes, "{free:?}, {held:?}, {held_by_bytes:?}");
}

/// Moves a guest from one QEMU to another, as between two hosts that see the same files.
pub(crate) fn migrate(from: &mut Qmp, socket: &Path) -> Result<()> {
    from.execute("migrate", json!({ "uri": format!("unix:{}", socket.display()) }))?;
    wait::until("the migration's end", A_BOOT, || {
        let state = from.execute("query-migrate", json!({}))?;
        ensure!(state["status"] == "completed", "{state}");
        Ok(())
    })
}

#[test]
fn a_guest_that_moves_between_two_qemus_keeps_every_block_though_the_second_is_stopped_hard() {
    let mut desk = Desk::lay(Durability::default(), Writes::Blocks).unwrap();
    let socket = desk.directory.path().join("migration");
    let mut here = desk.boot().unwrap();
    // It flushes on while the guest moves.
    let flusher = desk.flusher("here").unwrap().unwrap();
    until_written(&mut here, 10).unwrap();
    let incoming = format!("unix:{}", socket.display());
    let mut there = desk.machine("there", &["-incoming", &incoming]).unwrap();
    desk.qmp("there").unwrap();
    migrate(&mut desk.qmp("here").unwrap(), &socket).unwrap();
    let status = flusher.status();
    assert_eq!(status.failures, 0, "{status:?}");
    drop(flusher);
    let flusher = desk.flusher("there").unwrap().unwrap();
    until_written(&mut there, 10).unwrap();
    // The first has given the volume up: its end takes nothing and writes nothing.
    here.kill().unwrap();
    let moved = acknowledged(&there.log()).unwrap().len();
    until_written(&mut there, moved + 5).unwrap();
    assert!(flusher.status().flushes > 0, "{:?}", flusher.status());
    there.kill().unwrap();
    let mut expected = BTreeMap::new();
    for number in [here, there].iter().flat_map(|qemu| acknowledged(&qemu.log()).unwrap()) {
        expected.insert(number * 7 % 96, number);
        desk.number = number + 2;
    }
    for unsure in [desk.number - 1, desk.number] {
        expected.remove(&(unsure * 7 % 96));
    }
    let missing = missing_blocks(&desk.read().unwrap(), &expected).unwrap();
    assert_eq!(missing, [0; 0], "of {}", expected.len());
}

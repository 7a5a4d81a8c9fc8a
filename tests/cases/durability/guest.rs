//! A real guest that writes to its disk: blocks past its cache without a flush, as `dd` does, and
//! files on ext4 that it syncs.
//!
//! The guest is Linux with busybox (`images/recipes/writer`), and says on its console what was
//! acknowledged. What QEMU's hard stops take of its disk is counted in `stops`; here is what both
//! need, and the guest that is held to limits or moves.

mod stops;

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
        Data, Durability, Format, HostCache, Limits, Place, Volume, VolumeId,
        flusher::{self, Flusher},
    },
};
use mezame_tests::{
    guest_image::{GuestImage, Start, cached},
    process::{self, Background},
    qemu::PROCESSOR,
    wait::{self, A_BOOT},
};

use serde_json::json;

use crate::migration::emulation::{retried, until_it_writes};

const BLOCK: usize = 64 << 10;
const FILE: usize = 16 << 10;
const DISK: u64 = 32 << 20;

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
    /// Where guests' consoles are written.
    consoles: PathBuf,
    image: GuestImage,
    master: Master,
    /// The volume's id, also where it is no clone.
    id: VolumeId,
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
        let id = VolumeId::parse("disk")?;
        if class == Durability::Plain {
            std::fs::copy(&image, root.join("disk.raw"))?;
        }
        let master = Master::seal(&image, Format::Raw, &root.join("master"))?;
        if class != Durability::Plain {
            master.clone_into(&Pool::create(root)?, std::slice::from_ref(&id))?;
        }
        let image = writer(root)?;
        let consoles = root.into();
        Ok(Self { directory, consoles, image, master, id, class, writes, number: 0 })
    }

    /// The clone by its record as it is now; none for a plain volume.
    fn clone(&self) -> Result<Option<InstantClone>> {
        if self.class == Durability::Plain {
            return Ok(None);
        }
        Ok(Some(self.master.find(&self.id)?))
    }

    fn volume(&self) -> Result<Volume> {
        if let Some(clone) = self.clone()? {
            return Ok(clone.volume(self.class, HostCache::Direct)?);
        }
        let data = Data::Plain(Place::File(self.directory.path().join("disk.raw")));
        Ok(Volume::new(self.id.clone(), data, self.class, HostCache::Direct)?)
    }

    /// Puts back what is to be put back after a stop.
    fn recover(&self) -> Result<()> {
        if let (true, Some(clone)) = (self.class.needs_recovery(), self.clone()?) {
            clone.recover(HostCache::Direct, self.directory.path())?;
        }
        Ok(())
    }

    fn monitor(&self, host: &str) -> PathBuf {
        self.directory.path().join(format!("qmp-{host}"))
    }

    /// Starts the guest on what is there.
    fn boot(&self) -> Result<Background> {
        self.recover()?;
        self.machine("here", &[])
    }

    /// A QEMU with the guest's machine; what it has open is not touched before it runs.
    fn machine(&self, host: &str, further: &[&str]) -> Result<Background> {
        let volume = self.volume()?;
        let words = format!("writer={} after={}", self.writes.word(), self.number);
        let qemu = process::command("qemu-system-x86_64");
        let mut qemu = machine(qemu, &self.image, &[self.monitor(host)], &words)?;
        qemu.args(["-blockdev", &volume.blockdev().to_string()])
            .args(["-device", &volume.device().to_string()])
            .args(further);
        let console = self.consoles.join(format!("console-{host}-{}", self.number));
        Background::start("the writing guest", &mut qemu, &console)
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
        self.recover()?;
        let volume = self.volume()?;
        let (place, format) = match volume.data() {
            Data::Plain(place) => (place, Format::Raw),
            Data::Overlay { place, .. } => (place, Format::Qcow2),
        };
        let raw = self.directory.path().join("raw");
        let mut convert = process::command("qemu-img");
        convert
            .args(["convert", "-f", format.name(), "-O", "raw"])
            .args([place.path().context("a volume in a file")?, &raw]);
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

/// Its machine without a disk, where that command runs; what it is told to write.
pub(crate) fn machine<P: AsRef<Path>>(
    mut qemu: Command,
    image: &GuestImage,
    monitors: &[P],
    words: &str,
) -> Result<Command> {
    let Start::Kernel { kernel, initrd } = &image.start else { bail!("no kernel") };
    qemu.args(["-machine", "q35", "-accel", "tcg", "-cpu", PROCESSOR, "-smp", "1", "-m", "160"])
        .args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"])
        .args(["-serial", "stdio"]);
    for monitor in monitors {
        let path = monitor.as_ref().display();
        qemu.arg("-qmp").arg(format!("unix:{path},server=on,wait=off"));
    }
    qemu.arg("-kernel")
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

/// The places of blocks of which the last write that was acknowledged is not on the disk.
pub(crate) fn missing_in(disk: &[u8], expected: &BTreeMap<u64, u64>) -> Vec<u64> {
    let is_there = |place: u64, number: u64| {
        let at = usize::try_from(place).unwrap() * BLOCK;
        disk[at..at + BLOCK] == repeated(&format!("block {place} write {number}"), BLOCK)[..]
    };
    let missing = expected.iter().filter(|(place, number)| !is_there(**place, **number));
    missing.map(|(place, _)| *place).collect()
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
    // The quickest of three: the host's own disk may stand still for a while.
    let rounds = std::iter::repeat_with(|| {
        let (before, begin) = (count(&guest), Instant::now());
        until_written(&mut guest, before + 12).unwrap();
        begin.elapsed()
    });
    let free = rounds.take(3).min().unwrap();
    assert!(free < held && free < held_by_bytes, "{free:?}, {held:?}, {held_by_bytes:?}");
}

/// Moves a guest from one QEMU to another, as between two hosts that see the same files.
fn migrate(from: &mut Qmp, socket: &Path) -> Result<()> {
    from.execute("migrate", json!({ "uri": format!("unix:{}", socket.display()) }))?;
    wait::until("the migration's end", A_BOOT, || {
        let state = from.execute("query-migrate", json!({}))?;
        ensure!(state["status"] == "completed", "{state}");
        Ok(())
    })
}

#[test]
fn a_guest_that_moves_between_two_qemus_keeps_every_block_though_the_second_is_stopped_hard()
-> Result<()> {
    retried(moves_and_is_stopped_hard)
}

fn moves_and_is_stopped_hard(consoles: &Path) -> Result<()> {
    let desk = Desk::lay(Durability::default(), Writes::Blocks)?;
    let mut desk = Desk { consoles: consoles.into(), ..desk };
    let socket = desk.directory.path().join("migration");
    let mut here = desk.boot()?;
    // It flushes on while the guest moves.
    let flusher = desk.flusher("here")?.context("no flusher")?;
    until_written(&mut here, 10)?;
    let incoming = format!("unix:{}", socket.display());
    let mut there = desk.machine("there", &["-incoming", &incoming])?;
    desk.qmp("there")?;
    migrate(&mut desk.qmp("here")?, &socket)?;
    let status = flusher.status();
    ensure!(status.failures == 0, "{status:?}");
    drop(flusher);
    let flusher = desk.flusher("there")?.context("no flusher")?;
    until_it_writes(&mut there)?;
    until_written(&mut there, 10)?;
    // The first has given the volume up: its end takes nothing and writes nothing.
    here.kill()?;
    let moved = acknowledged(&there.log())?.len();
    until_written(&mut there, moved + 5)?;
    ensure!(flusher.status().flushes > 0, "{:?}", flusher.status());
    there.kill()?;
    let mut expected = BTreeMap::new();
    for qemu in [here, there] {
        for number in acknowledged(&qemu.log())? {
            expected.insert(number * 7 % 96, number);
            desk.number = number + 2;
        }
    }
    for unsure in [desk.number - 1, desk.number] {
        expected.remove(&(unsure * 7 % 96));
    }
    let missing = stops::missing_blocks(&desk.read()?, &expected)?;
    ensure!(missing.is_empty(), "{missing:?} of {}", expected.len());
    Ok(())
}

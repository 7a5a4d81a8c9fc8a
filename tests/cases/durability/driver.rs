//! QEMU's block driver without a guest, killed while four writers write without a flush, or with
//! one now and then.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use mezame_images::{
    clone::{Hydration, InstantClone, Master, Pool},
    nbd::Nbd,
    qmp::Qmp,
    storage_daemon::StorageDaemon,
    volume::{
        Data, Durability, FlushInterval, Format, HostCache, Loss, Place, Volume, VolumeId,
        flusher::Flusher,
    },
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::sectors::{Ledger, SECTOR, Write, stamp};

/// The volume: 24 MiB, in four parts with a writer each.
const SECTORS: u64 = 24 * 2048;
const WRITERS: u64 = 4;

/// What came of some stops.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) stops: usize,
    /// Stops after which anything was missing.
    pub(super) losing: usize,
    pub(super) acknowledged: usize,
    pub(super) lost: usize,
    /// Stops before which the host's flushes were late, by their own word.
    pub(super) late: usize,
    /// The oldest of the lost ones: how long before the stop it was acknowledged. Of those stops that were
    /// not late.
    pub(super) oldest: Duration,
}

/// Numbers that look random (xorshift64).
pub(super) struct Numbers(pub(super) u64);

impl Numbers {
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// A master: a third of stamped sectors, a third of stamped pages here and there, and zeroes.
pub(super) fn master(directory: &Path) -> Result<Master> {
    let mut bytes = vec![0; usize::try_from(SECTORS)? * SECTOR];
    for (block, sector) in bytes.chunks_mut(SECTOR).zip(0..) {
        if sector < SECTORS / 3 || (sector < SECTORS * 2 / 3 && sector / 24 % 2 == 0) {
            block.copy_from_slice(&stamp(sector, 0));
        }
    }
    let image = directory.join("image");
    std::fs::write(&image, bytes)?;
    Ok(Master::seal(&image, Format::Raw, &directory.join("master"))?)
}

/// Stops a volume of this class so often, each time a new one, and compares.
pub(super) fn stop_often(class: Durability, stops: usize, seed: u64) -> Result<Outcome> {
    let directory = tempfile::tempdir()?;
    let master = master(directory.path())?;
    Pool::create(directory.path())?;
    let mut numbers = Numbers(seed);
    let mut outcome = Outcome::default();
    // Those that the host's flushes were late before tell nothing of the class's bound.
    for stop in 0..3 * stops {
        if outcome.stops - outcome.late == stops {
            break;
        }
        let one = Stop::begin(class, &master, directory.path(), stop)?;
        let flushes = stop % 2 == 1;
        let after = Duration::from_millis(40 + numbers.below(1400));
        let (ledgers, stopped, is_kept) = one.write_until_killed(after, flushes, &mut numbers)?;
        let volume = one.read(&master).with_context(|| format!("stop {stop} of seed {seed}"))?;
        outcome.stops += 1;
        outcome.late += usize::from(!is_kept);
        let mut lost = 0;
        for ledger in ledgers {
            let found = ledger
                .judge(&volume)
                .with_context(|| format!("stop {stop} of seed {seed}, class {}", class.name()))?;
            ensure!(found.flushed == 0, "{} writes that were flushed are lost", found.flushed);
            let is_acknowledged = |write: &&Write| write.acknowledged.is_some();
            outcome.acknowledged += ledger.writes.iter().filter(is_acknowledged).count();
            lost += found.writes;
            if let Some(first) = found.first.filter(|_| is_kept) {
                outcome.oldest = outcome.oldest.max(stopped.saturating_duration_since(first));
            }
        }
        outcome.lost += lost;
        outcome.losing += usize::from(lost > 0);
        one.remove(&master)?;
    }
    match class.loss_with_qemu() {
        Loss::Nothing => ensure!(outcome.lost == 0, "{} lost {}", class.name(), outcome.lost),
        Loss::Last(bound) => {
            ensure!(outcome.oldest <= bound, "lost: {:?} old", outcome.oldest);
            let kept = outcome.stops - outcome.late;
            ensure!(kept == stops, "the host's flushes were late before {} stops", outcome.late);
        }
        Loss::SinceFlush => {}
    }
    Ok(outcome)
}

/// One volume, until its stop.
struct Stop<'a> {
    class: Durability,
    directory: &'a Path,
    /// None for a plain volume.
    clone: Option<InstantClone>,
    volume: Volume,
}

impl<'a> Stop<'a> {
    fn begin(class: Durability, master: &Master, directory: &'a Path, stop: usize) -> Result<Self> {
        let id = VolumeId::parse(&format!("stop-{stop}"))?;
        if class == Durability::Plain {
            let path = directory.join(format!("{id}.raw"));
            let image = master.backing().place;
            std::fs::copy(image.path().context("a master in a file")?, &path)?;
            let data = Data::Plain(Place::File(path));
            let volume = Volume::new(id, data, class, HostCache::Direct)?;
            return Ok(Self { class, directory, clone: None, volume });
        }
        let clone = master.clone_into(&Pool::open(directory)?, &[id])?.remove(0);
        let volume = clone.volume(class, HostCache::Direct)?;
        Ok(Self { class, directory, clone: Some(clone), volume })
    }

    /// Writes, and kills QEMU's driver after so long; when that was, and whether the class's interval was kept
    /// until then.
    fn write_until_killed(
        &self,
        after: Duration,
        flushes: bool,
        numbers: &mut Numbers,
    ) -> Result<(Vec<Ledger>, Instant, bool)> {
        // A class is about writes. Whether one is flushed by the device or not is the device's.
        let mut daemon = StorageDaemon::start(&self.volume.blockdev(), self.directory)?;
        let flushes_each = self.class == Durability::Synchronous;
        let interval = self.class.flush_interval();
        let flusher = interval.map(|interval| self.flusher(&daemon, interval)).transpose()?;
        let counter = AtomicU64::new(1);
        let is_over = AtomicBool::new(false);
        let connections: Vec<Nbd> =
            (0..WRITERS).map(|_| daemon.open()).collect::<Result<_, _>>()?;
        let seeds: Vec<u64> = (0..WRITERS).map(|_| 1 + numbers.below(u64::MAX - 1)).collect();
        let pid = Pid::from_raw(i32::try_from(daemon.pid())?);
        thread::scope(|scope| {
            let writers: Vec<_> = connections
                .into_iter()
                .zip(seeds)
                .zip(0..)
                .map(|((blocks, seed), part)| {
                    let writer = Writer { blocks, part, flushes, flushes_each };
                    let (counter, is_over) = (&counter, &is_over);
                    scope.spawn(move || writer.run(Numbers(seed), counter, is_over))
                })
                .collect();
            let begin = Instant::now();
            let hydrated = self.hydrate(&mut daemon, begin + after);
            thread::sleep((begin + after).saturating_duration_since(Instant::now()));
            let stopped = Instant::now();
            let is_kept = flusher.as_ref().zip(interval);
            let is_kept =
                is_kept.is_none_or(|(flusher, kept)| flusher.status().is_kept(kept, stopped));
            let killed = kill(pid, Signal::SIGKILL);
            drop(daemon);
            is_over.store(true, Ordering::Relaxed);
            drop(flusher);
            let ledgers = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
            hydrated?;
            killed?;
            Ok((ledgers, stopped, is_kept))
        })
    }

    fn flusher(&self, daemon: &StorageDaemon, interval: FlushInterval) -> Result<Flusher> {
        Ok(Flusher::start(daemon.blocks(), self.volume.id(), interval)?)
    }

    fn hydrate(&self, daemon: &mut StorageDaemon, until: Instant) -> Result<()> {
        let (Durability::Hydrated(_), Some(clone)) = (self.class, &self.clone) else {
            return Ok(());
        };
        let master = Master::open(&self.directory.join("master"))?;
        hydrate(daemon.qmp(), &master, clone, self.directory, until)
    }

    /// What a guest that is started again would see.
    fn read(&self, master: &Master) -> Result<Vec<u8>> {
        let mut volume = self.volume.clone();
        if let Some(clone) = &self.clone {
            let clone = master.find(clone.id())?;
            volume = clone.volume(self.class, HostCache::Direct)?;
            if self.class.needs_recovery() {
                clone.recover(HostCache::Direct, self.directory)?;
            }
        }
        let daemon = StorageDaemon::start(&volume.blockdev(), self.directory)?;
        let mut blocks = daemon.open()?;
        let mut bytes = vec![0; usize::try_from(blocks.size())?];
        blocks.read(0, &mut bytes)?;
        drop(blocks);
        daemon.end()?;
        Ok(bytes)
    }

    fn remove(self, master: &Master) -> Result<()> {
        if let Some(clone) = &self.clone {
            master.remove_clone(clone)?;
            let plain = self.directory.join(format!("{}.plain", clone.id()));
            if plain.exists() {
                std::fs::remove_file(plain)?;
            }
        } else if let Data::Plain(place) = self.volume.data() {
            std::fs::remove_file(place.path().context("a plain volume in a file")?)?;
        }
        Ok(())
    }
}

/// Copies a clone that QEMU has open into a plain volume, and goes over to it if there is time.
pub(super) fn hydrate(
    qmp: &mut Qmp,
    master: &Master,
    clone: &InstantClone,
    directory: &Path,
    until: Instant,
) -> Result<()> {
    let place = Place::File(directory.join(format!("{}.plain", clone.id())));
    let size = master.size();
    let hydration = Hydration::start(qmp, clone, size, place, HostCache::Direct, None)?;
    while Instant::now() < until {
        if hydration.progress(qmp)?.is_equal {
            hydration.complete(qmp, master)?;
            return Ok(());
        }
        thread::sleep(Duration::from_millis(3));
    }
    Ok(())
}

/// One that writes into its part of the volume until the volume is gone.
struct Writer {
    blocks: Nbd,
    part: u64,
    /// Now and then, as a guest's file system does.
    flushes: bool,
    /// After each write, as QEMU's device does without a write cache.
    flushes_each: bool,
}

impl Writer {
    fn run(mut self, mut numbers: Numbers, counter: &AtomicU64, is_over: &AtomicBool) -> Ledger {
        let mut ledger = Ledger::default();
        let part = SECTORS / WRITERS;
        while !is_over.load(Ordering::Relaxed) {
            let longest = [1, 8, 64, 128][usize::try_from(numbers.below(4)).unwrap()];
            let sectors = 1 + numbers.below(longest);
            let first = self.part * part + numbers.below(part - sectors);
            let number = counter.fetch_add(1, Ordering::Relaxed);
            let bytes: Vec<u8> =
                (first..first + sectors).flat_map(|sector| stamp(sector, number)).collect();
            ledger.writes.push(Write { first, sectors, number, acknowledged: None });
            let mut done = self.blocks.write(first * SECTOR as u64, &bytes);
            if self.flushes_each {
                done = done.and_then(|()| self.blocks.flush());
            }
            if done.is_err() {
                break;
            }
            let at = ledger.writes.len() - 1;
            ledger.writes[at].acknowledged = Some(Instant::now());
            if self.flushes && numbers.below(40) == 0 && self.blocks.flush().is_ok() {
                ledger.flushed = at + 1;
            }
        }
        ledger
    }
}

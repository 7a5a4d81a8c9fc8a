//! QEMU killed under a guest that writes, and what its volume then lacks, class by class.
//!
//! The guest is started again after each stop, on what the stop has left. When a write was
//! acknowledged is read from the guest's console, which is some hundredths of a second late; so the
//! oldest lost write is by that much older than the table says.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use mezame_images::volume::{Durability, Loss};
use mezame_tests::process;

use super::{
    super::{
        driver::{Numbers, hydrate},
        second, seed, stops,
    },
    BLOCK, Desk, FILE, Writes, acknowledged, repeated, until_written,
};

/// How many stops one volume sees before a new one is taken: its guest's files must find room. What
/// has gone over to a plain volume is no clone any more.
fn stops_of_one(class: Durability) -> usize {
    if let Durability::Hydrated(_) = class { 1 } else { 8 }
}

/// What one stop has left.
struct Stop {
    /// What was acknowledged, and when that was read.
    acknowledged: BTreeMap<u64, Instant>,
    at: Instant,
    /// Whether the host's flushes had kept the class's interval until then.
    is_kept: bool,
}

impl Desk {
    /// Starts the guest and kills QEMU at some moment after its tenth write.
    fn stop_once(&mut self, numbers: &mut Numbers) -> Result<Stop> {
        let mut guest = self.boot()?;
        let flusher = self.flusher("here")?;
        until_written(&mut guest, 10)?;
        let is_over = AtomicBool::new(false);
        let until = Instant::now() + Duration::from_millis(numbers.below(3000));
        let (stopped, is_kept, mut seen) = thread::scope(|scope| -> Result<_> {
            let console = &guest;
            let reader = scope.spawn(|| {
                let mut seen = BTreeMap::new();
                while !is_over.load(Ordering::Relaxed) {
                    let now = Instant::now();
                    for number in acknowledged(&console.log())? {
                        seen.entry(number).or_insert(now);
                    }
                    thread::sleep(Duration::from_millis(5));
                }
                anyhow::Ok(seen)
            });
            let hydrated = self.hydrate(until);
            thread::sleep(until.saturating_duration_since(Instant::now()));
            let stopped = Instant::now();
            let is_kept = flusher.as_ref().zip(self.class.flush_interval());
            let is_kept =
                is_kept.is_none_or(|(flusher, kept)| flusher.status().is_kept(kept, stopped));
            let killed = guest.signal(nix::sys::signal::Signal::SIGKILL);
            is_over.store(true, Ordering::Relaxed);
            let seen = reader.join().expect("the console's reader");
            hydrated.and(killed)?;
            Ok((stopped, is_kept, seen?))
        })?;
        guest.kill()?;
        for number in acknowledged(&guest.log())? {
            seen.entry(number).or_insert(stopped);
        }
        // One more may be done without our having read of it, and one be under way.
        self.number = seen.keys().last().context("no write")? + 2;
        Ok(Stop { acknowledged: seen, at: stopped, is_kept })
    }

    /// Copies a hydrated clone into a plain volume, and goes over if there is time.
    fn hydrate(&self, until: Instant) -> Result<()> {
        if !matches!(self.class, Durability::Hydrated(_)) {
            return Ok(());
        }
        let clone = self.clone()?.context("no clone")?;
        hydrate(&mut self.qmp("here")?, &self.master, &clone, self.directory.path(), until)
    }
}

/// What came of some stops.
#[derive(Debug, Default)]
struct Outcome {
    stops: usize,
    acknowledged: usize,
    lost: usize,
    /// The oldest of the lost ones: how long before the stop it was acknowledged.
    oldest: Duration,
    /// Stops before which the host's flushes were late, by their own word.
    late: usize,
}

impl Outcome {
    fn row(&self, class: Durability, writes: Writes) -> String {
        let promised = match (class.loss_with_qemu(), writes) {
            (Loss::Nothing, _) => "nothing".into(),
            (_, Writes::Files) => "nothing that was synced".into(),
            (Loss::Last(bound), _) => format!("of the last {} s", bound.as_secs_f64()),
            (Loss::SinceFlush, _) => "all since its last flush".into(),
        };
        let oldest = match self.lost {
            0 => String::new(),
            _ => format!(" {:.2} s", self.oldest.as_secs_f64()),
        };
        format!(
            "| `{}` | {} | {} | {} | {} | {promised} |{oldest} | {} |",
            class.name(),
            writes.word(),
            self.stops,
            self.acknowledged,
            self.lost,
            self.late,
        )
    }
}

/// Stops a guest on volumes of this class, and holds the class to its word.
fn stop_often(class: Durability, writes: Writes) -> Result<Outcome> {
    let seed = seed();
    let (mut numbers, mut outcome) = (Numbers(seed), Outcome::default());
    let all = stops(1);
    while outcome.stops < all {
        let mut desk = Desk::lay(class, writes)?;
        // By their places: the last write of each.
        let mut expected = BTreeMap::new();
        for _ in 0..stops_of_one(class).min(all - outcome.stops) {
            stop_and_compare(&mut desk, &mut expected, &mut numbers, &mut outcome)
                .with_context(|| format!("stop {} of seed {seed}", outcome.stops))?;
        }
    }
    println!("{}", outcome.row(class, writes));
    ensure!(outcome.acknowledged >= 10);
    Ok(outcome)
}

fn stop_and_compare(
    desk: &mut Desk,
    expected: &mut BTreeMap<u64, u64>,
    numbers: &mut Numbers,
    outcome: &mut Outcome,
) -> Result<()> {
    let (class, writes) = (desk.class, desk.writes);
    let stop = desk.stop_once(numbers)?;
    outcome.acknowledged += stop.acknowledged.len();
    let place = |number| if let Writes::Blocks = writes { number * 7 % 96 } else { number };
    expected.extend(stop.acknowledged.keys().map(|number| (place(*number), *number)));
    // Done, and the console was cut; or under way, so half done perhaps.
    for unsure in [desk.number - 1, desk.number] {
        expected.remove(&place(unsure));
    }
    let raw = desk.read()?;
    let missing = match writes {
        Writes::Blocks => missing_blocks(&raw, expected)?,
        Writes::Files => missing_files(&raw, expected)?,
    };
    outcome.stops += 1;
    outcome.lost += missing.len();
    outcome.late += usize::from(!stop.is_kept);
    for place in missing {
        // What is gone is gone once.
        let number = expected.remove(&place).context("what was not expected is missing")?;
        let read = stop.acknowledged.get(&number);
        let read = read.with_context(|| format!("write {number} outlived a stop and is gone"))?;
        let age = stop.at.saturating_duration_since(*read);
        outcome.oldest = outcome.oldest.max(age);
        match (writes, class.loss_with_qemu()) {
            // Those were synced.
            (Writes::Files, _) | (_, Loss::Nothing) => {
                anyhow::bail!("{} lost write {number} after {age:?}", class.name())
            }
            (_, Loss::Last(bound)) => {
                ensure!(age <= bound || !stop.is_kept, "write {number} was lost after {age:?}");
            }
            (_, Loss::SinceFlush) => {}
        }
    }
    Ok(())
}

/// The places of the disk that do not hold their last write.
pub(super) fn missing_blocks(raw: &Path, expected: &BTreeMap<u64, u64>) -> Result<Vec<u64>> {
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
    let there = tempfile::tempdir()?;
    let all = format!("rdump / {}", there.path().display());
    process::succeed(process::command("debugfs").args(["-R", &all]).arg(raw))?;
    let is_there = |number: u64| {
        let found = std::fs::read(there.path().join(format!("f{number}")));
        found.is_ok_and(|bytes| bytes == repeated(&format!("file {number}"), FILE))
    };
    Ok(expected.keys().copied().filter(|number| !is_there(*number)).collect())
}

#[test]
fn a_guest_on_the_default_class_finds_all_of_its_blocks_after_a_stop() {
    assert_eq!(Durability::default().loss_with_qemu(), Loss::Nothing);
    stop_often(Durability::default(), Writes::Blocks).unwrap();
}

#[test]
fn a_guest_on_the_default_class_finds_all_of_its_synced_files_after_a_stop() {
    stop_often(Durability::default(), Writes::Files).unwrap();
}

#[test]
fn a_guest_on_a_synchronous_clone_finds_all_of_its_blocks_after_a_stop() {
    stop_often(Durability::Synchronous, Writes::Blocks).unwrap();
}

#[test]
fn a_guest_on_a_synchronous_clone_finds_all_of_its_synced_files_after_a_stop() {
    stop_often(Durability::Synchronous, Writes::Files).unwrap();
}

#[test]
fn a_guest_on_a_plain_volume_finds_all_of_its_blocks_after_a_stop() {
    stop_often(Durability::Plain, Writes::Blocks).unwrap();
}

#[test]
fn a_guest_on_a_plain_volume_finds_all_of_its_synced_files_after_a_stop() {
    stop_often(Durability::Plain, Writes::Files).unwrap();
}

#[test]
fn a_guest_on_a_clone_that_becomes_plain_finds_all_of_its_blocks_after_a_stop() {
    stop_often(Durability::Hydrated(second()), Writes::Blocks).unwrap();
}

#[test]
fn a_guest_on_a_clone_that_becomes_plain_finds_all_of_its_synced_files_after_a_stop() {
    stop_often(Durability::Hydrated(second()), Writes::Files).unwrap();
}

#[test]
fn a_guest_on_a_bounded_clone_misses_blocks_that_are_younger_than_its_bound_and_no_other() {
    stop_often(Durability::Bounded(second()), Writes::Blocks).unwrap();
}

#[test]
fn a_guest_on_a_bounded_clone_finds_all_of_its_synced_files_after_a_stop() {
    stop_often(Durability::Bounded(second()), Writes::Files).unwrap();
}

#[test]
fn a_guest_on_a_clone_that_only_honours_flushes_misses_blocks() {
    // So the others' zeroes say something.
    assert!(stop_often(Durability::FlushHonouring, Writes::Blocks).unwrap().lost > 0);
}

#[test]
fn a_guest_on_a_clone_that_only_honours_flushes_finds_all_of_its_synced_files_after_a_stop() {
    stop_often(Durability::FlushHonouring, Writes::Files).unwrap();
}

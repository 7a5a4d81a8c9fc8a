//! `backup.*`: what a running guest's backup moves, and how long its writes take meanwhile.
//!
//! QEMU runs a machine whose guest gets no further than its firmware, so that no emulated processor
//! is measured; what writes to its disk is QEMU itself (`qemu-io`), by the way that the guest's
//! device has, one write at a time, and QEMU says of each how long it took. The disk is a raw file,
//! and who pulls is this process, over a UNIX socket, into an archive in memory.

mod guest;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    thread,
};

use anyhow::{Context, Result, ensure};
use mezame_images::{
    archive::{Archive, Settings as ArchiveSettings, Unwatched, store::memory::Memory},
    backup::{
        plan::{Plan, decide},
        point::{Point, Server, Settings, survey},
        pull::{Destination, Exceptions, Moved, Pulled, published, pull},
    },
    environment::SystemEnvironment,
    nbd::NbdAddress,
};
use mezame_model::ProjectName;

use self::guest::{Guest, Phase, SIZE};
use crate::{pinned::Cpu, row::Row, sample::median};

const ROUNDS: usize = 15;
/// How many writes are measured without a backup: about as many as there are within one.
const COUNT: u64 = 1500;

/// Where the writes go, each of 16 KiB, and each run with and without a backup.
struct Pattern {
    name: &'static str,
    /// How many places there are.
    places: u64,
    /// How far they are from each other.
    stride: u64,
}

/// A guest that works in 8 MiB at random places; and one that overwrites something for the first
/// time with each write, which QEMU copies before. It does so in clusters of 64 KiB.
const PATTERNS: [Pattern; 2] = [
    Pattern { name: "backup.latency", places: 512, stride: 16 << 10 },
    Pattern { name: "backup.latency.first", places: SIZE >> 16, stride: 64 << 10 },
];
const LENGTH: u64 = 16 << 10;

impl Pattern {
    /// Whether each place is written to once, one after the other; else at random.
    fn is_once(&self) -> bool {
        self.stride > LENGTH
    }
}
const BLOCK: u64 = 4 << 10;

/// Who backs up.
struct Vault {
    archive: Archive,
    project: ProjectName,
}

/// Measures the rows.
pub fn measure(_: Cpu) -> Result<Vec<Row>> {
    let directory = tempfile::tempdir()?;
    let mut guest = Guest::start(directory.path())?;
    let environment = Arc::new(SystemEnvironment::new());
    let settings = ArchiveSettings::default();
    let archive = Archive::create(Arc::new(Memory::new()), environment, settings)?;
    let vault = Vault { archive, project: ProjectName::parse("bench")? };
    vault.back_up(&mut guest, false)?;
    let moved = (0..=ROUNDS).map(|round| changed_and_moved(&mut guest, &vault, round as u64));
    let moved: Vec<(u64, Moved)> = moved.collect::<Result<_>>()?;
    let mut phases = Vec::new();
    for pattern in PATTERNS {
        let rounds = (0..=ROUNDS).map(|round| once(&mut guest, &vault, &pattern, round));
        let rounds: Vec<[Phase; 2]> = rounds.collect::<Result<_>>()?;
        phases.push((pattern.name, rounds));
    }
    let times = guest.end()?;
    let mut rows = vec![bytes_row(&moved)?];
    for (name, rounds) in phases {
        rows.push(latency_row(name, &rounds, &times)?);
    }
    Ok(rows)
}

impl Vault {
    fn open(&self, guest: &mut Guest, is_full: bool) -> Result<Point> {
        let surveys = survey(&mut guest.qmp, std::slice::from_ref(&guest.disk), None)?;
        let published = published(&self.archive, &self.project, None, guest.disk.id())?;
        let decision = decide(surveys.first().context("no disk")?, &published, is_full);
        let decided = vec![(guest.disk.clone(), decision)];
        let server = Server::Start(NbdAddress::Unix(guest.directory.join("nbd")));
        let settings = Settings::new(guest.directory.clone(), server);
        Ok(Point::open(&mut guest.qmp, decided, &settings, None, &SystemEnvironment::new())?)
    }

    fn pull(&self, point: &Point) -> Result<Pulled> {
        let labels = BTreeMap::new();
        let (name, exceptions) = ("nightly".into(), Exceptions::default());
        let to = Destination { project: &self.project, key: None, name, labels, exceptions };
        let offer = point.offers().first().context("nothing is offered")?;
        Ok(pull(&self.archive, &to, offer, &Unwatched)?)
    }

    fn close(&self, guest: &mut Guest, point: Point) -> Result<()> {
        let closed = point.close(&mut guest.qmp, &[guest.disk.id().clone()], None)?;
        ensure!(closed.broken.is_empty(), "the point in time broke");
        Ok(())
    }

    fn back_up(&self, guest: &mut Guest, is_full: bool) -> Result<Pulled> {
        let point = self.open(guest, is_full)?;
        let pulled = self.pull(&point)?;
        self.close(guest, point)?;
        Ok(pulled)
    }
}

/// Writes as a page cache does, whole blocks in runs of up to 96 KiB, and backs up what changed.
fn changed_and_moved(guest: &mut Guest, vault: &Vault, round: u64) -> Result<(u64, Moved)> {
    let mut touched = BTreeSet::new();
    for number in round * 200..(round + 1) * 200 {
        let blocks = 1 + scattered(number, 24);
        let first = scattered(number + 7, SIZE / BLOCK - blocks);
        guest.write(first * BLOCK, blocks * BLOCK)?;
        touched.extend(first..first + blocks);
    }
    let pulled = vault.back_up(guest, false)?;
    ensure!(matches!(pulled.plan, Plan::Incremental { .. }), "it was {:?}", pulled.plan);
    Ok((touched.len() as u64 * BLOCK, pulled.moved))
}

/// The same places in each run, without an order (the finalizer of SplitMix64).
fn scattered(number: u64, below: u64) -> u64 {
    let mut mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) % below
}

/// One round: writes without a backup, and from the beginning of a whole one to its end.
fn once(guest: &mut Guest, vault: &Vault, pattern: &Pattern, round: usize) -> Result<[Phase; 2]> {
    let alone = |guest: &mut Guest| guest.phase(|guest| write(guest, pattern, |done| done < COUNT));
    if round.is_multiple_of(2) {
        let alone = alone(guest)?;
        Ok([alone, during(guest, vault, pattern)?])
    } else {
        let during = during(guest, vault, pattern)?;
        Ok([alone(guest)?, during])
    }
}

fn during(guest: &mut Guest, vault: &Vault, pattern: &Pattern) -> Result<Phase> {
    let point = vault.open(guest, true)?;
    let (phase, pulled) = thread::scope(|scope| {
        let pulling = scope.spawn(|| vault.pull(&point));
        // Where each place is written to once, all of them may have been before the end.
        let most = if pattern.is_once() { pattern.places } else { u64::MAX };
        let is_on = |done: u64| done < most && !pulling.is_finished();
        (guest.phase(|guest| write(guest, pattern, is_on)), pulling.join())
    });
    pulled.map_err(|_| anyhow::anyhow!("who pulls panicked"))??;
    vault.close(guest, point)?;
    phase
}

/// Writes on while it is to.
fn write(guest: &mut Guest, pattern: &Pattern, is_on: impl Fn(u64) -> bool) -> Result<()> {
    let mut done = 0;
    while is_on(done) {
        let place = if pattern.is_once() { done } else { scattered(done, pattern.places) };
        guest.write(place * pattern.stride, LENGTH)?;
        done += 1;
    }
    Ok(())
}

fn bytes_row(moved: &[(u64, Moved)]) -> Result<Row> {
    let ratios: Vec<f64> =
        moved.iter().map(|(changed, moved)| moved.passed as f64 / *changed as f64).collect();
    let middle = |of: &dyn Fn(&(u64, Moved)) -> u64| {
        let values: Vec<f64> = moved.iter().map(|one| of(one) as f64 / 1e6).collect();
        median(&values).context("no round")
    };
    Ok(Row::beside(
        "backup.bytes",
        middle(&|(_, moved)| moved.passed)?,
        "MB",
        median(&ratios).context("no round")?,
        format!("changed: {:.2} MB", middle(&|(changed, _)| *changed)?),
    ))
}

/// `times` are those of all writes, in microseconds.
fn latency_row(name: &str, rounds: &[[Phase; 2]], times: &[f64]) -> Result<Row> {
    let middle = |phase: &Phase| median(&times[phase.writes()]).context("no write");
    let mut alone = Vec::new();
    let mut during = Vec::new();
    // The first warms up.
    for [without, with] in &rounds[1..] {
        alone.push(middle(without)?);
        during.push(middle(with)?);
    }
    let ratios: Vec<f64> = during.iter().zip(&alone).map(|(with, alone)| with / alone).collect();
    Ok(Row::beside(
        name,
        median(&during).context("no round")?,
        "µs",
        median(&ratios).context("no round")?,
        format!("without: {:.0} µs", median(&alone).context("no round")?),
    ))
}

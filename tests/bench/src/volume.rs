//! `volume.*`: how fast a new clone is written, class by class, against a plain volume.
//!
//! The writes go through QEMU's own block driver over its block server, one at a time, as a
//! guest's `dd` would send them; there is no guest, whose emulation would hide the difference. The
//! plain volume was written over before, so its file system has nothing left to do: it stands for
//! a LUN. `….new-file` is a plain volume whose file is all holes: what the file system's finding of
//! space costs, of which a clone's file has the same. Each clone is new, so that every write is a
//! first one. Classes that are flushed by the
//! host are, meanwhile. The synchronous one is flushed after each write, as QEMU does for a device
//! without a write cache.

use std::{fs, path::Path, time::Instant};

use anyhow::{Context, Result};
use mezame_images::{
    clone::{Master, Pool},
    storage_daemon::StorageDaemon,
    volume::{
        Data, Durability, FlushInterval, Format, HostCache, Place, Volume, VolumeId,
        flusher::Flusher,
    },
};

use crate::{pinned::Cpu, row::Row, sample::median};

const SIZE: usize = 96 << 20;
const ROUNDS: usize = 21;

/// One after the other, of 64 KiB each; and of 4 KiB, each in another place, of which the clone
/// completes 32 KiB from its master.
const WRITES: [Writes; 2] = [
    Writes {
        name: "volume.write",
        default: "volume.default",
        length: 64 << 10,
        stride: 64 << 10,
        count: 1024,
    },
    Writes {
        name: "volume.scatter",
        default: "volume.scatter",
        length: 4 << 10,
        stride: 132 << 10,
        count: 512,
    },
];

#[derive(Clone, Copy)]
struct Writes {
    name: &'static str,
    /// The row of the default class.
    default: &'static str,
    length: usize,
    stride: usize,
    count: usize,
}

/// A class, and whether its volume is new.
#[derive(Debug, Clone, Copy)]
struct Contender {
    class: Durability,
    is_new: bool,
}

/// The first is what the others are compared with.
fn contenders() -> [Contender; 6] {
    let new = |class| Contender { class, is_new: true };
    [
        Contender { class: Durability::Plain, is_new: false },
        new(Durability::default()),
        new(Durability::Plain),
        new(Durability::FlushHonouring),
        new(Durability::Bounded(FlushInterval::default())),
        new(Durability::Synchronous),
    ]
}

impl Contender {
    /// Its row.
    fn row(self, writes: Writes) -> String {
        match self.class {
            Durability::Recovered(_) => writes.default.into(),
            Durability::Plain => format!("{}.new-file", writes.name),
            class => format!("{}.{}", writes.name, class.name()),
        }
    }
}

/// Measures the rows.
pub fn measure(_: Cpu) -> Result<Vec<Row>> {
    let directory = tempfile::tempdir()?;
    let image = directory.path().join("image");
    fs::write(&image, vec![7; SIZE])?;
    fs::write(directory.path().join("plain"), vec![9; SIZE])?;
    let master = Master::seal(&image, Format::Raw, &directory.path().join("master"))?;
    Pool::create(directory.path())?;
    let mut rows = Vec::new();
    for writes in WRITES {
        let mut rates = vec![Vec::new(); contenders().len()];
        for round in 0..=ROUNDS {
            let mut order: Vec<_> = contenders().into_iter().enumerate().collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for (at, contender) in order {
                let rate = once(&master, directory.path(), contender, writes)?;
                // The first warms up.
                if round > 0 {
                    rates[at].push(rate);
                }
            }
        }
        let plain = median(&rates[0]).context("no round")?;
        for (contender, of) in contenders().into_iter().zip(&rates).skip(1) {
            let ratios: Vec<f64> =
                of.iter().zip(&rates[0]).map(|(one, plain)| one / plain).collect();
            rows.push(Row::beside(
                contender.row(writes),
                median(of).context("no round")?,
                "MiB/s",
                median(&ratios).context("no round")?,
                format!("plain: {plain:.0} MiB/s"),
            ));
        }
    }
    Ok(rows)
}

/// MiB a second into a volume.
fn once(
    master: &Master,
    directory: &Path,
    Contender { class, is_new }: Contender,
    writes: Writes,
) -> Result<f64> {
    let id = VolumeId::parse("measured")?;
    let clone = match class {
        Durability::Plain => None,
        _ => Some(master.clone_into(&Pool::open(directory)?, std::slice::from_ref(&id))?.remove(0)),
    };
    let volume = match &clone {
        Some(clone) => clone.volume(class, HostCache::Direct)?,
        None => {
            let path = directory.join(if is_new { "new" } else { "plain" });
            if is_new {
                fs::File::create(&path)?.set_len(SIZE as u64)?;
            }
            Volume::new(id, Data::Plain(Place::File(path)), class, HostCache::Direct)?
        }
    };
    // A flush takes milliseconds each time: a few show that.
    let count = if class == Durability::Synchronous { writes.count / 8 } else { writes.count };
    let daemon = StorageDaemon::start(&volume.blockdev(), directory)?;
    let interval = class.flush_interval();
    let flusher = interval
        .map(|interval| Flusher::start(daemon.blocks(), volume.id(), interval))
        .transpose()?;
    let mut blocks = daemon.open()?;
    let bytes = vec![5; writes.length];
    let begin = Instant::now();
    for number in 0..count {
        blocks.write((number * writes.stride) as u64, &bytes)?;
        if class == Durability::Synchronous {
            blocks.flush()?;
        }
    }
    let time = begin.elapsed().as_secs_f64();
    drop((blocks, flusher));
    daemon.end()?;
    if let Some(clone) = clone {
        master.remove_clone(&clone)?;
    }
    Ok((count * writes.length) as f64 / f64::from(1 << 20) / time)
}

//! `archive.*`: disks into an archive and back, beside restic and borg, and what they take there.
//!
//! Three disks go into an empty repository one after the other: a Debian, and two that guests have
//! made of it. The last one is restored to a new file. Each contender may use all processors, and
//! keeps its repository in the same file system; what is read is in the page cache. Encrypted like
//! restic, which always is, we are compared with it; open, with borg under `-e none`.

mod contender;
mod disks;

use std::fs;

use anyhow::{Context, ensure};

use self::{
    contender::{Contender, Place},
    disks::Disks,
};
use crate::{pinned::Cpu, row::Row, sample::median};

const ROUNDS: usize = 3;

/// Each comparison: the peer, and which of our ways it is compared with.
const PAIRS: [(Contender, Contender); 2] =
    [(Contender::Restic, Contender::Sealed), (Contender::Borg, Contender::Open)];
const ALL: [Contender; 4] =
    [Contender::Sealed, Contender::Restic, Contender::Open, Contender::Borg];

/// What one contender did in one round.
#[derive(Debug, Clone, Copy)]
struct Figures {
    import: f64,
    restore: f64,
    bytes: f64,
}

/// One of them.
type Figure = fn(&Figures) -> f64;

/// Measures the rows.
pub fn measure(cpu: Cpu) -> anyhow::Result<Vec<Row>> {
    cpu.release()?;
    let folder = tempfile::tempdir_in("/var/tmp").context("/var/tmp")?;
    let disks = Disks::make(folder.path())?;
    let mut rounds: Vec<Vec<Figures>> = vec![Vec::new(); ALL.len()];
    for round in 0..=ROUNDS {
        let mut order: Vec<usize> = (0..ALL.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for index in order {
            let place = Place::new(folder.path().join("place"))?;
            let seen = once(ALL[index], &place, &disks)?;
            place.clear()?;
            // The first warms up.
            if round > 0 {
                rounds[index].push(seen);
            }
        }
    }
    let of = |contender: Contender| -> anyhow::Result<&[Figures]> {
        let place = ALL.iter().position(|one| *one == contender).context("no such contender")?;
        Ok(&rounds[place])
    };
    let mut rows = Vec::new();
    for (peer, ours) in PAIRS {
        rows.extend(compare(peer, of(ours)?, of(peer)?, &disks)?);
    }
    Ok(rows)
}

fn once(contender: Contender, place: &Place, disks: &Disks) -> anyhow::Result<Figures> {
    contender.prepare(place)?;
    nix::unistd::sync();
    let import = contender.import(place, &disks.paths)?;
    let bytes = place.bytes()?;
    nix::unistd::sync();
    let last = disks.paths.last().context("no disk")?;
    let (restored, restore) = contender.restore(place, last)?;
    let is_whole = disks::same(&restored, last)?;
    ensure!(is_whole, "{contender:?} restored something else");
    fs::remove_file(restored)?;
    Ok(Figures { import, restore, bytes })
}

fn compare(
    peer: Contender,
    ours: &[Figures],
    theirs: &[Figures],
    disks: &Disks,
) -> anyhow::Result<Vec<Row>> {
    let name = peer.name();
    let middle = |of: &[Figures], figure: Figure| {
        median(&of.iter().map(figure).collect::<Vec<_>>()).context("no round")
    };
    let mut rows = Vec::new();
    let figures: [(&str, f64, Figure); 2] = [
        ("import", disks.bytes, |figures| figures.import),
        ("restore", disks.last_bytes, |figures| figures.restore),
    ];
    for (what, bytes, figure) in figures {
        // How often as fast: the peer's time divided by ours, within each round.
        let ratios: Vec<f64> =
            ours.iter().zip(theirs).map(|(ours, theirs)| figure(theirs) / figure(ours)).collect();
        let rate = |seconds: f64| bytes / 1e6 / seconds;
        rows.push(Row::beside(
            format!("archive.{what}.{name}"),
            rate(middle(ours, figure)?),
            "MB/s",
            median(&ratios).context("no round")?,
            format!("{name}: {:.0} MB/s", rate(middle(theirs, figure)?)),
        ));
    }
    let (mine, its) = (middle(ours, |f| f.bytes)?, middle(theirs, |f| f.bytes)?);
    let against = format!("{name}: {:.1} MB", its / 1e6);
    rows.push(Row::beside(format!("archive.size.{name}"), mine / 1e6, "MB", mine / its, against));
    Ok(rows)
}

//! Which write each sector of a volume is of, and what may be there after a hard stop.
//!
//! Every sector says which one it is and of which write. So a volume that is read afterwards shows
//! of each sector the last write that it kept, and the ledger knows which later ones had been
//! acknowledged by then.

use std::time::Instant;

use anyhow::{Result, ensure};

pub(super) const SECTOR: usize = 512;

/// Some sectors that were written together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Write {
    pub(super) first: u64,
    pub(super) sectors: u64,
    /// What their sectors say; one above the write before it.
    pub(super) number: u64,
    /// When the volume said so; none for one that was under way at the stop.
    pub(super) acknowledged: Option<Instant>,
}

/// What one writer, which is alone in its part of the volume, has written.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) writes: Vec<Write>,
    /// How many of them had been acknowledged before a flush that was acknowledged too.
    pub(super) flushed: usize,
}

/// A sector of this write; of write 0, which is the master's, if none is told.
pub(super) fn stamp(sector: u64, number: u64) -> [u8; SECTOR] {
    let mut bytes = [0; SECTOR];
    let both = [sector.to_le_bytes(), number.to_le_bytes()].concat();
    for chunk in bytes.chunks_mut(16) {
        chunk.copy_from_slice(&both);
    }
    bytes
}

/// Which write a sector is of. Zeroes are the master's, where it has nothing.
fn read(sector: u64, bytes: &[u8]) -> Result<u64> {
    if bytes.iter().all(|byte| *byte == 0) {
        return Ok(0);
    }
    let number = bytes[8..16].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
    ensure!(
        bytes == stamp(sector, number),
        "sector {sector} holds neither its old nor a new write"
    );
    Ok(number)
}

/// What a volume lost of one ledger.
#[derive(Debug, Default)]
pub(super) struct Lost {
    /// How many acknowledged writes it has not, in whole or in part.
    pub(super) writes: usize,
    /// When the first of them was acknowledged.
    pub(super) first: Option<Instant>,
    /// How many of them had been flushed.
    pub(super) flushed: usize,
}

impl Ledger {
    /// Compares the volume with what was acknowledged.
    pub(super) fn judge(&self, volume: &[u8]) -> Result<Lost> {
        let mut by_sector = std::collections::HashMap::<u64, Vec<usize>>::new();
        for (at, write) in self.writes.iter().enumerate() {
            for sector in write.first..write.first + write.sectors {
                by_sector.entry(sector).or_default().push(at);
            }
        }
        let mut is_lost = vec![false; self.writes.len()];
        for (sector, writes) in by_sector {
            let begin = usize::try_from(sector)? * SECTOR;
            let there = read(sector, &volume[begin..begin + SECTOR])?;
            let is_known = there == 0 || writes.iter().any(|at| self.writes[*at].number == there);
            ensure!(is_known, "sector {sector} is of write {there}, which never was");
            // Whatever was acknowledged after the one that is there.
            for at in writes.into_iter().rev() {
                if self.writes[at].number == there {
                    break;
                }
                is_lost[at] |= self.writes[at].acknowledged.is_some();
            }
        }
        let mut lost = Lost::default();
        for (at, write) in self.writes.iter().enumerate().filter(|(at, _)| is_lost[*at]) {
            lost.writes += 1;
            lost.flushed += usize::from(at < self.flushed);
            lost.first = lost.first.or(write.acknowledged);
        }
        Ok(lost)
    }
}

#[test]
fn the_judge_finds_lost_torn_and_invented_writes() {
    let mut ledger = Ledger::default();
    let now = Instant::now();
    for (first, number, acknowledged) in [(0, 1, Some(now)), (1, 2, Some(now)), (2, 3, None)] {
        ledger.writes.push(Write { first, sectors: 2, number, acknowledged });
    }
    ledger.flushed = 1;
    let volume = |numbers: [u64; 4]| -> Vec<u8> {
        numbers.iter().zip(0..).flat_map(|(number, sector)| stamp(sector, *number)).collect()
    };
    let lost = |numbers| {
        let lost = ledger.judge(&volume(numbers)).unwrap();
        (lost.writes, lost.flushed)
    };
    assert_eq!(lost([1, 2, 3, 3]), (0, 0));
    // Under way, so in whole, in part or not at all.
    assert_eq!(lost([1, 2, 2, 3]), (0, 0));
    assert_eq!(lost([1, 2, 2, 0]), (0, 0));
    assert_eq!(lost([1, 1, 2, 0]), (1, 0));
    assert_eq!(lost([0, 2, 3, 3]), (1, 1));
    assert_eq!(lost([0, 0, 0, 0]), (2, 1));
    assert!(ledger.judge(&volume([2, 2, 2, 0])).is_err());
    let mut torn = volume([1, 2, 3, 3]);
    torn[300] ^= 1;
    assert!(ledger.judge(&torn).is_err());
}

//! Which blocks of a disk have changed, to a bit for each. Pure.
//!
//! A server's map may be as fine as it likes: what is cut finer than a block is taken as all of it,
//! so that this takes no more memory than QEMU's own bitmap does.

use std::ops::Range;

use super::plan::granularity;

/// The blocks that have changed.
#[derive(Debug)]
pub(super) struct Changed {
    size: u64,
    block: u64,
    bits: Vec<u64>,
}

impl Changed {
    /// None, of a disk of this length.
    pub(super) fn new(size: u64) -> Self {
        let block = u64::from(granularity(size));
        let words = size.div_ceil(block).div_ceil(64);
        Self { size, block, bits: vec![0; usize::try_from(words).unwrap_or(usize::MAX)] }
    }

    /// Takes note that these bytes have.
    pub(super) fn add(&mut self, offset: u64, length: u64) {
        let end = offset.saturating_add(length).min(self.size);
        if offset >= end {
            return;
        }
        let (first, last) = (offset / self.block, (end - 1) / self.block);
        for word in first / 64..=last / 64 {
            let from = first.saturating_sub(word * 64).min(63);
            let to = (last - word * 64).min(63);
            // All bits from the one to the other.
            let mask = (u64::MAX >> (63 - to)) & (u64::MAX << from);
            let word = usize::try_from(word).ok().and_then(|word| self.bits.get_mut(word));
            if let Some(word) = word {
                *word |= mask;
            }
        }
    }

    /// What has changed of these bytes, in order: whole blocks, but for the ends.
    pub(super) fn within(&self, bytes: Range<u64>) -> Vec<Range<u64>> {
        let mut found: Vec<Range<u64>> = Vec::new();
        let end = bytes.end.min(self.size);
        let mut at = bytes.start;
        while at < end {
            let next = (at / self.block + 1).saturating_mul(self.block).min(end);
            if self.has(at / self.block) {
                match found.last_mut() {
                    Some(last) if last.end == at => last.end = next,
                    _ => found.push(at..next),
                }
            }
            at = next;
        }
        found
    }

    fn has(&self, block: u64) -> bool {
        let word = usize::try_from(block / 64).ok().and_then(|word| self.bits.get(word));
        word.is_some_and(|word| word >> (block % 64) & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::backup::plan::GRANULARITY;

    const BLOCK: u64 = GRANULARITY as u64;
    const K: u64 = 1024;

    proptest! {
        #[test]
        fn what_was_added_is_found_again_by_whole_blocks_and_nothing_else(
            size in 1..2000 * K,
            added in prop::collection::vec((0..2100 * K, 1..300 * K), 0..8),
            asked in (0..2000 * K, 0..1000 * K),
        ) {
            let mut changed = Changed::new(size);
            for (offset, length) in &added {
                changed.add(*offset, *length);
            }
            let asked = asked.0..(asked.0 + asked.1).min(size);
            let found = changed.within(asked.clone());
            prop_assert!(found.windows(2).all(|two| two[0].end < two[1].start));
            for block in 0..size.div_ceil(BLOCK) {
                let bytes = block * BLOCK..((block + 1) * BLOCK).min(size);
                let touches = |(offset, length): &(u64, u64)| {
                    *offset < bytes.end && offset + length > bytes.start
                };
                let is_changed = added.iter().any(touches);
                let seen = bytes.start.max(asked.start)..bytes.end.min(asked.end);
                if !seen.is_empty() {
                    let is_found = found.iter().any(|r| r.start <= seen.start && seen.end <= r.end);
                    let is_touched = found.iter().any(|r| r.start < seen.end && seen.start < r.end);
                    prop_assert_eq!((is_found, is_touched), (is_changed, is_changed));
                }
            }
        }

        #[test]
        fn no_places_make_it_panic(size in 0..9 * K, at: u64, length: u64, end: u64) {
            let mut changed = Changed::new(size);
            changed.add(at, length);
            changed.within(at..end);
            changed.within(0..end);
        }
    }
}

//! Two maps of a disk, of holes and of changes, made into what an archive is told of it. Pure.
//!
//! A server may cut its runs as finely as it likes; what no chunk of the archive lies in whole is
//! not kept, so that this takes no more memory than the disk has chunks. Which blocks of a chunk have
//! changed is noted apart.

use super::changed::Changed;
use crate::{
    archive::{
        chunk::CHUNK,
        source::{Content, Extent},
    },
    nbd::{DIRTY, Run, ZERO},
};

/// What is known of a disk so far.
#[derive(Debug)]
pub(super) struct Extents {
    size: u64,
    at: u64,
    extents: Vec<Extent>,
    changed: u64,
    blocks: Option<Changed>,
}

impl Extents {
    pub(super) fn new(size: u64) -> Self {
        Self { size, at: 0, extents: Vec::new(), changed: 0, blocks: None }
    }

    /// How far it is known.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Bytes that have changed, as the bitmap says.
    pub(super) fn changed(&self) -> u64 {
        self.changed
    }

    /// Goes on with what maps say from here on, as far as all of them do. Without a map of
    /// changes, all may have changed.
    pub(super) fn add(&mut self, holes: &[Run], changes: Option<&[Run]>) {
        let mut holes = holes.iter().copied();
        let mut changes = changes.map(|changes| changes.iter().copied());
        let whole = Run { length: u64::MAX, flags: DIRTY };
        let (mut hole, mut change) = (holes.next(), Some(whole));
        if let Some(changes) = &mut changes {
            change = changes.next();
            self.blocks.get_or_insert_with(|| Changed::new(self.size));
        }
        while let (Some(of_hole), Some(of_change)) = (&mut hole, &mut change) {
            let length = of_hole.length.min(of_change.length).min(self.size - self.at);
            if length == 0 {
                break;
            }
            let is_changed = of_change.flags & DIRTY != 0;
            if changes.is_some() && is_changed {
                self.changed += length;
                if let Some(blocks) = &mut self.blocks {
                    blocks.add(self.at, length);
                }
            }
            self.push(
                length,
                match (is_changed, of_hole.flags & ZERO != 0) {
                    (false, _) => Content::Unchanged,
                    (true, true) => Content::Zeros,
                    (true, false) => Content::Data,
                },
            );
            of_hole.length -= length;
            of_change.length -= length;
            if of_hole.length == 0 {
                hole = holes.next();
            }
            if of_change.length == 0 {
                change = changes.as_mut().and_then(Iterator::next);
            }
        }
    }

    fn push(&mut self, length: u64, content: Content) {
        let offset = self.at;
        self.at += length;
        match self.extents.last_mut() {
            Some(last) if last.content == content && last.offset + last.length == offset => {
                last.length += length;
            }
            _ => {
                self.forget_short();
                self.extents.push(Extent { offset, length, content });
            }
        }
    }

    /// Forgets the last extent if it tells the archive nothing: data is what is told nothing of.
    fn forget_short(&mut self) {
        let chunk = CHUNK as u64;
        let Some(last) = self.extents.last() else { return };
        let end = last.offset + last.length;
        let first = last.offset.div_ceil(chunk);
        let behind = if end == self.size { end.div_ceil(chunk) } else { end / chunk };
        if last.content == Content::Data || first >= behind {
            self.extents.pop();
        }
    }

    /// Which blocks have changed, where a map of changes said so; once.
    pub(super) fn take_blocks(&mut self) -> Option<Changed> {
        self.blocks.take()
    }

    /// All of it.
    pub(super) fn finish(mut self) -> Vec<Extent> {
        self.forget_short();
        self.extents
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::archive::source::cut;

    const K: u64 = 1024;

    fn runs(total: u64, flags: u32) -> impl Strategy<Value = Vec<Run>> {
        prop::collection::vec((1..900 * K, 0..=flags), 1..12).prop_map(move |runs| {
            let mut runs: Vec<_> =
                runs.into_iter().map(|(length, flags)| Run { length, flags }).collect();
            // Far enough, and further than asked.
            runs.push(Run { length: total, flags: 0 });
            runs
        })
    }

    fn flags_at(runs: &[Run], place: u64) -> u32 {
        let mut end = 0;
        let covers = |run: &&Run| {
            end += run.length;
            place < end
        };
        runs.iter().find(covers).unwrap().flags
    }

    proptest! {
        #[test]
        fn a_chunk_is_called_unchanged_or_zeros_only_where_every_byte_is(
            size in 1..4000 * K, holes in runs(4000 * K, 3), changes in runs(4000 * K, 1),
            is_incremental: bool,
        ) {
            let mut extents = Extents::new(size);
            extents.add(&holes, is_incremental.then_some(&changes[..]));
            prop_assert_eq!(extents.at(), size);
            let parts = cut(size, &extents.finish());
            for (number, part) in parts.into_iter().enumerate() {
                let start = number as u64 * CHUNK as u64;
                let end = (start + CHUNK as u64).min(size);
                let content = |place| {
                    let is_zero = flags_at(&holes, place) & ZERO != 0;
                    match (is_incremental && flags_at(&changes, place) == 0, is_zero) {
                        (true, _) => Content::Unchanged,
                        (false, true) => Content::Zeros,
                        (false, false) => Content::Data,
                    }
                };
                let mut places = vec![start];
                for runs in [&holes, &changes] {
                    let mut at = 0;
                    for run in runs {
                        at += run.length;
                        if (start..end).contains(&at) {
                            places.push(at);
                        }
                    }
                }
                let first = content(start);
                let is_one = places.iter().all(|place| content(*place) == first);
                prop_assert_eq!(part, if is_one { first } else { Content::Data });
            }
        }

        #[test]
        fn maps_that_come_piece_by_piece_say_the_same(
            size in 1..4000 * K, holes in runs(4000 * K, 3), step in 1..700 * K,
        ) {
            let mut whole = Extents::new(size);
            whole.add(&holes, None);
            let mut pieces = Extents::new(size);
            let mut rest: Vec<Run> = holes;
            while pieces.at() < size {
                let mut piece = Vec::new();
                let mut left = step;
                while left > 0 && let Some(run) = rest.first_mut() {
                    let length = run.length.min(left);
                    piece.push(Run { length, flags: run.flags });
                    left -= length;
                    run.length -= length;
                    if run.length == 0 {
                        rest.remove(0);
                    }
                }
                pieces.add(&piece, None);
            }
            prop_assert_eq!(pieces.finish(), whole.finish());
        }

        #[test]
        fn no_runs_make_it_panic_or_take_memory(
            lengths in prop::collection::vec((any::<u32>(), any::<u32>()), 0..50), size in 0..9 * K,
        ) {
            let run = |(length, flags): &(u32, u32)| Run { length: (*length).into(), flags: *flags };
            let runs: Vec<Run> = lengths.iter().map(run).collect();
            let mut extents = Extents::new(size);
            extents.add(&runs, Some(&runs));
            prop_assert!(extents.at() <= size);
            prop_assert!(extents.finish().len() <= 1);
        }
    }

    #[test]
    fn what_is_cut_finer_than_chunks_is_not_kept() {
        let mut extents = Extents::new(64 << 20);
        for at in 0..(64 << 20) / 512 {
            extents.add(&[Run { length: 512, flags: if at % 2 == 0 { ZERO } else { 0 } }], None);
        }
        assert_eq!(extents.at(), 64 << 20);
        assert!(extents.finish().is_empty());
    }
}

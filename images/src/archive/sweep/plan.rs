//! What is garbage: decisions of the collection, pure.

use std::collections::BTreeSet;

use crate::archive::{
    id::{ImageId, PackId},
    index::{ChunkSet, Pack},
    pack::{Placed, TARGET},
};

/// A pack is emptied where less than this share of it is needed.
const LEAST: f64 = 0.5;
/// A pack is small below this, and small ones are put together where there are so many.
const SMALL: u64 = (TARGET / 4) as u64;
const MANY_SMALL: usize = 8;

/// What is to be done.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Packs that are to go, once nobody counts on them.
    pub(crate) condemned: Vec<PackId>,
    /// What they hold that is needed: to be copied before.
    pub(crate) copied: Vec<(PackId, Placed)>,
}

/// A pack's chunks that are needed and that no pack before it has.
struct Owned {
    id: PackId,
    length: u64,
    placed: Vec<Placed>,
    bytes: u64,
}

/// Plans for packs that nobody has condemned. Those of living sessions are let be: their images
/// may be yet to come.
pub(crate) fn plan(packs: &[Pack], needed: &ChunkSet, living: &BTreeSet<ImageId>) -> Plan {
    let settled = packs.iter().filter(|pack| !living.contains(&pack.id.writer));
    let mut order: Vec<(&Pack, u64)> = settled
        .map(|pack| {
            let of_use = pack.placed.iter().filter(|placed| needed.contains(&placed.entry.id));
            (pack, of_use.map(|placed| u64::from(placed.entry.stored)).sum())
        })
        .collect();
    // Of a chunk that several packs have, the fullest of them keeps it.
    let fullness = |(pack, bytes): &(&Pack, u64)| *bytes as f64 / pack.length.max(1) as f64;
    order.sort_by(|a, b| {
        fullness(b).total_cmp(&fullness(a)).then(b.1.cmp(&a.1)).then(a.0.id.cmp(&b.0.id))
    });
    let mut seen = ChunkSet::default();
    let owned: Vec<Owned> =
        order.into_iter().map(|(pack, _)| own(pack, needed, &mut seen)).collect();
    choose(owned)
}

fn own(pack: &Pack, needed: &ChunkSet, seen: &mut ChunkSet) -> Owned {
    let mine = |placed: &&Placed| needed.contains(&placed.entry.id) && seen.insert(placed.entry.id);
    let placed: Vec<Placed> = pack.placed.iter().filter(mine).copied().collect();
    let bytes = placed.iter().map(|placed| u64::from(placed.entry.stored)).sum();
    Owned { id: pack.id, length: pack.length, placed, bytes }
}

fn choose(owned: Vec<Owned>) -> Plan {
    let is_small = |pack: &Owned| pack.length < SMALL && !pack.placed.is_empty();
    let merge = owned.iter().filter(|pack| is_small(pack)).count() >= MANY_SMALL;
    let mut plan = Plan::default();
    for pack in owned {
        let is_wasteful = (pack.bytes as f64) < pack.length as f64 * LEAST;
        if is_wasteful || (merge && is_small(&pack)) {
            plan.condemned.push(pack.id);
            plan.copied.extend(pack.placed.into_iter().map(|placed| (pack.id, placed)));
        }
    }
    plan
}

/// Whether these packs have all that is needed.
pub(crate) fn have_all(packs: &[Pack], needed: &ChunkSet) -> bool {
    let there: ChunkSet =
        packs.iter().flat_map(|pack| &*pack.placed).map(|placed| placed.entry.id).collect();
    needed.iter().all(|id| there.contains(id))
}

/// What condemned packs hold that is needed and that no pack has which will stay.
pub(crate) fn last_copies(
    condemned: &[Pack],
    staying: &[Pack],
    needed: &ChunkSet,
) -> Vec<(PackId, Placed)> {
    let mut safe: ChunkSet =
        staying.iter().flat_map(|pack| &*pack.placed).map(|placed| placed.entry.id).collect();
    let mut last = Vec::new();
    for pack in condemned {
        for placed in &*pack.placed {
            if needed.contains(&placed.entry.id) && safe.insert(placed.entry.id) {
                last.push((pack.id, *placed));
            }
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::archive::{
        chunk::{Entry, Form},
        id::ChunkId,
    };

    fn pack(number: u8, chunks: &[u8]) -> Pack {
        let placed = chunks.iter().map(|chunk| Placed {
            entry: Entry {
                id: ChunkId([*chunk; 32]),
                form: Form { is_compressed: false, is_sealed: false },
                stored: 1_000_000,
                plain: 1_000_000,
            },
            offset: 0,
        });
        let id = PackId { writer: ImageId::new([number; 16]), number: 0 };
        Pack { id, length: 100 + chunks.len() as u64 * 1_000_000, placed: placed.collect() }
    }

    fn needed(chunks: &[u8]) -> ChunkSet {
        chunks.iter().map(|chunk| ChunkId([*chunk; 32])).collect()
    }

    fn chunks(placed: &[(PackId, Placed)]) -> Vec<u8> {
        placed.iter().map(|(_, placed)| placed.entry.id.0[0]).collect()
    }

    #[test]
    fn a_pack_that_nobody_needs_goes_and_one_that_is_needed_stays() {
        let packs = [pack(1, &[1, 2, 3, 4, 5]), pack(2, &[6, 7, 8, 9, 10])];
        let plan = plan(&packs, &needed(&[1, 2, 3, 4]), &BTreeSet::new());
        assert_eq!(plan.condemned, [packs[1].id]);
        assert_eq!(plan.copied, []);
    }

    #[test]
    fn what_is_needed_of_a_wasteful_pack_is_copied() {
        let packs = [pack(1, &[1, 2, 3, 4, 5])];
        let plan = plan(&packs, &needed(&[1, 2]), &BTreeSet::new());
        assert_eq!(plan.condemned, [packs[0].id]);
        assert_eq!(chunks(&plan.copied), [1, 2]);
    }

    #[test]
    fn packs_of_living_sessions_are_let_be() {
        let packs = [pack(1, &[1, 2, 3, 4, 5])];
        let living = BTreeSet::from([packs[0].id.writer]);
        assert_eq!(plan(&packs, &needed(&[]), &living), Plan::default());
    }

    #[test]
    fn of_two_packs_with_the_same_chunks_one_goes() {
        let packs = [pack(1, &[1, 2, 3, 4, 5]), pack(2, &[1, 2, 3, 4, 5])];
        let plan = plan(&packs, &needed(&[1, 2, 3, 4, 5]), &BTreeSet::new());
        assert_eq!(plan.condemned.len(), 1);
        assert_eq!(plan.copied, []);
    }

    #[test]
    fn many_small_packs_are_put_together() {
        let packs: Vec<_> = (1..=8).map(|n| pack(n, &[n])).collect();
        let all = needed(&[1, 2, 3, 4, 5, 6, 7, 8]);
        let done = plan(&packs, &all, &BTreeSet::new());
        assert_eq!((done.condemned.len(), done.copied.len()), (8, 8));
        assert_eq!(plan(&packs[1..], &all, &BTreeSet::new()), Plan::default());
    }

    proptest! {
        #[test]
        fn what_is_needed_is_in_a_pack_that_stays_or_is_copied(
            contents in prop::collection::vec(prop::collection::vec(0..40u8, 0..9), 0..12),
            wanted in prop::collection::vec(0..40u8, 0..30)
        ) {
            let packs: Vec<_> = (1..).zip(&contents).map(|(n, chunks)| pack(n, chunks)).collect();
            let there: ChunkSet = packs
                .iter().flat_map(|pack| &*pack.placed).map(|placed| placed.entry.id).collect();
            let needed = needed(&wanted);
            let plan = plan(&packs, &needed, &BTreeSet::new());
            let (gone, staying): (Vec<_>, Vec<_>) =
                packs.into_iter().partition(|pack| plan.condemned.contains(&pack.id));
            let mut safe: ChunkSet = staying
                .iter().flat_map(|pack| &*pack.placed).map(|placed| placed.entry.id).collect();
            safe.extend(plan.copied.iter().map(|(_, placed)| placed.entry.id));
            prop_assert!(needed.iter().filter(|id| there.contains(*id)).all(|id| safe.contains(id)));
            // The second decision finds nothing that the first one forgot.
            let last = last_copies(&gone, &staying, &needed);
            prop_assert!(last.len() <= plan.copied.len());
        }
    }
}

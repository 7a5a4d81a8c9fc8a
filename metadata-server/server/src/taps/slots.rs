//! Which slot the next port gets.
//!
//! Slots only go forward and wrap after 16 million, so that a slot that was given back is not
//! given again soon: replies that are still on their way to its former tenant find nobody. A
//! start without a predecessor goes on above what is pinned; a takeover goes on where the
//! predecessor stopped.

use std::collections::HashSet;

use mezame_ebpf_loader::PortSlot;

/// Gives slots out.
#[derive(Debug, Default)]
pub(super) struct Slots {
    next: u32,
    taken: HashSet<PortSlot>,
}

/// All 16 million slots are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("all {} port slots are taken", PortSlot::MAX.number() + 1)]
pub(super) struct NoSlot;

impl Slots {
    /// Begins at `next`.
    pub(super) fn starting_at(next: u32) -> Self {
        Self { next, taken: HashSet::new() }
    }

    /// The slot that would be tried first.
    pub(super) fn next(&self) -> u32 {
        self.next
    }

    /// Notes that a slot is taken already; later ones lie above it.
    pub(super) fn adopt(&mut self, slot: PortSlot) {
        self.taken.insert(slot);
        self.next = self.next.max(slot.number() + 1);
    }

    /// A slot that nobody has.
    pub(super) fn take(&mut self) -> Result<PortSlot, NoSlot> {
        for _ in 0..=self.taken.len() {
            let slot = match PortSlot::new(self.next) {
                Some(slot) => slot,
                None => {
                    self.next = 0;
                    PortSlot::new(0).ok_or(NoSlot)?
                }
            };
            self.next += 1;
            if self.taken.insert(slot) {
                return Ok(slot);
            }
        }
        Err(NoSlot)
    }

    /// Gives a slot back.
    pub(super) fn give_back(&mut self, slot: PortSlot) {
        self.taken.remove(&slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_that_was_given_back_is_not_given_next() {
        let mut slots = Slots::default();
        let first = slots.take().unwrap();
        slots.give_back(first);
        assert_ne!(slots.take().unwrap(), first);
    }

    #[test]
    fn slots_wrap_around_those_that_are_taken() {
        let mut slots = Slots::starting_at(PortSlot::MAX.number());
        slots.adopt(PortSlot::new(0).unwrap());
        assert_eq!(slots.take().unwrap(), PortSlot::MAX);
        assert_eq!(slots.take().unwrap().number(), 1);
    }
}

//! How much of a running guest's disk is read at once: what a write of the guest's may have to wait
//! behind, in QEMU and in the disk's own queue.
//!
//! All threads of a pull share it. Small reads go side by side, since far away each of them costs a
//! way there and back; together they are no more than is allowed. It measures no time and knows no
//! rate.

use std::sync::{Condvar, Mutex, PoisonError};

/// The longest single read, and the most bytes that are asked for on the guest's own machine and have
/// not come yet.
pub(super) const AT_ONCE: usize = 64 << 10;
/// The same over a network.
const FAR: usize = 1 << 20;

/// Bytes that are under way.
#[derive(Debug)]
pub(super) struct Gate {
    most: usize,
    under_way: Mutex<usize>,
    changed: Condvar,
}

impl Gate {
    /// That of a disk whose guest runs on this machine.
    pub(super) fn local() -> Self {
        Self { most: AT_ONCE, under_way: Mutex::default(), changed: Condvar::new() }
    }

    /// That of a disk at the other end of a network.
    pub(super) fn far() -> Self {
        Self { most: FAR, ..Self::local() }
    }

    /// Reads so many bytes, [`AT_ONCE`] at most, once no more than may be are under way with them.
    pub(super) fn pass<T>(&self, length: usize, read: impl FnOnce() -> T) -> T {
        let under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = |under_way: &mut usize| *under_way > 0 && *under_way + length > self.most;
        let under_way = self.changed.wait_while(under_way, is_full);
        *under_way.unwrap_or_else(PoisonError::into_inner) += length;
        let _leave = Leave { gate: self, length };
        read()
    }
}

/// Lets the next one in, however the read ends.
struct Leave<'a> {
    gate: &'a Gate,
    length: usize,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        *self.gate.under_way.lock().unwrap_or_else(PoisonError::into_inner) -= self.length;
        self.gate.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        thread,
    };

    use super::*;

    #[test]
    fn no_more_is_under_way_than_may_be_whoever_reads() {
        for (gate, bound) in [(Gate::local(), AT_ONCE), (Gate::far(), FAR)] {
            let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
            thread::scope(|scope| {
                for thread in 1..=8 {
                    let (gate, now, most) = (&gate, &now, &most);
                    scope.spawn(move || {
                        for round in 1..=50 {
                            let length = AT_ONCE / (1 + thread * round % 5);
                            gate.pass(length, || {
                                let together = now.fetch_add(length, Ordering::SeqCst) + length;
                                most.fetch_max(together, Ordering::SeqCst);
                                thread::yield_now();
                                now.fetch_sub(length, Ordering::SeqCst);
                            });
                        }
                    });
                }
            });
            assert!((1..=bound).contains(&most.into_inner()));
        }
    }

    #[test]
    fn small_reads_go_side_by_side_and_far_away_whole_ones_do() {
        let gate = Gate::local();
        let inner = gate.pass(AT_ONCE / 2, || gate.pass(AT_ONCE / 2, || "both"));
        assert_eq!(inner, "both");
        let gate = Gate::far();
        assert_eq!(gate.pass(AT_ONCE, || gate.pass(AT_ONCE, || "both")), "both");
    }

    #[test]
    fn who_panics_leaves_too() {
        let gate = Gate::local();
        let read = || gate.pass(AT_ONCE, || panic!("a read that fails"));
        thread::scope(|scope| scope.spawn(read).join()).unwrap_err();
        assert_eq!(gate.pass(AT_ONCE, || 1), 1);
    }
}

//! How much of a running guest's disk is read at once, and for how long: what a write of the guest's
//! may have to wait behind, in QEMU and in the disk's own queue.
//!
//! All threads of a pull share it. On the guest's own machine one of them reads at a time, and after
//! some milliseconds none does for as long: most of a guest's writes then meet no read at all. Resting
//! after each read would be worse, since a write takes about as long as a read and so would nearly
//! always meet one. Over a network, where each read costs a way there and back, several go side by side.
//! It knows no rate, and gives up nothing: how late a server may be is [`super::pace`]'s.

use std::{
    sync::{Condvar, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// The longest single read.
pub(super) const AT_ONCE: usize = 64 << 10;
/// The most bytes that are asked for over a network and have not come yet.
const UNDER_WAY: usize = 1 << 20;
/// How long is read before a rest: many times what a guest's write takes.
const TURN: Duration = Duration::from_millis(10);
/// The longest rest, where the disk hardly answers.
const LONGEST_REST: Duration = Duration::from_secs(1);

/// Who is let through.
#[derive(Debug)]
pub(super) enum Gate {
    /// One at a time, with how long was read since the last rest.
    Local(Mutex<Duration>),
    /// As many as there is room for, with the bytes that are under way.
    Far(Mutex<usize>, Condvar),
}

impl Gate {
    /// That of a disk whose guest runs on this machine.
    pub(super) fn local() -> Self {
        Self::Local(Mutex::default())
    }

    /// That of a disk at the other end of a network.
    pub(super) fn far() -> Self {
        Self::Far(Mutex::default(), Condvar::new())
    }

    /// Reads so many bytes, [`AT_ONCE`] at most, once it is this one's turn.
    pub(super) fn pass<T>(&self, length: usize, read: impl FnOnce() -> T) -> T {
        match self {
            Self::Local(spent) => {
                let mut spent = spent.lock().unwrap_or_else(PoisonError::into_inner);
                let begin = Instant::now();
                let result = read();
                let rest;
                (*spent, rest) = after(*spent + begin.elapsed());
                // With the lock held: nobody reads meanwhile.
                thread::sleep(rest);
                result
            }
            Self::Far(under_way, changed) => {
                let is_full =
                    |under_way: &mut usize| *under_way > 0 && *under_way + length > UNDER_WAY;
                let locked = under_way.lock().unwrap_or_else(PoisonError::into_inner);
                let locked = changed.wait_while(locked, is_full);
                *locked.unwrap_or_else(PoisonError::into_inner) += length;
                let _leave = Leave { under_way, changed, length };
                read()
            }
        }
    }
}

/// What counts as read since the last rest, once so long was read; and how long to rest now.
fn after(spent: Duration) -> (Duration, Duration) {
    if spent < TURN { (spent, Duration::ZERO) } else { (Duration::ZERO, spent.min(LONGEST_REST)) }
}

/// Lets the next one in, however the read ends.
struct Leave<'a> {
    under_way: &'a Mutex<usize>,
    changed: &'a Condvar,
    length: usize,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        *self.under_way.lock().unwrap_or_else(PoisonError::into_inner) -= self.length;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// The most bytes that were under way together, of eight threads' reads.
    fn most_at_once(gate: &Gate) -> usize {
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for thread in 1..=8 {
                let (now, most) = (&now, &most);
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
        most.into_inner()
    }

    #[test]
    fn beside_the_guest_no_more_is_under_way_than_one_read_whoever_reads() {
        assert!((1..=AT_ONCE).contains(&most_at_once(&Gate::local())));
    }

    #[test]
    fn over_a_network_reads_go_side_by_side_up_to_a_bound() {
        let gate = Gate::far();
        let inner = gate.pass(AT_ONCE, || gate.pass(AT_ONCE, || "both"));
        assert_eq!(inner, "both");
        assert!((1..=UNDER_WAY).contains(&most_at_once(&gate)));
    }

    #[test]
    fn nobody_reads_for_as_long_as_was_read_and_never_for_long() {
        let ms = Duration::from_millis;
        assert_eq!(after(ms(9)), (ms(9), ms(0)));
        assert_eq!(after(ms(10)), (ms(0), ms(10)));
        assert_eq!(after(ms(13)), (ms(0), ms(13)));
        assert_eq!(after(ms(60_000)), (ms(0), ms(1000)));
    }

    #[test]
    fn who_panics_leaves_too() {
        for gate in [Gate::local(), Gate::far()] {
            let read = || gate.pass(AT_ONCE, || panic!("a read that fails"));
            thread::scope(|scope| scope.spawn(read).join()).unwrap_err();
            assert_eq!(gate.pass(AT_ONCE, || 1), 1);
        }
    }
}

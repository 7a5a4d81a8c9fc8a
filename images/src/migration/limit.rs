//! For how long QEMU is told that a guest may stand still, so that raw volumes' bitmaps don't keep it from
//! going over, and so that it isn't stopped long before its memory is copied. Pure.
//!
//! QEMU lets a guest go over once what is left, in bytes, is less than its own measure of the bandwidth
//! times this limit, and takes each bit of a bitmap for a byte. It measures anew each 100 ms. So a
//! share for the bits that was reckoned at a low rate would be room for gigabytes of memory at a high one.
//!
//! ```text
//!   memory that is left                                  the bits' share is reckoned at
//!   more than is sent in the wanted time, or too new     the highest rate there may be
//!   less, for a while                                    the rate of now
//! ```
//! After QEMU's migration/migration.c (`migration_update_counters`, `migration_iteration_run`).

use std::time::Duration;

/// The longest downtime that QEMU takes, in milliseconds.
const LONGEST: u64 = 2_000_000;
/// For how long what is left has to have been little: longer than QEMU keeps one measure.
const SETTLED: Duration = Duration::from_millis(200);
/// The lowest rate that is reckoned with, in bytes a second.
const LOWEST: u64 = 1 << 20;

/// What a limit is reckoned from.
#[derive(Debug, Clone)]
pub(super) struct Limit {
    /// How long the guest is to stand still at most, in milliseconds.
    wanted: u64,
    /// Bits that are sent while it stands still.
    bits: u64,
    /// The highest rate that is asked for, or was seen.
    highest: u64,
    /// The highest that was seen.
    seen: u64,
    /// Since when little memory is left.
    little: Option<Duration>,
}

impl Limit {
    /// For a guest that has as many bits to send; `bandwidth` is the most bytes a second, or 0 where
    /// nothing bounds it.
    pub(super) fn new(wanted: Duration, bits: u64, bandwidth: u64) -> Self {
        let wanted = u64::try_from(wanted.as_millis()).unwrap_or(LONGEST);
        let highest = if bandwidth == 0 { u64::MAX } else { bandwidth.max(LOWEST) };
        Self { wanted, bits, highest, seen: 0, little: None }
    }

    /// The limit in milliseconds that stops no guest early, whatever the rate becomes.
    pub(super) fn safe(&self) -> u64 {
        self.at(self.highest)
    }

    /// The limit in milliseconds at a time since the beginning, when memory is sent at `rate` bytes a
    /// second and `remaining` bytes of it are left.
    pub(super) fn next(&mut self, at: Duration, rate: u64, remaining: u64) -> u64 {
        self.seen = self.seen.max(rate);
        self.highest = self.highest.max(rate);
        if u128::from(remaining) * 1000 > u128::from(self.seen) * u128::from(self.wanted)
            || self.seen == 0
        {
            self.little = None;
            return self.safe();
        }
        let since = *self.little.get_or_insert(at);
        if at.saturating_sub(since) < SETTLED { self.safe() } else { self.at(rate.max(LOWEST)) }
    }

    fn at(&self, rate: u64) -> u64 {
        let for_bits = self.bits.saturating_mul(1000) / rate;
        self.wanted.saturating_add(for_bits).clamp(1, LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WANTED: Duration = Duration::from_millis(300);
    const TERABYTE: u64 = 1 << 28;

    #[test]
    fn a_rate_that_is_not_known_yet_is_room_for_no_memory() {
        let mut limit = Limit::new(WANTED, TERABYTE, 1 << 30);
        assert_eq!(limit.safe(), 550);
        assert_eq!(limit.next(Duration::ZERO, 0, 0), 550);
        // Pages of zeroes go at next to no rate.
        assert_eq!(limit.next(Duration::from_secs(1), 1000, 1 << 32), 550);
    }

    #[test]
    fn no_bound_of_the_bandwidth_is_room_for_no_memory_either() {
        let mut limit = Limit::new(WANTED, TERABYTE, 0);
        assert_eq!(limit.safe(), 300);
        assert_eq!(limit.next(Duration::ZERO, 10 << 30, 1 << 34), 300);
        // What is left is little: the bits are all that counts, at the rate of now.
        limit.next(Duration::from_secs(1), 1 << 30, 1 << 20);
        assert_eq!(limit.next(Duration::from_secs(2), 1 << 30, 1 << 20), 550);
    }

    #[test]
    fn bits_keep_no_guest_whose_memory_is_copied_over_a_slow_network() {
        let mut limit = Limit::new(WANTED, TERABYTE, 1 << 30);
        assert_eq!(limit.next(Duration::ZERO, 100 << 20, 1 << 20), 550);
        let told = limit.next(Duration::from_secs(1), 100 << 20, 1 << 20);
        let room = told * (100 << 20) / 1000;
        assert!(room >= TERABYTE + (1 << 20), "{room}");
        // No more room once there is more memory again.
        assert_eq!(limit.next(Duration::from_secs(2), 100 << 20, 1 << 30), 550);
    }

    #[test]
    fn a_guest_without_raw_volumes_bitmaps_stands_still_for_as_long_as_is_wanted() {
        let mut limit = Limit::new(WANTED, 0, 1 << 30);
        assert_eq!(limit.next(Duration::ZERO, 0, 0), 300);
        assert_eq!(limit.next(Duration::from_secs(9), 1, 0), 300);
        assert_eq!(Limit::new(Duration::ZERO, 0, 0).safe(), 1);
        assert_eq!(Limit::new(Duration::MAX, u64::MAX, 0).safe(), LONGEST);
    }

    proptest! {
        #[test]
        fn there_is_room_for_little_memory_unless_little_was_left_for_a_while(
            bits in 0_u64..1 << 30,
            turns in prop::collection::vec((0_u64..400, 0_u64..1 << 31, 0_u64..1 << 34), 1..40),
            bandwidth in 1_u64 << 20..1 << 31,
        ) {
            let mut limit = Limit::new(WANTED, bits, 1 << 31);
            let (mut at, mut seen, mut little) = (0, 0, None);
            for (pause, rate, remaining) in turns {
                at += pause;
                seen = seen.max(rate);
                let told = limit.next(Duration::from_millis(at), rate, remaining);
                let fits = seen > 0 && remaining * 1000 <= seen * 300;
                little = if fits { little.or(Some(at)) } else { None };
                let room = u128::from(told) * u128::from(bandwidth) / 1000;
                let due = u128::from(bandwidth) * 300 / 1000 + u128::from(bits);
                let is_settled = little.is_some_and(|since| at - since >= 200);
                prop_assert!(is_settled || room <= due, "{} ms", told);
                // And it is enough at the rate of now.
                let room = u128::from(told + 1) * u128::from(rate.max(LOWEST)) / 1000;
                prop_assert!(!is_settled || room >= u128::from(bits), "{} ms", told);
            }
        }
    }
}

//! What one port has used up of its share: a token bucket for requests, counts for the rest.
//!
//! Lock-free and free of a clock: the time is passed in.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// A token bucket without a lock, by the generic cell rate algorithm (ITU-T I.371): it keeps the
/// one instant at which the bucket will be full again.
#[derive(Debug, Default)]
pub struct Bucket {
    full_at: AtomicU64,
}

/// How fast a bucket fills, and how much it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Nanoseconds that one token takes; 0 sets no limit.
    interval: u64,
    /// Nanoseconds that the whole bucket takes.
    depth: u64,
}

impl Rate {
    /// `per_second` tokens a second and `burst` at once (at least 1); 0 a second sets no limit.
    pub fn new(per_second: u32, burst: u32) -> Self {
        let interval = if per_second == 0 { 0 } else { 1_000_000_000 / u64::from(per_second) };
        Self { interval, depth: interval * u64::from(burst.max(1)) }
    }

    /// One token in so many seconds (at least 1), and one at once.
    pub fn once_in(seconds: u32) -> Self {
        let interval = u64::from(seconds.max(1)) * 1_000_000_000;
        Self { interval, depth: interval }
    }
}

/// The bucket is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exhausted {
    /// Nanoseconds until there is a token again.
    pub wait: u64,
}

impl Bucket {
    /// Takes a token at `now` (nanoseconds from any fixed instant).
    pub fn take(&self, rate: Rate, now: u64) -> Result<(), Exhausted> {
        self.take_many(rate, 1, now)
    }

    /// Takes so many tokens at once, or none. More than the bucket holds it never gives.
    pub fn take_many(&self, rate: Rate, tokens: u32, now: u64) -> Result<(), Exhausted> {
        if rate.interval == 0 {
            return Ok(());
        }
        let mut seen = self.full_at.load(Ordering::Relaxed);
        loop {
            let next = seen.max(now) + rate.interval * u64::from(tokens);
            if next > now + rate.depth {
                return Err(Exhausted { wait: next - now - rate.depth });
            }
            match self.full_at.compare_exchange_weak(
                seen,
                next,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Ok(()),
                Err(other) => seen = other,
            }
        }
    }
}

/// A count with a ceiling, such as open connections.
#[derive(Debug, Default)]
pub struct Count(AtomicU32);

impl Count {
    /// Adds one, or says that `ceiling` is reached.
    pub fn raise(&self, ceiling: u32) -> Result<(), Full> {
        if self.0.fetch_add(1, Ordering::Relaxed) >= ceiling {
            self.0.fetch_sub(1, Ordering::Relaxed);
            return Err(Full);
        }
        Ok(())
    }

    /// Adds one, whatever the ceiling.
    pub fn force(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes one off.
    pub fn lower(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// As it is now.
    pub fn now(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The ceiling is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn several_tokens_are_taken_together_or_not_at_all() {
        let (bucket, rate) = (Bucket::default(), Rate::new(10, 6));
        assert_eq!(bucket.take_many(rate, 4, 0), Ok(()));
        assert_eq!(bucket.take_many(rate, 4, 0), Err(Exhausted { wait: 200_000_000 }));
        assert_eq!(bucket.take_many(rate, 2, 0), Ok(()));
        assert!(bucket.take_many(rate, 7, u64::MAX / 2).is_err());
    }

    #[test]
    fn a_burst_is_let_through_and_then_the_rate() {
        let (bucket, rate) = (Bucket::default(), Rate::new(10, 3));
        let start = 5_000_000_000;
        for _ in 0..3 {
            assert_eq!(bucket.take(rate, start), Ok(()));
        }
        assert_eq!(bucket.take(rate, start), Err(Exhausted { wait: 100_000_000 }));
        assert_eq!(bucket.take(rate, start + 100_000_000), Ok(()));
        assert!(bucket.take(rate, start + 100_000_000).is_err());
    }

    #[test]
    fn what_may_happen_once_in_a_minute_happens_once_in_a_minute() {
        let (bucket, rate) = (Bucket::default(), Rate::once_in(60));
        let (start, second) = (7_000_000_000, 1_000_000_000);
        assert_eq!(bucket.take(rate, start), Ok(()));
        assert!(bucket.take(rate, start + 59 * second).is_err());
        assert_eq!(bucket.take(rate, start + 60 * second), Ok(()));
    }

    #[test]
    fn a_rate_of_zero_sets_no_limit() {
        let (bucket, rate) = (Bucket::default(), Rate::new(0, 1));
        assert!((0..1000).all(|_| bucket.take(rate, 7).is_ok()));
    }

    #[test]
    fn a_count_never_passes_its_ceiling() {
        let count = Count::default();
        assert_eq!((0..5).filter(|_| count.raise(3).is_ok()).count(), 3);
        count.lower();
        assert_eq!(count.raise(3), Ok(()));
        assert_eq!(count.now(), 3);
    }

    proptest! {
        #[test]
        fn no_window_sees_more_than_burst_and_rate(
            per_second in 1u32..1000, burst in 1u32..50,
            steps in prop::collection::vec(0u64..50_000_000, 1..300),
        ) {
            let (bucket, rate) = (Bucket::default(), Rate::new(per_second, burst));
            let (mut now, mut taken) = (1_000_000_000u64, Vec::new());
            for step in steps {
                now += step;
                if bucket.take(rate, now).is_ok() {
                    taken.push(now);
                }
            }
            let interval = 1_000_000_000 / u64::from(per_second);
            for (i, from) in taken.iter().enumerate() {
                for (j, to) in taken.iter().enumerate().skip(i) {
                    let allowed = u64::from(burst) + (to - from) / interval;
                    prop_assert!(((j - i) as u64) < allowed);
                }
            }
        }
    }
}

//! How long to wait before asking again: doubling, with jitter, and the server's own wish.
//!
//! Pure: the random number is passed in. Full jitter over the upper half, so that a thousand
//! guests that lost their server at once don't come back at once, and none waits for nothing.

use std::time::Duration;

/// A growing delay.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    step: u32,
}

impl Backoff {
    /// From `first` doubling up to `longest`.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, step: 0 }
    }

    /// Back to the first delay, after a success.
    pub fn reset(&mut self) {
        self.step = 0;
    }

    /// The next delay: between half and the whole of the doubled one, never less than what the
    /// server asked for (`Retry-After`), which is itself bounded by ten times the longest.
    pub fn next(&mut self, random: u64, retry_after: Option<Duration>) -> Duration {
        let whole = self.first.saturating_mul(1 << self.step.min(16)).min(self.longest);
        self.step = self.step.saturating_add(1);
        let jitter = whole / 2 * u32::try_from(random % 1001).unwrap_or(0) / 1000;
        let floor = retry_after.unwrap_or_default().min(self.longest * 10);
        // What the server asks of all alike must be spread, too.
        (whole / 2 + jitter).max(floor + floor / 4 * u32::try_from(random % 101).unwrap_or(0) / 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_longest_and_jitter_stays_in_the_upper_half() {
        let (first, longest) = (Duration::from_millis(100), Duration::from_secs(5));
        for random in [0, 500, 1000, u64::MAX] {
            let mut backoff = Backoff::new(first, longest);
            let mut whole = first;
            for _ in 0..40 {
                let delay = backoff.next(random, None);
                assert!(delay >= whole / 2 && delay <= whole, "{delay:?} of {whole:?}");
                whole = (whole * 2).min(longest);
            }
            backoff.reset();
            assert!(backoff.next(random, None) <= first);
        }
    }

    #[test]
    fn the_servers_wish_is_a_floor_but_not_an_unlimited_one() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        let asked = Duration::from_secs(7);
        assert!(backoff.next(0, Some(asked)) >= asked);
        assert!(backoff.next(1000, Some(asked)) <= asked * 5 / 4);
        assert!(backoff.next(1000, Some(Duration::from_secs(1 << 40))) <= Duration::from_secs(63));
    }
}

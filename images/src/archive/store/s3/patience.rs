//! How long an object store may take, and how often it is asked again: with longer and longer
//! pauses, and never without an end.

use std::time::{Duration, Instant};

use super::error::S3Error;
use crate::environment::Environment;

/// The first pause; each is twice the one before, and a random part of it is taken.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// What is at least reckoned with, in bytes for each second.
const SLOWEST: u64 = 1024 * 1024;

/// How long an object store may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For one attempt, and one second more for each MiB; of an object that is read whole, for each
    /// that it may have.
    pub attempt: Duration,
    /// For all attempts of one thing, and one second more for each MiB. No image hangs on how long it
    /// is. But a session whose signs of life take longer than [`crate::archive::Settings::dead_after`]
    /// is taken for dead, and has to be repeated.
    pub whole: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { attempt: Duration::from_secs(60), whole: Duration::from_secs(240) }
    }
}

/// How long so many bytes may take besides.
pub(super) fn on_the_way(length: u64) -> Duration {
    Duration::from_secs(length / SLOWEST)
}

/// Attempts of one thing, with pauses between them, until the time is up.
///
/// Time is what passed by the clock that counts steadily or by the one that tells the date, whichever
/// is more: the former stands still with a machine that sleeps, and the latter is what
/// requests are signed with.
pub(super) struct Tries {
    begin: Instant,
    begin_ms: u64,
    whole: Duration,
    next: Duration,
    pub(super) last: Option<S3Error>,
}

impl Tries {
    pub(super) fn begin(patience: Patience, length: u64, now_ms: u64) -> Self {
        let whole = patience.whole + on_the_way(length);
        Self { begin: Instant::now(), begin_ms: now_ms, whole, next: PAUSE, last: None }
    }

    /// How much there is left; none where it is up.
    pub(super) fn left(&self, now_ms: u64) -> Option<Duration> {
        let passed = Duration::from_millis(now_ms.saturating_sub(self.begin_ms));
        let left = self.whole.checked_sub(passed.max(self.begin.elapsed()))?;
        (!left.is_zero()).then_some(left)
    }

    /// Waits before the next attempt; where there is no time for one, gives back why it is needed.
    pub(super) fn pause(
        &mut self,
        why: S3Error,
        environment: &dyn Environment,
    ) -> Result<(), S3Error> {
        let [random] = crate::environment::random(environment)?;
        // Between a half and all of it, so that writers who were slowed down together come apart.
        let pause = self.next * (256 + u32::from(random)) / 512;
        self.next = (self.next * 2).min(LONGEST_PAUSE);
        if self.left(environment.now_ms()).is_none_or(|left| pause >= left) {
            return Err(why);
        }
        std::thread::sleep(pause);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::fixed::FixedEnvironment;

    #[test]
    fn a_machine_that_slept_has_no_time_left_and_pauses_grow() {
        let patience = Patience { attempt: Duration::from_secs(1), whole: Duration::from_secs(60) };
        let tries = Tries::begin(patience, 0, 1_000);
        assert!(tries.left(1_000).is_some_and(|left| left > Duration::from_secs(50)));
        assert!(tries.left(60_000).is_some());
        assert_eq!(tries.left(61_001), None);
        // A clock that was set back gives no more than there was.
        assert!(tries.left(0).is_some_and(|left| left <= Duration::from_secs(60)));
        let environment = FixedEnvironment::new(1);
        let mut tries = Tries::begin(patience, 0, environment.now_ms());
        tries.pause(S3Error::Damaged, &environment).unwrap();
        tries.pause(S3Error::Damaged, &environment).unwrap();
        assert_eq!(tries.next, PAUSE * 4);
        tries.next = Duration::from_secs(600);
        assert!(matches!(tries.pause(S3Error::Damaged, &environment), Err(S3Error::Damaged)));
    }
}

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
    /// For one attempt, and one second more for each MiB.
    pub attempt: Duration,
    /// For all attempts of one thing, and one second more for each MiB. With five minutes more it
    /// has to be less than [`crate::archive::Settings::dead_after`].
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
pub(super) struct Tries {
    begin: Instant,
    whole: Duration,
    next: Duration,
    pub(super) last: Option<S3Error>,
}

impl Tries {
    pub(super) fn begin(patience: Patience, length: u64) -> Self {
        let whole = patience.whole + on_the_way(length);
        Self { begin: Instant::now(), whole, next: PAUSE, last: None }
    }

    pub(super) fn left(&self) -> Duration {
        self.whole.saturating_sub(self.begin.elapsed())
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
        if pause >= self.left() {
            return Err(why);
        }
        std::thread::sleep(pause);
        Ok(())
    }
}

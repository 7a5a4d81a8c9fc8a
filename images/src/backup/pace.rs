//! Whether whoever serves a point in time keeps up: how late all of his answers together may be.
//!
//! Each request has a bound of its own, and a server that uses it up each time, for a few bytes,
//! would still hold up a pull for years. So every answer is worth some time, by what it brings, and
//! what is waited beyond that is added up. Time that the archive takes is not the server's.

use std::{
    io,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::nbd::NbdError;

/// Bytes of a disk's map in a second, and of its data, each on a connection of its own, below which
/// a server is late.
pub(super) const LEAST_MAPPED: u64 = 1 << 30;
/// See [`LEAST_MAPPED`].
pub(super) const LEAST_READ: u64 = 64 << 10;
/// How late it may be in all.
pub(super) const LATE: Duration = Duration::from_secs(600);

/// How late a server is.
#[derive(Debug)]
pub(super) struct Pace {
    most: Duration,
    late: Mutex<Duration>,
}

impl Pace {
    pub(super) fn new(most: Duration) -> Self {
        Self { most, late: Mutex::default() }
    }

    /// Waits for the server to do this, and takes note. `brought` says how many bytes came of it,
    /// and `rate` how many a second are no delay.
    pub(super) fn wait<T>(
        &self,
        rate: u64,
        work: impl FnOnce() -> Result<T, NbdError>,
        brought: impl FnOnce(&T) -> u64,
    ) -> Result<T, NbdError> {
        let begin = Instant::now();
        let result = work()?;
        self.note(begin.elapsed(), brought(&result), rate)?;
        Ok(result)
    }

    fn note(&self, took: Duration, brought: u64, rate: u64) -> Result<(), NbdError> {
        let nanoseconds = u128::from(brought) * 1_000_000_000 / u128::from(rate.max(1));
        let worth = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        let mut late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        *late = late.saturating_add(took).saturating_sub(worth);
        if *late > self.most {
            let said = format!("the server was late by {:?} in all", *late);
            return Err(io::Error::new(io::ErrorKind::TimedOut, said).into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_server_that_is_always_a_little_late_is_given_up_in_the_end() {
        let pace = Pace::new(10 * SECOND);
        let answers = (0..100).take_while(|_| pace.note(2 * SECOND, 100, 100).is_ok());
        assert_eq!(answers.count(), 10);
    }

    #[test]
    fn a_server_that_keeps_up_makes_good_for_what_was_late_and_saves_up_nothing() {
        let pace = Pace::new(10 * SECOND);
        for _ in 0..1000 {
            pace.note(SECOND, 100, 100).unwrap();
            pace.note(SECOND, 1_000_000, 100).unwrap();
        }
        pace.note(9 * SECOND, 0, 100).unwrap();
        pace.note(SECOND, 200, 100).unwrap();
        assert!(pace.note(3 * SECOND, 0, 100).is_err());
        assert!(pace.note(SECOND, u64::MAX, 1).is_ok());
    }
}

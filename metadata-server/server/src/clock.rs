//! Clocks: a coarse one that the fast path reads without asking the kernel, and the wall clock.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use mezame_protocol::UnixTime;

/// Milliseconds since the start, brought up to date by the reaper a few times a second.
#[derive(Debug)]
pub struct CoarseClock {
    start: Instant,
    now: AtomicU64,
}

impl CoarseClock {
    /// Begins now.
    pub fn start() -> Self {
        Self { start: Instant::now(), now: AtomicU64::new(0) }
    }

    /// As of the last update.
    pub fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    /// Brings it up to date.
    pub fn update(&self) -> u64 {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.now.store(now, Ordering::Relaxed);
        now
    }

    /// Nanoseconds since the start, as of an instant.
    pub fn nanoseconds(&self, instant: Instant) -> u64 {
        let since = instant.saturating_duration_since(self.start);
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }
}

/// The wall clock.
pub fn since_epoch() -> Duration {
    // A clock before 1970 is as good as none.
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The wall clock in seconds.
pub fn unix_time() -> UnixTime {
    UnixTime(since_epoch().as_secs())
}

/// The wall clock in milliseconds.
pub fn unix_milliseconds() -> u64 {
    u64::try_from(since_epoch().as_millis()).unwrap_or(u64::MAX)
}

//! Clocks: a coarse one that the fast path reads without asking the kernel, and the wall clock.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use mezame_protocol::UnixTime;
use nix::time::{ClockId, clock_gettime};

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

/// Milliseconds since this machine booted, asleep or not: the same for all processes, and no guest
/// or time server changes it.
pub fn since_boot() -> u64 {
    // A clock that Linux has had since 2.6.39.
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// Differs for each boot of this machine (random(4)); empty where the kernel does not say.
pub fn host_boot() -> &'static str {
    static BOOT: OnceLock<String> = OnceLock::new();
    BOOT.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
        text.map(|text| text.trim().to_owned()).unwrap_or_default()
    })
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

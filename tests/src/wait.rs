//! Waiting for a condition, with a bound and with the last reason in the message.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long things may take that take milliseconds on an idle machine.
pub const SOON: Duration = Duration::from_secs(30);

/// How long a guest may take, in software emulation on a busy machine.
pub const A_BOOT: Duration = Duration::from_secs(240);

/// Asks `attempt` again and again until it succeeds, or until `bound` has passed; then says why
/// the last attempt failed.
pub fn until<T>(what: &str, bound: Duration, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let begin = Instant::now();
    let mut pause = Duration::from_millis(2);
    loop {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(error) if begin.elapsed() > bound => {
                bail!("waited {} s for {what}: {error:#}", bound.as_secs())
            }
            Err(_) => std::thread::sleep(pause),
        }
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}

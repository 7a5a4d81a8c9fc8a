//! Time and randomness, passed in, so that a test decides both.
//!
//! Nothing else in this crate asks a clock for the time, or draws numbers, where a result hangs on it. Two
//! numbers that only have to be new each time are asked of the system where they are used: what `qemu-ga`
//! is to answer with, and the mark of an overlay on a LUN. TLS draws its own.

use ring::rand::{SecureRandom, SystemRandom};

/// Where time and randomness come from.
pub trait Environment: Send + Sync {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    fn now_ms(&self) -> u64;

    /// Fills the buffer with random bytes that nobody can guess.
    fn fill(&self, buffer: &mut [u8]) -> Result<(), NoRandomness>;
}

/// The kernel gives no random numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no random numbers")]
pub struct NoRandomness;

/// An array of random bytes.
pub(crate) fn random<const N: usize>(from: &dyn Environment) -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    from.fill(&mut bytes)?;
    Ok(bytes)
}

/// The operating system's.
#[derive(Debug)]
pub struct SystemEnvironment(SystemRandom);

impl SystemEnvironment {
    /// The one that runs in production.
    pub fn new() -> Self {
        Self(SystemRandom::new())
    }
}

impl Default for SystemEnvironment {
    fn default() -> Self {
        Self::new()
    }
}

impl Environment for SystemEnvironment {
    fn now_ms(&self) -> u64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn fill(&self, buffer: &mut [u8]) -> Result<(), NoRandomness> {
        self.0.fill(buffer).map_err(|_| NoRandomness)
    }
}

#[cfg(test)]
pub(crate) mod fixed {
    //! A clock that stands, and numbers that repeat in each run.

    use std::sync::atomic::{AtomicU64, Ordering};

    use super::{Environment, NoRandomness};

    /// Time and randomness of a test.
    pub(crate) struct FixedEnvironment {
        now: AtomicU64,
        state: AtomicU64,
    }

    impl FixedEnvironment {
        /// 2026-01-01T00:00:00Z, and numbers that hang on `seed` alone.
        pub(crate) fn new(seed: u64) -> Self {
            Self { now: AtomicU64::new(1_767_225_600_000), state: AtomicU64::new(seed << 32) }
        }
    }

    impl Environment for FixedEnvironment {
        fn now_ms(&self) -> u64 {
            self.now.load(Ordering::SeqCst)
        }

        /// SplitMix64: good enough to be different each time, and the same in each run.
        fn fill(&self, buffer: &mut [u8]) -> Result<(), NoRandomness> {
            for chunk in buffer.chunks_mut(8) {
                let step = self.state.fetch_add(1, Ordering::SeqCst);
                let mut z = step.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                chunk.copy_from_slice(&(z ^ (z >> 31)).to_le_bytes()[..chunk.len()]);
            }
            Ok(())
        }
    }
}

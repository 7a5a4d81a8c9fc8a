//! Session tokens.

use mezame_model::{InstanceId, snapshot::TokenKey};

/// A moment, in seconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(pub u64);

/// Where random bytes come from.
pub trait Randomness {
    /// Fills `out` with bytes that nobody can foresee.
    fn fill(&self, out: &mut [u8]);
}

/// Why keys for tokens can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenKeyError {
    /// There is none.
    #[error("there is no token key")]
    None,
    /// It has not 32 bytes.
    #[error("token key {number} has {length} bytes instead of 32")]
    Length {
        /// Its number.
        number: u32,
        /// How many bytes it has.
        length: usize,
    },
}

/// The keys that tokens are sealed with, expanded once.
pub struct TokenKeys {}

impl TokenKeys {
    /// Expands the keys of a site: the first seals, all open.
    pub fn new(_keys: &[TokenKey]) -> Result<Self, TokenKeyError> {
        Ok(Self {})
    }

    /// The remaining seconds of a token of this instance; None if it is not valid.
    pub fn open(&self, _token: &[u8], _instance: &InstanceId, _now: UnixTime) -> Option<u32> {
        None
    }
}

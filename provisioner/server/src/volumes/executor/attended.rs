//! What is told of a running guest that is seen to ([`crate::volumes::attend`]): limits and flushes.
//! It is data, as all that an executor is told or answers.

use std::time::Duration;

/// What came of seeing to a running guest's volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Attended {
    /// Its limits are set, and it is flushed from then on.
    Flushed,
    /// Its limits are set, and that is all: it is plain, or of a class that is not flushed.
    Limited,
    /// No QEMU that has it is there, and why that is known.
    NotThere(String),
}

/// How a volume's flusher does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flushed {
    /// How long ago it was that all that had been acknowledged is durable now; None before the first
    /// flush.
    pub(crate) age: Option<Duration>,
    /// Whether the interval is kept at this moment.
    pub(crate) is_kept: bool,
    /// Whether the last flush failed.
    pub(crate) is_failing: bool,
    pub(crate) flushes: u64,
    pub(crate) failures: u64,
    /// How often the interval was not kept.
    pub(crate) lates: u64,
}

//! Durability classes: what of a guest's acknowledged writes a hard stop may take.
//!
//! A disk with a write cache may lose what was written since the last flush; that is the contract
//! that guests know, and a copy-on-write overlay keeps it. But it loses *all* of that, where a
//! plain LUN loses next to nothing: the data is there, and the table that says so was in the
//! memory of the process that is gone. So the classes differ in what happens to that table.

use std::time::Duration;

/// What becomes of a guest's writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// A raw file or device, with no table at all. What an overlay is compared with.
    Plain,
    /// The table is written when the guest flushes, and not before.
    FlushHonouring,
    /// It is also written when the host flushes, which it does so often that no acknowledged write
    /// waits for longer than this.
    Bounded(FlushInterval),
    /// The table says in advance where everything will be, the host flushes as above, and after a
    /// hard stop what is in the file and not in the table is put back
    /// ([`recovery`](super::recovery)) before the volume is used again. The default of clones.
    Recovered(FlushInterval),
    /// Each write is flushed before the guest is told.
    Synchronous,
    /// As [`Recovered`](Self::Recovered) until all has been copied into a plain volume in the
    /// background, and plain from then on.
    Hydrated(FlushInterval),
}

/// What may be lost of the writes that were acknowledged and not flushed by the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// None.
    Nothing,
    /// Those of the last so long.
    Last(Duration),
    /// All since the guest's last flush.
    SinceFlush,
}

impl Durability {
    /// Its name in documents and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::FlushHonouring => "flush-honouring",
            Self::Bounded(_) => "bounded",
            Self::Recovered(_) => "recovered",
            Self::Synchronous => "synchronous",
            Self::Hydrated(_) => "hydrated",
        }
    }

    /// How often the host flushes, if it does.
    pub fn flush_interval(self) -> Option<FlushInterval> {
        match self {
            Self::Bounded(interval) | Self::Recovered(interval) | Self::Hydrated(interval) => {
                Some(interval)
            }
            Self::Plain | Self::FlushHonouring | Self::Synchronous => None,
        }
    }

    /// Whether writes are put back after a hard stop.
    pub fn needs_recovery(self) -> bool {
        matches!(self, Self::Recovered(_) | Self::Hydrated(_))
    }

    /// What is lost when QEMU is killed and its host goes on.
    pub fn loss_with_qemu(self) -> Loss {
        match self {
            Self::Plain | Self::Recovered(_) | Self::Synchronous | Self::Hydrated(_) => {
                Loss::Nothing
            }
            Self::Bounded(interval) => Loss::Last(interval.bound()),
            Self::FlushHonouring => Loss::SinceFlush,
        }
    }

    /// What is lost when the host stops hard, with the host's cache passed by. A plain file can
    /// lose what its file system had not recorded (ext4 records every five seconds); a plain block
    /// device loses nothing that its storage doesn't.
    pub fn loss_with_host(self) -> Loss {
        match self {
            Self::Plain | Self::Synchronous => Loss::Nothing,
            Self::Bounded(interval) | Self::Recovered(interval) | Self::Hydrated(interval) => {
                Loss::Last(interval.bound())
            }
            Self::FlushHonouring => Loss::SinceFlush,
        }
    }
}

impl Default for Durability {
    fn default() -> Self {
        Self::Recovered(FlushInterval::default())
    }
}

/// The longest that an acknowledged write waits for the host's flush: 100 ms to a minute, a second
/// unless told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FlushInterval(Duration);

/// A time that no flusher keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a volume is flushed every 100 ms to 60 s, not every {0:?}")]
pub struct IntervalError(Duration);

impl FlushInterval {
    /// The interval, if a flusher can keep it.
    pub fn new(bound: Duration) -> Result<Self, IntervalError> {
        if (Duration::from_millis(100)..=Duration::from_secs(60)).contains(&bound) {
            Ok(Self(bound))
        } else {
            Err(IntervalError(bound))
        }
    }

    /// How long a write waits at most.
    pub fn bound(self) -> Duration {
        self.0
    }

    /// The pause between a flush's end and the next one's begin: half, so that the flush itself
    /// may take the other half.
    pub(super) fn pause(self) -> Duration {
        self.0 / 2
    }
}

impl Default for FlushInterval {
    fn default() -> Self {
        Self(Duration::from_secs(1))
    }
}

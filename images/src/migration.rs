//! Moving a running guest to another QEMU that sees the same volumes, also while its disks are backed
//! up.
//!
//! ```text
//!  source                                destination (started with -S -incoming defer)
//!                                        [`prepare`]: it listens
//!  [`move_guest`]  ──── memory ───────►
//!      │   a point in time is open: the guest does not go over yet
//!      │   it is closed, or patience is over and it is broken
//!      └──── the guest, bitmaps ──────►
//!                                        [`settle`]: limits, then the guest goes on
//! ```
//! A point in time is right only in the QEMU whose writes go through its filter. So a guest goes over
//! when none is open, and a pull that takes too long is broken, never waited for.
//!
//! A guest runs on one side at once: the destination lets it go on when it is told to, after the source
//! has given it up. A migration that fails before leaves it on the source, with its backup and bitmaps.
//! Nothing here starts or ends a QEMU, or copies a disk.
//!
//! After <https://www.qemu.org/docs/master/interop/qemu-qmp-ref.html> (`migrate`,
//! `BitmapMigrationNodeAlias`).

mod address;
mod backup;
mod bitmaps;
mod gate;
mod incoming;
mod limit;
mod outgoing;
mod step;
#[cfg(test)]
mod tests;

use std::{net::SocketAddr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{backup::point::PointError, environment::NoRandomness, qmp::QmpError};

pub use address::MigrationAddress;
pub use backup::{Backup, Ended};
pub use bitmaps::Known;
pub use incoming::{Settled, prepare, settle};
pub use outgoing::move_guest;

/// Why a guest has not moved. It is on the source as before, and so is a point in time of it that had
/// not ended yet, unless it is said otherwise.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    /// QEMU refused, or is gone.
    #[error(transparent)]
    Qmp(#[from] QmpError),
    /// The guest's disks are not as they have to be, or its point in time can't be taken down.
    #[error(transparent)]
    Point(#[from] PointError),
    /// Something copies or replaces disks of this guest, such as a hydration.
    #[error("the job {0} of this guest's disks has to end, or be cancelled, before it moves")]
    Job(String),
    /// A migration is under way that was started by other means.
    #[error("a migration of this guest is under way that was not begun here")]
    Foreign,
    /// The guest is not in this QEMU: it has left, or has not come.
    #[error("the guest is not in this QEMU, which is in the state {0:?}")]
    NotHere(String),
    /// QEMU says that it failed.
    #[error("the guest did not move: {said}")]
    Failed {
        /// QEMU's words, if it had any.
        said: String,
    },
    /// It was not done in time, and was cancelled.
    #[error(
        "the guest did not move within {0:?}: it writes to its memory faster than that is sent"
    )]
    Late(Duration),
    /// The guest stood still for too long, since the other side said nothing. End that one before this
    /// guest's disks are used by anybody else.
    #[error("the guest stood still for {0:?}, and its destination did not answer")]
    Stuck(Duration),
    /// It stands still here, since it was moved while it stood still and that failed late. QEMU 7.2
    /// moves it again once it has run (`cont`).
    #[error("the guest has to be let go on once before it can be moved again")]
    Halted,
    /// A guest that came, but by another migration than the one that is to be settled.
    #[error("the guest that is in this QEMU did not come by this migration")]
    Another,
    /// Nothing says by which migration the guest came: its QEMU was not prepared.
    #[error("it is not known how the guest came into this QEMU, in the state {0:?}")]
    Unknown(String),
    /// The guest's memory would go over a network that nobody has said is the operator's alone.
    #[error("a guest's memory, with its keys, goes to {0} only as `tcp-clear`")]
    Exposed(SocketAddr),
    /// There is no number for the migration.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    /// QEMU does not come to an end.
    #[error("QEMU neither moves the guest nor gives up, in the state {0:?}; connect anew")]
    Unsettled(String),
}

impl MigrationError {
    /// Whether nobody knows what became of the guest.
    fn is_unsettled(&self) -> bool {
        match self {
            Self::Qmp(error) | Self::Point(PointError::Qmp(error)) => {
                !matches!(error, QmpError::Refused { .. })
            }
            error => matches!(error, Self::Unsettled(_)),
        }
    }

    fn of(wrong: step::Wrong, state: String) -> Self {
        match wrong {
            step::Wrong::Foreign => Self::Foreign,
            step::Wrong::NotHere => Self::NotHere(state),
            step::Wrong::Halted => Self::Halted,
        }
    }
}

/// A guest that has left. [`move_guest`] alone makes it, and [`settle`] needs it: made to travel
/// as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// By which migration.
    number: u64,
    /// Whether it ran when it was seen last before it left.
    did_run: bool,
    /// How long it had stood still when the source gave it up; more comes until it is let go on.
    pub downtime: Duration,
    /// What was known of its disks' changes. Nothing, where the process that began did not end it.
    pub known: Vec<Known>,
}

/// How a guest is moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How long a pull may take, from the beginning on, before its point in time is broken.
    pub patience: Duration,
    /// How long the guest may stand still, in whole milliseconds. Raw volumes' bitmaps come on top:
    /// their bits, at as many a second as bytes are sent.
    pub downtime: Duration,
    /// How long it may stand still for a destination that says nothing, before it is taken back. Where
    /// that one stops to read in the middle, QEMU 7.2 answers nobody until it is ended.
    pub standstill: Duration,
    /// The most bytes a second that are sent; 0 is as many as go, as QEMU takes it.
    pub bandwidth: u64,
    /// How long all may take, not counting what a pull is waited for.
    pub bound: Duration,
}

impl Settings {
    /// The usual: ten minutes for a pull, 300 ms, 10 s, 1 GiB/s, half an hour.
    pub fn usual() -> Self {
        Self {
            patience: Duration::from_secs(600),
            downtime: Duration::from_millis(300),
            standstill: Duration::from_secs(10),
            bandwidth: 1 << 30,
            bound: Duration::from_secs(1800),
        }
    }
}

#[test]
fn nobody_knows_of_a_guest_whose_qemu_stops_to_answer_whoever_asked_it() {
    let silent = || QmpError::Unexpected { expected: "an answer" };
    let refused = || QmpError::Refused {
        command: "cont".into(),
        class: "GenericError".into(),
        description: String::new(),
    };
    assert!(MigrationError::from(silent()).is_unsettled());
    assert!(MigrationError::from(PointError::Qmp(silent())).is_unsettled());
    assert!(!MigrationError::from(PointError::Qmp(refused())).is_unsettled());
    assert!(!MigrationError::Late(Duration::ZERO).is_unsettled());
}

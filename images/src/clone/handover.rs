//! Handing a guest over from its clone to the plain volume that equals it: what is to be done next,
//! decided by what the record says and what QEMU is seen to do. Pure.
//!
//! ```text
//!   record        guest      next
//!   overlay       runs       hold: the record says that we are about to stop it
//!   overlay,held  runs       stop it
//!   overlay,held  stopped    flush the plain volume; the record says "handing over"
//!   handing over  stopped    job-complete, and wait for its end
//!   handing over  stopped    QEMU has gone over: the record says "plain"
//!   plain,held    stopped    let it go on; the record says so
//!   plain         runs       dismiss the job
//! ```
//! Each line is decided anew from what there is, so a process of ours that is started in the
//! middle goes on where the last one was. A fault before QEMU has gone over leads back the same
//! way: the record says "overlay", then the guest goes on. So does one after there is no time left,
//! unless the job was asked to complete: it may still do so. Where the record can't say "plain" after
//! QEMU has gone over, the guest goes on all the same: "handing over" has it started from there too.
//!
//! Which volume a guest is started from after its QEMU is gone is [`Stage::plain`]. While the guest
//! stands still both are right: neither is written, the overlay has all, and the plain volume
//! was flushed. Without a machine (QEMU's storage daemon) writers go on, to both until QEMU has gone
//! over and to the plain volume afterwards; so that one is taken as soon as it is handed over.

use serde::{Deserialize, Serialize};

use crate::volume::Place;

/// What a clone's volume is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Stage {
    /// Its overlay.
    #[default]
    Overlay,
    /// Either: they are equal and flushed, and QEMU may have gone over or not.
    HandingOver(Place),
    /// The plain volume. The overlay is of no use.
    Plain(Place),
}

impl Stage {
    /// The plain volume, if that is the one to start a guest from.
    pub(super) fn plain(&self) -> Option<&Place> {
        match self {
            Self::Overlay => None,
            Self::HandingOver(place) | Self::Plain(place) => Some(place),
        }
    }
}

/// What QEMU says of its job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Job {
    /// There is none.
    None,
    /// The two are not equal yet, or the job is paused.
    Copying,
    /// They are, and stay so.
    Equal,
    /// It is going over.
    Finishing,
    /// It has gone over.
    Done,
    /// It has ended with an error: QEMU goes on with the overlay.
    Failed,
}

/// What QEMU says of its guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guest {
    /// It runs.
    Running,
    /// It stands still.
    Stopped,
    /// This is no machine.
    None,
}

/// All that a step is decided by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) stage: &'a Stage,
    /// Whether the record says that it was us who stopped the guest.
    pub(super) is_held: bool,
    pub(super) job: Job,
    pub(super) guest: Guest,
    /// Whether this process has asked the job to complete, and was not refused.
    pub(super) is_asked: bool,
    /// Whether a step of this process has failed, or its time is up.
    pub(super) has_fault: bool,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Record that the guest is held.
    Hold,
    /// Stop the guest.
    Stop,
    /// Flush the plain volume, then record that it is handed over.
    HandOver,
    /// Ask the job to complete.
    Complete,
    /// Look again in a moment.
    Wait,
    /// Record that the volume is plain.
    GoOver,
    /// Record that the volume is the overlay.
    GoBack,
    /// Let the guest go on.
    Continue,
    /// Record that the guest is not held any more.
    Release,
    /// Dismiss the job and the overlay's node.
    Tidy,
    /// It is done: the volume is plain.
    End,
    /// There is nothing to do, and the volume is not plain, by what the job says or by the fault.
    GiveUp,
}

/// The next step.
pub(super) fn next(seen: &Seen<'_>) -> Step {
    match seen.stage {
        Stage::Overlay if seen.job == Job::Equal && !seen.has_fault => match seen.guest {
            Guest::Running if seen.is_held => Step::Stop,
            Guest::Running => Step::Hold,
            Guest::Stopped | Guest::None => Step::HandOver,
        },
        Stage::Overlay => release(seen).unwrap_or(Step::GiveUp),
        Stage::HandingOver(_) => match seen.job {
            // It may go over at any moment, whatever has failed since.
            Job::Equal if seen.is_asked => Step::Wait,
            Job::Equal if seen.has_fault => Step::GoBack,
            Job::Equal => Step::Complete,
            Job::Finishing => Step::Wait,
            Job::Done => Step::GoOver,
            Job::Failed => Step::GoBack,
            // It was paused by somebody, who may resume it.
            Job::Copying if seen.is_asked || !seen.has_fault => Step::Wait,
            Job::Copying => Step::GoBack,
            // Whoever dismissed it knows how it ended.
            Job::None => Step::GiveUp,
        },
        Stage::Plain(_) => release(seen).unwrap_or(match seen.job {
            Job::Done => Step::Tidy,
            _ => Step::End,
        }),
    }
}

/// How a guest that we have stopped goes on.
fn release(seen: &Seen<'_>) -> Option<Step> {
    match (seen.is_held, seen.guest) {
        (false, _) => None,
        (true, Guest::Stopped) => Some(Step::Continue),
        (true, Guest::Running | Guest::None) => Some(Step::Release),
    }
}

#[cfg(test)]
mod tests;

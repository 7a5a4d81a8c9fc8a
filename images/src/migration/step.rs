//! What is to be done next about a guest that is moved, decided by what QEMU is seen to do and by
//! what a backup is at. Pure.
//!
//! ```text
//!   migration        backup        next
//!   none             none          start, the gate open
//!   none             being pulled  start, the gate shut; or wait, where a bitmap can't be taken then
//!   active           being pulled  wait, slowly once all memory has been copied
//!   active           pulled        close the point in time
//!   active, shut     none          open the gate
//!   active, open     none          wait
//!   pre-switchover   none          go on: the guest goes over
//!   pre-switchover   any           close or break the point in time first
//!   device           none          wait; for so long only as the guest may stand still
//!   completed                      end
//!   failed           any           give up; the backup goes on
//! ```
//! A point in time whose pull takes longer than the patience is broken, whatever else there is. So a
//! migration waits for no puller for longer, and a guest goes over from no QEMU that has a point in
//! time open: from then on the other QEMU writes, and this one's filter would see nothing of it.

use crate::qmp::migration::MigrationStatus;

/// What a backup of this guest is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Backup {
    /// There is no point in time.
    None,
    /// One is open, and is pulled.
    Pulled,
    /// One is open that has been pulled for longer than anybody waits.
    Late,
    /// One is open, and nobody pulls it any more.
    Over,
}

/// Whether the guest may go over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gate {
    /// It may not, however little there is to be sent.
    Shut,
    /// The same, and next to nothing is sent.
    ShutAndSlow,
    /// It may.
    Open,
}

/// All that a step is decided by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub(super) status: MigrationStatus,
    /// Whether this process has started it, or found it under way.
    pub(super) is_begun: bool,
    pub(super) gate: Gate,
    pub(super) backup: Backup,
    /// Whether bitmaps are to be sent that a point in time uses while it is open.
    pub(super) needs_bitmaps: bool,
    /// Whether all memory was sent once.
    pub(super) is_copied: bool,
    /// Whether its time is up, which is counted from the gate's opening.
    pub(super) is_late: bool,
    /// Whether the guest stands still for longer than it may.
    pub(super) is_stuck: bool,
    /// Whether QEMU was told to cancel it, by this process.
    pub(super) is_cancelled: bool,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Start, the gate shut.
    StartShut,
    /// Start, the gate open.
    Start,
    /// Look again in a moment.
    Wait,
    /// Send next to nothing.
    Slow,
    /// Close the point in time: the backup is over.
    Close,
    /// Break the point in time: it has taken too long.
    Break,
    /// Let the guest go over as soon as little enough is left.
    Open,
    /// Let the guest, which stands still, go over.
    GoOver,
    /// Cancel: its time is up, or the guest stands still for too long.
    Cancel,
    /// The guest has gone over.
    End,
    /// It has not, and is on this side as before.
    GiveUp,
}

/// The next step.
pub(super) fn next(seen: &Seen) -> Step {
    use MigrationStatus as Status;
    match seen.status {
        Status::Failed | Status::Cancelled if seen.is_begun => Step::GiveUp,
        Status::Completed if seen.is_begun => Step::End,
        // Those of before are of no interest: also the one that brought the guest here.
        Status::None | Status::Failed | Status::Cancelled | Status::Completed => {
            match seen.backup {
                Backup::Over => Step::Close,
                Backup::Late => Step::Break,
                Backup::Pulled if seen.needs_bitmaps => Step::Wait,
                Backup::Pulled => Step::StartShut,
                Backup::None => Step::Start,
            }
        }
        Status::Setup | Status::Active => match (seen.backup, seen.gate) {
            _ if seen.is_cancelled => Step::Wait,
            (Backup::Over, _) => Step::Close,
            (Backup::Late, _) => Step::Break,
            (Backup::Pulled, Gate::Shut) if seen.is_copied => Step::Slow,
            (Backup::Pulled, Gate::Shut | Gate::ShutAndSlow) => Step::Wait,
            // Nobody opens a gate before a point in time.
            (Backup::Pulled, Gate::Open) => Step::Break,
            (Backup::None, Gate::Shut | Gate::ShutAndSlow) => Step::Open,
            (Backup::None, Gate::Open) if seen.is_late => Step::Cancel,
            (Backup::None, Gate::Open) => Step::Wait,
        },
        Status::PreSwitchover => match seen.backup {
            _ if seen.is_cancelled => Step::Wait,
            Backup::Over => Step::Close,
            // The guest stands still, and waits for nobody.
            Backup::Pulled | Backup::Late => Step::Break,
            Backup::None => Step::GoOver,
        },
        // The other side says nothing. The guest doesn't run there before it is told to.
        Status::Device if seen.is_stuck && !seen.is_cancelled => Step::Cancel,
        Status::Device | Status::Cancelling => Step::Wait,
        // Of a kind that can't be followed.
        Status::Other if !seen.is_cancelled => Step::Cancel,
        Status::Other => Step::Wait,
    }
}

#[cfg(test)]
mod tests;

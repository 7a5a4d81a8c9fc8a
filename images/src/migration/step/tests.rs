//! The steps against a model of QEMU and of a puller, which do what they like at any time.

use proptest::prelude::*;

use super::*;

fn seen() -> Seen {
    Seen {
        status: MigrationStatus::Active,
        is_begun: true,
        gate: Gate::Shut,
        backup: Backup::None,
        needs_bitmaps: false,
        is_copied: false,
        is_late: false,
        is_stuck: false,
        is_cancelled: false,
    }
}

#[test]
fn a_guest_is_sent_at_once_where_there_is_no_backup_and_with_the_gate_shut_where_there_is_one() {
    let fresh = Seen { status: MigrationStatus::None, is_begun: false, ..seen() };
    assert_eq!(next(&fresh), Step::Start);
    let pulled = Seen { backup: Backup::Pulled, ..fresh };
    assert_eq!(next(&pulled), Step::StartShut);
    assert_eq!(next(&Seen { needs_bitmaps: true, ..pulled }), Step::Wait);
    assert_eq!(next(&Seen { needs_bitmaps: true, backup: Backup::Late, ..fresh }), Step::Break);
    // One that failed before is no reason against another one.
    assert_eq!(next(&Seen { status: MigrationStatus::Failed, ..fresh }), Step::Start);
    // Nor is the one by which the guest came.
    assert_eq!(next(&Seen { status: MigrationStatus::Completed, ..fresh }), Step::Start);
    assert_eq!(next(&Seen { status: MigrationStatus::Completed, ..seen() }), Step::End);
    assert_eq!(next(&Seen { status: MigrationStatus::Failed, ..seen() }), Step::GiveUp);
}

#[test]
fn a_failed_migration_leaves_the_backup_alone() {
    for status in [MigrationStatus::Failed, MigrationStatus::Cancelled] {
        for backup in [Backup::Pulled, Backup::Late, Backup::Over] {
            assert_eq!(next(&Seen { status, backup, ..seen() }), Step::GiveUp);
        }
    }
}

#[test]
fn a_guest_that_stands_still_waits_for_no_puller_and_for_no_silent_destination() {
    let stands = Seen { status: MigrationStatus::PreSwitchover, gate: Gate::Open, ..seen() };
    assert_eq!(next(&stands), Step::GoOver);
    assert_eq!(next(&Seen { backup: Backup::Pulled, ..stands }), Step::Break);
    let device = Seen { status: MigrationStatus::Device, ..stands };
    assert_eq!(next(&device), Step::Wait);
    assert_eq!(next(&Seen { is_stuck: true, ..device }), Step::Cancel);
    assert_eq!(next(&Seen { is_stuck: true, is_cancelled: true, ..device }), Step::Wait);
}

/// What is there, and what becomes of it.
#[derive(Debug, Clone, Copy)]
struct World {
    seen: Seen,
    /// Memory that is still to be sent.
    left: u8,
}

impl World {
    fn has_point(&self) -> bool {
        self.seen.backup != Backup::None
    }

    /// Time passes: QEMU and whoever pulls do something.
    fn pass(&mut self, what: u8) {
        use MigrationStatus as Status;
        self.left = self.left.saturating_sub(1);
        let seen = &mut self.seen;
        seen.is_copied = self.left == 0;
        seen.status = match (seen.status, what) {
            (Status::Setup | Status::Active | Status::Device, 0) => Status::Failed,
            (Status::Setup, _) => Status::Active,
            // A gate that doesn't hold, as in a QEMU that counts otherwise.
            (Status::Active, 1) => Status::PreSwitchover,
            (Status::Active, _) if self.left == 0 && seen.gate == Gate::Open => {
                Status::PreSwitchover
            }
            (Status::Device, 2..) => Status::Completed,
            (Status::Cancelling, _) => Status::Cancelled,
            (status, _) => status,
        };
        seen.backup = match (seen.backup, what) {
            (Backup::Pulled | Backup::Late, 3) => Backup::Over,
            (backup, _) => backup,
        };
    }

    /// Does a step; whether that is the end.
    fn take(&mut self, step: Step) -> bool {
        use MigrationStatus as Status;
        let seen = &mut self.seen;
        match step {
            Step::StartShut | Step::Start => {
                (seen.status, seen.is_begun) = (Status::Setup, true);
                seen.gate = if step == Step::Start { Gate::Open } else { Gate::Shut };
            }
            Step::Wait => {}
            Step::Slow => seen.gate = Gate::ShutAndSlow,
            Step::Close | Step::Break => seen.backup = Backup::None,
            Step::Open => seen.gate = Gate::Open,
            Step::GoOver => seen.status = Status::Device,
            Step::Cancel => {
                seen.is_cancelled = true;
                seen.status = Status::Cancelling;
            }
            Step::End | Step::GiveUp => return true,
        }
        false
    }
}

proptest! {
    #[test]
    fn no_guest_goes_over_with_a_point_in_time_open_and_none_waits_for_ever(
        has_backup: bool,
        needs_bitmaps: bool,
        left in 0_u8..20,
        patience in 0_usize..30,
        happens in prop::collection::vec(0_u8..40, 120),
    ) {
        let backup = if has_backup { Backup::Pulled } else { Backup::None };
        let fresh = Seen { status: MigrationStatus::None, is_begun: false, ..seen() };
        let mut world = World { seen: Seen { backup, needs_bitmaps, ..fresh }, left };
        let mut is_done = false;
        for (at, what) in happens.into_iter().enumerate() {
            if at >= patience && world.seen.backup == Backup::Pulled {
                world.seen.backup = Backup::Late;
            }
            let step = next(&world.seen);
            let goes = matches!(step, Step::GoOver | Step::Open | Step::Start);
            prop_assert!(!goes || !world.has_point(), "{:?} of {:?}", step, world);
            // Nobody who pulls is broken before his time, but where QEMU holds the guest up.
            let is_held = world.seen.status == MigrationStatus::PreSwitchover;
            prop_assert!(step != Step::Break || world.seen.backup == Backup::Late || is_held);
            if world.take(step) {
                let is_gone = world.seen.status == MigrationStatus::Completed;
                prop_assert_eq!(is_gone, step == Step::End);
                prop_assert!(!is_gone || !world.has_point());
                is_done = true;
                break;
            }
            world.pass(what);
        }
        prop_assert!(is_done, "{:?}", world);
    }

    #[test]
    fn a_step_that_is_decided_again_from_what_it_did_is_not_the_same_again(
        gate in prop::sample::select(vec![Gate::Shut, Gate::ShutAndSlow, Gate::Open]),
        has_backup: bool,
        is_copied: bool,
    ) {
        let backup = if has_backup { Backup::Over } else { Backup::None };
        let mut world = World { seen: Seen { gate, backup, is_copied, ..seen() }, left: 0 };
        for _ in 0..4 {
            let step = next(&world.seen);
            world.take(step);
            prop_assert!(step == Step::Wait || next(&world.seen) != step);
        }
    }
}

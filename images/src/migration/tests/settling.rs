//! What a destination does before it is told that the guest has come, and what it refuses.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use super::host::{Host, Vault, clone, move_guest};
use crate::{
    backup::point::PointError,
    encryption::{
        KeyNumber,
        rotation::{Header, RotationError, Running},
    },
    environment::SystemEnvironment,
    migration::{Backup, MigrationAddress, MigrationError, Moved, Settings, prepare, settle},
    testing::keys,
    volume::Limits,
};

fn moved(host: &mut Host, to: &MigrationAddress) -> Moved {
    let disks = [host.disk.clone()];
    move_guest(&mut host.qmp, &disks, to, &Settings::usual(), &mut None).unwrap()
}

#[test]
fn a_destination_that_ends_before_its_guest_is_let_go_on_has_written_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (volume, mut contents) = clone(directory.path());
    let mut here = Host::start(directory.path(), &volume);
    let vault = Vault::new();
    here.back_up(&vault);
    here.fill(&mut contents, 1 << 20, 8192, 3);
    let (there, to) = Host::wait_for_guest(directory.path(), &volume);
    moved(&mut here, &to);
    drop(there);
    drop(here);
    // One that had taken the disks would have noted in them that their bitmaps are in use.
    let mut third = Host::begin(directory.path(), &volume, "third", &[]);
    third.fill(&mut contents, 2 << 20, 8192, 4);
    third.check_next(&vault, &contents);
}

#[test]
fn a_guest_that_stood_still_does_so_where_it_arrives_and_its_disks_are_taken_when_it_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let (volume, mut contents) = clone(directory.path());
    let mut here = Host::start(directory.path(), &volume);
    let vault = Vault::new();
    here.back_up(&vault);
    here.qmp.execute("stop", json!({})).unwrap();
    let (mut there, to) = Host::wait_for_guest(directory.path(), &volume);
    let moved = moved(&mut here, &to);
    assert!(!there.settle(&moved).does_run);
    assert!(!there.qmp.is_running().unwrap());
    // Neither a backup nor a further move of disks that it has not taken.
    assert!(matches!(there.open(&vault), Err(PointError::Moving)));
    let disks = [there.disk.clone()];
    let on = move_guest(&mut there.qmp, &disks, &to, &Settings::usual(), &mut None);
    assert!(matches!(on, Err(MigrationError::NotHere(_))), "{on:?}");
    drop(here);
    there.qmp.execute("cont", json!({})).unwrap();
    let settled = there.settle(&moved);
    assert!(settled.does_run && settled.lost.is_empty(), "{settled:?}");
    there.fill(&mut contents, 3 << 20, 8192, 5);
    there.check_next(&vault, &contents);
}

/// Moves a guest beside which nothing is backed up; `change` is done in the middle.
fn moved_while(here: &mut Host, to: &MigrationAddress, vault: &Vault, change: &str) -> Moved {
    let point = here.open(vault).unwrap();
    let disks = [here.disk.clone()];
    let begin = Instant::now();
    let mut is_changed = false;
    let watcher = &mut here.watcher;
    let mut pulled = || {
        if begin.elapsed() > Duration::from_millis(500) && !is_changed {
            watcher.execute(change, json!({})).unwrap();
            is_changed = true;
        }
        (begin.elapsed() > Duration::from_secs(1)).then(|| vec![disks[0].id().clone()])
    };
    let mut backup = Some(Backup::new(point, &mut pulled, None));
    move_guest(&mut here.qmp, &disks, to, &Settings::usual(), &mut backup).unwrap()
}

#[test]
fn a_guest_that_goes_on_while_it_is_copied_does_so_where_it_arrives() {
    for (before, change) in [("stop", "cont"), ("cont", "stop")] {
        let directory = tempfile::tempdir().unwrap();
        let (volume, _) = clone(directory.path());
        let mut here = Host::start(directory.path(), &volume);
        let vault = Vault::new();
        here.qmp.execute(before, json!({})).unwrap();
        let (mut there, to) = Host::wait_for_guest(directory.path(), &volume);
        let moved = moved_while(&mut here, &to, &vault, change);
        assert_eq!(there.settle(&moved).does_run, change == "cont");
        assert_eq!(there.qmp.is_running().unwrap(), change == "cont");
    }
}

#[test]
fn a_process_that_is_killed_when_the_guest_may_go_over_leaves_it_to_the_next_one() {
    let directory = tempfile::tempdir().unwrap();
    let (volume, mut contents) = clone(directory.path());
    let mut here = Host::start(directory.path(), &volume);
    let vault = Vault::new();
    let (mut there, to) = Host::wait_for_guest(directory.path(), &volume);
    let point = here.open(&vault).unwrap();
    let disks = [here.disk.clone()];
    let watcher = &mut here.watcher;
    let died = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut is_over = false;
        let mut pulled = || {
            let is_open = watcher.downtime_limit().unwrap() > 0 && is_over;
            assert!(!is_open, "as if it was killed");
            is_over = watcher.migration().unwrap().status.is_under_way();
            is_over.then(|| vec![disks[0].id().clone()])
        };
        let mut backup = Some(Backup::new(point, &mut pulled, None));
        move_guest(&mut here.qmp, &disks, &to, &Settings::usual(), &mut backup)
    }));
    assert!(died.is_err());
    let begin = Instant::now();
    while here.qmp.run_state().unwrap() != "finish-migrate" {
        assert!(begin.elapsed() < Duration::from_secs(30));
        thread::sleep(Duration::from_millis(5));
    }
    let moved = moved(&mut here, &to);
    assert!(there.settle(&moved).does_run);
    drop(here);
    there.fill(&mut contents, 3 << 20, 8192, 5);
}

#[test]
fn a_guest_is_let_go_on_by_its_own_migration_and_where_it_has_come_to_alone() {
    let directory = tempfile::tempdir().unwrap();
    let (volume, _) = clone(directory.path());
    let mut here = Host::start(directory.path(), &volume);
    let (mut there, to) = Host::wait_for_guest(directory.path(), &volume);
    let moved = moved(&mut here, &to);
    // Nor is a key of its disks changed where it has left: that QEMU would ask its header in vain.
    let (keys, environment) = (keys(1), SystemEnvironment::new());
    let mut header = Running::new(&mut here.qmp, &volume, &keys, &environment);
    let changed = header.add(KeyNumber(1), KeyNumber(2));
    assert!(matches!(changed, Err(RotationError::Moving)), "{changed:?}");
    let volumes = [(volume, Limits::default())];
    let source = settle(&mut here.qmp, &volumes, &moved);
    assert!(matches!(source, Err(MigrationError::NotHere(_))), "{source:?}");
    let of_another = Moved { number: moved.number ^ 1, ..moved.clone() };
    let refused = settle(&mut there.qmp, &volumes, &of_another);
    assert!(matches!(refused, Err(MigrationError::Another)), "{refused:?}");
    assert!(!there.qmp.is_running().unwrap());
    for _ in 0..2 {
        assert!(there.settle(&moved).does_run);
    }
    // One that was stopped later is not let go on by whoever settles it late.
    there.qmp.execute("stop", json!({})).unwrap();
    let late = settle(&mut there.qmp, &volumes, &moved);
    assert!(matches!(late, Err(MigrationError::Unknown(_))), "{late:?}");
    assert!(!there.qmp.is_running().unwrap());
}

#[test]
fn a_destination_whose_address_is_taken_listens_at_another() {
    let directory = tempfile::tempdir().unwrap();
    let (volume, _) = clone(directory.path());
    let mut here = Host::start(directory.path(), &volume);
    let further = ["-S", "-incoming", "defer"];
    let mut there = Host::begin(directory.path(), &volume, "there", &further);
    let nowhere = MigrationAddress::Unix(directory.path().join("nowhere/migration"));
    prepare(&mut there.qmp, &nowhere).unwrap_err();
    let to = MigrationAddress::Unix(directory.path().join("migration"));
    prepare(&mut there.qmp, &to).unwrap();
    let moved = moved(&mut here, &to);
    assert!(there.settle(&moved).does_run);
}

//! Guests that stay where they are, since something fails.

use std::{
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;

use super::host::{Host, Vault, clone, move_guest, plain};
use crate::{
    archive::Unwatched,
    migration::{Backup, MigrationAddress, MigrationError, Settings},
    qmp::{QmpError, migration::MigrationStatus},
    testing::first_difference,
};

#[test]
fn a_destination_that_dies_leaves_the_guest_and_its_point_in_time() {
    let directory = tempfile::tempdir().unwrap();
    let (volume, mut contents) = clone(directory.path());
    let mut here = Host::start(directory.path(), &volume);
    let vault = Vault::new();
    here.back_up(&vault);
    here.fill(&mut contents, 1 << 20, 8192, 3);
    let (there, to) = Host::wait_for_guest(directory.path(), &volume);
    let mut there = Some(there);
    let point = here.open(&vault).unwrap();
    let then = contents.clone();
    here.fill(&mut contents, 2 << 20, 8192, 4);
    let disks = [here.disk.clone()];
    let begin = Instant::now();
    let mut pulled = || {
        if begin.elapsed() > Duration::from_secs(1) {
            there = None;
        }
        None
    };
    let mut backup = Some(Backup::new(point, &mut pulled, None));
    let moved = move_guest(&mut here.qmp, &disks, &to, &Settings::usual(), &mut backup);
    assert!(matches!(moved, Err(MigrationError::Failed { .. })), "{moved:?}");
    assert!(here.qmp.is_running().unwrap());
    let point = backup.unwrap().into_point().unwrap();
    let image = vault.pull(&point.offers()[0], &Unwatched).unwrap();
    assert_eq!(first_difference(&vault.restored(&image), &then), None);
    point.close(&mut here.qmp, &[disks[0].id().clone()], None).unwrap();
    here.check_next(&vault, &contents);
    moves_yet(here, &vault, &contents);
}

#[test]
fn a_destination_that_is_not_there_leaves_the_guest_and_its_raw_volumes_bitmap() {
    let directory = tempfile::tempdir().unwrap();
    let (volume, mut contents) = plain(directory.path());
    let mut here = Host::start(directory.path(), &volume);
    let vault = Vault::new();
    here.back_up(&vault);
    here.fill(&mut contents, 1 << 20, 8192, 3);
    let to = MigrationAddress::Unix(directory.path().join("nobody"));
    let disks = [here.disk.clone()];
    move_guest(&mut here.qmp, &disks, &to, &Settings::usual(), &mut None).unwrap_err();
    assert!(here.qmp.is_running().unwrap());
    here.check_next(&vault, &contents);
    moves_yet(here, &vault, &contents);
}

/// A guest that did not move still can, and what is known of its changes moves with it.
fn moves_yet(mut here: Host, vault: &Vault, contents: &[u8]) {
    let socket = here.directory.join("migration");
    // Of a destination that was killed.
    let _ = std::fs::remove_file(socket);
    for of in ["qmp-there", "watcher-there"] {
        let _ = std::fs::remove_file(here.directory.join(of));
    }
    let (mut there, to) = Host::wait_for_guest(&here.directory, &here.volume);
    let disks = [here.disk.clone()];
    let moved = move_guest(&mut here.qmp, &disks, &to, &Settings::usual(), &mut None).unwrap();
    assert!(there.settle(&moved).lost.is_empty());
    drop(here);
    there.check_next(vault, contents);
}

#[test]
fn a_destination_that_says_nothing_at_the_last_moment_gives_the_guest_back_when_it_is_ended() {
    let directory = tempfile::tempdir().unwrap();
    let (volume, mut contents) = clone(directory.path());
    let mut here = Host::start(directory.path(), &volume);
    let vault = Vault::new();
    here.back_up(&vault);
    let (there, to) = Host::wait_for_guest(directory.path(), &volume);
    let pid = Pid::from_raw(i32::try_from(there.daemon.pid()).unwrap());
    let disks = [here.disk.clone()];
    let settings = Settings { standstill: Duration::from_secs(2), ..Settings::usual() };
    let begin = Instant::now();
    let (qmp, watcher) = (&mut here.qmp, &mut here.watcher);
    let moved = thread::scope(|scope| {
        scope.spawn(|| {
            // As soon as the guest stands still.
            while !matches!(
                watcher.migration().unwrap().status,
                MigrationStatus::PreSwitchover | MigrationStatus::Device
            ) {
                assert!(begin.elapsed() < Duration::from_secs(60));
            }
            kill(pid, Signal::SIGSTOP).unwrap();
            // For longer than the guest may stand still. QEMU itself may hang meanwhile.
            thread::sleep(Duration::from_secs(4));
            kill(pid, Signal::SIGKILL).unwrap();
        });
        move_guest(qmp, &disks, &to, &settings, &mut None)
    });
    let is_back = matches!(moved, Err(MigrationError::Stuck(_) | MigrationError::Failed { .. }));
    assert!(is_back, "{moved:?}");
    assert!(begin.elapsed() < Duration::from_secs(40), "{:?}", begin.elapsed());
    assert!(here.qmp.is_running().unwrap());
    drop(there);
    here.fill(&mut contents, 3 << 20, 8192, 5);
    here.check_next(&vault, &contents);
}

#[test]
fn a_destination_that_says_nothing_while_memory_is_sent_is_not_waited_for_for_ever() {
    let directory = tempfile::tempdir().unwrap();
    let (volume, mut contents) = clone(directory.path());
    let mut here = Host::start(directory.path(), &volume);
    let vault = Vault::new();
    here.back_up(&vault);
    let (there, to) = Host::wait_for_guest(directory.path(), &volume);
    let pid = Pid::from_raw(i32::try_from(there.daemon.pid()).unwrap());
    kill(pid, Signal::SIGSTOP).unwrap();
    let disks = [here.disk.clone()];
    let settings = Settings { bound: Duration::from_secs(5), ..Settings::usual() };
    let (qmp, watcher) = (&mut here.qmp, &mut here.watcher);
    let begin = Instant::now();
    let (moved, limit) = thread::scope(|scope| {
        let looking = scope.spawn(|| {
            while watcher.migration().unwrap().status != MigrationStatus::Active {
                assert!(begin.elapsed() < Duration::from_secs(60));
                thread::sleep(Duration::from_millis(5));
            }
            (watcher.downtime_limit().unwrap(), watcher.migration().unwrap().status)
        });
        let moved = move_guest(qmp, &disks, &to, &settings, &mut None);
        (moved, looking.join().unwrap())
    });
    assert!(matches!(moved, Err(MigrationError::Late(_))), "{moved:?}");
    // Whoever was killed then would have left a guest that runs on.
    assert_eq!(limit, (0, MigrationStatus::Active));
    assert!(here.qmp.is_running().unwrap());
    drop(there);
    here.fill(&mut contents, 3 << 20, 8192, 5);
    here.check_next(&vault, &contents);
}

#[test]
fn a_destination_that_has_another_machine_gives_the_guest_back_at_the_last_moment() {
    let directory = tempfile::tempdir().unwrap();
    let (volume, mut contents) = clone(directory.path());
    // A device that the other side lacks: that is found after all memory.
    let further = ["-device", "virtio-rng-pci,addr=10"];
    let mut here = Host::begin(directory.path(), &volume, "here", &further);
    let vault = Vault::new();
    here.back_up(&vault);
    let (_there, to) = Host::wait_for_guest(directory.path(), &volume);
    let disks = [here.disk.clone()];
    let moved = move_guest(&mut here.qmp, &disks, &to, &Settings::usual(), &mut None);
    assert!(matches!(moved, Err(MigrationError::Failed { .. })), "{moved:?}");
    assert!(here.qmp.is_running().unwrap());
    here.fill(&mut contents, 3 << 20, 8192, 5);
    here.check_next(&vault, &contents);
}

#[test]
fn a_guest_whose_disk_is_being_copied_does_not_move() {
    let directory = tempfile::tempdir().unwrap();
    let (volume, _) = clone(directory.path());
    let mut here = Host::start(directory.path(), &volume);
    let target = directory.path().join("target");
    std::fs::File::create(&target).unwrap().set_len((12 << 20) + (12 << 10)).unwrap();
    let node = json!({
        "driver": "raw", "node-name": "target", "file": { "driver": "file", "filename": target },
    });
    here.qmp.execute("blockdev-add", node).unwrap();
    let job = json!({
        "job-id": "copies", "device": volume.id().node(""), "target": "target", "sync": "full",
    });
    here.qmp.execute("blockdev-mirror", job).unwrap();
    let to = MigrationAddress::Unix(directory.path().join("migration"));
    let disks = [here.disk.clone()];
    let moved = move_guest(&mut here.qmp, &disks, &to, &Settings::usual(), &mut None);
    assert!(matches!(moved, Err(MigrationError::Job(job)) if job == "copies"));
}

#[test]
fn a_paused_guest_whose_move_failed_late_is_here_and_moves_once_it_has_run() {
    let directory = tempfile::tempdir().unwrap();
    let (volume, mut contents) = clone(directory.path());
    let further = ["-device", "virtio-rng-pci,addr=10"];
    let mut here = Host::begin(directory.path(), &volume, "here", &further);
    let vault = Vault::new();
    here.back_up(&vault);
    here.qmp.execute("stop", json!({})).unwrap();
    let (there, to) = Host::wait_for_guest(directory.path(), &volume);
    let disks = [here.disk.clone()];
    let moved = move_guest(&mut here.qmp, &disks, &to, &Settings::usual(), &mut None);
    assert!(matches!(moved, Err(MigrationError::Failed { .. })), "{moved:?}");
    assert!(!here.qmp.is_running().unwrap());
    drop(there);
    // It has not left.
    assert!(!here.qmp.is_moving().unwrap());
    here.fill(&mut contents, 3 << 20, 8192, 5);
    here.check_next(&vault, &contents);
    let again = move_guest(&mut here.qmp, &disks, &to, &Settings::usual(), &mut None);
    assert!(matches!(again, Err(MigrationError::Halted)), "{again:?}");
    here.qmp.execute("cont", json!({})).unwrap();
    let again = move_guest(&mut here.qmp, &disks, &to, &Settings::usual(), &mut None);
    assert!(matches!(again, Err(MigrationError::Failed { .. })), "{again:?}");
    assert!(here.qmp.is_running().unwrap());
}

#[test]
fn a_command_that_is_refused_on_the_way_leaves_no_migration_under_way() {
    let directory = tempfile::tempdir().unwrap();
    let (volume, mut contents) = clone(directory.path());
    let mut here = Host::start(directory.path(), &volume);
    let vault = Vault::new();
    here.back_up(&vault);
    let (there, to) = Host::wait_for_guest(directory.path(), &volume);
    // It takes a part of the memory and no more, so that the guest is on its way until it is cancelled.
    let pid = Pid::from_raw(i32::try_from(there.daemon.pid()).unwrap());
    kill(pid, Signal::SIGSTOP).unwrap();
    let disks = [here.disk.clone()];
    let (qmp, watcher) = (&mut here.qmp, &mut here.watcher);
    let begin = Instant::now();
    let moved = thread::scope(|scope| {
        let disturbing = scope.spawn(|| {
            while watcher.migration().unwrap().status != MigrationStatus::Active {
                assert!(begin.elapsed() < Duration::from_secs(60));
                thread::sleep(Duration::from_millis(5));
            }
            // Whether the guest runs can't be noted any more: both words are taken.
            for name in ["runs", "stands"] {
                let bitmap = json!({ "node": "migration_gate", "name": name, "granularity": 512 });
                watcher.execute("block-dirty-bitmap-add", bitmap).unwrap();
            }
            watcher.execute("stop", json!({})).unwrap();
            thread::sleep(Duration::from_millis(500));
            watcher.execute("cont", json!({})).unwrap();
        });
        let moved = move_guest(qmp, &disks, &to, &Settings::usual(), &mut None);
        disturbing.join().unwrap();
        moved
    });
    let is_refused = matches!(&moved, Err(MigrationError::Qmp(QmpError::Refused { .. })));
    assert!(is_refused, "{moved:?}");
    let status = here.qmp.migration().unwrap().status;
    assert!(!status.is_under_way(), "{status:?}");
    assert!(here.qmp.is_running().unwrap());
    drop(there);
    here.fill(&mut contents, 3 << 20, 8192, 5);
    here.check_next(&vault, &contents);
}

//! Guests that arrive.

use std::{
    num::NonZeroU32,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use super::host::{Host, Vault, clone, move_guest, plain};
use crate::{
    archive::{Progress, Unwatched, Watch},
    backup::{point::PointError, pull::PullError},
    migration::{Backup, Ended, MigrationAddress, Settings, prepare, settle},
    qmp::migration::MigrationStatus,
    testing::first_difference,
    volume::Limits,
};

/// A watch that holds up whoever asks it.
struct Held(AtomicBool);

impl Watch for Held {
    fn tell(&self, _: Progress) {}

    fn is_cancelled(&self) -> bool {
        let begin = Instant::now();
        while !self.0.load(Ordering::SeqCst) && begin.elapsed() < Duration::from_secs(60) {
            thread::sleep(Duration::from_millis(5));
        }
        false
    }
}

#[test]
fn an_idle_guest_goes_over_when_its_point_in_time_is_closed_and_no_sooner() {
    let directory = tempfile::tempdir().unwrap();
    let (volume, mut contents) = clone(directory.path());
    let mut here = Host::start(directory.path(), &volume);
    let vault = Vault::new();
    here.back_up(&vault);
    here.fill(&mut contents, 1 << 20, 8192, 3);
    let (mut there, to) = Host::wait_for_guest(directory.path(), &volume);
    let point = here.open(&vault).unwrap();
    let then = contents.clone();
    here.fill(&mut contents, 2 << 20, 8192, 4);
    let offer = point.offers()[0].clone();
    let disks = [here.disk.clone()];
    let image = vault.pull(&offer, &Unwatched).unwrap();
    let begin = Instant::now();
    let mut seen = Vec::new();
    let mut pulled = || {
        seen.push((here.watcher.migration().unwrap().status, here.watcher.is_running().unwrap()));
        (begin.elapsed() > Duration::from_secs(2)).then(|| vec![disks[0].id().clone()])
    };
    let mut backup = Some(Backup::new(point, &mut pulled, None));
    let settings = Settings::usual();
    let moved = move_guest(&mut here.qmp, &disks, &to, &settings, &mut backup).unwrap();
    let ended = backup.unwrap().ended().cloned();
    assert!(matches!(ended, Some(Ended::Closed(closed)) if closed.broken.is_empty()));
    assert!(begin.elapsed() > Duration::from_secs(2));
    // It was sent all the while, and ran.
    let active = seen.iter().filter(|seen| **seen == (MigrationStatus::Active, true)).count();
    assert!(active > 10, "{seen:?}");
    assert_eq!(first_difference(&vault.restored(&image), &then), None);
    assert_eq!(here.qmp.run_state().unwrap(), "postmigrate");
    assert_eq!(there.qmp.run_state().unwrap(), "paused");
    assert!(there.settle(&moved).lost.is_empty());
    assert!(there.qmp.is_running().unwrap());
    // Whoever has left is told so.
    assert!(matches!(here.open(&vault), Err(PointError::Moving)));
    let again = move_guest(&mut here.qmp, &disks, &to, &settings, &mut None).unwrap();
    assert_eq!(again.known, []);
    drop(here);
    there.fill(&mut contents, 3 << 20, 8192, 5);
    there.check_next(&vault, &contents);
}

#[test]
fn a_raw_volumes_bitmap_goes_with_its_guest_after_the_pull() {
    let directory = tempfile::tempdir().unwrap();
    let (volume, mut contents) = plain(directory.path());
    let mut here = Host::start(directory.path(), &volume);
    let vault = Vault::new();
    here.back_up(&vault);
    here.fill(&mut contents, 1 << 20, 8192, 3);
    let (mut there, to) = Host::wait_for_guest(directory.path(), &volume);
    let point = here.open(&vault).unwrap();
    here.fill(&mut contents, 2 << 20, 8192, 4);
    vault.pull(&point.offers()[0], &Unwatched).unwrap();
    let disks = [here.disk.clone()];
    let begin = Instant::now();
    let mut is_sent = false;
    let mut pulled = || {
        let is_over = begin.elapsed() > Duration::from_secs(1);
        is_sent |= !is_over && here.watcher.migration().unwrap().status != MigrationStatus::None;
        is_over.then(|| vec![disks[0].id().clone()])
    };
    let mut backup = Some(Backup::new(point, &mut pulled, None));
    let moved = move_guest(&mut here.qmp, &disks, &to, &Settings::usual(), &mut backup).unwrap();
    // QEMU takes no bitmap that is in use.
    assert!(!is_sent);
    assert_eq!(moved.known[0].bitmaps.len(), 1);
    let limits = Limits { operations: NonZeroU32::new(77), bytes: None };
    let volumes = [(there.volume.clone(), limits)];
    assert!(settle(&mut there.qmp, &volumes, &moved).unwrap().lost.is_empty());
    let blocks = there.qmp.execute("query-block", serde_json::json!({})).unwrap();
    assert_eq!(blocks[0]["inserted"]["iops"], 77, "{blocks}");
    drop(here);
    there.fill(&mut contents, 3 << 20, 8192, 5);
    there.check_next(&vault, &contents);
}

#[test]
fn a_pull_that_takes_too_long_is_broken_and_forgets_no_change() {
    for of in [clone, plain] {
        let directory = tempfile::tempdir().unwrap();
        let (volume, mut contents) = of(directory.path());
        let mut here = Host::start(directory.path(), &volume);
        let vault = Vault::new();
        here.back_up(&vault);
        here.fill(&mut contents, 1 << 20, 8192, 3);
        let (mut there, to) = Host::wait_for_guest(directory.path(), &volume);
        let point = here.open(&vault).unwrap();
        let offer = point.offers()[0].clone();
        let held = Held(AtomicBool::new(false));
        let settings = Settings { patience: Duration::from_secs(1), ..Settings::usual() };
        let begin = Instant::now();
        let moved = thread::scope(|scope| {
            let pulling = scope.spawn(|| vault.pull(&offer, &held));
            let mut never = || None;
            let mut backup = Some(Backup::new(point, &mut never, None));
            let disks = [here.disk.clone()];
            let moved = move_guest(&mut here.qmp, &disks, &to, &settings, &mut backup).unwrap();
            assert_eq!(backup.unwrap().ended(), Some(&Ended::Broken));
            held.0.store(true, Ordering::SeqCst);
            let pulled = pulling.join().unwrap();
            assert!(matches!(pulled, Err(PullError::Broken(_))), "{pulled:?}");
            moved
        });
        assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
        assert!(there.settle(&moved).lost.is_empty());
        there.fill(&mut contents, 3 << 20, 8192, 5);
        there.check_next(&vault, &contents);
    }
}

#[test]
fn a_process_that_comes_after_one_that_was_killed_ends_what_it_began() {
    let directory = tempfile::tempdir().unwrap();
    let (volume, mut contents) = clone(directory.path());
    let mut here = Host::start(directory.path(), &volume);
    let vault = Vault::new();
    here.back_up(&vault);
    here.fill(&mut contents, 1 << 20, 8192, 3);
    let (mut there, to) = Host::wait_for_guest(directory.path(), &volume);
    let point = here.open(&vault).unwrap();
    let offer = point.offers()[0].clone();
    let disks = [here.disk.clone()];
    // The first one ends in the middle: its connection does, at least.
    let begin = Instant::now();
    let died = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut pulled = || {
            assert!(begin.elapsed() < Duration::from_secs(1), "as if it was killed");
            None
        };
        let mut backup = Some(Backup::new(point, &mut pulled, None));
        move_guest(&mut here.qmp, &disks, &to, &Settings::usual(), &mut backup)
    }));
    assert!(died.is_err());
    assert_eq!(here.qmp.migration().unwrap().status, MigrationStatus::Active);
    // What of its point in time is left is no point in time any more.
    let moved = move_guest(&mut here.watcher, &disks, &to, &Settings::usual(), &mut None).unwrap();
    assert!(matches!(vault.pull(&offer, &Unwatched), Err(PullError::Broken(_))));
    there.settle(&moved);
    drop(here);
    // Which of two bitmaps goes on is decided as ever.
    there.fill(&mut contents, 3 << 20, 8192, 5);
    there.check_next(&vault, &contents);
    // And it moves on from where it has come to.
    let mut third = Host::begin(directory.path(), &volume, "third", &["-S", "-incoming", "defer"]);
    let to = MigrationAddress::Unix(directory.path().join("migration-on"));
    prepare(&mut third.qmp, &to).unwrap();
    let moved = move_guest(&mut there.qmp, &disks, &to, &Settings::usual(), &mut None).unwrap();
    assert!(third.settle(&moved).lost.is_empty());
    assert!(third.qmp.is_running().unwrap());
    drop(there);
    third.fill(&mut contents, 4 << 20, 8192, 6);
    third.check_next(&vault, &contents);
}

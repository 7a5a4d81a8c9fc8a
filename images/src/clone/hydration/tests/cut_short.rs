//! Hydrations that somebody has left in the middle, and monitors that are another guest's.

use super::*;
use crate::{
    encryption::{KeyNumber, secret::Secrets},
    testing::keys,
};

/// A machine on a clone, whose hydration has copied all.
fn copied(
    directory: &std::path::Path,
) -> (Master, InstantClone, Daemon, std::path::PathBuf, Hydration) {
    let (master, _) = master(directory);
    let clone = master.clone_into(&pool(directory), &ids(1)).unwrap().remove(0);
    let socket = directory.join("qmp");
    let machine = machine(&volume(&clone), &socket);
    let mut qmp = Qmp::connect(&socket, Duration::from_secs(30)).unwrap();
    let place = Place::File(directory.join("plain"));
    let (size, direct) = (master.size(), HostCache::Direct);
    let hydration = Hydration::start(&mut qmp, &clone, size, place, direct, None).unwrap();
    until(&hydration, &mut qmp, |progress| progress.is_equal);
    (master, clone, machine, socket, hydration)
}

fn until(hydration: &Hydration, qmp: &mut Qmp, is_so: impl Fn(Progress) -> bool) {
    let begin = Instant::now();
    while !is_so(hydration.progress(qmp).unwrap()) {
        assert!(begin.elapsed() < Duration::from_secs(60));
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn one_that_was_left_after_the_job_was_told_to_complete_is_seen_to_be_over_and_is_ended() {
    let directory = tempfile::tempdir().unwrap();
    let (master, clone, _machine, socket, hydration) = copied(directory.path());
    let qmp = &mut Qmp::connect(&socket, Duration::from_secs(30)).unwrap();
    assert!(!master.find(clone.id()).unwrap().is_being_handed_over());
    let stage = Stage::HandingOver(Place::File(directory.path().join("plain")));
    master.locked().unwrap().mark(clone.id(), stage, true).unwrap();
    qmp.execute("stop", json!({})).unwrap();
    hydration.tell(qmp, "job-complete").unwrap();
    until(&hydration, qmp, |progress| progress.is_over && progress.is_copied());
    assert!(master.find(clone.id()).unwrap().is_being_handed_over());
    hydration.complete(qmp, &master).unwrap();
    assert!(is_running(qmp));
    assert!(!master.find(clone.id()).unwrap().is_being_handed_over());
}

#[test]
fn a_volume_whose_qemu_ended_while_it_was_handed_over_is_plain_once_another_is_started_from_it() {
    let directory = tempfile::tempdir().unwrap();
    let (master, clone, machine_of_old, _, hydration) = copied(directory.path());
    let stage = Stage::HandingOver(Place::File(directory.path().join("plain")));
    master.locked().unwrap().mark(clone.id(), stage, true).unwrap();
    drop(machine_of_old);
    let again = directory.path().join("again");
    let _machine = machine(&volume(&master.find(clone.id()).unwrap()), &again);
    let qmp = &mut Qmp::connect(&again, Duration::from_secs(30)).unwrap();
    // Stopped by somebody who knows why.
    qmp.execute("stop", json!({})).unwrap();
    hydration.complete(qmp, &master).unwrap();
    assert!(!is_running(qmp));
    let record = master.find(clone.id()).unwrap().record;
    assert_eq!((matches!(record.stage, Stage::Plain(_)), record.is_held), (true, false));
}

#[test]
fn a_guest_that_was_stopped_for_a_hydration_goes_on_when_that_is_cancelled() {
    let directory = tempfile::tempdir().unwrap();
    let (master, clone, _machine, socket, hydration) = copied(directory.path());
    let qmp = &mut Qmp::connect(&socket, Duration::from_secs(30)).unwrap();
    master.locked().unwrap().mark(clone.id(), Stage::Overlay, true).unwrap();
    qmp.execute("stop", json!({})).unwrap();
    hydration.cancel(qmp, &master).unwrap();
    assert!(is_running(qmp));
    let record = master.find(clone.id()).unwrap().record;
    assert_eq!((record.stage, record.is_held), (Stage::Overlay, false));
}

#[test]
fn a_guest_goes_on_with_its_plain_volume_where_that_can_not_be_recorded_and_it_is_once_it_can() {
    let directory = tempfile::tempdir().unwrap();
    let (master, clone, _machine, socket, hydration) = copied(directory.path());
    let qmp = &mut Qmp::connect(&socket, Duration::from_secs(30)).unwrap();
    let stage = Stage::HandingOver(Place::File(directory.path().join("plain")));
    master.locked().unwrap().mark(clone.id(), stage, true).unwrap();
    qmp.execute("stop", json!({})).unwrap();
    // A directory where the record is written first: as little can be written as to a full disk.
    let blocker = master.record_path(clone.id()).with_extension("new");
    fs::create_dir(&blocker).unwrap();
    let error = hydration.complete(qmp, &master).unwrap_err();
    assert!(matches!(error, HydrationError::Record(_)), "{error}");
    assert!(is_running(qmp), "the guest stands still");
    assert_eq!(disk(qmp), clone.id().node("plain"));
    fs::remove_dir(&blocker).unwrap();
    hydration.complete(qmp, &master).unwrap();
    let record = master.find(clone.id()).unwrap().record;
    assert_eq!((record.stage.plain().is_some(), record.is_held), (true, false));
}

#[test]
fn a_guest_goes_back_to_its_clone_once_that_can_be_recorded() {
    let directory = tempfile::tempdir().unwrap();
    let (master, clone, _machine, socket, hydration) = copied(directory.path());
    let qmp = &mut Qmp::connect(&socket, Duration::from_secs(30)).unwrap();
    let stage = Stage::HandingOver(Place::File(directory.path().join("plain")));
    master.locked().unwrap().mark(clone.id(), stage, true).unwrap();
    qmp.execute("stop", json!({})).unwrap();
    // As in a full file system, until somebody makes room.
    let blocker = master.record_path(clone.id()).with_extension("new");
    fs::create_dir(&blocker).unwrap();
    let error = thread::scope(|scope| {
        scope.spawn(|| {
            let begin = Instant::now();
            // It is at work then. How often it has tried by the end of this can't be awaited.
            while fs::File::open(master.directory.join("lock")).unwrap().try_lock().is_ok() {
                assert!(begin.elapsed() < Duration::from_secs(30));
                thread::sleep(Duration::from_millis(1));
            }
            thread::sleep(Duration::from_millis(500));
            fs::remove_dir(&blocker).unwrap();
        });
        hydration.complete_within(Duration::ZERO, qmp, &master).unwrap_err()
    });
    assert!(matches!(error, HydrationError::Late(_)), "{error}");
    assert!(is_running(qmp), "the guest stands still");
    assert_eq!(disk(qmp), clone.id().node(""));
    let record = master.find(clone.id()).unwrap().record;
    assert_eq!((record.stage, record.is_held), (Stage::Overlay, false));
}

#[test]
fn a_guest_that_has_not_come_yet_or_has_left_is_not_let_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let (master, _) = master(directory.path());
    let clone = master.clone_into(&pool(directory.path()), &ids(1)).unwrap().remove(0);
    let socket = directory.path().join("qmp");
    let _machine = machine_with(&volume(&clone), &socket, &["-incoming", "defer"]);
    let qmp = &mut Qmp::connect(&socket, Duration::from_secs(30)).unwrap();
    // By a process that was killed before it could stop the guest where that was then.
    master.locked().unwrap().mark(clone.id(), Stage::Overlay, true).unwrap();
    let place = Place::File(directory.path().join("plain"));
    let hydration = Hydration::of(&clone, place, HostCache::Direct).unwrap();
    let refused = hydration.complete(qmp, &master).unwrap_err();
    assert!(matches!(refused, HydrationError::Moving(_)), "{refused}");
    let refused = hydration.cancel(qmp, &master).unwrap_err();
    assert!(matches!(refused, HydrationError::Moving(_)), "{refused}");
    assert!(master.find(clone.id()).unwrap().record.is_held);
    let status = qmp.execute("query-status", json!({})).unwrap();
    assert_eq!(status["status"], "inmigrate");
}

#[test]
fn the_monitor_of_another_guest_is_told_nothing_and_takes_no_note_of_a_key_away() {
    let directory = tempfile::tempdir().unwrap();
    let run = directory.path();
    let (master, _) = master(run);
    let clones = master.clone_into(&pool(run), &ids(2)).unwrap();
    let (keys, one) = (keys(1), KeyNumber(1));
    let secrets = Secrets::of(clones[0].id(), one, &keys).unwrap();
    let mut right =
        StorageDaemon::start_with(&volume(&clones[0]).blockdev(), &secrets, run).unwrap();
    let other = run.join("other");
    fs::create_dir(&other).unwrap();
    let mut wrong = StorageDaemon::start(&volume(&clones[1]).blockdev(), &other).unwrap();
    let place = Place::File(run.join("plain"));
    let target = EncryptedTarget { place, cache: HostCache::Direct, number: one, keys: &keys };
    // None is begun there, and nothing stays of it.
    let begun = Hydration::start_encrypted(wrong.qmp(), &master, &clones[0], &target, None);
    assert!(matches!(begun, Err(HydrationError::NoDisk(_))));
    assert!(!run.join("plain").exists());
    let noted = || master.find(clones[0].id()).unwrap().keys_needed();
    assert!(noted().is_empty());
    let slow = Some(1 << 20);
    let hydration =
        Hydration::start_encrypted(right.qmp(), &master, &clones[0], &target, slow).unwrap();
    // Taken back there while it goes on here: the key that opens what the volume becomes stays noted.
    let found = master.find(clones[0].id()).unwrap();
    let mistaken = Hydration::of(&found, target.place.clone(), HostCache::Direct).unwrap();
    let error = mistaken.cancel(wrong.qmp(), &master).unwrap_err();
    assert!(matches!(error, HydrationError::Target { .. }), "{error}");
    assert_eq!(noted(), [one].into());
    let error = hydration.complete(wrong.qmp(), &master).unwrap_err();
    assert!(matches!(error, HydrationError::NoDisk(_)), "{error}");
    // Where a note was lost after all, the guest does not go over to what it could not read.
    hydration.note_target(&master, None).unwrap();
    let error = hydration.complete(right.qmp(), &master).unwrap_err();
    assert!(matches!(error, HydrationError::WouldBeClear(_)), "{error}");
}

//! Hydration by a real QEMU: by its storage daemon, which has no guest, and by a machine.

mod cut_short;

use std::{fs, process::Command};

use nix::sys::signal::{SigHandler, Signal};

use super::*;
use crate::{
    clone::handover::Stage,
    storage_daemon::StorageDaemon,
    testing::{Daemon, Numbers, contents, first_difference, ids, loop_device::Loop, master, pool},
    volume::{FlushInterval, recovery::Recovered},
};

fn volume(clone: &InstantClone) -> Volume {
    clone.volume(Durability::default(), HostCache::Direct).unwrap()
}

#[test]
fn a_hydrated_clone_has_all_that_was_written_and_needs_its_master_no_more() {
    let directory = tempfile::tempdir().unwrap();
    let (master, mut model) = master(directory.path());
    let clone = master.clone_into(&pool(directory.path()), &ids(1)).unwrap().remove(0);
    let interval = FlushInterval::default();
    let volume = clone.volume(Durability::Hydrated(interval), HostCache::Direct).unwrap();
    let mut daemon = StorageDaemon::start(&volume.blockdev(), directory.path()).unwrap();
    let mut guest = daemon.open().unwrap();
    let mut numbers = Numbers(5);
    let mut write = |model: &mut Vec<u8>, guest: &mut crate::nbd::Nbd, with| {
        let at = usize::try_from(numbers.below(model.len() as u64 / 512 - 64)).unwrap() * 512;
        model[at..at + 32_768].fill(with);
        guest.write(at as u64, &[with; 32_768]).unwrap();
    };
    (1..20).for_each(|with| write(&mut model, &mut guest, with));
    let target = directory.path().join("plain");
    let qmp = daemon.qmp();
    let place = Place::File(target.clone());
    let size = master.size();
    let direct = HostCache::Direct;
    let hydration =
        Hydration::start(qmp, &clone, size, place.clone(), direct, Some(1 << 20)).unwrap();
    hydration.pause(qmp).unwrap();
    let begin = Instant::now();
    while !hydration.progress(qmp).unwrap().is_paused {
        assert!(begin.elapsed() < Duration::from_secs(30));
    }
    let paused = hydration.progress(qmp).unwrap();
    assert!(paused.done < paused.total && !paused.is_equal, "{paused:?}");
    (20..40).for_each(|with| write(&mut model, &mut guest, with));
    // Another process of ours would find it.
    let hydration = Hydration::of(&clone, place, direct).unwrap();
    hydration.resume(qmp).unwrap();
    hydration.set_speed(qmp, 0).unwrap();
    while !hydration.progress(qmp).unwrap().is_equal {
        assert!(begin.elapsed() < Duration::from_secs(120), "{:?}", hydration.progress(qmp));
        write(&mut model, &mut guest, 40);
    }
    assert_eq!(master.find(clone.id()).unwrap().hydrated(), None);
    let plain = hydration.complete(qmp, &master).unwrap();
    (41..60).for_each(|with| write(&mut model, &mut guest, with));
    // Killed: what was written last is in the plain volume.
    drop((guest, daemon));
    assert_eq!(first_difference(&fs::read(&target).unwrap(), &model), None);
    assert_eq!(master.find(clone.id()).unwrap().hydrated(), Some(&Place::File(target)));
    assert_eq!(first_difference(&contents(&plain, directory.path()), &model), None);
    // It is started from there, whatever class is asked for.
    let found = master.find(clone.id()).unwrap();
    let again = found.volume(Durability::FlushHonouring, HostCache::Direct).unwrap();
    assert_eq!(again.data(), plain.data());
    let nothing = Recovered::default();
    assert_eq!(found.recover(HostCache::Direct, directory.path()).unwrap(), nothing);
    master.remove_clone(&clone).unwrap();
    master.remove().unwrap();
}

#[test]
fn a_hydration_that_is_cancelled_leaves_the_clone_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let (master, mut model) = master(directory.path());
    let clone = master.clone_into(&pool(directory.path()), &ids(1)).unwrap().remove(0);
    let mut daemon = StorageDaemon::start(&volume(&clone).blockdev(), directory.path()).unwrap();
    let mut guest = daemon.open().unwrap();
    let qmp = daemon.qmp();
    let size = master.size();
    let place = Place::File(directory.path().join("plain"));
    let start = |qmp: &mut _| {
        Hydration::start(qmp, &clone, size, place.clone(), HostCache::Direct, Some(1 << 20))
    };
    let hydration = start(qmp).unwrap();
    // The target is there: it may be somebody's.
    assert!(matches!(start(qmp), Err(HydrationError::Target { .. })));
    let early = Hydration::of(&clone, place.clone(), HostCache::Direct).unwrap();
    let early = early.complete(qmp, &master).unwrap_err();
    assert!(matches!(early, HydrationError::NotEqual(_)), "{early}");
    model[..512].fill(3);
    guest.write(0, &[3; 512]).unwrap();
    hydration.cancel(qmp, &master).unwrap();
    model[512..1024].fill(4);
    guest.write(512, &[4; 512]).unwrap();
    drop(guest);
    daemon.end().unwrap();
    assert_eq!(first_difference(&contents(&volume(&clone), directory.path()), &model), None);
    assert_eq!(master.find(clone.id()).unwrap().hydrated(), None);
}

/// A machine that runs on a clone, without anything to boot.
fn machine(volume: &Volume, socket: &std::path::Path) -> Daemon {
    machine_with(volume, socket, &[])
}

fn machine_with(volume: &Volume, socket: &std::path::Path, further: &[&str]) -> Daemon {
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args(["-machine", "q35,accel=tcg", "-nodefaults", "-display", "none", "-m", "64"])
        .args(["-blockdev", &volume.blockdev().to_string()])
        .args(["-device", &volume.device().to_string()])
        .args(["-qmp", &format!("unix:{},server=on,wait=off", socket.display())])
        .args(further);
    Daemon::start(&mut qemu, &[socket])
}

fn is_running(qmp: &mut Qmp) -> bool {
    qmp.execute("query-status", json!({})).unwrap()["running"] == true
}

/// The node that a machine's disk is on.
fn disk(qmp: &mut Qmp) -> String {
    let blocks = qmp.execute("query-block", json!({})).unwrap();
    blocks[0]["inserted"]["node-name"].as_str().unwrap().to_owned()
}

#[test]
fn a_guest_of_a_machine_goes_on_after_it_was_handed_over_whoever_ends_it() {
    let directory = tempfile::tempdir().unwrap();
    let (master, bytes) = master(directory.path());
    for (clone, was_begun) in
        master.clone_into(&pool(directory.path()), &ids(3)).unwrap().iter().zip([0, 1, 2])
    {
        let socket = directory.path().join(format!("qmp-{was_begun}"));
        let machine = machine(&volume(clone), &socket);
        let mut qmp = Qmp::connect(&socket, Duration::from_secs(30)).unwrap();
        let place = Place::File(directory.path().join(format!("{}.plain", clone.id())));
        let begin = Instant::now();
        Hydration::start(&mut qmp, clone, master.size(), place.clone(), HostCache::Direct, None)
            .unwrap();
        let hydration = Hydration::of(clone, place.clone(), HostCache::Direct).unwrap();
        while !hydration.progress(&mut qmp).unwrap().is_equal {
            assert!(begin.elapsed() < Duration::from_secs(60));
        }
        // A process of ours that was killed when it had stopped the guest, or had recorded that
        // it hands it over as well.
        if was_begun > 0 {
            master.locked().unwrap().mark(clone.id(), Stage::Overlay, true).unwrap();
            qmp.execute("stop", json!({})).unwrap();
        }
        if was_begun > 1 {
            let stage = Stage::HandingOver(place.clone());
            master.locked().unwrap().mark(clone.id(), stage, true).unwrap();
        }
        let plain = hydration.complete(&mut qmp, &master).unwrap();
        assert!(is_running(&mut qmp));
        assert_eq!(disk(&mut qmp), clone.id().node("plain"));
        let record = master.find(clone.id()).unwrap().record;
        assert_eq!((record.stage, record.is_held), (Stage::Plain(place.clone()), false));
        // Once more, it is as it is.
        assert_eq!(hydration.complete(&mut qmp, &master).unwrap(), plain);
        assert!(matches!(
            Hydration::start(
                &mut qmp,
                &master.find(clone.id()).unwrap(),
                master.size(),
                place,
                HostCache::Direct,
                None
            ),
            Err(HydrationError::Plain(_))
        ));
        drop((qmp, machine));
        assert_eq!(first_difference(&contents(&plain, directory.path()), &bytes), None);
    }
}

#[test]
fn a_guest_goes_on_with_its_clone_where_the_plain_volume_can_not_be_flushed() {
    let directory = tempfile::tempdir().unwrap();
    let (master, _) = master(directory.path());
    let clone = master.clone_into(&pool(directory.path()), &ids(1)).unwrap().remove(0);
    let socket = directory.path().join("qmp");
    let _machine = machine(&volume(&clone), &socket);
    let mut qmp = Qmp::connect(&socket, Duration::from_secs(30)).unwrap();
    let path = directory.path().join("plain");
    let (place, size, direct) = (Place::File(path.clone()), master.size(), HostCache::Direct);
    let hydration = Hydration::start(&mut qmp, &clone, size, place, direct, None).unwrap();
    let begin = Instant::now();
    while !hydration.progress(&mut qmp).unwrap().is_equal {
        assert!(begin.elapsed() < Duration::from_secs(60));
    }
    fs::remove_file(&path).unwrap();
    let error = hydration.complete(&mut qmp, &master).unwrap_err();
    assert!(matches!(error, HydrationError::Flush { .. }), "{error}");
    assert!(is_running(&mut qmp));
    assert_eq!(disk(&mut qmp), clone.id().node(""));
    let record = master.find(clone.id()).unwrap().record;
    assert_eq!((record.stage, record.is_held), (Stage::Overlay, false));
}

#[test]
fn a_guest_that_stands_still_goes_on_with_its_clone_when_the_time_is_up() {
    let directory = tempfile::tempdir().unwrap();
    let (master, _) = master(directory.path());
    let clone = master.clone_into(&pool(directory.path()), &ids(1)).unwrap().remove(0);
    let socket = directory.path().join("qmp");
    let _machine = machine(&volume(&clone), &socket);
    let mut qmp = Qmp::connect(&socket, Duration::from_secs(30)).unwrap();
    let place = Place::File(directory.path().join("plain"));
    let (size, direct) = (master.size(), HostCache::Direct);
    let hydration = Hydration::start(&mut qmp, &clone, size, place, direct, None).unwrap();
    let begin = Instant::now();
    while !hydration.progress(&mut qmp).unwrap().is_equal {
        assert!(begin.elapsed() < Duration::from_secs(60));
    }
    // As a process of ours left it that was killed.
    master.locked().unwrap().mark(clone.id(), Stage::Overlay, true).unwrap();
    qmp.execute("stop", json!({})).unwrap();
    let error = hydration.complete_within(Duration::ZERO, &mut qmp, &master).unwrap_err();
    assert!(matches!(error, HydrationError::Late(_)), "{error}");
    assert!(is_running(&mut qmp));
    assert_eq!(disk(&mut qmp), clone.id().node(""));
    let record = master.find(clone.id()).unwrap().record;
    assert_eq!((record.stage, record.is_held), (Stage::Overlay, false));
    // And it can be done yet.
    hydration.complete(&mut qmp, &master).unwrap();
    assert!(is_running(&mut qmp));
}

#[test]
fn a_target_that_is_not_what_it_is_said_to_be_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (master, _) = master(directory.path());
    let clone = master.clone_into(&pool(directory.path()), &ids(1)).unwrap().remove(0);
    let mut daemon = StorageDaemon::start(&volume(&clone).blockdev(), directory.path()).unwrap();
    let regular = directory.path().join("regular");
    fs::write(&regular, "somebody's").unwrap();
    // A regular file, a character device and nothing at all.
    for path in [regular.clone(), "/dev/null".into(), directory.path().join("none")] {
        let (place, size, direct) = (Place::Device(path), master.size(), HostCache::Direct);
        let error = Hydration::start(daemon.qmp(), &clone, size, place, direct, None).unwrap_err();
        assert!(matches!(error, HydrationError::Target { .. }), "{error}");
    }
    assert_eq!(fs::read_to_string(&regular).unwrap(), "somebody's");
    // And what the record says is not opened as something else.
    assert!(Place::File("/dev/null".into()).open().is_err());
    assert_eq!(Place::File(regular).open().unwrap().1, 10);
}

#[test]
fn a_device_that_is_longer_than_the_volume_has_nothing_of_its_former_user_behind_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lun");
    fs::write(&path, vec![7; 5 << 20]).unwrap();
    let of_loop = Loop::of(&path);
    let device = Place::Device(of_loop.0.clone());
    let size = (2 << 20) + 512;
    prepare(&device, size, None).unwrap();
    let short = prepare(&device, (5 << 20) + 1, None);
    assert_eq!(short.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    let bytes = fs::read(device.called()).unwrap();
    assert_eq!(bytes.len(), 5 << 20);
    assert!(bytes[size as usize..].iter().all(|byte| *byte == 0), "something is left");
}

#[test]
fn a_hydration_that_qemu_refuses_leaves_no_file_and_can_be_tried_again() {
    let directory = tempfile::tempdir().unwrap();
    let (master, _) = master(directory.path());
    let clone = master.clone_into(&pool(directory.path()), &ids(1)).unwrap().remove(0);
    let mut daemon = StorageDaemon::start(&volume(&clone).blockdev(), directory.path()).unwrap();
    let (qmp, path) = (daemon.qmp(), directory.path().join("plain"));
    let start = |qmp: &mut _, speed| {
        let (place, size, direct) = (Place::File(path.clone()), master.size(), HostCache::Direct);
        Hydration::start(qmp, &clone, size, place, direct, speed)
    };
    // The node is there; then the job's speed is none.
    let name = clone.id().node("plain");
    let mut blocker = json!({ "driver": "null-co", "node-name": name, "size": 512 });
    blocker["read-zeroes"] = true.into();
    qmp.execute("blockdev-add", blocker).unwrap();
    assert!(matches!(start(qmp, None), Err(HydrationError::Qmp(_))));
    assert!(!path.exists(), "the file of a refused node is left");
    qmp.execute("blockdev-del", json!({ "node-name": name })).unwrap();
    assert!(matches!(start(qmp, Some(u64::MAX)), Err(HydrationError::Qmp(_))));
    assert!(!path.exists(), "the file of a refused job is left");
    // Somebody's is not removed.
    fs::write(&path, "somebody's").unwrap();
    assert!(matches!(start(qmp, None), Err(HydrationError::Target { .. })));
    assert_eq!(fs::read_to_string(&path).unwrap(), "somebody's");
    fs::remove_file(&path).unwrap();
    start(qmp, None).unwrap();
}

#[test]
fn a_hydration_that_has_failed_is_taken_away_and_may_be_begun_anew() {
    let directory = tempfile::tempdir().unwrap();
    let (master, bytes) = master(directory.path());
    let clone = master.clone_into(&pool(directory.path()), &ids(1)).unwrap().remove(0);
    // QEMU gets an error in place of the signal, as from a disk that is full.
    // SAFETY: nothing in this process waits for it.
    unsafe { nix::sys::signal::signal(Signal::SIGXFSZ, SigHandler::SigIgn) }.unwrap();
    let mut daemon = StorageDaemon::start(&volume(&clone).blockdev(), directory.path()).unwrap();
    let pid = daemon.pid().to_string();
    let limit = |length: &str| {
        let mut prlimit = Command::new("prlimit");
        assert!(prlimit.args(["--pid", &pid, length]).status().unwrap().success());
    };
    let target = directory.path().join("plain");
    let start = |qmp: &mut Qmp| {
        let place = Place::File(target.clone());
        Hydration::start(qmp, &clone, master.size(), place, HostCache::Direct, None).unwrap()
    };
    let qmp = daemon.qmp();
    limit("--fsize=1048576:unlimited");
    let hydration = start(qmp);
    let begin = Instant::now();
    let error = loop {
        match hydration.progress(qmp) {
            Err(error) => break error,
            Ok(progress) => assert!(begin.elapsed() < Duration::from_secs(60), "{progress:?}"),
        }
    };
    assert!(matches!(error, HydrationError::Failed { .. }), "{error}");
    hydration.cancel(qmp, &master).unwrap();
    limit("--fsize=unlimited:unlimited");
    fs::remove_file(&target).unwrap();
    let hydration = start(qmp);
    while !hydration.progress(qmp).unwrap().is_equal {
        assert!(begin.elapsed() < Duration::from_secs(60));
    }
    let plain = hydration.complete(qmp, &master).unwrap();
    daemon.end().unwrap();
    assert_eq!(first_difference(&contents(&plain, directory.path()), &bytes), None);
}

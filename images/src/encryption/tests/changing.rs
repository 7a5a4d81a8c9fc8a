//! Keys that are changed in QEMU and without it.

use super::{
    super::rotation::{Offline, RotationError},
    erasing::expected,
    *,
};
use crate::encryption::erasure::{EraseError, erase};

/// Changes a volume's key while a guest writes all over it.
fn rotate_while_writing(
    daemon: &mut StorageDaemon,
    master: &Master,
    clone: &InstantClone,
    keys: &VolumeKeys,
    to: KeyNumber,
    model: &mut [u8],
) {
    let mut blocks = daemon.open().unwrap();
    let environment = FixedEnvironment::new(7);
    let is_done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut written = 0;
            for round in 0_usize.. {
                if is_done.load(std::sync::atomic::Ordering::SeqCst) {
                    break;
                }
                let at = round * 37 % (model.len() / 4096 - 1) * 4096;
                let with = u8::try_from(1 + round % 250).unwrap();
                blocks.write(at as u64, &[with; 4096]).unwrap();
                model[at..at + 4096].fill(with);
                written += 1;
            }
            written
        });
        let volume = volume(&master.find(clone.id()).unwrap());
        let mut running = Running::new(daemon.qmp(), &volume, keys, &environment);
        let rotated = master.rotate_key(clone.id(), to, &mut running);
        is_done.store(true, std::sync::atomic::Ordering::SeqCst);
        assert!(writer.join().unwrap() > 10);
        rotated.unwrap();
    });
}

#[test]
fn a_key_is_changed_while_a_guest_writes_and_nothing_is_lost_with_a_kill_afterwards() {
    let directory = tempfile::tempdir().unwrap();
    let run = directory.path();
    let (master, mut model) = master(run);
    let keys = keys(1);
    let clone = master.clone_encrypted(&pool(run), &ids(1)[0], ONE, &keys).unwrap();
    let before = volume(&clone);
    let mut daemon = open(&before, &keys, run);
    // Twice: by then, QEMU has forgotten the key that it was started with.
    for to in [TWO, KeyNumber(3)] {
        rotate_while_writing(&mut daemon, &master, &clone, &keys, to, &mut model);
        assert_eq!(master.find(clone.id()).unwrap().keys_needed(), [to].into());
    }
    drop(daemon);
    let clone = master.find(clone.id()).unwrap();
    let recovered = clone.recover_with(&keys, HostCache::Direct, run).unwrap();
    assert!(recovered.subclusters > 0, "{recovered:?}");
    assert_eq!(first_difference(&contents_with(&volume(&clone), &keys, run), &model), None);
    for old in [ONE, TWO] {
        assert!(wrong_key(&before.clone().encrypted(old), &keys, run));
    }
}

#[test]
fn the_key_of_a_hydrated_volume_is_changed_in_the_qemu_that_went_over_to_it() {
    let directory = tempfile::tempdir().unwrap();
    let run = directory.path();
    let (master, mut model) = master(run);
    let keys = keys(1);
    let clone = master.clone_encrypted(&pool(run), &ids(1)[0], ONE, &keys).unwrap();
    let mut daemon = open(&volume(&clone), &keys, run);
    let path = run.join("plain");
    let place = Place::File(path.clone());
    let clear = Hydration::start(
        daemon.qmp(),
        &clone,
        master.size(),
        place.clone(),
        HostCache::Direct,
        None,
    );
    assert!(matches!(clear, Err(HydrationError::WouldBeClear(_))));
    assert!(!path.exists());
    let plain = hydrate(daemon.qmp(), &master, &clone, &keys, &path);
    rotate_while_writing(&mut daemon, &master, &clone, &keys, TWO, &mut model);
    let found = master.find(clone.id()).unwrap();
    // The overlay still has the old one.
    assert_eq!(found.keys_needed(), [ONE, TWO].into());
    drop(daemon);
    assert_eq!(first_difference(&contents_with(&volume(&found), &keys, run), &model), None);
    assert!(wrong_key(&plain, &keys, run));
    // The overlay's keys go with it, and the plain volume's are erased apart.
    master.remove_clone(&found).unwrap();
    assert_eq!(erase(&place).unwrap(), expected(&path));
    let error = erase(&place).unwrap_err();
    assert!(matches!(error, EraseError::Header { .. }), "{error}");
}

#[test]
fn a_key_is_changed_without_a_qemu_and_what_was_begun_is_ended() {
    let directory = tempfile::tempdir().unwrap();
    let run = directory.path();
    let (master, bytes) = master(run);
    let keys = keys(1);
    let clone = master.clone_encrypted(&pool(run), &ids(1)[0], ONE, &keys).unwrap();
    let volume = volume(&clone);
    // A key that can't be added, since it was not given: the record says that it was begun.
    let few = VolumeKeys::none().with(ONE, keys.own(ONE).unwrap().clone());
    let error = master.rotate_key(clone.id(), TWO, &mut Offline::new(&volume, &few)).unwrap_err();
    assert!(matches!(error, RotationError::Image(_)), "{error}");
    let begun = master.find(clone.id()).unwrap();
    assert_eq!(begun.keyslots(), Some(Keyslots::Adding { from: ONE, to: TWO }));
    assert_eq!(begun.keys_needed(), [ONE, TWO].into());
    assert!(!wrong_key(&self::volume(&begun), &few, run));
    // QEMU has it open: nobody else changes it.
    let daemon = open(&volume, &keys, run);
    let error = master.rotate_key(clone.id(), TWO, &mut Offline::new(&volume, &keys)).unwrap_err();
    assert!(error.to_string().contains("lock"), "{error}");
    daemon.end().unwrap();
    let mut offline = Offline::new(&volume, &keys);
    let other = master.rotate_key(clone.id(), KeyNumber(3), &mut offline);
    assert!(matches!(other, Err(RotationError::Underway(TWO))));
    master.rotate_key(clone.id(), TWO, &mut offline).unwrap();
    let found = master.find(clone.id()).unwrap();
    assert_eq!(found.keys_needed(), [TWO].into());
    assert!(wrong_key(&volume, &keys, run));
    let after = contents_with(&self::volume(&found), &keys, run);
    assert_eq!(first_difference(&after, &bytes), None);
    let clear = master.clone_into(&pool(run), &[id("clear")]).unwrap().remove(0);
    let error = master.rotate_key(clear.id(), TWO, &mut Offline::new(&volume, &keys)).unwrap_err();
    assert!(matches!(error, RotationError::NotEncrypted), "{error}");
}

#[test]
fn a_qemu_that_is_killed_while_a_key_is_changed_leaves_a_recorded_one_that_opens_the_volume() {
    let directory = tempfile::tempdir().unwrap();
    let run = directory.path();
    let (master, mut model) = master(run);
    let keys = keys(1);
    let clone = master.clone_encrypted(&pool(run), &ids(1)[0], ONE, &keys).unwrap();
    let states: [fn(Keyslots) -> bool; 2] = [
        |keyslots| matches!(keyslots, Keyslots::Adding { .. }),
        |keyslots| matches!(keyslots, Keyslots::Removing { .. }),
    ];
    for (to, is_under_way) in [TWO, KeyNumber(3)].into_iter().zip(states) {
        let volume = volume(&master.find(clone.id()).unwrap());
        let mut daemon = open(&volume, &keys, run);
        write_known(&mut daemon.open().unwrap(), &mut model, to.0 as usize * 8192);
        let pid = nix::unistd::Pid::from_raw(daemon.pid().cast_signed());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let begin = Instant::now();
                while !is_under_way(master.find(clone.id()).unwrap().keyslots().unwrap()) {
                    assert!(begin.elapsed() < BOUND, "it never came to that");
                }
                nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
            });
            let environment = FixedEnvironment::new(to.0.into());
            let mut running = Running::new(daemon.qmp(), &volume, &keys, &environment);
            // Cut off, but for a removal that was quicker.
            let rotated = master.rotate_key(clone.id(), to, &mut running);
            assert!(to == KeyNumber(3) || rotated.is_err());
        });
        drop(daemon);
        let left = master.find(clone.id()).unwrap();
        left.recover_with(&keys, HostCache::Direct, run).unwrap();
        let read = contents_with(&self::volume(&left), &keys, run);
        assert_eq!(first_difference(&read, &model), None);
        let left = self::volume(&left);
        master.rotate_key(clone.id(), to, &mut Offline::new(&left, &keys)).unwrap();
        assert!(wrong_key(&volume, &keys, run));
        assert_eq!(master.find(clone.id()).unwrap().keys_needed(), [to].into());
    }
}

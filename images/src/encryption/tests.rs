//! Encrypted volumes in QEMU: what is in their files, what opens them, and what is left of them.

mod changing;
mod erasing;

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use super::{rotation::Running, secret::Secrets, *};
use crate::{
    clone::{CloneError, EncryptedTarget, Hydration, HydrationError, InstantClone, Master},
    environment::fixed::FixedEnvironment,
    nbd::Nbd,
    qmp::Qmp,
    storage_daemon::{DaemonError, StorageDaemon},
    testing::{Daemon, contents_with, first_difference, ids, keys, master, open, pool},
    volume::{Durability, FlushInterval, Format, HostCache, Place, Volume, VolumeId},
};

const ONE: KeyNumber = KeyNumber(1);
const TWO: KeyNumber = KeyNumber(2);
const BOUND: Duration = Duration::from_secs(60);

/// What is looked for in files.
const KNOWN: &[u8; 16] = b"a tenant's words";

/// Whether a file has the known words anywhere.
fn is_readable(path: &Path) -> bool {
    let bytes = fs::read(path).unwrap();
    // All are written at a multiple of their length.
    bytes.chunks_exact(KNOWN.len()).any(|words| words == KNOWN)
}

fn write_known(blocks: &mut Nbd, model: &mut [u8], at: usize) {
    let words = KNOWN.repeat(8192 / KNOWN.len());
    blocks.write(at as u64, &words).unwrap();
    model[at..at + words.len()].copy_from_slice(&words);
}

fn volume(clone: &InstantClone) -> Volume {
    clone.volume(Durability::default(), HostCache::Direct).unwrap()
}

fn wrong_key(volume: &Volume, keys: &VolumeKeys, run: &Path) -> bool {
    let secrets = volume.secrets(keys).unwrap();
    match StorageDaemon::start_with(&volume.blockdev(), &secrets, run) {
        Ok(_) => false,
        Err(DaemonError::WrongKey(_)) => true,
        Err(error) => panic!("{error}"),
    }
}

/// Copies a clone into an encrypted plain volume and goes over to it.
fn hydrate(
    qmp: &mut Qmp,
    master: &Master,
    clone: &InstantClone,
    keys: &VolumeKeys,
    path: &Path,
) -> Volume {
    let place = Place::File(path.into());
    let target = EncryptedTarget { place, cache: HostCache::Direct, number: ONE, keys };
    let hydration = Hydration::start_encrypted(qmp, master, clone, &target, None).unwrap();
    let begin = Instant::now();
    while !hydration.progress(qmp).unwrap().is_equal {
        assert!(begin.elapsed() < BOUND);
        std::thread::sleep(Duration::from_millis(5));
    }
    hydration.complete(qmp, master).unwrap()
}

#[test]
fn what_a_guest_writes_is_found_in_a_clear_file_and_in_no_encrypted_one() {
    let directory = tempfile::tempdir().unwrap();
    let run = directory.path();
    let (master, bytes) = master(run);
    let [clear_id, id, bare_id] = <[_; 3]>::try_from(ids(3)).unwrap();
    let keys = keys(1);
    let clear = master.clone_into(&pool(run), &[clear_id]).unwrap().remove(0);
    let clone = master.clone_encrypted(&pool(run), &id, ONE, &keys).unwrap();
    for clone in [&clear, &clone] {
        let mut model = bytes.clone();
        let daemon = open(&volume(clone), &keys, run);
        let mut blocks = daemon.open().unwrap();
        write_known(&mut blocks, &mut model, 1 << 20);
        write_known(&mut blocks, &mut model, 11 << 20);
        drop(blocks);
        daemon.end().unwrap();
        assert_eq!(first_difference(&contents_with(&volume(clone), &keys, run), &model), None);
    }
    // The scan finds what there is to be found.
    assert!(is_readable(clear.path()));
    assert!(!is_readable(clone.path()));
    // A clone in the clear, too, becomes a plain volume that is encrypted; the same words, again.
    let bare = master.clone_into(&pool(run), &[bare_id]).unwrap().remove(0);
    for (clone, name) in [(&clone, "of-encrypted"), (&bare, "of-clear")] {
        let path = run.join(name);
        let secrets = volume(clone).secrets(&keys).unwrap();
        let secrets = match clone.keyslots() {
            Some(_) => secrets,
            None => secrets.and(Secrets::of(clone.id(), ONE, &keys).unwrap()),
        };
        let blockdev = volume(clone).blockdev();
        let mut daemon = StorageDaemon::start_with(&blockdev, &secrets, run).unwrap();
        let mut blocks = daemon.open().unwrap();
        let mut model = contents_through(&mut blocks);
        write_known(&mut blocks, &mut model, 2 << 20);
        let plain = hydrate(daemon.qmp(), &master, clone, &keys, &path);
        write_known(&mut blocks, &mut model, 3 << 20);
        drop(blocks);
        daemon.end().unwrap();
        assert!(!is_readable(&path), "{name}");
        assert_eq!(plain.key(), Some(ONE));
        let found = master.find(clone.id()).unwrap();
        assert_eq!(first_difference(&contents_with(&volume(&found), &keys, run), &model), None);
    }
}

fn contents_through(blocks: &mut Nbd) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(blocks.size()).unwrap()];
    blocks.read(0, &mut bytes).unwrap();
    bytes
}

#[test]
fn every_class_of_overlay_is_encrypted_and_a_killed_plain_volume_has_all_that_was_written() {
    let directory = tempfile::tempdir().unwrap();
    let run = directory.path();
    let (master, mut model) = master(run);
    let keys = keys(1);
    let clone = master.clone_encrypted(&pool(run), &ids(1)[0], ONE, &keys).unwrap();
    let interval = FlushInterval::default();
    let classes = [
        Durability::FlushHonouring,
        Durability::Bounded(interval),
        Durability::Recovered(interval),
        Durability::Synchronous,
        Durability::Hydrated(interval),
    ];
    for (at, class) in classes.into_iter().enumerate() {
        let volume = clone.volume(class, HostCache::Direct).unwrap();
        let daemon = open(&volume, &keys, run);
        write_known(&mut daemon.open().unwrap(), &mut model, (at * 2 + 1) << 20);
        daemon.end().unwrap();
        assert_eq!(first_difference(&contents_with(&volume, &keys, run), &model), None);
    }
    assert!(!is_readable(clone.path()));
    let mut daemon = open(&volume(&clone), &keys, run);
    let path = run.join("plain");
    let plain = hydrate(daemon.qmp(), &master, &clone, &keys, &path);
    daemon.end().unwrap();
    let daemon = open(&plain, &keys, run);
    let mut blocks = daemon.open().unwrap();
    (0..5).for_each(|at| write_known(&mut blocks, &mut model, at << 21));
    drop((blocks, daemon));
    assert_eq!(first_difference(&contents_with(&plain, &keys, run), &model), None);
    assert!(!is_readable(&path));
}

#[test]
fn a_wrong_key_and_a_missing_one_are_told_apart_and_no_error_has_a_key_in_it() {
    let directory = tempfile::tempdir().unwrap();
    let run = directory.path();
    let (master, _) = master(run);
    let (right, wrong) = (keys(1), keys(2));
    let clone = master.clone_encrypted(&pool(run), &ids(1)[0], ONE, &right).unwrap();
    let volume = volume(&clone);
    assert!(!wrong_key(&volume, &right, run));
    let secrets = volume.secrets(&wrong).unwrap();
    let error = StorageDaemon::start_with(&volume.blockdev(), &secrets, run).unwrap_err();
    let said = format!("{error} {error:?}");
    assert!(said.contains("not opened by the key"), "{said}");
    for keys in [&right, &wrong] {
        assert!(!said.contains(keys.own(ONE).unwrap().passphrase().as_str()));
    }
    let missing = volume.secrets(&VolumeKeys::none()).err().unwrap();
    assert_eq!(missing.to_string(), "the key clone-0.key-1 was not given");
    assert!(master.clone_encrypted(&pool(run), &ids(2)[1], KeyNumber(9), &right).is_err());
    assert_eq!(master.clones().unwrap().len(), 1);
}

#[test]
fn keys_are_on_no_command_line_and_in_no_environment_of_a_machine() {
    let directory = tempfile::tempdir().unwrap();
    let run = directory.path();
    let (master, _) = master(run);
    let keys = keys(1);
    let clone = master.clone_encrypted(&pool(run), &ids(1)[0], ONE, &keys).unwrap();
    let volume = volume(&clone);
    let socket = run.join("qmp");
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args(["-machine", "q35,accel=tcg", "-nodefaults", "-display", "none", "-S", "-qmp"])
        .arg(format!("unix:{},server=on,wait=off", socket.display()));
    volume.secrets(&keys).unwrap().attach(&mut qemu).unwrap();
    qemu.args(["-blockdev", &volume.blockdev().to_string()]);
    qemu.args(["-device", &volume.device().to_string()]);
    let machine = Daemon::start(&mut qemu, &[&socket]);
    let own = keys.own(ONE).unwrap();
    let secrets = [own.passphrase(), own.wrapping().passphrase()];
    for file in ["cmdline", "environ"] {
        let bytes = fs::read(format!("/proc/{}/{file}", machine.pid())).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(file == "environ" || text.contains("clone-0.key-1"), "{text}");
        assert!(secrets.iter().all(|secret| !text.contains(secret.as_str())));
    }
    // The machine has read them, and nothing is left for the next reader.
    let mut qmp = Qmp::connect(&socket, BOUND).unwrap();
    let environment = FixedEnvironment::new(9);
    let mut running = Running::new(&mut qmp, &volume, &keys, &environment);
    master.rotate_key(clone.id(), TWO, &mut running).unwrap();
    let found = master.find(clone.id()).unwrap();
    assert_eq!(found.keyslots(), Some(Keyslots::One(TWO)));
    let objects = qmp.execute("qom-list", serde_json::json!({ "path": "/objects" })).unwrap();
    let objects = objects.to_string();
    assert!(objects.contains("clone-0.key-2") && !objects.contains("clone-0.key-1"), "{objects}");
    drop((qmp, machine));
    assert!(wrong_key(&volume, &keys, run));
    assert!(!wrong_key(&self::volume(&found), &keys, run));
}

#[test]
fn a_hydration_into_an_encrypted_volume_is_cancelled_as_any_other() {
    let directory = tempfile::tempdir().unwrap();
    let run = directory.path();
    let (master, _) = master(run);
    let keys = keys(1);
    let clone = master.clone_into(&pool(run), &ids(1)).unwrap().remove(0);
    let secrets = Secrets::of(clone.id(), ONE, &keys).unwrap();
    let mut daemon = StorageDaemon::start_with(&volume(&clone).blockdev(), &secrets, run).unwrap();
    let place = Place::File(run.join("plain"));
    let target = EncryptedTarget { place, cache: HostCache::Direct, number: ONE, keys: &keys };
    let qmp = daemon.qmp();
    let hydration =
        Hydration::start_encrypted(qmp, &master, &clone, &target, Some(1 << 20)).unwrap();
    let noted = || master.find(clone.id()).unwrap().keys_needed();
    assert_eq!(noted(), [ONE].into());
    // Asked again, by somebody who doesn't know: the note of its key stays.
    let other = EncryptedTarget { number: TWO, place: target.place.clone(), ..target };
    let again = Hydration::start_encrypted(qmp, &master, &clone, &other, None);
    assert!(matches!(again, Err(HydrationError::Begun(_))));
    assert_eq!(noted(), [ONE].into());
    hydration.cancel(qmp, &master).unwrap();
    assert!(master.find(clone.id()).unwrap().keys_needed().is_empty());
    // What is there is not written over.
    let again = Hydration::start_encrypted(qmp, &master, &clone, &target, None);
    assert!(matches!(again, Err(HydrationError::Target { .. })));
    assert!(noted().is_empty());
    // Its QEMU ends in the middle: what is left is the note, which goes by a cancel as well.
    fs::remove_file(target.place.path()).unwrap();
    Hydration::start_encrypted(qmp, &master, &clone, &target, Some(1 << 20)).unwrap();
    drop(daemon);
    assert_eq!(noted(), [ONE].into());
    let mut daemon = StorageDaemon::start(&volume(&clone).blockdev(), run).unwrap();
    let found = master.find(clone.id()).unwrap();
    let left = Hydration::of(&found, target.place.clone(), HostCache::Direct).unwrap();
    left.cancel(daemon.qmp(), &master).unwrap();
    assert!(noted().is_empty());
}

#[test]
fn the_key_of_a_volume_that_a_clone_has_become_is_not_forgotten_for_an_old_word_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let run = directory.path();
    let (master, _) = master(run);
    let keys = keys(1);
    let clone = master.clone_into(&pool(run), &ids(1)).unwrap().remove(0);
    let secrets = Secrets::of(clone.id(), ONE, &keys).unwrap();
    let mut daemon = StorageDaemon::start_with(&volume(&clone).blockdev(), &secrets, run).unwrap();
    let qmp = daemon.qmp();
    hydrate(qmp, &master, &clone, &keys, &run.join("plain"));
    let place = Place::File(run.join("other"));
    let target = EncryptedTarget { place, cache: HostCache::Direct, number: TWO, keys: &keys };
    // `clone` was read before.
    let again = Hydration::start_encrypted(qmp, &master, &clone, &target, None);
    assert!(matches!(again, Err(HydrationError::Plain(_))));
    assert_eq!(master.find(clone.id()).unwrap().keys_needed(), [ONE].into());
}

#[test]
fn clones_of_an_encrypted_master_are_opened_with_both_keys_and_are_never_in_the_clear() {
    let directory = tempfile::tempdir().unwrap();
    let run = directory.path();
    let (_, bytes) = master(run);
    let master_keys = keys(5);
    let master_key = master_keys.master().unwrap();
    for (format, name) in [(Format::Raw, "raw"), (Format::Qcow2, "qcow2")] {
        let image = run.join(name);
        make_master(&bytes, &image, format, master_key, run);
        let directory = run.join(format!("{name}-master"));
        assert!(format == Format::Raw || Master::seal(&image, format, &directory).is_err());
        let master = Master::seal_encrypted(&image, format, &directory).unwrap();
        assert_eq!(master.size(), bytes.len() as u64);
        let id = self::id(name);
        let clear = master.clone_into(&pool(run), std::slice::from_ref(&id));
        assert!(matches!(clear, Err(CloneError::WouldBeClear { .. })));
        let keys = keys(1).with_master(master_key.clone());
        let clone = master.clone_encrypted(&pool(run), &id, ONE, &keys).unwrap();
        let mut model = bytes.clone();
        let daemon = open(&volume(&clone), &keys, run);
        let mut blocks = daemon.open().unwrap();
        write_known(&mut blocks, &mut model, 5 << 20);
        // Killed, and recovered.
        drop((blocks, daemon));
        let recovered = clone.recover_with(&keys, HostCache::Direct, run).unwrap();
        assert!(recovered.subclusters > 0);
        assert_eq!(first_difference(&contents_with(&volume(&clone), &keys, run), &model), None);
        assert!(!is_readable(clone.path()));
        // The right key of its own, and another's for its master.
        assert!(wrong_key(&volume(&clone), &self::keys(1), run));
    }
    let image = run.join("clear");
    fs::write(&image, &bytes).unwrap();
    for format in [Format::Raw, Format::Qcow2] {
        assert!(Master::seal_encrypted(&image, format, &run.join("none")).is_err());
    }
}

fn id(name: &str) -> VolumeId {
    VolumeId::parse(name).unwrap()
}

/// An encrypted image of these bytes, by qemu-img.
fn make_master(bytes: &[u8], image: &Path, format: Format, key: &VolumeKey, run: &Path) {
    let clear = run.join("clear-image");
    fs::write(&clear, bytes).unwrap();
    let id = id("image");
    let keys = VolumeKeys::none().with(ONE, key.clone());
    let (format, options) = match format {
        Format::Raw => ("luks", "key-secret=image.key-1,iter-time=10"),
        Format::Qcow2 => {
            ("qcow2", "encrypt.format=luks,encrypt.key-secret=image.key-1,encrypt.iter-time=10")
        }
    };
    for _ in 0..60 {
        let mut convert = Command::new("qemu-img");
        convert.args(["convert", "-f", "raw", "-O", format, "-o", options]);
        Secrets::of(&id, ONE, &keys).unwrap().attach(&mut convert).unwrap();
        if convert.arg(&clear).arg(image).status().unwrap().success() {
            return;
        }
    }
    panic!("no image was made");
}

//! Masters and clones on real files, with QEMU's tools and daemon.

use std::{fs, os::unix::fs::MetadataExt, process::Command};

use super::*;
use crate::{
    storage_daemon::StorageDaemon,
    testing::{contents, first_difference, ids, keys, master, pool, running},
    volume::{FileIdentity, Format},
};

fn volume(clone: &InstantClone) -> Volume {
    clone.volume(Durability::default(), HostCache::Direct).unwrap()
}

#[test]
fn clones_read_as_their_master_and_write_apart() {
    let directory = tempfile::tempdir().unwrap();
    let aside = tempfile::tempdir().unwrap();
    let (master, bytes) = master(directory.path());
    let clones = master.clone_into(&pool(aside.path()), &ids(3)).unwrap();
    let daemon = StorageDaemon::start(&volume(&clones[0]).blockdev(), aside.path()).unwrap();
    daemon.open().unwrap().write(4096, &[9; 4096]).unwrap();
    daemon.end().unwrap();
    let mut written = bytes.clone();
    written[4096..8192].fill(9);
    assert_eq!(first_difference(&contents(&volume(&clones[0]), aside.path()), &written), None);
    assert_eq!(first_difference(&contents(&volume(&clones[1]), aside.path()), &bytes), None);
    master.check().unwrap();
    // QEMU's own tool finds no fault in a copy of a template.
    let mut check = Command::new("qemu-img");
    check.args(["check", "-q"]).arg(clones[2].path());
    assert!(check.status().unwrap().success());
    let found = Master::open(&directory.path().join("master")).unwrap().clones().unwrap();
    assert_eq!(found.len(), 3);
    assert_eq!(found[1].path(), clones[1].path());
}

#[test]
fn a_clone_takes_no_more_than_a_plain_overlay_does() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("ten-gibibytes");
    File::create(&image).unwrap().set_len(10 << 30).unwrap();
    let master = Master::seal(&image, Format::Raw, &directory.path().join("m")).unwrap();
    assert_eq!(master.size(), 10 << 30);
    let clones = master.clone_into(&pool(directory.path()), &ids(20)).unwrap();
    let bare = directory.path().join("bare");
    let mut create = Command::new("qemu-img");
    create
        .args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"])
        .arg(master.backing().place.called());
    assert!(create.arg(&bare).status().unwrap().success());
    let bare = fs::metadata(&bare).unwrap().blocks();
    for clone in &clones {
        let blocks = fs::metadata(clone.path()).unwrap().blocks();
        assert!(blocks * 2 <= bare * 3, "{blocks} blocks where {bare} would do");
    }
}

#[test]
fn a_master_with_clones_can_not_be_removed_and_one_without_can() {
    let directory = tempfile::tempdir().unwrap();
    let (master, _) = master(directory.path());
    let path = directory.path().join("master");
    let clones = master.clone_into(&pool(directory.path()), &ids(2)).unwrap();
    let error = Master::open(&path).unwrap().remove().unwrap_err();
    assert!(matches!(error, CloneError::HasClones { clones: 2, .. }), "{error}");
    master.remove_clone(&clones[0]).unwrap();
    assert!(!clones[0].path().exists());
    assert!(matches!(master.find(clones[0].id()), Err(CloneError::NoClone(_))));
    assert!(Master::open(&path).unwrap().remove().is_err());
    master.remove_clone(&clones[1]).unwrap();
    master.remove().unwrap();
    assert!(!path.exists());
}

#[test]
fn an_id_is_given_once() {
    let directory = tempfile::tempdir().unwrap();
    let (master, _) = master(directory.path());
    let clones = master.clone_into(&pool(directory.path()), &ids(1)).unwrap();
    let before = fs::metadata(clones[0].path()).unwrap().ino();
    let error = master.clone_into(&pool(directory.path()), &ids(2)).unwrap_err();
    assert!(matches!(error, CloneError::Exists(_)), "{error}");
    // In another pool as well: the record is the master's.
    let other = tempfile::tempdir().unwrap();
    assert!(master.clone_into(&pool(other.path()), &ids(1)).is_err());
    assert_eq!(fs::metadata(clones[0].path()).unwrap().ino(), before);
    let twice = [ids(3).remove(2), ids(3).remove(2)];
    let error = master.clone_into(&pool(directory.path()), &twice).unwrap_err();
    assert!(matches!(error, CloneError::Exists(_)), "{error}");
    assert_eq!(master.clones().unwrap().len(), 1);
}

#[test]
fn a_master_is_protected_and_a_change_of_it_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let (master, _) = master(directory.path());
    let image = master.backing().place.called();
    assert_eq!(fs::metadata(&image).unwrap().mode() & 0o777, 0o444);
    master.check().unwrap();
    // Root is stopped by no mode.
    let file = File::options().write(true).open(&image).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"x", 0).unwrap();
    drop(file);
    assert!(matches!(master.check(), Err(CloneError::Changed { .. })));
    let error = master.clone_into(&pool(directory.path()), &[VolumeId::parse("late").unwrap()]);
    assert!(matches!(error, Err(CloneError::Changed { .. })));
}

#[test]
fn an_image_that_stands_on_another_is_no_master() {
    let directory = tempfile::tempdir().unwrap();
    let (master, _) = master(directory.path());
    let clone = master.clone_into(&pool(directory.path()), &ids(1)).unwrap().remove(0);
    let image = directory.path().join("image");
    fs::copy(clone.path(), &image).unwrap();
    let error = Master::seal(&image, Format::Qcow2, &directory.path().join("n")).unwrap_err();
    assert!(matches!(error, CloneError::NotAlone { .. }), "{error}");
    assert!(image.exists());
}

#[test]
fn a_sealing_that_was_stopped_is_completed_and_so_is_a_clone_swept_that_was_half_made() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("image");
    fs::write(&image, [5; 1 << 20]).unwrap();
    // Stopped after the image was moved.
    let path = directory.path().join("debian-12.5");
    let stage = directory.path().join("debian-12.5.new");
    fs::create_dir(&stage).unwrap();
    fs::rename(&image, stage.join(IMAGE)).unwrap();
    let master = Master::seal(&image, Format::Raw, &path).unwrap();
    assert_eq!(master.size(), 1 << 20);
    let made = master.clone_into(&pool(directory.path()), &ids(2)).unwrap();
    // Stopped after the record and before the name; and before a record's end.
    fs::rename(made[0].path(), made[0].path().with_extension("new")).unwrap();
    fs::write(path.join(CLONES).join("torn.new"), "{").unwrap();
    assert!(matches!(Master::open(&path).unwrap().remove(), Err(CloneError::HasClones { .. })));
    assert_eq!(master.sweep().unwrap(), [made[0].id().clone()]);
    assert!(!made[0].path().with_extension("new").exists());
    assert_eq!(master.clones().unwrap().len(), 1);
}

#[test]
fn a_clone_in_use_is_not_removed_and_none_is_opened_while_it_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    let (master, _) = master(directory.path());
    let clone = master.clone_into(&pool(directory.path()), &ids(1)).unwrap().remove(0);
    let daemon = StorageDaemon::start(&volume(&clone).blockdev(), directory.path()).unwrap();
    let error = master.remove_clone(&clone).unwrap_err();
    assert!(matches!(error, CloneError::InUse(_)), "{error}");
    assert!(clone.path().exists());
    daemon.end().unwrap();
    let file = File::options().read(true).write(true).open(clone.path()).unwrap();
    assert!(lock::keep_from_qemu(&file).unwrap());
    let error = StorageDaemon::start(&volume(&clone).blockdev(), directory.path()).unwrap_err();
    assert!(error.to_string().contains("lock"), "{error}");
    drop(file);
    master.remove_clone(&clone).unwrap();
    assert!(!clone.path().exists());
    assert!(matches!(master.remove_clone(&clone), Err(CloneError::NoClone(_))));
}

#[test]
fn a_file_that_has_a_clones_name_and_is_another_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let (master, _) = master(directory.path());
    let clones = master.clone_into(&pool(directory.path()), &ids(2)).unwrap();
    let away = directory.path().join("away");
    fs::rename(clones[0].path(), &away).unwrap();
    fs::write(clones[0].path(), "restored").unwrap();
    let error = master.remove_clone(&clones[0]).unwrap_err();
    assert!(matches!(error, CloneError::Replaced { .. }), "{error}");
    assert!(master.sweep().unwrap().is_empty());
    assert_eq!(fs::read_to_string(clones[0].path()).unwrap(), "restored");
    fs::rename(&away, clones[0].path()).unwrap();
    // What another clone is made in is not this one's either.
    let staged = new_path(clones[0].path());
    fs::write(&staged, "another").unwrap();
    master.remove_clone(&clones[0]).unwrap();
    assert_eq!(fs::read_to_string(&staged).unwrap(), "another");
    // One that was removed and made again is not the one that is meant.
    let again = master.clone_into(&pool(directory.path()), &ids(1)).unwrap().remove(0);
    assert!(matches!(master.remove_clone(&clones[0]), Err(CloneError::Replaced { .. })));
    assert!(again.path().exists());
    // No link is followed, and no name is taken from a file that has it.
    let target = directory.path().join("target");
    fs::write(&target, "precious").unwrap();
    let late = VolumeId::parse("late").unwrap();
    std::os::unix::fs::symlink(&target, directory.path().join("late.new")).unwrap();
    let late = master.clone_into(&pool(directory.path()), &[late]).unwrap().remove(0);
    assert!(late.path().is_file());
    assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
    assert!(durable::name_once(&target, late.path()).is_err());
}

#[test]
fn sealing_again_finds_what_was_sealed_and_takes_no_other_image_for_it() {
    let directory = tempfile::tempdir().unwrap();
    let (master, _) = master(directory.path());
    let (image, path) = (directory.path().join("image.raw"), directory.path().join("master"));
    // Stopped when all was done, and before that was said.
    let again = Master::seal(&image, Format::Raw, &path).unwrap();
    assert_eq!(again.manifest, master.manifest);
    let exists = |error: &CloneError| matches!(error, CloneError::MasterExists { .. });
    assert!(exists(&Master::seal(&image, Format::Qcow2, &path).unwrap_err()));
    // Another image is not swallowed.
    fs::write(&image, [6; 512]).unwrap();
    assert!(exists(&Master::seal(&image, Format::Raw, &path).unwrap_err()));
    // Nor does it replace one that a stop has left half sealed.
    let other = directory.path().join("other");
    fs::create_dir(beside(&other, ".new")).unwrap();
    let left = beside(&other, ".new").join(IMAGE);
    fs::write(&left, [5; 512]).unwrap();
    let error = Master::seal(&image, Format::Raw, &other).unwrap_err();
    assert!(matches!(error, CloneError::Leftover { .. }), "{error}");
    assert_eq!((fs::read(&image).unwrap(), fs::read(&left).unwrap()), (vec![6; 512], vec![5; 512]));
    // What a removal has left is not in the way of the next.
    fs::create_dir_all(beside(&path, ".removed").join(CLONES)).unwrap();
    master.remove().unwrap();
    assert!(!path.exists() && !beside(&path, ".removed").exists());
}

#[test]
fn an_image_that_names_another_file_is_not_shown_to_qemus_tools() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("image");
    let secret = directory.path().join("secret");
    fs::write(&secret, vec![1; 1 << 20]).unwrap();
    let mut create = Command::new("qemu-img");
    create.args(["create", "-q", "-f", "qcow2", "-o"]);
    create.arg(format!("data_file={},data_file_raw=on", secret.display()));
    assert!(create.arg(&image).arg("1M").status().unwrap().success());
    // Whoever opens it opens that too: a pipe would hang, and nothing here does.
    fs::remove_file(&secret).unwrap();
    nix::unistd::mkfifo(&secret, nix::sys::stat::Mode::S_IRUSR).unwrap();
    let error = Master::seal(&image, Format::Qcow2, &directory.path().join("m")).unwrap_err();
    assert!(matches!(error, CloneError::NotAlone { .. }), "{error}");
    // What is no qcow2 is not either.
    fs::write(&image, [0; 512]).unwrap();
    let error = Master::seal(&image, Format::Qcow2, &directory.path().join("m")).unwrap_err();
    assert!(matches!(error, CloneError::Qcow2 { .. }), "{error}");
    assert!(image.exists());
}

#[test]
fn a_template_is_of_one_master_alone_and_goes_with_the_last_clone() {
    let directory = tempfile::tempdir().unwrap();
    let aside = tempfile::tempdir().unwrap();
    let (first, _) = master(directory.path());
    let templates = |of: &Path| fs::read_dir(of.join("templates")).unwrap().count();
    let clones = first.clone_into(&pool(directory.path()), &ids(2)).unwrap();
    let elsewhere = VolumeId::parse("elsewhere").unwrap();
    let elsewhere = first.clone_into(&pool(aside.path()), &[elsewhere]).unwrap().remove(0);
    // Another one of its name, whose image says that it was changed at the same time.
    let image = directory.path().join("image");
    let size = first.size() + (1 << 20);
    let file = File::create(&image).unwrap();
    file.set_len(size).unwrap();
    let changed = fs::metadata(first.backing().place.called()).unwrap().modified().unwrap();
    file.set_modified(changed).unwrap();
    fs::create_dir(directory.path().join("other")).unwrap();
    let other = directory.path().join("other/master");
    let second = Master::seal(&image, Format::Raw, &other).unwrap();
    let late = VolumeId::parse("late").unwrap();
    let late = second.clone_into(&pool(directory.path()), &[late]).unwrap().remove(0);
    assert_eq!(contents(&volume(&late), directory.path()).len() as u64, size);
    assert_eq!(templates(directory.path()), 2);
    first.remove_clone(&clones[0]).unwrap();
    assert_eq!(templates(directory.path()), 2);
    first.remove_clone(&clones[1]).unwrap();
    assert_eq!((templates(directory.path()), templates(aside.path())), (1, 1));
    first.remove_clone(&elsewhere).unwrap();
    second.remove_clone(&late).unwrap();
    assert_eq!((templates(directory.path()), templates(aside.path())), (0, 0));
}

#[test]
fn what_guests_have_written_is_readable_to_us_alone() {
    let directory = tempfile::tempdir().unwrap();
    let (master, _) = master(directory.path());
    let path = directory.path().join("pool");
    let clone = master.clone_into(&Pool::create(&path).unwrap(), &ids(1)).unwrap().remove(0);
    let mut daemon = StorageDaemon::start(&volume(&clone).blockdev(), directory.path()).unwrap();
    let target = directory.path().join("plain");
    let place = Place::File(target.clone());
    let size = master.size();
    Hydration::start(daemon.qmp(), &clone, size, place, HostCache::Direct, None).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    for directory in [&path, &path.join("templates"), &directory.path().join("master")] {
        assert_eq!(mode(directory), 0o700, "{}", directory.display());
    }
    let template = fs::read_dir(path.join("templates")).unwrap().next().unwrap().unwrap().path();
    for file in [clone.path(), &target, &template, &master.record_path(clone.id())] {
        assert_eq!(mode(file), 0o600, "{}", file.display());
    }
}

#[test]
fn what_a_killed_cloning_left_without_a_record_is_swept_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let (master, _) = master(directory.path());
    let path = directory.path().join("pool");
    let clone = master.clone_into(&Pool::create(&path).unwrap(), &ids(1)).unwrap().remove(0);
    let overlay = fs::read(clone.path()).unwrap();
    let leftovers = [("empty.new", &b""[..]), ("half.new", &overlay[..2000])];
    // A raw volume with such a name, another extension, and one that is in use.
    let others = [("raw.new", &[7; 2000][..]), ("half.old", &overlay[..]), ("used.new", &overlay)];
    for (name, bytes) in leftovers.iter().chain(&others) {
        fs::write(path.join(name), bytes).unwrap();
    }
    let recorded = new_path(clone.path());
    fs::hard_link(clone.path(), &recorded).unwrap();
    fs::create_dir(path.join("folder.new")).unwrap();
    let used = File::options().read(true).write(true).open(path.join("used.new")).unwrap();
    assert!(lock::keep_from_qemu(&used).unwrap());
    assert!(master.sweep().unwrap().is_empty());
    for (name, _) in leftovers {
        assert!(!path.join(name).exists(), "{name} is left");
    }
    for name in ["raw.new", "half.old", "used.new", "folder.new", "clone-0.new", "clone-0.qcow2"] {
        assert!(path.join(name).exists(), "{name} is gone");
    }
    drop(used);
    master.sweep().unwrap();
    assert!(!path.join("used.new").exists());
    // A naming that was cut short: one file with two names.
    master.remove_clone(&clone).unwrap();
    assert!(!recorded.exists() && !clone.path().exists());
    master.remove().unwrap();
}

#[test]
fn an_encrypted_clone_is_made_while_others_have_the_locks_and_named_after_them() {
    let directory = tempfile::tempdir().unwrap();
    let (master, _) = master(directory.path());
    let (pool, keys, id) = (pool(directory.path()), keys(1), ids(1).remove(0));
    let locks = (master.lock().unwrap(), pool.lock().unwrap());
    let path = pool.path().join(format!("{id}.qcow2"));
    let clone = std::thread::scope(|scope| {
        let making = scope.spawn(|| master.clone_encrypted(&pool, &id, KeyNumber(1), &keys));
        let begin = std::time::Instant::now();
        let here = directory.path().to_str().unwrap();
        // QEMU measures the processor for two seconds.
        while running(&["qemu-img", "create", here]).is_empty() {
            assert!(begin.elapsed() < std::time::Duration::from_secs(30), "it waits for the locks");
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        assert!(!path.exists());
        drop(locks);
        making.join().unwrap().unwrap()
    });
    assert_eq!(clone.path(), path);
    let found = FileIdentity::of(&File::open(&path).unwrap()).unwrap();
    assert_eq!(found, master.find(&id).unwrap().record.identity);
    assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
}

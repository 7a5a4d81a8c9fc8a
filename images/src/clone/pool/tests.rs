//! Pools that are not there, are others, or are copies.

use super::*;
use crate::{
    clone::InstantClone,
    storage_daemon::StorageDaemon,
    testing::{contents, first_difference, ids, master},
    volume::{Durability, HostCache},
};

#[test]
fn a_pool_that_is_not_mounted_is_refused_and_its_clones_are_not_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let (master, _) = master(directory.path());
    let (path, away) = (directory.path().join("pool"), directory.path().join("away"));
    let clones = master.clone_into(&Pool::create(&path).unwrap(), &ids(2)).unwrap();
    // What is left where a file system is not mounted.
    fs::rename(&path, &away).unwrap();
    for is_there in [false, true] {
        if is_there {
            fs::create_dir(&path).unwrap();
        }
        let refused = |error: &CloneError| matches!(error, CloneError::NoPool { .. });
        assert!(refused(&Pool::open(&path).unwrap_err()));
        assert!(refused(&master.sweep().unwrap_err()));
        assert!(refused(&master.remove_clone(&clones[0]).unwrap_err()));
    }
    assert_eq!(fs::read_dir(&path).unwrap().count(), 0, "something was made there");
    // Somebody makes another pool there.
    let other = Pool::create(&path).unwrap();
    let refused = |error: &CloneError| matches!(error, CloneError::OtherPool { .. });
    assert!(refused(&master.sweep().unwrap_err()));
    assert!(refused(&master.remove_clone(&clones[0]).unwrap_err()));
    assert_eq!(master.clones().unwrap().len(), 2);
    fs::remove_dir_all(other.path()).unwrap();
    fs::rename(&away, &path).unwrap();
    assert!(master.sweep().unwrap().is_empty());
    master.remove_clone(&clones[0]).unwrap();
    // One of several pools is enough to stop a sweep.
    fs::remove_file(clones[1].path()).unwrap();
    let second = Pool::create(&away).unwrap();
    master.clone_into(&second, &ids(1)).unwrap();
    fs::rename(&away, directory.path().join("gone")).unwrap();
    assert!(matches!(master.sweep(), Err(CloneError::NoPool { .. })));
    assert_eq!(master.clones().unwrap().len(), 2);
}

#[test]
fn a_pool_is_made_once_and_opened_by_nobody_else() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a/b");
    assert!(matches!(Pool::open(&path), Err(CloneError::NoPool { .. })));
    assert!(!path.exists());
    let pool = Pool::create(&path).unwrap();
    assert!(matches!(Pool::create(&path), Err(CloneError::PoolExists { .. })));
    assert_eq!(Pool::open(&path).unwrap().identity(), pool.identity());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    // By another way to it, it is the same.
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert_eq!(Pool::open(&link).unwrap().path(), pool.path());
}

#[test]
fn a_copy_of_a_pool_is_refused_and_so_is_a_marker_that_is_torn() {
    let directory = tempfile::tempdir().unwrap();
    let (path, copy) = (directory.path().join("pool"), directory.path().join("copy"));
    Pool::create(&path).unwrap();
    fs::create_dir(&copy).unwrap();
    for name in [MARKER, LOCK] {
        fs::copy(path.join(name), copy.join(name)).unwrap();
    }
    assert!(matches!(Pool::open(&copy), Err(CloneError::PoolCopied { .. })));
    fs::write(path.join(MARKER), "{").unwrap();
    assert!(matches!(Pool::open(&path), Err(CloneError::Record { .. })));
}

/// A copy of a pool, with its holes.
fn copy(from: &Path, to: &Path) {
    let mut copy = std::process::Command::new("cp");
    copy.args(["-r", "--sparse=always"]).args([from, to]);
    assert!(copy.status().unwrap().success());
}

#[test]
fn a_copied_pool_and_its_clones_are_taken_when_that_is_asked_for_and_nothing_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    let (master, bytes) = master(directory.path());
    let (path, moved) = (directory.path().join("pool"), directory.path().join("moved"));
    let clones = master.clone_into(&Pool::create(&path).unwrap(), &ids(2)).unwrap();
    let volume = |clone: &InstantClone| clone.volume(Durability::default(), HostCache::Direct);
    let mut models = [bytes.clone(), bytes];
    let mut write = |clone: usize, with: u8| {
        let volume = volume(&clones[clone]).unwrap();
        let daemon = StorageDaemon::start(&volume.blockdev(), directory.path()).unwrap();
        daemon.open().unwrap().write(1 << 20, &[with; 4096]).unwrap();
        models[clone][1 << 20..(1 << 20) + 4096].fill(with);
        daemon
    };
    write(0, 7).end().unwrap();
    // Killed, and not recovered before it is copied.
    drop(write(1, 8));
    copy(&path, &moved);
    assert!(matches!(Pool::open(&moved), Err(CloneError::PoolCopied { .. })));
    assert!(matches!(Pool::adopt(&path), Err(CloneError::PoolExists { .. })));
    // The copy of an empty clone has lost its holes.
    let template = fs::read_dir(moved.join("templates")).unwrap().next().unwrap().unwrap().path();
    fs::write(&template, fs::read(&template).unwrap()).unwrap();
    let pool = Pool::adopt(&moved).unwrap();
    assert_eq!(Pool::open(&moved).unwrap().identity(), pool.identity());
    let error = master.adopt(&pool).unwrap_err();
    assert!(matches!(&error, CloneError::Unrecovered(id) if id == clones[1].id()), "{error}");
    // The first is the copy by now, the second still the original.
    assert_eq!(master.find(clones[0].id()).unwrap().path().parent(), Some(pool.path()));
    assert_eq!(master.find(clones[1].id()).unwrap().path(), clones[1].path());
    let recovered = clones[1].recover(HostCache::Direct, directory.path()).unwrap();
    assert_eq!(recovered.subclusters, 1);
    // Without its holes, it is refused as well.
    let copied = moved.join("clone-1.qcow2");
    fs::write(&copied, fs::read(clones[1].path()).unwrap()).unwrap();
    assert!(matches!(master.adopt(&pool), Err(CloneError::Unrecovered(_))));
    // With them, into a file that was begun before the original was recovered: who knows of when
    // it is?
    copy(clones[1].path(), &copied);
    assert!(matches!(master.adopt(&pool), Err(CloneError::Outdated(_))));
    fs::remove_file(&copied).unwrap();
    copy(clones[1].path(), &copied);
    assert_eq!(master.adopt(&pool).unwrap(), [clones[1].id().clone()]);
    assert!(master.adopt(&pool).unwrap().is_empty());
    for (clone, model) in master.clones().unwrap().iter().zip(&models) {
        assert_eq!(clone.path().parent(), Some(pool.path()));
        let nothing = clone.recover(HostCache::Direct, directory.path()).unwrap();
        assert_eq!(nothing, Default::default());
        let found = contents(&volume(clone).unwrap(), directory.path());
        assert_eq!(first_difference(&found, model), None);
    }
    master.clone_into(&pool, &ids(3)[2..]).unwrap();
    assert!(clones[0].path().exists(), "the original is nobody's to remove here");
}

#[test]
fn a_copy_is_not_taken_while_the_original_s_guest_runs_nor_after_it_has_written() {
    let directory = tempfile::tempdir().unwrap();
    let (master, mut model) = master(directory.path());
    let (path, moved) = (directory.path().join("pool"), directory.path().join("moved"));
    let clone = master.clone_into(&Pool::create(&path).unwrap(), &ids(1)).unwrap().remove(0);
    let volume = clone.volume(Durability::default(), HostCache::Direct).unwrap();
    let daemon = StorageDaemon::start(&volume.blockdev(), directory.path()).unwrap();
    copy(&path, &moved);
    let pool = Pool::adopt(&moved).unwrap();
    let error = master.adopt(&pool).unwrap_err();
    assert!(matches!(&error, CloneError::InUse(id) if id == clone.id()), "{error}");
    daemon.open().unwrap().write(1 << 20, &[7; 4096]).unwrap();
    model[1 << 20..(1 << 20) + 4096].fill(7);
    daemon.end().unwrap();
    let error = master.adopt(&pool).unwrap_err();
    assert!(matches!(&error, CloneError::Outdated(id) if id == clone.id()), "{error}");
    assert_eq!(master.find(clone.id()).unwrap().path(), clone.path());
    // Copied anew, it has what was written.
    let copied = moved.join("clone-0.qcow2");
    fs::remove_file(&copied).unwrap();
    copy(clone.path(), &copied);
    assert_eq!(master.adopt(&pool).unwrap(), [clone.id().clone()]);
    let volume = master.find(clone.id()).unwrap();
    let volume = volume.volume(Durability::default(), HostCache::Direct).unwrap();
    assert_eq!(first_difference(&contents(&volume, directory.path()), &model), None);
}

#[test]
fn a_copy_whose_original_is_gone_or_another_file_is_taken() {
    let directory = tempfile::tempdir().unwrap();
    let (master, _) = master(directory.path());
    let (path, moved) = (directory.path().join("pool"), directory.path().join("moved"));
    let clones = master.clone_into(&Pool::create(&path).unwrap(), &ids(2)).unwrap();
    copy(&path, &moved);
    fs::remove_file(clones[0].path()).unwrap();
    fs::remove_file(clones[1].path()).unwrap();
    fs::write(clones[1].path(), "somebody's").unwrap();
    let adopted = master.adopt(&Pool::adopt(&moved).unwrap()).unwrap();
    assert_eq!(adopted, ids(2));
}

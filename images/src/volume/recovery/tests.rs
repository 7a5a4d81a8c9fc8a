//! QEMU's driver killed between a guest's writes, and what is read afterwards.

use std::time::Duration;

use nix::fcntl::{FallocateFlags, fallocate};

use super::*;
use crate::{
    clone::{InstantClone, Master},
    encryption::KeyNumber,
    testing::{Numbers, contents, contents_with, first_difference, ids, keys, master, open, pool},
    volume::{
        FlushInterval, Format, HostCache,
        allocation::{HEADER, Header},
    },
};

/// Writes of all sizes and places; a multiple of a sector, as a guest's are.
fn write_some(clone: &InstantClone, model: &mut [u8], seed: u64, run: &Path) -> u64 {
    write_some_with(&VolumeKeys::none(), clone, model, seed, run)
}

fn write_some_with(
    keys: &VolumeKeys,
    clone: &InstantClone,
    model: &mut [u8],
    seed: u64,
    run: &Path,
) -> u64 {
    let volume = clone.volume(Durability::default(), HostCache::Direct).unwrap();
    let daemon = open(&volume, keys, run);
    let mut blocks = daemon.open().unwrap();
    let mut numbers = Numbers(seed);
    let mut written = 0;
    for round in 1..200 {
        let longest = [1, 8, 64, 400][usize::try_from(numbers.below(4)).unwrap()];
        let length = usize::try_from((1 + numbers.below(longest)) * 512).unwrap();
        let sectors = (model.len() - length) as u64 / 512;
        let at = usize::try_from(numbers.below(sectors + 1)).unwrap() * 512;
        // Zeroes over the master's data are writes like others.
        let with = u8::try_from(round % 250).unwrap() * u8::from(numbers.below(8) != 0);
        model[at..at + length].fill(with);
        blocks.write(at as u64, &model[at..at + length]).unwrap();
        written += length as u64;
        if round == 100 && seed.is_multiple_of(2) {
            blocks.flush().unwrap();
        }
    }
    // Dropped, so killed: no table is written.
    written
}

#[test]
fn every_write_that_was_acknowledged_is_back_and_nothing_else_has_changed() {
    let directory = tempfile::tempdir().unwrap();
    let (master, bytes) = master(directory.path());
    let clones = master.clone_into(&pool(directory.path()), &ids(4)).unwrap();
    for (clone, seed) in clones.iter().zip(1..) {
        let mut model = bytes.clone();
        // A stop after a stop finds both stops' writes.
        for again in 0..3 {
            write_some(clone, &mut model, seed + again * 100, directory.path());
            let volume = clone.volume(Durability::FlushHonouring, HostCache::Direct).unwrap();
            let before = contents(&volume, directory.path());
            assert_ne!(first_difference(&before, &model), None, "nothing was lost to begin with");
            let recovered = clone.recover(HostCache::Direct, directory.path()).unwrap();
            assert!(recovered.subclusters > 0, "{recovered:?}");
            let after = contents(&volume, directory.path());
            assert_eq!(first_difference(&after, &model), None, "seed {seed}, stop {again}");
            let nothing = clone.recover(HostCache::Direct, directory.path()).unwrap();
            assert_eq!(nothing, Recovered::default());
        }
    }
}

#[test]
fn an_encrypted_clone_gets_back_every_write_that_was_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let (run, direct) = (directory.path(), HostCache::Direct);
    let (master, bytes) = master(run);
    for (id, seed) in ids(2).iter().zip(1..) {
        let keys = keys(seed);
        let clone = master.clone_encrypted(&pool(run), id, KeyNumber(1), &keys).unwrap();
        let mut model = bytes.clone();
        for again in 0..3 {
            write_some_with(&keys, &clone, &mut model, seed + again * 100, run);
            let volume = clone.volume(Durability::FlushHonouring, direct).unwrap();
            let before = contents_with(&volume, &keys, run);
            assert_ne!(first_difference(&before, &model), None, "nothing was lost to begin with");
            // What is missing is told before anything is done.
            let missing = clone.recover(direct, run);
            assert!(matches!(missing, Err(RecoveryError::Missing(_))), "{missing:?}");
            let recovered = clone.recover_with(&keys, direct, run).unwrap();
            assert!(recovered.subclusters > 0 && recovered.unfinished == 0, "{recovered:?}");
            let after = contents_with(&volume, &keys, run);
            assert_eq!(first_difference(&after, &model), None, "seed {seed}, stop {again}");
            let nothing = clone.recover_with(&keys, direct, run).unwrap();
            assert_eq!(nothing, Recovered::default());
        }
    }
}

#[test]
fn an_overlay_that_is_encrypted_against_its_record_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let run = directory.path();
    let (master, _) = master(run);
    let keys = keys(3);
    let clone = master.clone_encrypted(&pool(run), &ids(1)[0], KeyNumber(1), &keys).unwrap();
    let data = clone.volume(Durability::default(), HostCache::Direct).unwrap().data().clone();
    let clear =
        Volume::new(ids(1).remove(0), data, Durability::default(), HostCache::Direct).unwrap();
    let identity = FileIdentity::of(&File::open(clone.path()).unwrap()).unwrap();
    let error = recover(&clear, &identity, &keys, run).unwrap_err();
    assert!(matches!(error, RecoveryError::Encryption { .. }), "{error}");
}

#[test]
fn a_recovery_that_is_stopped_itself_is_completed_by_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let (master, mut model) = master(directory.path());
    let clone = master.clone_into(&pool(directory.path()), &ids(1)).unwrap().remove(0);
    write_some(&clone, &mut model, 11, directory.path());
    let volume = clone.volume(Durability::default(), HostCache::Direct).unwrap();
    let file = File::open(clone.path()).unwrap();
    let mut lost = Vec::new();
    scan::each_lost(&file, clone.path(), &mut |one| {
        lost.push(one);
        Ok(ControlFlow::Continue(()))
    })
    .unwrap();
    // Half of a recovery, and no flush.
    let daemon = StorageDaemon::start(&volume.blockdev(), directory.path()).unwrap();
    let mut blocks = daemon.open().unwrap();
    for subcluster in lost.iter().step_by(2) {
        let mut bytes = vec![0; usize::try_from(subcluster.length).unwrap()];
        blocks.read(subcluster.volume, &mut bytes).unwrap();
        lay_over(&file, subcluster, &mut bytes).unwrap();
        blocks.write(subcluster.volume, &bytes).unwrap();
    }
    drop((blocks, daemon));
    let recovered = clone.recover(HostCache::Direct, directory.path()).unwrap();
    assert_eq!(recovered.subclusters, lost.len() as u64);
    assert_eq!(first_difference(&contents(&volume, directory.path()), &model), None);
}

#[test]
fn a_volume_that_was_closed_and_one_that_was_never_written_have_nothing_to_put_back() {
    let directory = tempfile::tempdir().unwrap();
    let (master, bytes) = master(directory.path());
    let clone = master.clone_into(&pool(directory.path()), &ids(1)).unwrap().remove(0);
    let nothing = Recovered::default();
    assert_eq!(clone.recover(HostCache::Direct, directory.path()).unwrap(), nothing);
    let volume = clone.volume(Durability::default(), HostCache::Direct).unwrap();
    assert_eq!(first_difference(&contents(&volume, directory.path()), &bytes), None);
    let daemon = StorageDaemon::start(&volume.blockdev(), directory.path()).unwrap();
    daemon.open().unwrap().write(1 << 20, &[1; 70_000]).unwrap();
    daemon.end().unwrap();
    assert_eq!(clone.recover(HostCache::Direct, directory.path()).unwrap(), nothing);
}

#[test]
fn a_volume_in_use_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let (master, _) = master(directory.path());
    let clone = master.clone_into(&pool(directory.path()), &ids(1)).unwrap().remove(0);
    let volume = clone.volume(Durability::default(), HostCache::Direct).unwrap();
    let daemon = StorageDaemon::start(&volume.blockdev(), directory.path()).unwrap();
    daemon.open().unwrap().write(0, &[1; 512]).unwrap();
    let run = tempfile::tempdir().unwrap();
    let error = clone.recover(HostCache::Direct, run.path()).unwrap_err();
    let RecoveryError::Daemon(DaemonError::Ended { said }) = error else { panic!("{error}") };
    assert!(said.contains("lock"), "{said}");
    daemon.open().unwrap().write(0, &[2; 512]).unwrap();
}

#[test]
fn a_copy_of_an_overlay_is_refused_since_its_holes_say_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (master, mut model) = master(directory.path());
    let clone = master.clone_into(&pool(directory.path()), &ids(1)).unwrap().remove(0);
    write_some(&clone, &mut model, 3, directory.path());
    let copy = directory.path().join("copy");
    // Without holes.
    std::fs::write(&copy, std::fs::read(clone.path()).unwrap()).unwrap();
    std::fs::rename(&copy, clone.path()).unwrap();
    let error = clone.recover(HostCache::Direct, directory.path()).unwrap_err();
    assert!(matches!(error, RecoveryError::Copied { .. }), "{error}");
}

#[test]
fn classes_without_recovery_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (master, _) = master(directory.path());
    let clone = master.clone_into(&pool(directory.path()), &ids(1)).unwrap().remove(0);
    let identity = FileIdentity::of(&File::open(clone.path()).unwrap()).unwrap();
    let bounded = Durability::Bounded(FlushInterval::new(Duration::from_secs(2)).unwrap());
    for class in [Durability::FlushHonouring, Durability::Synchronous, bounded] {
        let volume = clone.volume(class, HostCache::Direct).unwrap();
        let error = recover(&volume, &identity, &VolumeKeys::none(), directory.path()).unwrap_err();
        assert!(matches!(error, RecoveryError::NotRecovered(_)), "{error}");
    }
}

/// Where a clone's table has a place in the file for this byte of its volume.
fn place_of(file: &File, volume: u64) -> u64 {
    let mut head = [0; HEADER];
    file.read_exact_at(&mut head, 0).unwrap();
    let header = Header::parse(&head).unwrap();
    let (at, length) = header.l1();
    let mut l1 = vec![0; length];
    file.read_exact_at(&mut l1, at).unwrap();
    let (at, begin) = header.l2_tables(&l1).unwrap()[0];
    let mut l2 = vec![0; usize::try_from(header.cluster()).unwrap()];
    file.read_exact_at(&mut l2, at).unwrap();
    let clusters = header.clusters(&l2, begin).unwrap();
    let reaches = |at: u64| at <= volume && volume < at + header.cluster();
    let cluster = clusters.iter().find(|cluster| reaches(cluster.volume)).unwrap();
    cluster.file + volume - cluster.volume
}

#[test]
fn space_that_was_reserved_and_never_written_hides_nothing_of_the_master() {
    let directory = tempfile::tempdir().unwrap();
    let (master, bytes) = master(directory.path());
    let clone = master.clone_into(&pool(directory.path()), &ids(1)).unwrap().remove(0);
    // What a power cut leaves of a write: its space, and nothing in it.
    let file = File::options().read(true).write(true).open(clone.path()).unwrap();
    let at = place_of(&file, 1 << 20);
    fallocate(&file, FallocateFlags::empty(), at.cast_signed(), 256 << 10).unwrap();
    file.sync_all().unwrap();
    // Read, and so in the page cache, where it is like any other page.
    file.read_exact_at(&mut vec![0; 256 << 10], at).unwrap();
    let recovered = clone.recover(HostCache::Direct, directory.path()).unwrap();
    assert_eq!(recovered, Recovered::default());
    // Beside such space, what was written is found.
    file.write_all_at(&[9; 32 << 10], at + (32 << 10)).unwrap();
    let recovered = clone.recover(HostCache::Direct, directory.path()).unwrap();
    assert_eq!(recovered, Recovered { subclusters: 1, bytes: 32 << 10, unfinished: 0 });
    let mut model = bytes;
    model[(1 << 20) + (32 << 10)..(1 << 20) + (64 << 10)].fill(9);
    let volume = clone.volume(Durability::default(), HostCache::Direct).unwrap();
    assert_eq!(first_difference(&contents(&volume, directory.path()), &model), None);
}

#[test]
fn a_file_with_more_extents_than_are_asked_for_at_once_is_seen_whole() {
    let directory = tempfile::tempdir().unwrap();
    check_holes(directory.path()).unwrap();
    let file = tempfile::tempfile_in(directory.path()).unwrap();
    for at in 0..400 {
        file.write_all_at(&[1; 4096], at * 65_536).unwrap();
    }
    let expected: Vec<_> = (0..400).map(|at| at * 65_536..at * 65_536 + 4096).collect();
    assert_eq!(data_of(&file).unwrap(), expected);
    let mut map = holes::DataMap::of(&file).unwrap();
    assert_eq!(map.next(399 * 65_536 - 1).unwrap(), Some(expected[399].clone()));
    assert_eq!(map.next(expected[399].end).unwrap(), None);
}

#[test]
fn a_file_system_without_a_map_of_extents_is_refused_unless_it_is_tmpfs() {
    check_holes(Path::new("/dev/shm")).unwrap();
    let file = File::open("/proc/self/status").unwrap();
    let error = holes::DataMap::of(&file).unwrap().next(0).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::Unsupported, "{error}");
}

#[test]
fn a_volume_of_several_tables_is_recovered_in_all_of_them() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("image");
    File::create(&image).unwrap().set_len(130 << 30).unwrap();
    let master = Master::seal(&image, Format::Raw, &directory.path().join("master")).unwrap();
    let clone = master.clone_into(&pool(directory.path()), &ids(1)).unwrap().remove(0);
    let volume = clone.volume(Durability::default(), HostCache::Direct).unwrap();
    let daemon = StorageDaemon::start(&volume.blockdev(), directory.path()).unwrap();
    let mut blocks = daemon.open().unwrap();
    // A table is about 64 GiB; one write is in two of them.
    let places = [3 << 30, (64 << 30) - 4096, 129 << 30];
    for (at, with) in places.into_iter().zip(1..) {
        blocks.write(at, &[with; 8192]).unwrap();
    }
    drop((blocks, daemon));
    let recovered = clone.recover(HostCache::Direct, directory.path()).unwrap();
    assert_eq!(recovered.subclusters, 4);
    let daemon = StorageDaemon::start(&volume.blockdev(), directory.path()).unwrap();
    let mut blocks = daemon.open().unwrap();
    for (at, with) in places.into_iter().zip(1..) {
        let mut bytes = [0; 8192];
        blocks.read(at, &mut bytes).unwrap();
        assert_eq!(bytes, [with; 8192]);
    }
}

#[test]
fn a_write_that_was_not_completed_from_the_master_brings_no_zeroes_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let (master, bytes) = master(directory.path());
    let clone = master.clone_into(&pool(directory.path()), &ids(1)).unwrap().remove(0);
    let file = File::options().read(true).write(true).open(clone.path()).unwrap();
    // The guest's sector, in a block that the file system has filled up, and QEMU was killed.
    file.write_all_at(&[9; 512], place_of(&file, (1 << 20) + 5 * 512)).unwrap();
    // One that was completed, over the master's data and over its zeroes.
    let mut model = bytes;
    let completed = 2 << 20..(2 << 20) + (32 << 10);
    model[completed.start + 512..completed.start + 1024].fill(9);
    let at = place_of(&file, completed.start as u64);
    file.write_all_at(&model[completed], at).unwrap();
    let zeroes = 10 << 20;
    model[zeroes + 512..zeroes + 1024].fill(9);
    file.write_all_at(&[9; 512], place_of(&file, zeroes as u64 + 512)).unwrap();
    let recovered = clone.recover(HostCache::Direct, directory.path()).unwrap();
    let expected = Recovered { subclusters: 2, bytes: (32 << 10) + 4096, unfinished: 1 };
    assert_eq!(recovered, expected);
    let volume = clone.volume(Durability::default(), HostCache::Direct).unwrap();
    assert_eq!(first_difference(&contents(&volume, directory.path()), &model), None);
    let nothing = clone.recover(HostCache::Direct, directory.path()).unwrap();
    assert_eq!(nothing, Recovered::default());
}

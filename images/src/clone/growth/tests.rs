//! Clones made longer by QEMU's tools, and what QEMU's daemon reads and loses of them then.

use std::fs;

use super::*;
use crate::{
    clone::{Locked, Stage},
    encryption::{KeyNumber, Keyslots, image::Form},
    testing::{first_difference, ids, keys, master, open, pool, running},
    volume::Durability,
};

/// One table of an overlay is about 64 GiB: a second one is needed.
const LONG: u64 = 65 << 30;

fn growth<'a>(from: u64, size: u64, keys: &'a VolumeKeys, run: &'a Path) -> Growth<'a> {
    Growth { from, size, durability: Durability::default(), cache: HostCache::Direct, keys, run }
}

fn volume(clone: &InstantClone) -> Volume {
    clone.volume(Durability::default(), HostCache::Direct).unwrap()
}

fn read(clone: &InstantClone, keys: &VolumeKeys, run: &Path, at: u64, length: usize) -> Vec<u8> {
    let daemon = open(&volume(clone), keys, run);
    let mut bytes = vec![1; length];
    daemon.open().unwrap().read(at, &mut bytes).unwrap();
    daemon.end().unwrap();
    bytes
}

/// Writes, and is killed before any table is.
fn write_and_die(clone: &InstantClone, keys: &VolumeKeys, run: &Path, at: u64, bytes: &[u8]) {
    let daemon = open(&volume(clone), keys, run);
    daemon.open().unwrap().write(at, bytes).unwrap();
}

fn grows_and_loses_nothing(is_encrypted: bool) {
    let directory = tempfile::tempdir().unwrap();
    let (run, id) = (directory.path(), ids(1).remove(0));
    let (master, bytes) = master(run);
    let keys = if is_encrypted { keys(5) } else { VolumeKeys::none() };
    if is_encrypted {
        master.clone_encrypted(&pool(run), &id, KeyNumber(1), &keys).unwrap();
    } else {
        master.clone_into(&pool(run), std::slice::from_ref(&id)).unwrap();
    }
    let clone = master.find(&id).unwrap();
    // It begins with what a hard stop has left.
    write_and_die(&clone, &keys, run, 0, &[7; 4096]);
    let mut from = bytes.len() as u64;
    for size in [from + 4096, 1 << 30, LONG] {
        master.grow(&id, &growth(from, size, &keys, run)).unwrap();
        assert_eq!(clone.size().unwrap(), size);
        // Again, as after a stop of ours.
        master.grow(&id, &growth(from, size, &keys, run)).unwrap();
        from = size;
        let end = size - 8192;
        write_and_die(&clone, &keys, run, end, &[9; 8192]);
        assert_eq!(read(&clone, &keys, run, end, 8192), [0; 8192], "nothing was lost");
        let recovered = clone.recover_with(&keys, HostCache::Direct, run).unwrap();
        assert!(recovered.subclusters > 0, "{recovered:?}");
        assert_eq!(read(&clone, &keys, run, end, 8192), [9; 8192]);
    }
    let mut model = bytes.clone();
    model[..4096].fill(7);
    let all = read(&clone, &keys, run, 0, model.len());
    // The first growth's end was written later.
    let same = model.len() - 4096;
    assert_eq!(first_difference(&all[..same], &model[..same]), None);
    let between = read(&clone, &keys, run, 1 << 30, 1 << 20);
    assert!(between.iter().all(|byte| *byte == 0));
    let shorter = master.grow(&id, &growth(LONG, 1 << 30, &keys, run)).unwrap_err();
    assert!(matches!(shorter, GrowthError::Shorter { size: LONG, .. }), "{shorter}");
    let mut check = std::process::Command::new("qemu-img");
    check.args(["check", "-q", "-f", "qcow2"]).arg(clone.path());
    assert!(is_encrypted || check.status().unwrap().success());
    master.remove_clone(&clone).unwrap();
}

#[test]
fn a_clone_that_was_made_longer_gets_back_writes_to_its_new_part_and_keeps_its_old_one() {
    grows_and_loses_nothing(false);
}

#[test]
fn so_does_one_that_is_encrypted() {
    grows_and_loses_nothing(true);
}

#[test]
fn a_clone_that_qemu_has_open_or_that_is_no_file_s_length_stays_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let (run, id, none) = (directory.path(), ids(1).remove(0), VolumeKeys::none());
    let (master, bytes) = master(run);
    let clone = master.clone_into(&pool(run), std::slice::from_ref(&id)).unwrap().remove(0);
    let daemon = open(&volume(&clone), &none, run);
    let in_use = master.grow(&id, &growth(0, 1 << 30, &none, run)).unwrap_err();
    assert!(matches!(in_use, GrowthError::InUse(_)), "{in_use}");
    daemon.end().unwrap();
    let odd = master.grow(&id, &growth(0, (1 << 30) + 512, &none, run)).unwrap_err();
    assert!(matches!(odd, GrowthError::Odd(_)), "{odd}");
    assert_eq!(clone.size().unwrap(), bytes.len() as u64);
}

#[test]
fn a_bitmap_that_a_hard_stop_has_left_keeps_no_clone_from_being_made_longer() {
    let directory = tempfile::tempdir().unwrap();
    let (run, id, none) = (directory.path(), ids(1).remove(0), VolumeKeys::none());
    let (master, bytes) = master(run);
    let clone = master.clone_into(&pool(run), std::slice::from_ref(&id)).unwrap().remove(0);
    let mut add = qemu_img("bitmap");
    template::run({
        add.args(["--add", "-f", "qcow2"]).arg(clone.path()).arg("changes");
        add
    })
    .unwrap();
    // It is in use from the first write on, and not after an orderly end.
    write_and_die(&clone, &none, run, 0, &[7; 4096]);
    let left = Tool::of(&volume(&clone), &none).unwrap().bitmaps().unwrap();
    assert_eq!(left, ["changes"]);
    let from = bytes.len() as u64;
    master.grow(&id, &growth(from, 1 << 30, &none, run)).unwrap();
    assert_eq!(clone.size().unwrap(), 1 << 30);
    assert!(Tool::of(&volume(&clone), &none).unwrap().bitmaps().unwrap().is_empty());
    assert_eq!(read(&clone, &none, run, 0, 4096), [7; 4096]);
}

#[test]
fn what_a_stopped_growth_has_left_in_the_new_part_is_never_put_back() {
    let directory = tempfile::tempdir().unwrap();
    let (run, id, none) = (directory.path(), ids(1).remove(0), VolumeKeys::none());
    let (master, bytes) = master(run);
    let clone = master.clone_into(&pool(run), std::slice::from_ref(&id)).unwrap().remove(0);
    let from = bytes.len() as u64;
    write_and_die(&clone, &none, run, 0, &[7; 4096]);
    // Longer, and with data in the new part, as QEMU's old tables are there.
    let tool = Tool::of(&volume(&clone), &none).unwrap();
    let mut resize = tool.command("resize").unwrap();
    resize.args(["-q", "--preallocation=metadata"]).arg(&tool.image).arg("64M");
    template::run(resize).unwrap();
    write_and_die(&clone, &none, run, 32 << 20, &[8; 70_000]);
    let (file, _) = Place::File(clone.path().into()).open().unwrap();
    assert!(!recovery::open_data(&file, clone.path(), from).unwrap().is_empty());
    master.grow(&id, &growth(from, 64 << 20, &none, run)).unwrap();
    assert!(recovery::open_data(&file, clone.path(), from).unwrap().is_empty());
    assert_eq!(read(&clone, &none, run, 32 << 20, 1 << 20), vec![0; 1 << 20]);
    assert_eq!(read(&clone, &none, run, 0, 4096), [7; 4096], "the old part is put back");
}

#[test]
fn a_plain_volume_is_made_longer_in_the_clear_and_behind_its_header() {
    for is_encrypted in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let (run, id, keys) = (directory.path(), ids(1).remove(0), keys(6));
        let (master, _) = master(run);
        master.clone_into(&pool(run), std::slice::from_ref(&id)).unwrap();
        let path = run.join("plain.raw");
        if is_encrypted {
            let key = (&id, KeyNumber(1), &keys);
            crate::encryption::image::make(&path, 1 << 20, &Form::Luks, key, || Ok(())).unwrap();
        } else {
            fs::write(&path, vec![0; 1 << 20]).unwrap();
        }
        let before = fs::metadata(&path).unwrap().len();
        let place = Place::File(path.clone());
        let mark = |locked: Locked<'_>| {
            locked.change(&id, |record| {
                let plain_keyslots = is_encrypted.then_some(Keyslots::One(KeyNumber(1)));
                let stage = Stage::Plain(place.clone());
                Ok::<_, CloneError>(crate::clone::Record { stage, plain_keyslots, ..record })
            })
        };
        mark(master.locked().unwrap()).unwrap();
        let clone = master.find(&id).unwrap();
        let write = |at, with| {
            let daemon = open(&volume(&clone), &keys, run);
            daemon.open().unwrap().write(at, &[with; 4096]).unwrap();
            daemon.end().unwrap();
        };
        write(4096, 7);
        master.grow(&id, &growth(1 << 20, 64 << 20, &keys, run)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), before + (63 << 20));
        write((64 << 20) - 4096, 9);
        assert_eq!(read(&clone, &keys, run, 4096, 4096), [7; 4096]);
        assert_eq!(read(&clone, &keys, run, (64 << 20) - 4096, 4096), [9; 4096]);
        let shorter = master.grow(&id, &growth(64 << 20, 1 << 20, &keys, run)).unwrap_err();
        assert!(matches!(shorter, GrowthError::Shorter { .. }), "{shorter}");
        assert!(running(&["qemu-storage-daemon", run.to_str().unwrap()]).is_empty());
    }
}

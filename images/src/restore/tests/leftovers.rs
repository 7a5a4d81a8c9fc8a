//! Restores that ended but for the end of their record, and what a hard stop had taken before.

use std::fs::File;

use super::*;
use crate::{
    clone::{HostName, Master},
    encryption::VolumeKeys,
    restore::records::{Made, Record, Way},
    testing::{contents, first_difference, ids, master, open, pool},
    volume::FileIdentity,
};

const KEEPING: Manner = Manner::Beside { keeps_old: true };

fn identity(path: &Path) -> FileIdentity {
    FileIdentity::of(&File::open(path).unwrap()).unwrap()
}

fn subject<'a>(master: &'a Master, id: &'a VolumeId) -> Subject<'a> {
    let durability = Durability::default();
    Subject::Clone { master, id, durability, cache: HostCache::Direct }
}

#[test]
fn one_that_had_ended_but_for_its_record_names_the_old_contents_and_fetches_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let vault = Vault::with_threads(1);
    let image = vault.backup("disk", &contents_of(1));
    let (volume, path) = volume(directory.path(), &contents_of(2));
    let none = VolumeKeys::none();
    let of = vault.origin(&image, &none, directory.path());
    let records = records(directory.path());
    let old = identity(&path);
    let done = restore(&records, &of, Subject::Plain(&volume), KEEPING, &Unwatched).unwrap();
    let kept = done.kept.as_ref().unwrap().place().path().unwrap().to_owned();
    let way = Way::Beside {
        new: directory.path().join("disk.raw.restoring"),
        old,
        kept: Some(kept.clone()),
        made: Made::of(&File::open(&path).unwrap()).ok(),
    };
    let id = volume.id();
    records.write(id, &Record { image: image.image().id, way: way.clone() }).unwrap();
    let again = restore(&records, &of, Subject::Plain(&volume), KEEPING, &Unwatched).unwrap();
    assert_eq!((again.kept, again.written), (done.kept, 0));
    assert!(!directory.path().join("disk.raw.replaced-1").exists());
    assert_eq!(std::fs::read(&kept).unwrap(), contents_of(2));
    assert!(records.under_way().unwrap().is_empty());
    // A guest has run since: what it wrote is not what was asked for.
    records.write(id, &Record { image: image.image().id, way: way.clone() }).unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"a guest's", 4096).unwrap();
    drop(file);
    restore(&records, &of, Subject::Plain(&volume), KEEPING, &Unwatched).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), contents_of(1));
    assert_eq!(std::fs::read(&kept).unwrap(), contents_of(2));
    // Another image is another restore; the one before has kept what it has kept.
    let other = vault.backup("disk", &contents_of(3));
    let of = vault.origin(&other, &none, directory.path());
    records.write(id, &Record { image: image.image().id, way }).unwrap();
    restore(&records, &of, Subject::Plain(&volume), KEEPING, &Unwatched).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), contents_of(3));
    assert_eq!(std::fs::read(&kept).unwrap(), contents_of(2));
}

#[test]
fn one_of_a_clone_that_had_ended_but_for_its_record_does_the_rest_and_fetches_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let vault = Vault::with_threads(1);
    let images = [1, 2, 3].map(|number| vault.backup("clone-0", &contents_of(number)));
    let (master, _) = master(directory.path());
    let id = ids(1).remove(0);
    master.clone_into(&pool(directory.path()), std::slice::from_ref(&id)).unwrap();
    let none = VolumeKeys::none();
    let records = records(directory.path());
    let of_clone = subject(&master, &id);
    let path = |volume: &Volume| volume.place().path().unwrap().to_owned();
    let mut before: Option<PathBuf> = None;
    for (image, keeps_old) in images.iter().zip([true, true, false]) {
        let of = vault.origin(image, &none, directory.path());
        let manner = Manner::Beside { keeps_old };
        let done = restore(&records, &of, of_clone, manner, &Unwatched).unwrap();
        let new = path(&done.volume);
        let (kept, removed) = if keeps_old { (before, None) } else { (None, before) };
        if let Some(removed) = &removed {
            // As a process leaves it that was killed before it could remove it.
            std::fs::write(removed, "the old one").unwrap();
        }
        let made = Made::of(&File::open(&new).unwrap()).ok();
        let way = Way::Clone { new: new.clone(), removed: removed.clone(), kept, made };
        records.write(&id, &Record { image: image.image().id, way }).unwrap();
        let count = || std::fs::read_dir(new.parent().unwrap()).unwrap().count();
        let files = count() - usize::from(removed.is_some());
        let again = restore(&records, &of, of_clone, manner, &Unwatched).unwrap();
        assert_eq!((again.volume, again.kept, again.written), (done.volume, done.kept, 0));
        assert!(removed.is_none_or(|removed| !removed.exists()));
        assert_eq!(count(), files, "another one was made");
        assert!(records.under_way().unwrap().is_empty());
        before = Some(new);
    }
    // A guest has run since: what it wrote is not what was asked for.
    let new = before.unwrap();
    let made = Made::of(&File::open(&new).unwrap()).ok();
    let way = Way::Clone { new: new.clone(), removed: None, kept: None, made };
    records.write(&id, &Record { image: images[2].image().id, way }).unwrap();
    let file = File::options().write(true).open(&new).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"a guest's", 4096).unwrap();
    drop(file);
    let of = vault.origin(&images[2], &none, directory.path());
    let done = restore(&records, &of, of_clone, KEEPING, &Unwatched).unwrap();
    assert_eq!(path(&done.kept.unwrap()), new);
    assert_eq!(contents(&done.volume, directory.path()), contents_of(3));
}

#[test]
fn a_clone_whose_guest_moves_to_another_host_is_not_restored() {
    let directory = tempfile::tempdir().unwrap();
    let vault = Vault::with_threads(1);
    let image = vault.backup("clone-0", &contents_of(1));
    let (master, _) = master(directory.path());
    let id = ids(1).remove(0);
    master.clone_into(&pool(directory.path()), std::slice::from_ref(&id)).unwrap();
    let [here, there] = ["here", "there"].map(|name| HostName::parse(name).unwrap());
    let claim = master.claim(&id, &here).unwrap();
    master.offer(&claim, &there).unwrap();
    let none = VolumeKeys::none();
    let of = vault.origin(&image, &none, directory.path());
    let records = records(directory.path());
    let of_clone = subject(&master, &id);
    let refused = restore(&records, &of, of_clone, KEEPING, &Unwatched).unwrap_err();
    assert!(matches!(refused, RestoreError::InUse(_)), "{refused}");
    master.withdraw(&claim).unwrap();
    restore(&records, &of, of_clone, KEEPING, &Unwatched).unwrap();
}

#[test]
fn giving_up_a_restore_that_had_ended_takes_nothing_of_what_the_volume_is_now() {
    let directory = tempfile::tempdir().unwrap();
    let vault = Vault::with_threads(1);
    let image = vault.backup("clone-0", &contents_of(1));
    let (master, _) = master(directory.path());
    let id = ids(1).remove(0);
    master.clone_into(&pool(directory.path()), std::slice::from_ref(&id)).unwrap();
    let none = VolumeKeys::none();
    let of = vault.origin(&image, &none, directory.path());
    let records = records(directory.path());
    let of_clone = subject(&master, &id);
    let done = restore(&records, &of, of_clone, KEEPING, &Unwatched).unwrap();
    let new = done.volume.place().path().unwrap().to_owned();
    let way = Way::Clone { new: new.clone(), removed: None, kept: None, made: None };
    let record = Record { image: image.image().id, way };
    records.write(&id, &record).unwrap();
    let refused = cancel(&records, Subject::Plain(&done.volume)).unwrap_err();
    assert!(matches!(refused, RestoreError::OtherRestore(_)), "{refused}");
    assert_eq!(contents(&done.volume, directory.path()), contents_of(1));
    cancel(&records, of_clone).unwrap();
    assert_eq!(contents(&done.volume, directory.path()), contents_of(1));
    assert!(records.under_way().unwrap().is_empty());
    // Nor the other way round.
    let (volume, path) = volume(directory.path(), &contents_of(2));
    let way = Way::Beside { new, old: identity(&path), kept: None, made: None };
    records.write(&id, &Record { way, ..record }).unwrap();
    let refused = cancel(&records, of_clone).unwrap_err();
    assert!(matches!(refused, RestoreError::OtherRestore(_)), "{refused}");
    drop(volume);
    assert_eq!(contents(&done.volume, directory.path()), contents_of(1));
}

#[test]
fn what_a_killed_guest_had_written_is_in_the_overlay_that_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let vault = Vault::with_threads(1);
    let image = vault.backup("clone-0", &contents_of(1));
    let (master, mut bytes) = master(directory.path());
    let id = ids(1).remove(0);
    master.clone_into(&pool(directory.path()), std::slice::from_ref(&id)).unwrap();
    let volume = master.find(&id).unwrap();
    let volume = volume.volume(Durability::default(), HostCache::Direct).unwrap();
    let none = VolumeKeys::none();
    let daemon = open(&volume, &none, directory.path());
    let mut blocks = daemon.open().unwrap();
    blocks.write(1 << 20, &[7; 65536]).unwrap();
    bytes[1 << 20..(1 << 20) + 65536].fill(7);
    // Dropped, it is killed: nothing was flushed.
    drop((blocks, daemon));
    let of = vault.origin(&image, &none, directory.path());
    let records = records(directory.path());
    let done = restore(&records, &of, subject(&master, &id), KEEPING, &Unwatched).unwrap();
    let kept = contents(&done.kept.unwrap(), directory.path());
    assert_eq!(first_difference(&kept, &bytes), None);
    assert_eq!(contents(&done.volume, directory.path()), contents_of(1));
}

//! Masters made of images, and new volumes.

use std::sync::{Barrier, Mutex};

use super::*;
use crate::{
    clone::{CloneError, Master},
    encryption::{KeyNumber, VolumeKey, VolumeKeys},
    environment::fixed::FixedEnvironment,
    restore::masters::Stage,
    testing::{contents, contents_with, first_difference, keys, pool, vault::project_key},
};

fn master_key() -> VolumeKey {
    VolumeKey::make(&FixedEnvironment::new(3)).unwrap()
}

fn file_of(master: &Master) -> PathBuf {
    master.backing().place.path().unwrap().into()
}

#[test]
fn an_images_master_is_made_once_and_found_again() {
    let directory = tempfile::tempdir().unwrap();
    let vault = Vault::new(None);
    let bytes = contents_of(1);
    let image = vault.backup("disk", &bytes);
    let none = VolumeKeys::none();
    let of = vault.origin(&image, &none, directory.path());
    let masters = Masters::create(&directory.path().join("masters")).unwrap();
    assert!(masters.find(&image.image().id.into()).unwrap().is_none());
    // By several at once, of whom nobody lets go of it before all have it.
    let (size, all) = (image.image().size, Barrier::new(4));
    let inodes = std::thread::scope(|scope| {
        let ask = || {
            let held = masters.held(&of, size, None, &Unwatched).unwrap();
            all.wait();
            file_of(&held)
        };
        let asking: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
        let paths = asking.into_iter().map(|asking| asking.join().unwrap());
        let inode = |path: PathBuf| std::os::unix::fs::MetadataExt::ino(&path.metadata().unwrap());
        paths.map(inode).collect::<Vec<_>>()
    });
    assert!(inodes.iter().all(|inode| *inode == inodes[0]), "{inodes:?}");
    let pool = pool(directory.path());
    let made = |name| new_volume::instant(&masters, &of, &pool, &id(name), &Unwatched).unwrap();
    let clones = [made("one"), made("two")];
    let master = masters.find(&image.image().id.into()).unwrap().unwrap();
    assert_eq!(master.clones().unwrap().len(), 2);
    let volume = clones[1].volume(Durability::default(), HostCache::Direct).unwrap();
    assert_eq!(first_difference(&contents(&volume, directory.path()), &bytes), None);
    let error = masters.remove(&image.image().id.into()).unwrap_err();
    assert!(
        matches!(error, RestoreError::Clone(CloneError::HasClones { clones: 2, .. })),
        "{error}"
    );
    for clone in &clones {
        master.remove_clone(clone).unwrap();
    }
    masters.remove(&image.image().id.into()).unwrap();
    assert!(masters.find(&image.image().id.into()).unwrap().is_none());
    // And anew.
    assert_eq!(masters.obtain(&of, &Unwatched).unwrap().size(), bytes.len() as u64);
}

#[test]
fn a_fetch_that_was_cut_short_goes_on_and_one_that_nobody_wants_is_swept() {
    let directory = tempfile::tempdir().unwrap();
    let vault = Vault::with_threads(1);
    let bytes = long_contents();
    let image = vault.backup("disk", &bytes);
    let none = VolumeKeys::none();
    let of = vault.origin(&image, &none, directory.path());
    let masters = Masters::create(&directory.path().join("masters")).unwrap();
    let error = masters.obtain(&of, &Impatient::once_written()).unwrap_err();
    assert!(is_cancelled(&error), "{error}");
    assert!(masters.find(&image.image().id.into()).unwrap().is_none());
    let master = masters.obtain(&of, &Unwatched).unwrap();
    assert_eq!(std::fs::read(file_of(&master)).unwrap(), bytes);
    assert!(masters.sweep().unwrap().is_empty());
    master.remove().unwrap();
    masters.obtain(&of, &Impatient::once_written()).unwrap_err();
    assert_eq!(masters.sweep().unwrap(), [MasterName::Image(image.image().id)]);
    assert_eq!(std::fs::read_dir(directory.path().join("masters")).unwrap().count(), 0);
    // Stopped while it was removed.
    let removed = directory.path().join(format!("masters/{}.removed", image.image().id));
    std::fs::create_dir(&removed).unwrap();
    std::fs::write(removed.join("image"), [1; 512]).unwrap();
    assert_eq!(masters.sweep().unwrap(), [MasterName::Image(image.image().id)]);
    assert_eq!(std::fs::read_dir(directory.path().join("masters")).unwrap().count(), 0);
    // Stopped while it was sealed.
    let stage = directory.path().join(format!("masters/{}.new", image.image().id));
    std::fs::create_dir(&stage).unwrap();
    std::fs::write(stage.join("image"), &bytes).unwrap();
    let master = masters.obtain(&of, &Unwatched).unwrap();
    assert_eq!(std::fs::read(file_of(&master)).unwrap(), bytes);
}

#[test]
fn a_damaged_image_becomes_no_master() {
    let directory = tempfile::tempdir().unwrap();
    let vault = Vault::new(None);
    let image = vault.backup("disk", &contents_of(1));
    vault.damage();
    let none = VolumeKeys::none();
    let masters = Masters::create(directory.path()).unwrap();
    let of = vault.origin(&image, &none, directory.path());
    let error = masters.obtain(&of, &Unwatched).unwrap_err();
    assert!(matches!(error, RestoreError::Archive(ArchiveError::Chunk { .. })), "{error}");
    assert!(masters.find(&image.image().id.into()).unwrap().is_none());
}

#[test]
fn an_encrypted_master_has_nothing_in_the_clear_and_its_clones_read_it_with_its_key() {
    let directory = tempfile::tempdir().unwrap();
    let vault = Vault::new(Some(project_key()));
    let words = b"nobody may read this ".repeat(100_000);
    let image = vault.backup("disk", &words[..2_000_384]);
    let none = VolumeKeys::none();
    let of = vault.origin(&image, &none, directory.path());
    let masters = Masters::create(&directory.path().join("masters")).unwrap();
    let key = master_key();
    let master = masters.obtain_encrypted(&of, &key, &Unwatched).unwrap();
    let file = std::fs::read(file_of(&master)).unwrap();
    assert!(!file.windows(20).any(|window| window == &words[..20]));
    let error = masters.obtain(&of, &Unwatched).unwrap_err();
    assert!(matches!(error, RestoreError::OtherMaster { .. }), "{error}");
    let keys = keys(1).with_master(key.clone());
    let pool = pool(directory.path());
    // What lies behind the image takes no room.
    let longer = masters.obtain_longer(&of, 1 << 30, Some(&key), &Unwatched).unwrap();
    assert_eq!(longer.size(), 1 << 30);
    let file = file_of(&longer).metadata().unwrap();
    assert!(std::os::unix::fs::MetadataExt::blocks(&file) * 512 < 8 << 20);
    let clone = longer.clone_encrypted(&pool, &id("long"), KeyNumber(1), &keys).unwrap();
    let volume = clone.volume(Durability::default(), HostCache::Direct).unwrap();
    let daemon = crate::testing::open(&volume, &keys, directory.path());
    let mut blocks = daemon.open().unwrap();
    let mut read = vec![1; 2_000_384 + (1 << 20)];
    blocks.read(0, &mut read).unwrap();
    assert!(read[..2_000_384] == words[..2_000_384] && read[2_000_384..].iter().all(|it| *it == 0));
    drop((blocks, daemon));
    let clone = master.clone_encrypted(&pool, &id("one"), KeyNumber(1), &keys).unwrap();
    let volume = clone.volume(Durability::default(), HostCache::Direct).unwrap();
    let read = contents_with(&volume, &keys, directory.path());
    assert_eq!(read[..words.len().min(2_000_384)], words[..2_000_384]);
}

#[test]
fn a_new_plain_volume_is_there_whole_or_not_at_all_and_is_not_called_as_the_old_one() {
    let directory = tempfile::tempdir().unwrap();
    let vault = Vault::with_threads(1);
    let bytes = long_contents();
    let image = vault.backup("disk", &bytes);
    let none = VolumeKeys::none();
    let of = vault.origin(&image, &none, directory.path());
    let records = records(directory.path());
    let path = directory.path().join("new.raw");
    let make = |name, watch: &dyn Watch| {
        let place = Place::File(path.clone());
        new_volume::plain(&records, &of, &id(name), place, HostCache::Direct, None, watch)
    };
    let error = make("disk", &Unwatched).unwrap_err();
    assert!(matches!(error, RestoreError::SameVolume(_)), "{error}");
    assert!(is_cancelled(&make("new", &Impatient::once_written()).unwrap_err()));
    assert!(!path.exists());
    let volume = make("new", &Unwatched).unwrap();
    assert_eq!(first_difference(&contents(&volume, directory.path()), &bytes), None);
    let error = make("newer", &Unwatched).unwrap_err();
    assert!(matches!(error, RestoreError::Exists { .. }), "{error}");
    // Stopped before the other name was taken away.
    let other = directory.path().join("new.raw.restoring");
    std::fs::hard_link(&path, &other).unwrap();
    make("new", &Unwatched).unwrap();
    assert!(path.exists() && !other.exists());
}

#[test]
fn a_new_encrypted_volume_has_the_images_bytes_in_no_place() {
    let directory = tempfile::tempdir().unwrap();
    let vault = Vault::new(Some(project_key()));
    let mut words = b"nobody may read this ".repeat(60_000);
    words.resize(1 << 20, 0);
    let image = vault.backup("disk", &words);
    let keys = keys(5);
    let of = vault.origin(&image, &keys, directory.path());
    let records = records(directory.path());
    let path = directory.path().join("new.raw");
    let key = Some(KeyNumber(2));
    let place = Place::File(path.clone());
    let volume =
        new_volume::plain(&records, &of, &id("new"), place, HostCache::Direct, key, &Unwatched);
    let volume = volume.unwrap();
    let read = contents_with(&volume, &keys, directory.path());
    assert_eq!(first_difference(&read, &words), None);
    assert!(!std::fs::read(path).unwrap().windows(20).any(|window| window == &words[..20]));
}

/// Somebody who makes the same file in the middle of its making; how they fare.
struct Meddler<'a> {
    make: &'a (dyn Fn() -> Option<RestoreError> + Sync),
    told: Mutex<Option<RestoreError>>,
}

impl Watch for Meddler<'_> {
    fn tell(&self, _: Progress) {
        self.told.lock().unwrap().get_or_insert_with(|| (self.make)().unwrap());
    }
}

#[test]
fn a_new_volume_that_somebody_else_makes_is_left_to_them() {
    let directory = tempfile::tempdir().unwrap();
    let vault = Vault::with_threads(1);
    let bytes = long_contents();
    let (image, keys) = (vault.backup("disk", &bytes), keys(5));
    let of = vault.origin(&image, &keys, directory.path());
    let records = records(directory.path());
    for (name, key) in [("clear", None), ("sealed", Some(KeyNumber(2)))] {
        let path = directory.path().join(name);
        let make = |watch: &dyn Watch| {
            let (place, cache) = (Place::File(path.clone()), HostCache::Direct);
            new_volume::plain(&records, &of, &id("new"), place, cache, key, watch)
        };
        let meddler = Meddler { make: &|| make(&Unwatched).err(), told: Mutex::default() };
        let volume = make(&meddler).unwrap();
        let told = meddler.told.into_inner().unwrap();
        let is_busy = matches!(told, Some(RestoreError::Clone(CloneError::Busy { .. })));
        assert!(is_busy, "{told:?}");
        let read = contents_with(&volume, &keys, directory.path());
        assert_eq!(first_difference(&read, &bytes), None);
        let names = std::fs::read_dir(directory.path()).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let left: Vec<_> = names.filter(|it| it.starts_with(&format!("{name}."))).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn what_was_encrypted_is_in_the_clear_only_where_that_is_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("new.raw");
    let (records, none) = (records(directory.path()), VolumeKeys::none());
    let masters = Masters::create(&directory.path().join("masters")).unwrap();
    let pool = pool(directory.path());
    let (volume, _) = volume(directory.path(), &contents_of(2));
    for label in ["backup.encrypted", "capture.encrypted"] {
        let vault = Vault::new(Some(project_key()));
        let image = vault.labelled(label, &contents_of(4));
        let mut of = vault.origin(&image, &none, directory.path());
        let new = |of: &Origin<'_>| {
            let place = Place::File(path.clone());
            let cache = HostCache::Direct;
            new_volume::plain(&records, of, &id("new"), place, cache, None, &Unwatched)
        };
        let over = |manner| restore(&records, &of, Subject::Plain(&volume), manner, &Unwatched);
        for refused in [
            new(&of).unwrap_err(),
            over(Manner::Over).unwrap_err(),
            over(Manner::Beside { keeps_old: false }).unwrap_err(),
            masters.obtain(&of, &Unwatched).unwrap_err(),
            new_volume::instant(&masters, &of, &pool, &id("one"), &Unwatched).unwrap_err(),
        ] {
            assert!(matches!(refused, RestoreError::WouldBeClear(_)), "{refused}");
        }
        assert!(records.under_way().unwrap().is_empty() && !path.exists());
        assert!(masters.find(&image.image().id.into()).unwrap().is_none());
        assert!(contents(&volume, directory.path()) == contents_of(2));
        of.may_be_clear = true;
        new(&of).unwrap();
        assert!(std::fs::read(&path).unwrap() == contents_of(4));
        std::fs::remove_file(&path).unwrap();
    }
}

#[test]
fn what_was_encrypted_becomes_an_encrypted_volume_or_clone_of_whatever_length() {
    let directory = tempfile::tempdir().unwrap();
    let vault = Vault::new(Some(project_key()));
    // Of no whole number of sectors.
    let bytes = &contents_of(4)[..(3 << 20) + 100];
    let image = vault.labelled("backup.encrypted", bytes);
    let (records, keys, master_key) = (records(directory.path()), keys(5), master_key());
    let of = vault.origin(&image, &keys, directory.path());
    let (cache, key) = (HostCache::Buffered, Some(KeyNumber(2)));
    let place = Place::File(directory.path().join("new.raw"));
    let plain = new_volume::plain(&records, &of, &id("new"), place, cache, key, &Unwatched);
    let masters = Masters::create(&directory.path().join("masters")).unwrap();
    let (pool, numbers) = (pool(directory.path()), (KeyNumber(3), &master_key));
    let clone =
        new_volume::instant_encrypted(&masters, &of, &pool, &id("one"), numbers, &Unwatched);
    let clone = clone.unwrap().volume(Durability::default(), cache).unwrap();
    let keys = keys.clone().with_master(master_key.clone());
    for volume in [plain.unwrap(), clone] {
        assert!(volume.key().is_some());
        let read = contents_with(&volume, &keys, directory.path());
        assert_eq!(first_difference(&read[..bytes.len()], bytes), None);
        assert_eq!(read[bytes.len()..], [0; 412]);
    }
}

#[test]
fn masters_of_zeros_and_of_longer_disks_are_made_once_and_removed_with_their_locks() {
    let directory = tempfile::tempdir().unwrap();
    let vault = Vault::new(None);
    let bytes = contents_of(1);
    let image = vault.backup("disk", &bytes);
    let none = VolumeKeys::none();
    let of = vault.origin(&image, &none, directory.path());
    let at = directory.path().join("masters");
    let masters = Masters::create(&at).unwrap();
    let longer = masters.obtain_longer(&of, 8 << 20, None, &Unwatched).unwrap();
    let read = std::fs::read(file_of(&longer)).unwrap();
    assert!(read[..bytes.len()] == bytes && read[bytes.len()..].iter().all(|it| *it == 0));
    assert_eq!((read.len(), longer.size()), (8 << 20, 8 << 20));
    let zeros = masters.zeros(1 << 40, &Unwatched).unwrap();
    assert_eq!(zeros.size(), 1 << 40);
    assert!(masters.find(&image.image().id.into()).unwrap().is_none());
    for name in [MasterName::Longer(image.image().id, 8 << 20), MasterName::Zeros(1 << 40)] {
        assert!(masters.find(&name).unwrap().is_some());
        masters.remove(&name).unwrap();
    }
    assert_eq!(std::fs::read_dir(at).unwrap().count(), 0);
}

#[test]
fn a_master_that_somebody_is_about_to_clone_is_not_removed_and_one_that_was_let_go_is() {
    let directory = tempfile::tempdir().unwrap();
    let pool = pool(directory.path());
    let masters = Masters::create(&directory.path().join("masters")).unwrap();
    let name = MasterName::Zeros(1 << 20);
    let held = masters.held_zeros(1 << 20, &Unwatched).unwrap();
    let busy = masters.remove(&name).unwrap_err();
    assert!(matches!(busy, RestoreError::Clone(CloneError::Busy { .. })), "{busy}");
    held.clone_into(&pool, &[id("one")]).unwrap();
    // Who asks for the same one has it beside: making an encrypted clone takes seconds.
    let second = masters.held_zeros(1 << 20, &Unwatched).unwrap();
    drop(held);
    masters.remove(&name).unwrap_err();
    let clone = second.find(&id("one")).unwrap();
    second.remove_clone(&clone).unwrap();
    drop(second);
    masters.remove(&name).unwrap();
    assert!(masters.find(&name).unwrap().is_none());
}

#[test]
fn masters_are_listed_with_what_they_take_and_so_is_what_killed_work_has_left_of_them() {
    let directory = tempfile::tempdir().unwrap();
    let vault = Vault::new(None);
    let image = vault.backup("disk", &contents_of(1));
    let none = VolumeKeys::none();
    let of = vault.origin(&image, &none, directory.path());
    let at = directory.path().join("masters");
    let masters = Masters::create(&at).unwrap();
    let pool = pool(directory.path());
    assert!(masters.list().unwrap().is_empty());
    let clone = new_volume::instant(&masters, &of, &pool, &id("one"), &Unwatched).unwrap();
    masters.zeros(1 << 30, &Unwatched).unwrap();
    let (fetched, removed) = (MasterName::Zeros(1 << 20), MasterName::Zeros(2 << 20));
    std::fs::write(at.join(format!("{fetched}.raw")), vec![1; 1 << 20]).unwrap();
    std::fs::create_dir(at.join(format!("{removed}.removed"))).unwrap();
    std::fs::write(at.join(format!("{removed}.removed/image")), vec![1; 1 << 20]).unwrap();
    std::fs::write(at.join("masters.json"), "{}").unwrap();
    let listed = masters.list().unwrap();
    let of_name = |name: MasterName| listed.iter().find(|it| it.name == name).unwrap();
    assert_eq!(listed.len(), 4);
    let whole = of_name(image.image().id.into());
    assert_eq!((whole.stage, whole.clones, whole.is_encrypted), (Stage::Whole, 1, false));
    assert_eq!(whole.size, Some(image.image().size));
    let zeros = of_name(MasterName::Zeros(1 << 30));
    assert_eq!((zeros.stage, zeros.clones, zeros.size), (Stage::Whole, 0, Some(1 << 30)));
    assert!(whole.bytes > 0 && zeros.bytes < 1 << 20, "{listed:?}");
    for part in [fetched, removed] {
        let seen = of_name(part);
        assert_eq!((seen.stage, seen.clones, seen.size), (Stage::Partial, 0, None));
        assert!(seen.bytes >= 1 << 20, "{seen:?}");
        masters.remove(&part).unwrap();
        assert_eq!(masters.look(&part).unwrap(), None);
    }
    // Of one that can't be read nobody knows what stands on it.
    let manifest = at.join(format!("{}/master.json", image.image().id));
    let text = std::fs::read(&manifest).unwrap();
    std::fs::remove_file(&manifest).unwrap();
    let damaged = masters.look(&image.image().id.into()).unwrap().unwrap();
    assert_eq!(damaged.stage, Stage::Damaged);
    masters.remove(&image.image().id.into()).unwrap_err();
    std::fs::write(&manifest, text).unwrap();
    masters.find(&image.image().id.into()).unwrap().unwrap().remove_clone(&clone).unwrap();
    masters.remove(&image.image().id.into()).unwrap();
}

//! Restores over volumes that held something else.

use super::*;
use crate::{
    backup::plan::{FullReason, Plan, Published, Survey, decide},
    clone::Master,
    encryption::{KeyNumber, VolumeKeys},
    storage_daemon::StorageDaemon,
    testing::{
        contents, contents_with, first_difference, ids, keys, loop_device::Loop, master, open, pool,
    },
};

const KEEPING: Manner = Manner::Beside { keeps_old: true };
const LETTING_GO: Manner = Manner::Beside { keeps_old: false };

/// A vault with an image of the first contents, and a volume of the second.
fn set_up(directory: &Path) -> (Vault, Visible, Volume, PathBuf) {
    let vault = Vault::with_threads(1);
    let image = vault.backup("disk", &contents_of(1));
    let (volume, path) = volume(directory, &contents_of(2));
    (vault, image, volume, path)
}

fn clone_of(master: &Master, id: &VolumeId) -> Volume {
    let clone = master.find(id).unwrap();
    clone.volume(Durability::default(), HostCache::Direct).unwrap()
}

fn subject<'a>(master: &'a Master, id: &'a VolumeId) -> Subject<'a> {
    let durability = Durability::default();
    Subject::Clone { master, id, durability, cache: HostCache::Direct }
}

#[test]
fn a_plain_volume_is_replaced_as_a_whole_and_the_old_one_kept_where_wanted() {
    let directory = tempfile::tempdir().unwrap();
    let (vault, image, volume, path) = set_up(directory.path());
    let none = VolumeKeys::none();
    let of = vault.origin(&image, &none, directory.path());
    let records = records(directory.path());
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
    let done = restore(&records, &of, Subject::Plain(&volume), KEEPING, &Unwatched).unwrap();
    assert_eq!((&done.volume, done.size), (&volume, contents_of(1).len() as u64));
    assert_eq!(std::fs::read(&path).unwrap(), contents_of(1));
    let mode = std::os::unix::fs::MetadataExt::mode(&path.metadata().unwrap());
    assert_eq!(mode & 0o777, 0o640);
    assert_eq!(contents(&done.kept.unwrap(), directory.path()), contents_of(2));
    assert!(records.under_way().unwrap().is_empty());
    // The next one is kept beside it; and then none is.
    let again = restore(&records, &of, Subject::Plain(&volume), KEEPING, &Unwatched).unwrap();
    let second = directory.path().join("disk.raw.replaced-1");
    assert_eq!(again.kept.unwrap().place(), &Place::File(second));
    let last = restore(&records, &of, Subject::Plain(&volume), LETTING_GO, &Unwatched).unwrap();
    assert_eq!(last.kept, None);
    assert!(!directory.path().join("disk.raw.replaced-2").exists());
    assert!(!directory.path().join("disk.raw.restoring").exists());
}

#[test]
fn of_a_volume_that_is_named_by_a_link_the_file_is_replaced_where_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let (vault, image, _, path) = set_up(directory.path());
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let volume = super::plain("disk", Place::File(link.clone()));
    let none = VolumeKeys::none();
    let of = vault.origin(&image, &none, directory.path());
    let records = records(directory.path());
    restore(&records, &of, Subject::Plain(&volume), LETTING_GO, &Unwatched).unwrap();
    assert!(link.symlink_metadata().unwrap().is_symlink());
    assert!(path.symlink_metadata().unwrap().is_file());
    assert_eq!(std::fs::read(&path).unwrap(), contents_of(1));
    let done = restore(&records, &of, Subject::Plain(&volume), KEEPING, &Unwatched).unwrap();
    let kept = directory.path().canonicalize().unwrap().join("disk.raw.replaced-0");
    assert_eq!(done.kept.unwrap().place(), &Place::File(kept));
}

#[test]
fn a_volume_whose_image_is_damaged_stays_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let (vault, image, volume, path) = set_up(directory.path());
    vault.damage();
    let none = VolumeKeys::none();
    let of = vault.origin(&image, &none, directory.path());
    let records = records(directory.path());
    for manner in [KEEPING, LETTING_GO, Manner::Over] {
        let error =
            restore(&records, &of, Subject::Plain(&volume), manner, &Unwatched).unwrap_err();
        let is_told = matches!(
            error,
            RestoreError::Archive(ArchiveError::Chunk { .. }) | RestoreError::Damaged { .. }
        );
        assert!(is_told, "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), contents_of(2));
        records.check(volume.id()).unwrap();
        cancel(&records, Subject::Plain(&volume)).unwrap();
        let left = std::fs::read_dir(directory.path()).unwrap().count();
        // The volume and the records.
        assert_eq!(left, 2);
    }
}

#[test]
fn a_volume_in_use_is_not_restored_and_no_guest_can_be_started_meanwhile() {
    struct Starts<'a>(&'a Volume, &'a Path, AtomicU64);
    impl Watch for Starts<'_> {
        fn tell(&self, _progress: Progress) {
            if self.2.fetch_add(1, Ordering::SeqCst) == 0 {
                let refused = StorageDaemon::start(&self.0.blockdev(), self.1).unwrap_err();
                assert!(refused.to_string().contains("lock"), "{refused}");
            }
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let (vault, image, volume, path) = set_up(directory.path());
    let none = VolumeKeys::none();
    let of = vault.origin(&image, &none, directory.path());
    let records = records(directory.path());
    let daemon = open(&volume, &none, directory.path());
    for manner in [KEEPING, LETTING_GO, Manner::Over] {
        let error =
            restore(&records, &of, Subject::Plain(&volume), manner, &Unwatched).unwrap_err();
        assert!(matches!(error, RestoreError::InUse(_)), "{error}");
    }
    daemon.end().unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), contents_of(2));
    for manner in [LETTING_GO, Manner::Over] {
        let starts = Starts(&volume, directory.path(), AtomicU64::new(0));
        restore(&records, &of, Subject::Plain(&volume), manner, &starts).unwrap();
        assert!(starts.2.into_inner() > 0);
        std::fs::write(&path, contents_of(2)).unwrap();
    }
}

#[test]
fn what_is_written_over_is_half_restored_until_it_is_done_again() {
    let directory = tempfile::tempdir().unwrap();
    let vault = Vault::with_threads(1);
    let (bytes, old) = (long_contents(), contents_of(20).repeat(12));
    let image = vault.backup("disk", &bytes);
    let (volume, path) = volume(directory.path(), &old);
    let none = VolumeKeys::none();
    let of = vault.origin(&image, &none, directory.path());
    let records = records(directory.path());
    let over =
        |watch: &dyn Watch| restore(&records, &of, Subject::Plain(&volume), Manner::Over, watch);
    let watch = Impatient::once_written();
    assert!(is_cancelled(&over(&watch).unwrap_err()));
    let half = std::fs::read(&path).unwrap();
    assert!(half != bytes && half != old);
    let error = records.check(volume.id()).unwrap_err();
    assert!(matches!(error, RestoreError::HalfRestored { .. }), "{error}");
    assert_eq!(records.under_way().unwrap(), [(volume.id().clone(), image.image().id)]);
    let error = cancel(&records, Subject::Plain(&volume)).unwrap_err();
    assert!(matches!(error, RestoreError::HalfRestored { .. }), "{error}");
    // Nor would another way do: the old file would be kept as if it were whole.
    let beside = restore(&records, &of, Subject::Plain(&volume), KEEPING, &Unwatched).unwrap_err();
    assert!(matches!(beside, RestoreError::OtherRestore(_)), "{beside}");
    let Restored { written, .. } = over(&Unwatched).unwrap();
    assert!(std::fs::read(&path).unwrap() == bytes);
    records.check(volume.id()).unwrap();
    // Nothing was written twice.
    std::fs::write(&path, &old).unwrap();
    let all = over(&Unwatched).unwrap().written;
    assert_eq!(watch.written.into_inner() + written, all);
}

#[test]
fn a_device_is_written_over_with_nothing_left_of_what_it_held() {
    let directory = tempfile::tempdir().unwrap();
    let vault = Vault::new(None);
    let bytes = contents_of(1);
    let image = vault.backup("disk", &bytes);
    let file = directory.path().join("lun");
    std::fs::write(&file, vec![7; 5 << 20]).unwrap();
    let device = Loop::of(&file);
    let lun = plain("lun", Place::Device(device.0.clone()));
    let none = VolumeKeys::none();
    let of = vault.origin(&image, &none, directory.path());
    let records = records(directory.path());
    let error = restore(&records, &of, Subject::Plain(&lun), KEEPING, &Unwatched).unwrap_err();
    assert!(matches!(error, RestoreError::NoName { .. }), "{error}");
    restore(&records, &of, Subject::Plain(&lun), Manner::Over, &Unwatched).unwrap();
    let read = std::fs::read(&device.0).unwrap();
    assert!(read[..bytes.len()] == bytes && read[bytes.len()..].iter().all(|byte| *byte == 0));
    let long = vault.backup("disk", &contents_of(1).repeat(2));
    let of = vault.origin(&long, &none, directory.path());
    let error = restore(&records, &of, Subject::Plain(&lun), Manner::Over, &Unwatched).unwrap_err();
    assert!(matches!(error, RestoreError::TooSmall { .. }), "{error}");
    assert!(std::fs::read(&device.0).unwrap() == read);
    records.check(lun.id()).unwrap();
}

#[test]
fn a_clone_becomes_plain_with_its_overlay_kept_and_its_next_backup_reads_all() {
    let directory = tempfile::tempdir().unwrap();
    let vault = Vault::with_threads(1);
    let image = vault.backup("clone-0", &contents_of(1));
    let (master, bytes) = master(directory.path());
    let id = ids(1).remove(0);
    master.clone_into(&pool(directory.path()), std::slice::from_ref(&id)).unwrap();
    let none = VolumeKeys::none();
    let of = vault.origin(&image, &none, directory.path());
    let records = records(directory.path());
    let of_clone = subject(&master, &id);
    let error = restore(&records, &of, of_clone, Manner::Over, &Unwatched).unwrap_err();
    assert!(matches!(error, RestoreError::Overlay(_)), "{error}");
    let done = restore(&records, &of, of_clone, LETTING_GO, &Unwatched).unwrap();
    assert_eq!(done.volume, clone_of(&master, &id));
    assert_eq!(done.volume.durability(), Durability::Plain);
    assert_eq!(contents(&done.volume, directory.path()), contents_of(1));
    let kept = done.kept.unwrap();
    assert_eq!(first_difference(&contents(&kept, directory.path()), &bytes), None);
    // A raw file has no bitmaps, so what has changed since the backup is not known.
    let survey = Survey { size: done.size, is_encrypted: false, bitmaps: Vec::new() };
    let (image, point) = (image.image().id, crate::backup::name::PointId::new([1; 16]));
    let published = [Published { image, point, size: done.size, created_ms: 0 }];
    let decided = decide(&survey, &published, false);
    assert_eq!(decided.plan, Plan::Full(FullReason::BitmapMissing));
    assert!(FullReason::BitmapMissing.to_string().contains("restored"));
    // Once more, beside the first one, which goes.
    let first = done.volume.place().clone();
    let done = restore(&records, &of, of_clone, LETTING_GO, &Unwatched).unwrap();
    assert!(!first.path().unwrap().exists() && *done.volume.place() != first);
    assert_eq!((done.kept, clone_of(&master, &id)), (None, done.volume.clone()));
    assert_eq!(contents(&done.volume, directory.path()), contents_of(1));
    // Its record is of the clone all the same.
    let clone = master.find(&id).unwrap();
    master.remove_clone(&clone).unwrap();
    assert!(!kept.place().path().unwrap().exists());
}

#[test]
fn an_encrypted_clone_is_restored_to_an_encrypted_volume() {
    let directory = tempfile::tempdir().unwrap();
    let vault = Vault::new(Some(crate::testing::vault::project_key()));
    let mut words = b"nobody may read this ".repeat(60_000);
    words.resize(1 << 20, 0);
    let image = vault.backup("clone-0", &words);
    let (master, _) = master(directory.path());
    let (id, keys) = (ids(1).remove(0), keys(2));
    let pool = pool(directory.path());
    master.clone_encrypted(&pool, &id, KeyNumber(1), &keys).unwrap();
    let of = vault.origin(&image, &keys, directory.path());
    let records = records(directory.path());
    let done = restore(&records, &of, subject(&master, &id), KEEPING, &Unwatched).unwrap();
    assert_eq!(done.volume, clone_of(&master, &id));
    let read = contents_with(&done.volume, &keys, directory.path());
    assert_eq!(first_difference(&read, &words), None);
    let file = std::fs::read(done.volume.place().path().unwrap()).unwrap();
    assert!(!file.windows(20).any(|window| window == &words[..20]));
    // And over it as it lies there.
    let other = vault.backup("clone-0", &words.iter().rev().copied().collect::<Vec<_>>());
    let of = vault.origin(&other, &keys, directory.path());
    restore(&records, &of, subject(&master, &id), Manner::Over, &Unwatched).unwrap();
    let read = contents_with(&done.volume, &keys, directory.path());
    assert!(read.iter().eq(words.iter().rev()));
}

#[test]
fn an_encrypted_volume_that_is_not_kept_leaves_no_header_that_its_key_opens() {
    let directory = tempfile::tempdir().unwrap();
    let vault = Vault::with_threads(1);
    let image = vault.backup("clone-0", &vec![7; 1 << 20]);
    let (master, _) = master(directory.path());
    let (id, keys) = (ids(1).remove(0), keys(2));
    master.clone_encrypted(&pool(directory.path()), &id, KeyNumber(1), &keys).unwrap();
    let of = vault.origin(&image, &keys, directory.path());
    let records = records(directory.path());
    let of_clone = subject(&master, &id);
    let done = restore(&records, &of, of_clone, KEEPING, &Unwatched).unwrap();
    // What somebody has of the file by another name is what the disk has of it.
    let mut volume = done.volume;
    for is_clone in [true, false] {
        let copy = directory.path().join(format!("copy-{is_clone}"));
        std::fs::hard_link(volume.place().path().unwrap(), &copy).unwrap();
        let begin = || std::fs::read(&copy).unwrap()[..6].to_vec();
        assert_eq!(begin(), b"LUKS\xba\xbe");
        let subject = if is_clone { of_clone } else { Subject::Plain(&volume) };
        let done = restore(&records, &of, subject, LETTING_GO, &Unwatched).unwrap();
        assert_ne!(begin(), b"LUKS\xba\xbe");
        assert_eq!(contents_with(&done.volume, &keys, directory.path()), vec![7; 1 << 20]);
        volume = done.volume;
    }
}

#[test]
fn what_was_begun_is_given_up_without_a_trace() {
    let directory = tempfile::tempdir().unwrap();
    let (vault, image, volume, path) = set_up(directory.path());
    let (master, bytes) = master(directory.path());
    let clone = ids(1).remove(0);
    master.clone_into(&pool(directory.path()), std::slice::from_ref(&clone)).unwrap();
    let none = VolumeKeys::none();
    let of = vault.origin(&image, &none, directory.path());
    let records = records(directory.path());
    let names = || {
        let entries = std::fs::read_dir(directory.path()).unwrap();
        entries.map(|entry| entry.unwrap().file_name()).collect::<std::collections::BTreeSet<_>>()
    };
    let before = names();
    for subject in [Subject::Plain(&volume), subject(&master, &clone)] {
        let error = restore(&records, &of, subject, KEEPING, &Impatient::at_once()).unwrap_err();
        assert!(is_cancelled(&error), "{error}");
        assert_eq!(names().len(), before.len() + 1);
        assert_eq!(records.under_way().unwrap().len(), 1);
        cancel(&records, subject).unwrap();
        assert_eq!(names(), before);
        assert!(records.under_way().unwrap().is_empty());
    }
    assert_eq!(std::fs::read(&path).unwrap(), contents_of(2));
    let now = contents(&clone_of(&master, &clone), directory.path());
    assert_eq!(first_difference(&now, &bytes), None);
}

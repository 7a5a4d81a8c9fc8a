//! Headers that are erased, and what is left.

use std::fs::File;

use super::*;
use crate::{
    encryption::erasure::{Doubt, EraseError, Erased, erase},
    volume::Data,
};

/// What is to be said of an erasure on this file system.
pub(super) fn expected(path: &Path) -> Erased {
    use nix::sys::statfs::{EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, statfs};
    let kind = statfs(path).unwrap().filesystem_type();
    if kind == EXT4_SUPER_MAGIC || kind == XFS_SUPER_MAGIC {
        Erased::InPlace
    } else {
        Erased::Unsure(Doubt::FileSystem)
    }
}

#[test]
fn an_erased_volume_opens_with_no_key_and_has_nothing_of_its_header_left() {
    let directory = tempfile::tempdir().unwrap();
    let run = directory.path();
    let (master, _) = master(run);
    let keys = keys(1);
    let clone = master.clone_encrypted(&pool(run), &ids(1)[0], ONE, &keys).unwrap();
    let volume = volume(&clone);
    let daemon = open(&volume, &keys, run);
    let busy = master.erase_clone(&clone).unwrap_err();
    assert!(matches!(busy, CloneError::InUse(_)), "{busy}");
    daemon.end().unwrap();
    let before = fs::read(clone.path()).unwrap();
    let range = header::in_qcow2(&before[..header::HEAD]).unwrap().unwrap();
    let [begin, end] = [range.start, range.end].map(|at| usize::try_from(at).unwrap());
    // What somebody has kept of it, as if it was not unlinked.
    let kept = run.join("kept");
    fs::hard_link(clone.path(), &kept).unwrap();
    assert_eq!(master.erase_clone(&clone).unwrap(), expected(&kept));
    assert!(!clone.path().exists());
    let after = fs::read(&kept).unwrap();
    let is_left = |sector: &[u8]| sector.iter().any(|byte| *byte != 0);
    for (old, new) in before[begin..end].chunks(512).zip(after[begin..end].chunks(512)) {
        assert!(!is_left(old) || old != new);
    }
    assert_eq!(before[..begin], after[..begin]);
    fs::rename(&kept, clone.path()).unwrap();
    let secrets = volume.secrets(&keys).unwrap();
    let error = StorageDaemon::start_with(&volume.blockdev(), &secrets, run).unwrap_err();
    assert!(matches!(error, DaemonError::Ended { .. }), "{error}");
    // A file that is not encrypted has nothing to erase.
    let clear = master.clone_into(&pool(run), &[id("clear")]).unwrap().remove(0);
    assert_eq!(master.erase_clone(&clear).unwrap(), Erased::Nothing);
}

#[test]
fn a_plain_volume_in_use_and_one_in_the_clear_are_not_erased() {
    let directory = tempfile::tempdir().unwrap();
    let run = directory.path();
    let path = run.join("clear");
    File::create(&path).unwrap().set_len(4 << 20).unwrap();
    let place = Place::File(path.clone());
    assert!(matches!(erase(&place), Err(EraseError::Header { .. })));
    assert!(matches!(erase(&Place::Device(path)), Err(EraseError::Io { .. })));
    let (id, keys) = (id("plain"), keys(1));
    let path = run.join("plain");
    let form = image::Form::Luks;
    image::make(&path, 4 << 20, &form, (&id, ONE, &keys), || Ok(())).unwrap();
    let place = Place::File(path.clone());
    let data = Data::Plain(place.clone());
    let volume = Volume::new(id, data, Durability::Plain, HostCache::Direct).unwrap();
    let volume = volume.encrypted(ONE);
    let daemon = open(&volume, &keys, run);
    daemon.open().unwrap().write(0, &KNOWN.repeat(32)).unwrap();
    assert!(matches!(erase(&place), Err(EraseError::InUse(_))));
    daemon.end().unwrap();
    assert!(!is_readable(&path));
    assert_eq!(contents_with(&volume, &keys, run)[..16], KNOWN[..]);
    assert_eq!(erase(&place).unwrap(), expected(&path));
}

#[test]
fn a_clone_whose_header_says_that_its_keys_are_where_the_file_is_not_is_removed_with_a_doubt() {
    let directory = tempfile::tempdir().unwrap();
    let run = directory.path();
    let (master, _) = master(run);
    let clone = master.clone_encrypted(&pool(run), &ids(1)[0], ONE, &keys(1)).unwrap();
    let mut head = fs::read(clone.path()).unwrap();
    let begin = header::in_qcow2(&head[..header::HEAD]).unwrap().unwrap().start.to_be_bytes();
    let at = head[..header::HEAD].windows(8).position(|bytes| bytes == begin).unwrap();
    // As a QEMU may leave it that its guest has broken out of.
    let far = (1_u64 << 62).to_be_bytes();
    let file = File::options().write(true).open(clone.path()).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &far, at as u64).unwrap();
    head[at..at + 8].copy_from_slice(&far);
    let kept = run.join("kept");
    fs::hard_link(clone.path(), &kept).unwrap();
    assert_eq!(master.erase_clone(&clone).unwrap(), Erased::Unsure(Doubt::NoHeader));
    assert!(!clone.path().exists());
    assert!(fs::read(&kept).unwrap() == head, "something was written");
}

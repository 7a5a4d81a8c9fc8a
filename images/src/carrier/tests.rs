//! Disks that are files, and loop devices, whose owner and volume are told by their marks.

use std::{
    fs::File,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::PathBuf,
};

use nix::fcntl::OFlag;

use super::*;
use crate::{
    archive::Unwatched, encryption::VolumeKey, restore::whole_disk, testing::loop_device::Loop,
};

const LENGTH: u64 = 16 << 20;

fn owner(site: &str) -> Owner {
    Owner { site: site.into(), pool: "disks".into() }
}

fn carried(volume: &str) -> Carried {
    Carried {
        volume: VolumeId::parse(volume).unwrap(),
        host: "hv-1".into(),
        size: 1 << 20,
        length: 1 << 20,
        keyslots: None,
        is_whole: false,
    }
}

/// A disk that is a file.
struct Disk {
    _directory: tempfile::TempDir,
    path: PathBuf,
    carrier: Carrier,
}

impl Disk {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk");
        File::create(&path).unwrap().set_len(LENGTH).unwrap();
        let carrier = Carrier { place: Place::File(path.clone()), access: None };
        Self { _directory: directory, path, carrier }
    }

    fn put(&self, at: u64, bytes: &[u8]) {
        File::options().write(true).open(&self.path).unwrap().write_all_at(bytes, at).unwrap();
    }

    fn bytes(&self) -> Vec<u8> {
        std::fs::read(&self.path).unwrap()
    }

    fn mark(&self) -> Mark {
        match self.carrier.look().unwrap().found {
            Found::Mark(mark) => *mark,
            found => panic!("no mark: {found:?}"),
        }
    }
}

#[test]
fn a_blank_disk_is_taken_in_and_carries_one_volume_until_it_is_freed() {
    let disk = Disk::new();
    let (carrier, site) = (&disk.carrier, owner("one"));
    assert_eq!(carrier.look().unwrap().found, Found::Blank);
    let early = carrier.claim(&site, carried("web")).unwrap_err();
    assert!(matches!(early, CarrierError::NotOurs { .. }), "{early}");
    carrier.take_in(&site, false).unwrap();
    carrier.claim(&site, carried("web")).unwrap();
    let taken = carrier.claim(&site, carried("other")).unwrap_err();
    assert!(matches!(taken, CarrierError::Taken { .. }), "{taken}");
    // A pool that is made once more leaves it as it is, named or not.
    carrier.take_in(&site, true).unwrap();
    assert_eq!(disk.mark().carried, Some(carried("web")));
    let whole = Carried { is_whole: true, ..carried("web") };
    let noted = carrier.note(&site, &whole.volume, |it| Carried { is_whole: true, ..it });
    assert_eq!(noted.unwrap(), whole);
    disk.put(0, b"a partition table");
    let other = VolumeId::parse("other").unwrap();
    let replaced = carrier.release(&site, &other).unwrap_err();
    assert!(matches!(replaced, CarrierError::Replaced { .. }), "{replaced}");
    assert_eq!(carrier.release(&site, &whole.volume).unwrap(), Erased::Nothing);
    assert_eq!(disk.mark().carried, None);
    assert!(disk.bytes()[..1 << 20].iter().all(|byte| *byte == 0));
    carrier.claim(&site, carried("other")).unwrap();
}

#[test]
fn data_of_others_is_left_alone_unless_the_disk_is_named() {
    let site = owner("one");
    for (at, bytes) in [(512, &b"EFI PART"[..]), (LENGTH - 4096, b"RAID"), (70_000, b"x")] {
        let disk = Disk::new();
        disk.put(at, bytes);
        let before = disk.bytes();
        let seen = disk.carrier.look().unwrap();
        let checked = disk.carrier.check_taking(&seen, &site, false);
        for refused in [checked, disk.carrier.take_in(&site, false)] {
            let refused = refused.unwrap_err();
            assert!(matches!(refused, CarrierError::NotOurs { .. }), "{refused}");
        }
        assert_eq!(disk.bytes(), before);
        disk.carrier.check_taking(&seen, &site, true).unwrap();
        disk.carrier.take_in(&site, true).unwrap();
        assert_eq!(disk.mark().carried, None);
        let at = usize::try_from(at).unwrap();
        assert!(disk.bytes()[at..at + bytes.len()].iter().all(|byte| *byte == 0));
    }
}

#[test]
fn a_disk_of_another_site_or_pool_is_not_given_out_by_this_one() {
    let disk = Disk::new();
    let (one, other) = (owner("one"), owner("other"));
    disk.carrier.take_in(&one, false).unwrap();
    disk.carrier.claim(&one, carried("web")).unwrap();
    let before = disk.bytes();
    let pool = Owner { pool: "more".into(), ..one.clone() };
    for stranger in [&other, &pool] {
        let said = disk.carrier.take_in(stranger, false).unwrap_err().to_string();
        assert!(said.contains("carries the volume web") && said.contains("hv-1"), "{said}");
        assert!(disk.carrier.claim(stranger, carried("mine")).is_err());
        assert!(disk.carrier.release(stranger, &carried("web").volume).is_err());
        assert!(disk.carrier.note(stranger, &carried("web").volume, |it| it).is_err());
    }
    // Nor is it taken over: a guest of that one may run on it, and no lock of a LUN would tell.
    let seen = disk.carrier.look().unwrap();
    for refused in
        [disk.carrier.check_taking(&seen, &other, true), disk.carrier.take_in(&other, true)]
    {
        let refused = refused.unwrap_err();
        assert!(matches!(refused, CarrierError::Carries { .. }), "{refused}");
    }
    assert_eq!(disk.bytes(), before);
    disk.put(LENGTH - (2 << 20), &[0; 2 << 20]);
    disk.carrier.take_in(&other, true).unwrap();
    disk.carrier.claim(&other, carried("mine")).unwrap();
    assert!(disk.carrier.claim(&one, carried("web")).is_err());
}

#[test]
fn a_disk_that_has_become_longer_or_is_a_copy_of_another_length_is_not_ours() {
    let disk = Disk::new();
    disk.carrier.take_in(&owner("one"), false).unwrap();
    File::options().write(true).open(&disk.path).unwrap().set_len(LENGTH + 512).unwrap();
    let found = disk.carrier.look().unwrap().found;
    assert_eq!(found, Found::Faulty(MarkFault::OtherLength(LENGTH)));
    assert!(found.to_string().contains(&LENGTH.to_string()), "{found}");
    // What it carries is not known, so it is nobody's to give up.
    let refused = disk.carrier.take_in(&owner("one"), true).unwrap_err();
    assert!(matches!(refused, CarrierError::Carries { .. }), "{refused}");
    let claimed = disk.carrier.claim(&owner("one"), carried("web")).unwrap_err();
    assert!(matches!(claimed, CarrierError::Mark { .. }), "{claimed}");
}

#[test]
fn a_disk_that_is_too_short_for_a_mark_is_told() {
    let disk = Disk::new();
    File::options().write(true).open(&disk.path).unwrap().set_len(1 << 20).unwrap();
    let short = disk.carrier.take_in(&owner("one"), true).unwrap_err();
    assert!(matches!(short, CarrierError::TooShort { length: 1_048_576, .. }), "{short}");
}

#[test]
fn a_device_that_is_part_of_another_is_in_use_whatever_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk");
    File::create(&path).unwrap().set_len(LENGTH).unwrap();
    let device = Loop::of(&path);
    let carrier = Carrier::device(&device.0);
    // As mounting does (open(2)).
    let mut options = File::options();
    let held = options.read(true).write(true).custom_flags(OFlag::O_EXCL.bits()).open(&device.0);
    let held = held.unwrap();
    for is_named in [false, true] {
        let refused = carrier.take_in(&owner("one"), is_named).unwrap_err();
        assert!(matches!(refused, CarrierError::InUse { .. }), "{refused}");
    }
    drop(held);
    carrier.take_in(&owner("one"), false).unwrap();
}

#[test]
fn a_volume_is_all_zeros_whatever_was_on_its_disk_and_ends_where_it_ends() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk");
    std::fs::write(&path, vec![7; usize::try_from(LENGTH).unwrap()]).unwrap();
    let device = Loop::of(&path);
    let (carrier, site) = (Carrier::device(&device.0), owner("one"));
    carrier.take_in(&site, true).unwrap();
    let web = Carried { size: 6 << 20, length: 6 << 20, ..carried("web") };
    carrier.claim(&site, web.clone()).unwrap();
    let volume = carrier.volume(&web).unwrap();
    let none = VolumeKeys::none();
    whole_disk::clear(&volume, 0, (&none, directory.path()), &Unwatched).unwrap();
    let daemon = crate::storage_daemon::StorageDaemon::start_with(
        &volume.blockdev(),
        &volume.secrets(&none).unwrap(),
        directory.path(),
    );
    let daemon = daemon.unwrap();
    // Whoever runs it keeps others from freeing the disk, and not from noting something.
    let in_use = carrier.release(&site, &web.volume).unwrap_err();
    assert!(matches!(in_use, CarrierError::InUse { .. }), "{in_use}");
    carrier.note(&site, &web.volume, |it| Carried { is_whole: true, ..it }).unwrap();
    let mut blocks = daemon.open().unwrap();
    assert_eq!(blocks.size(), 6 << 20);
    let mut read = vec![1; 6 << 20];
    blocks.read(0, &mut read).unwrap();
    assert!(read.iter().all(|byte| *byte == 0));
    drop(blocks);
    daemon.end().unwrap();
    carrier.release(&site, &web.volume).unwrap();
    let behind = std::fs::read(&path).unwrap()[(6 << 20)..(12 << 20)].to_vec();
    assert!(behind.iter().all(|byte| *byte == 7), "what is behind the volume was written");
}

#[test]
fn an_encrypted_volume_changes_its_key_and_its_keys_go_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk");
    File::create(&path).unwrap().set_len(LENGTH).unwrap();
    let device = Loop::of(&path);
    let (carrier, site) = (Carrier::device(&device.0), owner("one"));
    carrier.take_in(&site, false).unwrap();
    let key = |byte| VolumeKey::of(zeroize::Zeroizing::new([byte; 32]));
    let (one, two) = (KeyNumber(1), KeyNumber(2));
    let keys = VolumeKeys::none().with(one, key(1)).with(two, key(2));
    let web =
        Carried { length: 3 << 20, keyslots: Some(rotation::Keyslots::One(one)), ..carried("web") };
    carrier.claim(&site, web.clone()).unwrap();
    let length = carrier.encrypt(&web, (one, &keys)).unwrap();
    let web = carrier.note(&site, &web.volume, |it| Carried { length, ..it }).unwrap();
    let volume = carrier.volume(&web).unwrap();
    whole_disk::clear(&volume, 0, (&keys, directory.path()), &Unwatched).unwrap();
    let mut header = rotation::Offline::new(&volume, &keys);
    carrier.rotate(&site, &web, two, &mut header).unwrap();
    let now = carrier.note(&site, &web.volume, |it| it).unwrap();
    assert_eq!(now.keyslots, Some(rotation::Keyslots::One(two)));
    let open = |carried: &Carried| {
        let volume = carrier.volume(carried).unwrap();
        let secrets = volume.secrets(&keys).unwrap();
        crate::storage_daemon::StorageDaemon::start_with(
            &volume.blockdev(),
            &secrets,
            directory.path(),
        )
    };
    assert!(open(&web).is_err(), "the old key opens it");
    let daemon = open(&now).unwrap();
    assert_eq!(daemon.open().unwrap().size(), 1 << 20);
    daemon.end().unwrap();
    let erased = carrier.release(&site, &web.volume).unwrap();
    assert!(matches!(erased, Erased::Unsure(_)), "{erased:?}");
    assert!(open(&now).is_err(), "its header is there");
}

#[test]
fn a_volume_is_made_longer_as_far_as_its_disk_goes_and_what_was_behind_it_is_gone() {
    let disk = Disk::new();
    let (carrier, site, web) = (&disk.carrier, owner("one"), VolumeId::parse("web").unwrap());
    carrier.take_in(&site, false).unwrap();
    carrier.claim(&site, carried("web")).unwrap();
    // Of a volume that the disk carried before.
    disk.put(2 << 20, &[7; 4096]);
    let grown = carrier.grow(&site, &web, 4 << 20, &Unwatched).unwrap();
    assert_eq!((grown.size, grown.length), (4 << 20, 4 << 20));
    assert_eq!(disk.mark().carried, Some(grown.clone()));
    assert!(disk.bytes()[1 << 20..4 << 20].iter().all(|byte| *byte == 0));
    // What is as long already stays, and nothing of it is lost.
    disk.put((4 << 20) - 4096, &[9; 4096]);
    assert_eq!(carrier.grow(&site, &web, 2 << 20, &Unwatched).unwrap(), grown);
    assert_eq!(disk.bytes()[(4 << 20) - 4096], 9);
    let full = carrier.grow(&site, &web, 16 << 20, &Unwatched).unwrap_err();
    assert!(matches!(full, CarrierError::Full { .. }), "{full}");
    let other = VolumeId::parse("other").unwrap();
    let replaced = carrier.grow(&site, &other, 5 << 20, &Unwatched).unwrap_err();
    assert!(matches!(replaced, CarrierError::Replaced { .. }), "{replaced}");
    assert_eq!(disk.mark().carried, Some(grown));
}

//! Masters on LUNs, and their clones in a pool of files.

use std::{fs::File, os::unix::fs::FileExt, process::Command};

use mezame_images::{
    clone::{CloneError, Master, Pool},
    iscsi::{Lun, LunAccess, LunError},
    volume::{Durability, Format, HostCache, VolumeId},
};

use crate::{Desk, MIB, access, bytes};

const LENGTH: usize = 8 * MIB;

fn sealed(desk: &mut Desk) -> (Master, Vec<u8>) {
    let image = desk.target.add(1, LENGTH as u64);
    let bytes = bytes(LENGTH, 1);
    std::fs::write(image, &bytes).unwrap();
    desk.target.protect(1, true);
    let at = desk.path().join("master");
    (Master::seal_lun(&desk.lun(1), Format::Raw, &at, &desk.access(1)).unwrap(), bytes)
}

#[test]
fn a_lun_is_sealed_and_whatever_is_another_one_is_noticed() {
    let mut desk = Desk::lay();
    let (master, _) = sealed(&mut desk);
    assert_eq!(master.size(), LENGTH as u64);
    master.check().unwrap();
    // As after a stop; and by another process, which is told how it is reached.
    let at = desk.path().join("master");
    let again = Master::seal_lun(&desk.lun(1), Format::Raw, &at, &desk.access(1)).unwrap();
    assert_eq!(again.backing(), master.backing());
    let other = Master::seal_lun(&desk.lun(1), Format::Qcow2, &at, &desk.access(1));
    assert!(matches!(other, Err(CloneError::MasterExists { .. })), "{other:?}");
    let opened = Master::open(&at).unwrap();
    let fault = opened.check().unwrap_err();
    assert!(matches!(fault, CloneError::Lun(LunError::NoAccess(_))), "{fault}");
    opened.reached_by(desk.access(1)).check().unwrap();
    let is_changed = || matches!(master.check(), Err(CloneError::Changed { .. }));
    // Its target takes writes to it again.
    desk.target.protect(1, false);
    assert!(is_changed());
    desk.target.protect(1, true);
    master.check().unwrap();
    desk.target.rename(1, "another");
    assert!(is_changed());
    let file = File::options().write(true).open(desk.path().join("lun-1")).unwrap();
    let (second, at) = (desk.lun(1), desk.path().join("second"));
    let second = Master::seal_lun(&second, Format::Raw, &at, &desk.access(1)).unwrap();
    file.write_all_at(b"another boot sector", 0).unwrap();
    assert!(matches!(second.check(), Err(CloneError::Changed { .. })));
    let clones = second.clone_into(&Pool::create(&desk.path().join("pool")).unwrap(), &[]);
    assert!(matches!(clones, Err(CloneError::Changed { .. })));
}

#[test]
fn what_is_on_a_lun_and_stands_on_other_files_is_no_master() {
    let mut desk = Desk::lay();
    let image = desk.target.add(1, LENGTH as u64);
    let make = |words: &[&str]| {
        let made = Command::new("qemu-img").args(words).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        let head = std::fs::read(desk.path().join("made")).unwrap();
        File::options().write(true).open(&image).unwrap().write_all_at(&head, 0).unwrap();
    };
    let made = desk.path().join("made");
    let made = made.to_str().unwrap();
    let (lun, at) = (desk.lun(1), desk.path().join("master"));
    let seal = || Master::seal_lun(&lun, Format::Qcow2, &at, &desk.access(1));
    assert!(matches!(seal(), Err(CloneError::Qcow2 { .. })));
    make(&["create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", "/etc/passwd", made, "64M"]);
    assert!(matches!(seal(), Err(CloneError::NotAlone { .. })));
    assert!(!at.exists());
    make(&["create", "-q", "-f", "qcow2", made, "64M"]);
    assert_eq!(seal().unwrap().size(), 64 << 20);
}

#[test]
fn clones_in_a_pool_share_a_lun_and_get_back_what_a_stop_took() {
    let mut desk = Desk::lay();
    let (master, mut expected) = sealed(&mut desk);
    let pool = Pool::create(&desk.path().join("pool")).unwrap();
    let ids = ["one", "two"].map(|id| VolumeId::parse(id).unwrap());
    let clones = master.clone_into(&pool, &ids).unwrap();
    let volume = |at: usize| clones[at].volume(Durability::default(), HostCache::Direct).unwrap();
    let daemon = desk.open(&volume(0));
    let _other = desk.open(&volume(1));
    let written = bytes(3 * MIB, 9);
    daemon.open().unwrap().write(MIB as u64, &written).unwrap();
    // Without a flush: what is written is not in the table.
    drop(daemon);
    expected[MIB..4 * MIB].copy_from_slice(&written);
    let recovered = clones[0].recover(HostCache::Direct, desk.path()).unwrap();
    assert!(recovered.bytes > 0, "{recovered:?}");
    assert!(desk.contents(&volume(0)) == expected);
    // Nobody has written to the LUN.
    master.check().unwrap();
    assert!(master.remove().is_err());
}

#[test]
fn a_wrong_secret_a_missing_one_and_a_lun_that_is_not_there_are_told_apart() {
    let mut desk = Desk::lay();
    desk.target.add(1, LENGTH as u64);
    let at = desk.path().join("master");
    let seal = |lun: &Lun, access: &LunAccess| match Master::seal_lun(lun, Format::Raw, &at, access)
    {
        Err(CloneError::Lun(error)) => error,
        other => panic!("{other:?}"),
    };
    let wrong = access(desk.path(), 1, "another-secret");
    let fault = seal(&desk.lun(1), &wrong);
    assert!(!format!("{fault} {fault:?}").contains("another-secret"), "{fault:?}");
    let other = Lun::parse(&desk.target.url(1).replace("mezame@", "somebody@")).unwrap();
    assert!(matches!(seal(&other, &desk.access(1)), LunError::Missing(_)));
    let absent = seal(&desk.lun(9), &desk.access(1));
    assert!(
        matches!(&absent, LunError::NoSerial { said, .. } if said.contains("LOGICAL_UNIT_NOT_SUPPORTED")),
        "{absent}"
    );
    desk.target.kill();
    assert!(matches!(seal(&desk.lun(1), &desk.access(1)), LunError::NoSerial { .. }));
    assert!(!at.exists());
}

//! A LUN that is not what it was: given to somebody else, swapped with another one, or gone.

use std::{fs, path::Path, process::Command};

use mezame_images::{
    clone::{Claim, CloneError, HostName, Master, Start},
    iscsi::LunError,
    volume::{Durability, Format, HostCache, Volume, VolumeId},
};

use crate::{Desk, MIB, bytes};

const LENGTH: usize = 8 * MIB;
const ROOM: u64 = 4 * LENGTH as u64;

fn id(text: &str) -> VolumeId {
    VolumeId::parse(text).unwrap()
}

fn host(number: u8) -> HostName {
    HostName::parse(&format!("host-{number}")).unwrap()
}

/// A master of the LUN 9, in this directory, as another one may be.
fn master(desk: &Desk, name: &str) -> Master {
    let at = desk.path().join(name);
    Master::seal_lun(&desk.lun(9), Format::Raw, &at, &desk.access(1)).unwrap()
}

/// A desk with a LUN for masters and two for clones.
fn desk() -> Desk {
    let mut desk = Desk::lay();
    let image = desk.target.add(9, LENGTH as u64);
    fs::write(image, bytes(LENGTH, 1)).unwrap();
    desk.target.add(1, ROOM);
    desk.target.add(2, ROOM);
    desk.target.rename(1, "first");
    desk.target.rename(2, "second");
    desk
}

/// As it is when the process is killed between the record and the overlay.
fn leave_half_made(desk: &Desk, master: &str, id: &str) {
    let record = desk.path().join(format!("{master}/luns/{id}.json"));
    let text = fs::read_to_string(&record).unwrap();
    assert!(text.contains("\"is_made\":true"), "{text}");
    fs::write(&record, text.replace("\"is_made\":true", "\"is_made\":false")).unwrap();
}

fn blank(path: &Path) {
    fs::write(path, vec![0; usize::try_from(ROOM).unwrap()]).unwrap();
}

fn volume(master: &Master, claim: &Claim) -> Result<Volume, CloneError> {
    let clone = master.find_lun_clone(&claim.volume)?;
    clone.volume(master, Durability::Synchronous, HostCache::Direct, claim, Start::Cold)
}

#[test]
fn a_cloning_that_was_stopped_does_not_touch_what_another_master_has_put_there() {
    let desk = desk();
    let (one, other) = (master(&desk, "one"), master(&desk, "other"));
    let (lun, file) = (desk.lun(1), desk.path().join("lun-1"));
    one.clone_onto(&lun, &id("a")).unwrap();
    leave_half_made(&desk, "one", "a");
    blank(&file);
    // Nobody repeats it. The LUN is given to another one, and its guest runs: what both make begins
    // with the same bytes, but for the mark.
    other.clone_onto(&lun, &id("a")).unwrap();
    let claim = other.claim(&id("a"), &host(1)).unwrap();
    let written = volume(&other, &claim).unwrap();
    let daemon = desk.open(&written);
    daemon.open().unwrap().write(0, &bytes(MIB, 5)).unwrap();
    daemon.end().unwrap();
    let before = fs::read(&file).unwrap();
    let again = one.clone_onto(&lun, &id("a")).unwrap_err();
    assert!(matches!(again, CloneError::Lun(LunError::NotBlank(_))), "{again}");
    let removed = one.remove_lun_clone(&id("a")).unwrap_err();
    assert!(matches!(removed, CloneError::Replaced { .. }), "{removed}");
    assert!(fs::read(&file).unwrap() == before);
    // It is forgotten, and its master can go.
    assert!(matches!(one.remove().unwrap_err(), CloneError::HasClones { clones: 1, .. }));
    let one = Master::open(&desk.path().join("one")).unwrap();
    one.forget_lun_clone(&id("a")).unwrap();
    one.remove().unwrap();
    assert!(fs::read(&file).unwrap() == before);
    assert!(desk.contents(&written)[..MIB] == bytes(MIB, 5));
}

#[test]
fn a_cloning_that_was_stopped_before_its_mark_is_completed_and_no_other_qcow2_is_taken_for_it() {
    let desk = desk();
    let one = master(&desk, "one");
    let (lun, file) = (desk.lun(1), desk.path().join("lun-1"));
    let made = desk.path().join("made");
    let put = |form: &[&str], size: &str| {
        let mut make = Command::new("qemu-img");
        make.args(["create", "-q", "-u", "-f", "qcow2"]).args(form).arg(&made).arg(size);
        assert!(make.status().unwrap().success());
        let mut bytes = fs::read(&made).unwrap();
        bytes.resize(usize::try_from(ROOM).unwrap(), 0);
        fs::write(&file, &bytes).unwrap();
        bytes
    };
    let backing = one.backing().place;
    let mezame_images::volume::Place::Lun(backing) = backing else { panic!("{backing:?}") };
    let backing = backing.to_string().replace("mezame@", "");
    let ours = "extended_l2=on,cluster_size=1M";
    let size = LENGTH.to_string();
    let stands = ["-F", "raw", "-b", &backing];
    // QEMU has begun, has come to the length, and has come to the backing file.
    for (form, size) in [(&[][..], "0"), (&[], &size), (&stands, &size)] {
        one.clone_onto(&lun, &id("a")).unwrap();
        leave_half_made(&desk, "one", "a");
        put(&[&["-o", ours], form].concat(), size);
        one.clone_onto(&lun, &id("a")).unwrap();
        let claim = one.claim(&id("a"), &host(1)).unwrap();
        assert!(desk.contents(&volume(&one, &claim).unwrap()) == bytes(LENGTH, 1));
        one.release(&claim).unwrap();
        one.remove_lun_clone(&id("a")).unwrap();
        blank(&file);
    }
    one.clone_onto(&lun, &id("a")).unwrap();
    leave_half_made(&desk, "one", "a");
    let others = ["-F", "raw", "-b", "iscsi://127.0.0.1:3260/iqn.2026-01.org.example:other/9"];
    for (form, size) in [
        (&["-o", "cluster_size=64k"][..], &*size),
        (&["-o", ours], "64M"),
        (&[&["-o", ours], &others[..]].concat(), &size),
    ] {
        let before = put(form, size);
        let again = one.clone_onto(&lun, &id("a")).unwrap_err();
        assert!(matches!(again, CloneError::Lun(LunError::NotBlank(_))), "{again}");
        assert!(one.remove_lun_clone(&id("a")).is_err());
        assert!(fs::read(&file).unwrap() == before);
    }
}

#[test]
fn a_clone_whose_lun_an_operator_has_given_to_somebody_else_is_forgotten_and_not_wiped() {
    let mut desk = desk();
    let one = master(&desk, "one");
    let file = desk.path().join("lun-1");
    one.clone_onto(&desk.lun(1), &id("a")).unwrap();
    let claim = one.claim(&id("a"), &host(1)).unwrap();
    let held = one.forget_lun_clone(&id("a")).unwrap_err();
    assert!(matches!(held, CloneError::NotOwner { .. }), "{held}");
    one.release(&claim).unwrap();
    // Blanked, and used for another guest, with the same number.
    blank(&file);
    let other = master(&desk, "other");
    other.clone_onto(&desk.lun(1), &id("b")).unwrap();
    let before = fs::read(&file).unwrap();
    assert!(matches!(one.remove_lun_clone(&id("a")), Err(CloneError::Replaced { .. })));
    // And the array is gone for good.
    desk.target.kill();
    assert!(one.remove_lun_clone(&id("a")).is_err());
    one.forget_lun_clone(&id("a")).unwrap();
    assert!(matches!(one.forget_lun_clone(&id("a")), Err(CloneError::NoClone(_))));
    assert!(fs::read(&file).unwrap() == before);
    one.remove().unwrap();
}

#[test]
fn who_has_looked_a_clone_up_before_it_was_seized_gets_no_volume() {
    let desk = desk();
    let one = master(&desk, "one");
    one.clone_onto(&desk.lun(1), &id("a")).unwrap();
    let claim = one.claim(&id("a"), &host(1)).unwrap();
    let looked_up = one.find_lun_clone(&id("a")).unwrap();
    let volume = |claim: &Claim| {
        let class = Durability::Synchronous;
        looked_up.volume(&one, class, HostCache::Direct, claim, Start::Cold)
    };
    volume(&claim).unwrap();
    // Its host hangs, is thought to be off, and wakes up.
    let seized = one.seize(&id("a"), &host(2)).unwrap();
    let late = volume(&claim).unwrap_err();
    assert!(matches!(late, CloneError::NotOwner { .. }), "{late}");
    volume(&seized).unwrap();
}

#[test]
fn a_clone_whose_lun_was_swapped_with_another_one_s_is_not_started() {
    let mut desk = desk();
    let one = master(&desk, "one");
    one.clone_onto(&desk.lun(1), &id("a")).unwrap();
    one.clone_onto(&desk.lun(2), &id("b")).unwrap();
    let claims = ["a", "b"].map(|text| one.claim(&id(text), &host(1)).unwrap());
    let is_replaced = |claim: &Claim| match volume(&one, claim) {
        Ok(_) => false,
        Err(CloneError::Replaced { .. }) => true,
        Err(other) => panic!("{other}"),
    };
    assert_eq!(claims.each_ref().map(is_replaced), [false, false]);
    // The array counts anew.
    desk.target.rename(1, "second");
    desk.target.rename(2, "first");
    assert_eq!(claims.each_ref().map(is_replaced), [true, true]);
    desk.target.rename(1, "first");
    desk.target.rename(2, "second");
    assert_eq!(claims.each_ref().map(is_replaced), [false, false]);
    // Numbers are the same, and what is on them is not: restored in the wrong place, say.
    let files = [1, 2].map(|number| desk.path().join(format!("lun-{number}")));
    let contents = files.each_ref().map(|file| fs::read(file).unwrap());
    fs::write(&files[0], &contents[1]).unwrap();
    assert_eq!(claims.each_ref().map(is_replaced), [true, false]);
}

//! Clones whose overlays are on LUNs, and who may write to them.

use mezame_images::{
    clone::{Claim, CloneError, HostName, LunClone, Master, Ownership, Start},
    iscsi::LunError,
    volume::{Durability, FlushInterval, Format, HostCache, Volume, VolumeError, VolumeId},
};

use crate::{Desk, MIB, bytes};

const LENGTH: usize = 8 * MIB;
/// A LUN's serial number.
const FIRST: &str = "0001";

fn id(text: &str) -> VolumeId {
    VolumeId::parse(text).unwrap()
}

/// A master in a file, reached by this hypervisor.
fn master(desk: &Desk) -> (Master, Vec<u8>) {
    let (image, bytes) = (desk.path().join("image"), bytes(LENGTH, 1));
    std::fs::write(&image, &bytes).unwrap();
    let master = Master::seal(&image, Format::Raw, &desk.path().join("master")).unwrap();
    (master.reached_by(desk.access(1)), bytes)
}

fn host(number: u8) -> HostName {
    HostName::parse(&format!("host-{number}")).unwrap()
}

/// A clone that this hypervisor has claimed, and by what.
fn claimed(master: &Master, text: &str) -> (LunClone, Claim) {
    let claim = master.claim(&id(text), &host(1)).unwrap();
    (master.find_lun_clone(&id(text)).unwrap(), claim)
}

fn volume(
    master: &Master,
    (clone, claim): &(LunClone, Claim),
    class: Durability,
) -> Result<Volume, CloneError> {
    clone.volume(master, class, HostCache::Direct, claim, Start::Cold)
}

#[test]
fn a_lun_that_an_overlay_does_not_fit_on_is_refused_with_the_length_that_is_needed() {
    let mut desk = Desk::lay();
    let (master, _) = master(&desk);
    desk.target.add(1, LENGTH as u64);
    let fault = master.clone_onto(&desk.lun(1), &id("one")).unwrap_err();
    let CloneError::Lun(LunError::TooSmall { length, needed, .. }) = fault else {
        panic!("{fault}")
    };
    assert_eq!(length, LENGTH as u64);
    // All of the volume, and some clusters of 1 MiB for tables and the bitmaps of backups.
    assert!((length + (1 << 20)..=length + (20 << 20)).contains(&needed), "{needed}");
    // That much is enough, to the byte, also when every cluster has been written.
    desk.target.add(2, needed);
    master.clone_onto(&desk.lun(2), &id("one")).unwrap();
    let clone = claimed(&master, "one");
    let full = bytes(LENGTH, 77);
    let volume = volume(&master, &clone, Durability::FlushHonouring).unwrap();
    let daemon = desk.open(&volume);
    daemon.open().unwrap().write(0, &full).unwrap();
    daemon.end().unwrap();
    assert!(desk.contents(&volume) == full);
}

#[test]
fn an_overlay_on_a_lun_keeps_what_was_flushed_and_goes_without_a_trace() {
    let mut desk = Desk::lay();
    let (master, mut expected) = master(&desk);
    let file = desk.target.add(1, 4 * LENGTH as u64);
    desk.target.rename(1, FIRST);
    let lun = desk.lun(1);
    // Somebody's disk is not written over.
    std::fs::write(&file, [bytes(512, 3), vec![0; 4 * LENGTH - 512]].concat()).unwrap();
    let fault = master.clone_onto(&lun, &id("one")).unwrap_err();
    assert!(matches!(fault, CloneError::Lun(LunError::NotBlank(_))), "{fault}");
    std::fs::write(&file, vec![0; 4 * LENGTH]).unwrap();
    let clone = master.clone_onto(&lun, &id("one")).unwrap();
    // Neither the id nor the LUN is free any more.
    assert!(matches!(master.clone_onto(&lun, &id("two")), Err(CloneError::LunTaken { .. })));
    desk.target.add(2, 4 * LENGTH as u64);
    let again = master.clone_onto(&desk.lun(2), &id("one"));
    assert!(matches!(again, Err(CloneError::Exists(_))));
    // Nobody has claimed it, when it was looked up.
    assert_eq!(*clone.ownership(), Ownership::default());
    let claim = master.claim(&id("one"), &host(1)).unwrap();
    // What counts is the record of now, whenever it was looked up.
    volume(&master, &(clone, claim.clone()), Durability::Synchronous).unwrap();
    let clone = (master.find_lun_clone(&id("one")).unwrap(), claim.clone());
    let fault = volume(&master, &clone, Durability::default()).unwrap_err();
    assert!(matches!(fault, CloneError::Volume(VolumeError::NeedsFile(_))));
    for class in ["recovered", "synchronous", "bounded", "flush-honouring"] {
        assert!(fault.to_string().contains(class), "{fault}");
    }
    let bounded = Durability::Bounded(FlushInterval::default());
    assert!(
        volume(&master, &clone, bounded).is_ok()
            && volume(&master, &clone, Durability::FlushHonouring).is_ok()
    );
    let volume = volume(&master, &clone, Durability::Synchronous).unwrap();
    let daemon = desk.open(&volume);
    let command = std::fs::read(format!("/proc/{}/cmdline", daemon.pid())).unwrap();
    let environment = std::fs::read(format!("/proc/{}/environ", daemon.pid())).unwrap();
    let told = String::from_utf8_lossy(&[command, environment].concat()).into_owned();
    assert!(told.contains(crate::TARGET) && !told.contains(crate::SECRET), "{told}");
    let written = bytes(LENGTH / 2, 5);
    let mut blocks = daemon.open().unwrap();
    blocks.write(512, &written).unwrap();
    blocks.flush().unwrap();
    // And then it is killed.
    drop((blocks, daemon));
    expected[512..512 + LENGTH / 2].copy_from_slice(&written);
    assert!(desk.contents(&volume) == expected);
    let id_of_it = id("one");
    let held = master.remove_lun_clone(&id_of_it);
    assert!(matches!(held, Err(CloneError::NotOwner { .. })), "{held:?}");
    master.release(&claim).unwrap();
    // Another LUN has its number by now.
    desk.target.rename(1, "another");
    let fault = master.remove_lun_clone(&id_of_it).unwrap_err();
    assert!(matches!(fault, CloneError::Replaced { .. }), "{fault}");
    desk.target.rename(1, FIRST);
    master.remove_lun_clone(&id_of_it).unwrap();
    assert!(std::fs::read(&file).unwrap()[..MIB].iter().all(|byte| *byte == 0));
    assert!(master.lun_clones().unwrap().is_empty());
    master.clone_onto(&lun, &id("two")).unwrap();
    assert!(matches!(master.remove(), Err(CloneError::HasClones { clones: 1, .. })));
}

#[test]
fn a_cloning_that_was_stopped_is_completed_by_the_same_call() {
    let mut desk = Desk::lay();
    let (master, expected) = master(&desk);
    let file = desk.target.add(1, 4 * LENGTH as u64);
    master.clone_onto(&desk.lun(1), &id("one")).unwrap();
    // As it is when the process is killed while QEMU makes the tables.
    let record = desk.path().join("master/luns/one.json");
    let text = std::fs::read_to_string(&record).unwrap();
    std::fs::write(&record, text.replace("\"is_made\":true", "\"is_made\":false")).unwrap();
    let half = std::fs::read(&file).unwrap()[..4096].to_vec();
    std::fs::write(&file, [half, vec![0; 4 * LENGTH - 4096]].concat()).unwrap();
    assert!(matches!(master.claim(&id("one"), &host(1)), Err(CloneError::NoClone(_))));
    assert!(master.lun_clones().unwrap().is_empty());
    assert!(matches!(
        master.clone_onto(&desk.lun(1), &id("two")),
        Err(CloneError::LunTaken { .. })
    ));
    master.clone_onto(&desk.lun(1), &id("one")).unwrap();
    let clone = claimed(&master, "one");
    assert!(
        desk.contents(&volume(&master, &clone, Durability::FlushHonouring).unwrap()) == expected
    );
}

#[test]
fn one_hypervisor_at_a_time_is_told_how_a_lun_is_opened() {
    let mut desk = Desk::lay();
    let (here, _) = master(&desk);
    desk.target.add(1, 4 * LENGTH as u64);
    here.clone_onto(&desk.lun(1), &id("one")).unwrap();
    let there = Master::open(&desk.path().join("master")).unwrap().reached_by(desk.access(2));
    let first = here.claim(&id("one"), &host(1)).unwrap();
    let may = |master: &Master, claim: &Claim, start| {
        let clone = master.find_lun_clone(&id("one")).unwrap();
        clone.volume(master, Durability::Synchronous, HostCache::Direct, claim, start).is_ok()
    };
    let starts = [Start::Cold, Start::Incoming];
    assert_eq!(starts.map(|start| may(&here, &first, start)), [true, false]);
    let refused = there.claim(&id("one"), &host(2));
    assert!(matches!(refused, Err(CloneError::NotOwner { .. })), "{refused:?}");
    let second = here.offer(&first, &host(2)).unwrap();
    assert_eq!(starts.map(|start| may(&here, &first, start)), [false, false]);
    assert_eq!(starts.map(|start| may(&there, &second, start)), [false, true]);
    assert_eq!(here.hand_over(&first, &host(2)).unwrap(), second);
    assert_eq!(starts.map(|start| may(&here, &first, start)), [false, false]);
    assert_eq!(starts.map(|start| may(&there, &second, start)), [true, false]);
    let owner = there.find_lun_clone(&id("one")).unwrap().ownership().clone();
    assert_eq!(owner, Ownership::Held(second.owner.clone()));
    // The first one comes back late, and is known to be off later.
    assert!(here.claim(&id("one"), &host(1)).is_err() && here.withdraw(&first).is_err());
    let seized = there.seize(&id("one"), &host(1)).unwrap();
    assert!(may(&here, &seized, Start::Cold) && !may(&there, &second, Start::Cold));
    // A claim is of one clone.
    desk.target.add(2, 4 * LENGTH as u64);
    here.clone_onto(&desk.lun(2), &id("two")).unwrap();
    let of_two = here.claim(&id("two"), &host(1)).unwrap();
    assert!(!may(&here, &Claim { volume: id("two"), ..seized.clone() }, Start::Cold));
    assert!(!may(&here, &of_two, Start::Cold));
}

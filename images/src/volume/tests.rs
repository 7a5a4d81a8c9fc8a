//! Descriptions: what goes together, and what a real QEMU says to each class.

use std::{process::Command, time::Duration};

use proptest::prelude::*;

use super::{allocation::AllocationError, *};
use crate::{
    qmp::Qmp,
    testing::{Daemon, ids, master, pool},
};

const BOUND: Duration = Duration::from_secs(30);

fn classes() -> [Durability; 5] {
    let interval = FlushInterval::default();
    [
        Durability::FlushHonouring,
        Durability::Bounded(interval),
        Durability::Recovered(interval),
        Durability::Synchronous,
        Durability::Hydrated(interval),
    ]
}

#[test]
fn a_real_qemu_takes_every_class_and_flushes_those_that_say_so() {
    let directory = tempfile::tempdir().unwrap();
    let (master, _) = master(directory.path());
    let clones = master.clone_into(&pool(directory.path()), &ids(5)).unwrap();
    let socket = directory.path().join("qmp");
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args(["-machine", "q35,accel=tcg", "-nodefaults", "-display", "none", "-S", "-qmp"])
        .arg(format!("unix:{},server=on,wait=off", socket.display()));
    for (at, (clone, class)) in clones.iter().zip(classes()).enumerate() {
        let volume = clone.volume(class, HostCache::Direct).unwrap();
        let mut device = volume.device();
        device["addr"] = json!(format!("{:x}", at + 4));
        qemu.args(["-blockdev", &volume.blockdev().to_string(), "-device", &device.to_string()]);
    }
    let plain = directory.path().join("plain");
    std::fs::write(&plain, [0; 512]).unwrap();
    let id = VolumeId::parse("plain").unwrap();
    let data = Data::Plain(Place::File(plain));
    let plain = Volume::new(id, data, Durability::Plain, HostCache::Direct).unwrap();
    qemu.args(["-blockdev", &plain.blockdev().to_string()]);
    qemu.args(["-device", &plain.device().to_string()]);
    let _qemu = Daemon::start(&mut qemu, &[&socket]);
    let mut qmp = Qmp::connect(&socket, BOUND).unwrap();
    let blocks = qmp.execute("query-block", json!({})).unwrap();
    assert_eq!(blocks.as_array().unwrap().len(), 6, "{blocks}");
    for block in blocks.as_array().unwrap() {
        let inserted = &block["inserted"];
        let is_synchronous = inserted["node-name"] == "clone-3";
        assert_eq!(inserted["cache"]["writeback"], !is_synchronous, "{inserted}");
        assert_eq!(inserted["cache"]["direct"], true, "{inserted}");
    }
    let blocks = directory.path().join("nbd");
    flusher::serve(&mut qmp, &blocks).unwrap();
    for (clone, class) in clones.iter().zip(classes()) {
        let Some(interval) = class.flush_interval() else { continue };
        let volume = clone.volume(class, HostCache::Direct).unwrap();
        flusher::export(&mut qmp, &volume).unwrap();
        let flusher = flusher::Flusher::start(&blocks, clone.id(), interval).unwrap();
        let begin = std::time::Instant::now();
        while flusher.status().flushes < 2 {
            assert!(begin.elapsed() < BOUND, "{:?}", flusher.status());
            std::thread::sleep(Duration::from_millis(5));
        }
        let status = flusher.status();
        assert!(!status.is_failing && status.failures == 0, "{status:?}");
        let durable = status.durable_until.unwrap();
        assert!(status.is_kept(interval, durable + interval.bound()));
        assert!(!status.is_kept(interval, durable + interval.bound() * 2));
    }
}

#[test]
fn a_flusher_without_a_volume_says_so_and_ends_at_once_when_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let interval = FlushInterval::new(Duration::from_secs(60)).unwrap();
    let nowhere = directory.path().join("nowhere");
    let flusher = flusher::Flusher::start(&nowhere, &ids(1)[0], interval).unwrap();
    let begin = std::time::Instant::now();
    while flusher.status().failures == 0 {
        assert!(begin.elapsed() < BOUND);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(!flusher.status().is_kept(interval, std::time::Instant::now()));
    drop(flusher);
    assert!(begin.elapsed() < BOUND);
}

#[test]
fn classes_and_places_that_do_not_go_together_are_refused() {
    let make = |data: &Data, class| {
        let id = VolumeId::parse("v").unwrap();
        Volume::new(id, data.clone(), class, HostCache::Direct)
    };
    let plain = Data::Plain(Place::Device("/dev/sdx".into()));
    let backing =
        Backing { place: Place::File("/m".into()), format: Format::Qcow2, is_encrypted: false };
    let on_device = Data::Overlay { place: Place::Device("/dev/sdx".into()), backing };
    assert!(make(&plain, Durability::Plain).is_ok());
    assert!(matches!(make(&on_device, Durability::Plain), Err(VolumeError::PlainAlone("plain"))));
    for class in classes() {
        assert!(matches!(make(&plain, class), Err(VolumeError::PlainAlone(_))));
        let made = make(&on_device, class);
        assert_eq!(made.is_err(), class.needs_recovery(), "{class:?}");
    }
    let blockdev = make(&on_device, Durability::Synchronous).unwrap().blockdev();
    assert_eq!(blockdev["file"]["driver"], "host_device");
    assert_eq!(blockdev["backing"]["backing"], Value::Null);
}

#[test]
fn what_each_class_may_lose_is_said() {
    let second = Loss::Last(Duration::from_secs(1));
    let losses = [Durability::Plain]
        .into_iter()
        .chain(classes())
        .map(|class| (class.loss_with_qemu(), class.loss_with_host()))
        .collect::<Vec<_>>();
    let expected = [
        (Loss::Nothing, Loss::Nothing),
        (Loss::SinceFlush, Loss::SinceFlush),
        (second, second),
        (Loss::Nothing, second),
        (Loss::Nothing, Loss::Nothing),
        (Loss::Nothing, second),
    ];
    assert_eq!(losses, expected);
}

#[test]
fn an_interval_that_no_flusher_keeps_is_refused() {
    for (bound, holds) in [(99, false), (100, true), (60_000, true), (60_001, false)] {
        assert_eq!(FlushInterval::new(Duration::from_millis(bound)).is_ok(), holds);
    }
}

#[test]
fn names_of_nodes_fit_into_qemus_31_bytes() {
    let id = VolumeId::parse("abcdefghijklmnopqrs").unwrap();
    for suffix in ["master-file", "plain-file", "view-data", "hydrate", "flush", "disk", "keys"] {
        assert!(id.node(suffix).len() <= 31, "{suffix}");
    }
}

#[test]
fn no_volume_has_a_node_of_anothers_name() {
    let (one, other) = (VolumeId::parse("a").unwrap(), VolumeId::parse("a-file").unwrap());
    let names = |id: &VolumeId| {
        let parts = ["", "file", "master", "master-file", "plain", "plain-file", "disk", "flush"];
        parts.map(|part| id.node(part))
    };
    assert!(names(&one).iter().all(|name| !names(&other).contains(name)));
    assert!(VolumeId::parse("a.file").is_err());
}

#[test]
fn ids_have_letters_digits_and_hyphens() {
    for text in ["", "-a", "1a", "A", "a_b", "abcdefghijklmnopqrst", "a/b", "a,b", "ä"] {
        assert!(VolumeId::parse(text).is_err(), "{text}");
    }
}

/// A header of this many bytes of volume, with this many entries in its L1 table.
fn header(size: u64, entries: u32) -> Result<allocation::Header, AllocationError> {
    let mut head = [0; allocation::HEADER];
    head[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
    head[20..24].copy_from_slice(&20_u32.to_be_bytes());
    head[24..32].copy_from_slice(&size.to_be_bytes());
    head[36..40].copy_from_slice(&entries.to_be_bytes());
    head[40..48].copy_from_slice(&(1_u64 << 20).to_be_bytes());
    head[72..80].copy_from_slice(&16_u64.to_be_bytes());
    allocation::Header::parse(&head)
}

#[test]
fn tables_that_would_take_more_memory_or_time_than_the_file_has_bytes_are_refused() {
    // Each entry is about 64 GiB.
    let three = header(130 << 30, 3).unwrap();
    assert_eq!(three.l1(), (1 << 20, 24));
    // What is behind the volume's end is not read.
    assert_eq!(header(130 << 30, u32::MAX).unwrap().l1(), (1 << 20, 24));
    assert_eq!(header(130 << 30, 2), Err(AllocationError::OutOfRange));
    assert_eq!(header((8 << 50) + 1, u32::MAX), Err(AllocationError::OutOfRange));
    assert_eq!(header(u64::MAX, u32::MAX), Err(AllocationError::OutOfRange));
    let l1 = |offsets: [u64; 3]| offsets.map(u64::to_be_bytes).concat();
    let tables = three.l2_tables(&l1([5 << 20, 0, 7 << 20]));
    assert_eq!(tables, Ok(vec![(5 << 20, 0), (7 << 20, 128 << 30)]));
    let again = three.l2_tables(&l1([5 << 20, 7 << 20, 5 << 20]));
    assert_eq!(again, Err(AllocationError::Repeated));
    assert_eq!(three.l2_tables(&l1([5 << 20, 512, 0])), Err(AllocationError::OutOfRange));
}

proptest! {
    #[test]
    fn no_table_makes_the_reader_panic(
        head in prop::collection::vec(any::<u8>(), allocation::HEADER),
        table in prop::collection::vec(any::<u8>(), 0..200),
        bits in 10_u32..25,
    ) {
        let mut head: [u8; allocation::HEADER] = head.try_into().unwrap();
        let _ = allocation::Header::parse(&head);
        // One whose first fields are right.
        head[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
        head[20..24].copy_from_slice(&bits.to_be_bytes());
        head[32..36].fill(0);
        head[40..48].copy_from_slice(&(1_u64 << 21).to_be_bytes());
        head[60..64].fill(0);
        head[72..80].copy_from_slice(&16_u64.to_be_bytes());
        if let Ok(header) = allocation::Header::parse(&head) {
            let _ = header.l2_tables(&table);
            let _ = header.clusters(&table, 0);
        }
    }
}

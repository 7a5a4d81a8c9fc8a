//! Volumes read back by another implementation of the format: `fatfs`, which reads what Windows
//! and Linux write.

use std::{
    collections::BTreeMap,
    io::{Cursor, Read},
};

use proptest::prelude::*;

use super::*;

type Files = BTreeMap<String, Vec<u8>>;

const TIME: u64 = 1_767_323_045;

fn volume() -> Volume {
    Volume { label: Label::new("config-2"), serial: 0x1234_abcd, time: Timestamp::of(TIME) }
}

fn write(files: &Files) -> Result<Vec<u8>, VolumeError> {
    let files: Vec<(&str, &[u8])> =
        files.iter().map(|(path, bytes)| (path.as_str(), &bytes[..])).collect();
    volume().of(&files)
}

type Reader = fatfs::FileSystem<Cursor<Vec<u8>>>;

fn open(image: &[u8]) -> Reader {
    fatfs::FileSystem::new(Cursor::new(image.to_vec()), fatfs::FsOptions::new()).unwrap()
}

/// All files of an image.
pub(crate) fn read(image: &[u8]) -> Files {
    fn collect(directory: &fatfs::Dir<'_, Cursor<Vec<u8>>>, above: &str, files: &mut Files) {
        for entry in directory.iter() {
            let entry = entry.unwrap();
            let name = entry.file_name();
            if name == "." || name == ".." {
                continue;
            }
            let path = format!("{above}{name}");
            if entry.is_dir() {
                collect(&entry.to_dir(), &format!("{path}/"), files);
            } else {
                let mut bytes = Vec::new();
                entry.to_file().read_to_end(&mut bytes).unwrap();
                assert_eq!(entry.len(), bytes.len() as u64, "{path}");
                assert!(files.insert(path, bytes).is_none(), "{name} is there twice");
            }
        }
    }
    let mut files = Files::new();
    collect(&open(image).root_dir(), "", &mut files);
    files
}

fn some_files() -> Files {
    [
        ("openstack/latest/meta_data.json", &b"{}"[..]),
        ("openstack/latest/user_data", &[7; 5000]),
        ("openstack/2012-08-10/meta_data.json", b"{\"a\": 1}"),
        ("ec2/latest/user-data", b""),
        ("TOP.TXT", b"top"),
    ]
    .map(|(path, bytes)| (path.to_owned(), bytes.to_vec()))
    .into()
}

#[test]
fn files_come_back_by_their_names_and_bytes() {
    let files = some_files();
    let image = write(&files).unwrap();
    assert_eq!(read(&image), files);
    let reader = open(&image);
    assert_eq!(reader.fat_type(), fatfs::FatType::Fat12);
    assert_eq!(reader.volume_label(), "config-2");
    assert_eq!(reader.read_volume_label_from_root_dir().unwrap().as_deref(), Some("config-2"));
    assert_eq!(reader.volume_id(), 0x1234_abcd);
    let flags = reader.read_status_flags().unwrap();
    assert!(!flags.dirty() && !flags.io_error());
}

#[test]
fn every_entry_has_the_time_that_it_was_given() {
    let image = write(&some_files()).unwrap();
    let reader = open(&image);
    let root = reader.root_dir();
    let entries: Vec<_> = root.iter().chain(root.open_dir("openstack").unwrap().iter()).collect();
    assert!(entries.len() >= 7, "{} entries", entries.len());
    for entry in entries {
        let entry = entry.unwrap();
        let time = entry.modified();
        let date = (time.date.year, time.date.month, time.date.day);
        assert_eq!(date, (2026, 1, 2), "{}", entry.file_name());
        assert_eq!((time.time.hour, time.time.min, time.time.sec), (3, 4, 4));
        assert_eq!(entry.created().time.sec, 5);
        assert_eq!(entry.accessed().day, 2);
    }
}

#[test]
fn names_differ_by_case_on_the_volume_as_they_were_given() {
    let image = write(&some_files()).unwrap();
    let reader = open(&image);
    let latest = reader.root_dir().open_dir("openstack/latest").unwrap();
    let names: Vec<_> = latest.iter().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, [".", "..", "meta_data.json", "user_data"]);
    let shorts: Vec<_> = latest.iter().map(|it| it.unwrap().short_file_name()).collect();
    assert_eq!(shorts[2..], ["META_D~1.JSO", "USER_D~1"]);
}

#[test]
fn the_parent_of_a_directory_is_found_again() {
    let image = write(&some_files()).unwrap();
    let reader = open(&image);
    let root = reader.root_dir();
    for path in ["openstack/latest/../2012-08-10/meta_data.json", "ec2/../TOP.TXT"] {
        assert!(root.open_file(path).is_ok(), "{path}");
    }
}

#[test]
fn the_order_of_the_files_changes_nothing() {
    let files = some_files();
    let mut list: Vec<(&str, &[u8])> =
        files.iter().map(|(path, bytes)| (path.as_str(), &bytes[..])).collect();
    let image = volume().of(&list).unwrap();
    list.reverse();
    assert!(volume().of(&list).unwrap() == image);
}

#[test]
fn both_kinds_and_every_size_of_cluster_are_read_back() {
    for (mib, kind, cluster) in [
        (0, fatfs::FatType::Fat12, 512),
        (1, fatfs::FatType::Fat12, 512),
        (3, fatfs::FatType::Fat16, 512),
        (40, fatfs::FatType::Fat16, 1024),
        (85, fatfs::FatType::Fat16, 2048),
    ] {
        let bytes: Vec<u8> = (0..mib << 20).map(|at: usize| (at % 251) as u8).collect();
        let files = Files::from([("large".into(), bytes), ("small".into(), b"x".to_vec())]);
        let image = write(&files).unwrap();
        assert!(read(&image) == files, "{mib} MiB");
        let reader = open(&image);
        assert_eq!((reader.fat_type(), reader.cluster_size()), (kind, cluster), "{mib} MiB");
        let spare = image.len() - (mib << 20);
        assert!(spare < 256 << 10, "{mib} MiB and {spare} bytes");
    }
}

#[test]
fn what_can_not_be_on_a_volume_is_refused() {
    let of = |paths: &[&str]| {
        let files: Vec<(&str, &[u8])> = paths.iter().map(|path| (*path, &b""[..])).collect();
        volume().of(&files).map(drop).unwrap_err()
    };
    for bad in ["", "/a", "a//b", "a/", "a:b", "..", "a/../b", "ä", "a\0"] {
        assert_eq!(of(&[bad]), VolumeError::Name { path: bad.into() });
    }
    for (one, other) in [("a", "A"), ("a", "a/b"), ("A/x", "a/y"), ("x/a", "x/a")] {
        assert!(matches!(of(&[one, other]), VolumeError::Twice { .. }), "{one} {other}");
    }
    let many: Vec<String> = (0..512).map(|at| format!("F{at}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(of(&many), VolumeError::RootFull);
    let small: Vec<String> = (0..70_000).map(|at| format!("D{}/F{at}", at % 300)).collect();
    let small: Vec<(&str, &[u8])> = small.iter().map(|path| (path.as_str(), &b"x"[..])).collect();
    assert_eq!(volume().of(&small).map(drop).unwrap_err(), VolumeError::TooLarge);
}

proptest! {
    #[test]
    fn any_files_come_back(
        files in prop::collection::btree_map(
            "[a-z]{1,3}/[a-zA-Z0-9_.+=, -]{0,30}[a-z0-9]",
            prop::collection::vec(any::<u8>(), 0..3000),
            0..60,
        ),
    ) {
        match write(&files) {
            Ok(image) => {
                prop_assert_eq!(read(&image), files.clone());
                prop_assert!(write(&files).unwrap() == image);
            }
            // The alphabet has names that begin with a blank, and both cases of a letter.
            Err(VolumeError::Name { path }) => prop_assert!(path.contains("/ ")),
            Err(VolumeError::Twice { .. }) => {}
            Err(error) => prop_assert!(false, "{error}"),
        }
    }
}

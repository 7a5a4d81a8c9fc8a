//! A whole archive in an object store, over a network that loses things.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use super::{ObjectStore, faults::Network, open};
use crate::{
    archive::{
        Archive, ArchiveError, Settings, Unwatched, Viewer,
        id::prefix,
        store::Store,
        tests::{Disk, new, no_keys, project, restore},
    },
    environment::SystemEnvironment,
};

fn archive(port: u16) -> Archive {
    let store: Arc<dyn Store> = Arc::new(open(port, "archive").unwrap());
    let settings = Settings {
        threads: 2,
        beat: Some(Duration::from_millis(200)),
        dead_after: Duration::from_secs(900),
    };
    Archive::open(store, Arc::new(SystemEnvironment::new()), settings).unwrap()
}

#[test]
fn two_writers_and_two_collections_at_once_over_a_network_that_loses_things_lose_nothing() {
    let server = ObjectStore::start();
    let network = Network::losing(server.port(), 7);
    let kept = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for writer in 0..2u8 {
            let (kept, port) = (&kept, network.port());
            scope.spawn(move || {
                let archive = archive(port);
                for number in 0..6u8 {
                    // Of what the other one has, too, and of what was deleted.
                    let disk = Disk::of(&[1, 2, writer + 3, number % 3 + 5, 0, 9 + number]);
                    let web = project("web");
                    let imported = archive.import(&new(&web, None), &disk, &Unwatched).unwrap();
                    if number % 2 == 0 {
                        archive.forget(imported.image.id).unwrap();
                    } else {
                        kept.lock().unwrap().push((imported.image.id, disk.bytes));
                    }
                }
            });
            scope.spawn(move || {
                let archive = archive(port);
                for _ in 0..3 {
                    archive.gc(&Unwatched).unwrap();
                }
            });
        }
    });
    let archive = archive(network.port());
    let kept = kept.into_inner().unwrap();
    assert_eq!(archive.list(Viewer::Operator, &no_keys).unwrap().len(), kept.len());
    for (id, bytes) in &kept {
        let image = archive.view(*id, Viewer::Operator, &no_keys).unwrap();
        assert_eq!(archive.verify(&image, &Unwatched).unwrap().damaged, 0);
        assert!(restore(&archive, *id).unwrap() == *bytes, "{id} is another disk");
        archive.forget(*id).unwrap();
    }
    let lost = network.lost();
    assert!(lost.iter().all(|count| *count > 0), "{lost:?}");
    assert_that_nothing_is_left(&archive, server.port());
}

fn assert_that_nothing_is_left(archive: &Archive, port: u16) {
    for _ in 0..3 {
        archive.gc(&Unwatched).unwrap();
    }
    let store = open(port, "archive").unwrap();
    for kind in [prefix::PACKS, prefix::CONDEMNED, prefix::WAITS, prefix::WRITERS, prefix::IMAGES] {
        assert_eq!(store.list(kind).unwrap(), [], "{kind}");
    }
}

#[test]
fn an_archive_asks_no_more_often_than_the_documentation_says() {
    let server = ObjectStore::start();
    let network = Network::watching(server.port());
    // 64 MiB that no compression makes smaller, and 16 MiB of zeros.
    let mut random = 1u64;
    let mut bytes: Vec<u8> = std::iter::repeat_with(|| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random ^ (random >> 29)).wrapping_mul(0x94d0_49bb_1331_11eb).to_le_bytes()
    })
    .take(8 * 1024 * 1024)
    .flatten()
    .collect();
    bytes.resize(80 * 1024 * 1024, 0);
    let disk = Disk::new(bytes);
    let (web, first) = (project("web"), archive(network.port()));
    network.seen();
    let id = first.import(&new(&web, None), &disk, &Unwatched).unwrap().image.id;
    let import = Asked::of(&network);
    assert!(restore(&archive(network.port()), id).unwrap() == disk.bytes);
    let restore = Asked::of(&network);
    first.gc(&Unwatched).unwrap();
    let collection = Asked::of(&network);
    // Signs of life are left out: there is one each minute, and more here.
    assert!(import.puts <= 8 && import.gets <= 6 && import.deletes == 1, "{import:?}");
    assert!(restore.puts <= 6 && restore.gets <= 30, "{restore:?}");
    assert!(collection.puts == 0 && collection.gets <= 30, "{collection:?}");
}

#[derive(Debug)]
struct Asked {
    puts: usize,
    gets: usize,
    deletes: usize,
}

impl Asked {
    fn of(network: &Network) -> Self {
        let seen = network.seen();
        let count = |method: &str, path: &str| {
            seen.iter().filter(|line| line.starts_with(method) && line.contains(path)).count()
        };
        let puts = count("PUT", "") - count("PUT", "/writers/").saturating_sub(1);
        Self { puts, gets: count("GET", ""), deletes: count("DELETE", "") }
    }
}

#[test]
fn a_session_that_was_ended_can_not_publish_in_an_object_store() {
    let server = ObjectStore::start();
    let living = Settings { threads: 1, beat: None, dead_after: Duration::ZERO };
    let store: Arc<dyn Store> = Arc::new(open(server.port(), "archive").unwrap());
    let environment = Arc::new(SystemEnvironment::new());
    let archive = Archive::open(store.clone(), environment, living).unwrap();
    // A collection comes while the disk is read.
    let disk = Collected { disk: Disk::of(&[1, 2]), archive: &archive };
    let web = project("web");
    let ended = archive.import(&new(&web, None), &disk, &Unwatched).unwrap_err();
    assert!(matches!(ended, ArchiveError::Ended), "{ended}");
    assert_eq!(archive.list(Viewer::Operator, &no_keys).unwrap(), []);
    assert_eq!(store.list(prefix::IMAGES).unwrap().len(), 1, "there is no tombstone");
}

struct Collected<'a> {
    disk: Disk,
    archive: &'a Archive,
}

impl crate::archive::source::Source for Collected<'_> {
    fn size(&self) -> u64 {
        self.disk.size()
    }

    fn extents(&self) -> std::io::Result<Vec<crate::archive::source::Extent>> {
        self.disk.extents()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        self.archive.gc(&Unwatched).map_err(std::io::Error::other)?;
        self.disk.read_at(buffer, offset)
    }
}

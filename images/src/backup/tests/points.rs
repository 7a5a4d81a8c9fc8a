//! What is read is the disk at its point in time, whatever is written meanwhile.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use super::{
    guest::{Guest, Writer},
    *,
};
use crate::{
    archive::chunk::CHUNK,
    clone::InstantClone,
    testing::{first_difference, ids, master, pool},
    volume::{Data, Durability, FlushInterval, HostCache, Place, Volume, VolumeId, flusher},
};

const SIZE: usize = 24 << 20;

/// A raw volume, half of it random bytes here and there and half of it a hole; and its bytes.
pub(super) fn plain(directory: &Path, name: &str) -> (Volume, Vec<u8>) {
    let mut numbers = crate::testing::Numbers(5);
    let mut bytes = vec![0; SIZE];
    for block in bytes[..SIZE / 2].chunks_mut(4096).step_by(3) {
        block.fill_with(|| u8::try_from(numbers.below(256)).unwrap());
    }
    let path = directory.join(name);
    std::fs::write(&path, &bytes[..SIZE / 2]).unwrap();
    std::fs::File::options().write(true).open(&path).unwrap().set_len(SIZE as u64).unwrap();
    let (id, place) = (VolumeId::parse(name).unwrap(), Place::File(path));
    let volume = Volume::new(id, Data::Plain(place), Durability::Plain, HostCache::Direct);
    (volume.unwrap(), bytes)
}

pub(super) fn recovered() -> Durability {
    Durability::Recovered(FlushInterval::new(std::time::Duration::from_secs(1)).unwrap())
}

/// A clone of the usual master.
pub(super) fn overlay(directory: &Path) -> (InstantClone, Vec<u8>) {
    let (master, bytes) = master(directory);
    (master.clone_into(&pool(directory), &ids(1)).unwrap().remove(0), bytes)
}

/// Does this while the guest writes to its disks, one after the other.
pub(super) fn while_written<T>(writer: &mut Writer, work: impl FnOnce() -> T) -> T {
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let before = writer.written;
            // At least some writes come, however fast the work is.
            while !is_done.load(Ordering::SeqCst) || writer.written < before + (1 << 20) {
                for disk in 0..writer.contents.len() {
                    writer.write(disk);
                }
            }
        });
        let result = work();
        is_done.store(true, Ordering::SeqCst);
        writing.join().unwrap();
        result
    })
}

#[test]
fn two_pulls_at_once_of_one_point_are_the_same_and_the_disk_at_that_instant() {
    let directory = tempfile::tempdir().unwrap();
    let (volume, bytes) = plain(directory.path(), "disk");
    let mut guest = Guest::start(directory.path(), &[volume], vec![bytes], &[]);
    let vault = Vault::new(None);
    for _ in 0..50 {
        guest.writer.write(0);
    }
    let point = guest.host.open(&vault).unwrap();
    let then = guest.writer.contents[0].clone();
    let offer = point.offers()[0].clone();
    assert_eq!(offer.plan, Plan::Full(FullReason::First));
    let pull = || vault.pull(&offer, &Unwatched).unwrap();
    let [first, second] = while_written(&mut guest.writer, || {
        thread::scope(|scope| {
            let running = [0, 1].map(|_| scope.spawn(pull));
            running.map(|pulling| pulling.join().unwrap())
        })
    });
    assert_ne!(first_difference(&guest.writer.contents[0], &then), None);
    for pulled in [&first, &second] {
        assert_eq!(first_difference(&vault.restored(pulled.image.id), &then), None);
    }
    assert_eq!(first.image.content, second.image.content);
    assert_eq!(vault.label(first.image.id, "backup.consistency"), "crash");
    assert_eq!(vault.label(first.image.id, "backup.read"), "all: it is the first backup");
    assert_eq!(vault.label(first.image.id, "by"), "a test");
    // The holes were not sent.
    assert!(first.moved.received < SIZE as u64 * 2 / 3, "{:?}", first.moved);
    let closed = point.close(&mut guest.host.qmp, &[], None).unwrap();
    assert!(closed.broken.is_empty());
    let nodes = guest.host.qmp.nodes().unwrap();
    let is_ours = |name: &str| name.contains(".point") || name.contains("backup_");
    assert!(!nodes.iter().any(|node| is_ours(&node.name)), "{nodes:?}");
}

/// Six backups, and the last one restored after all that was backed up is gone.
fn five_incrementals(volume: Volume, bytes: Vec<u8>, directory: &Path, key: Option<ProjectKey>) {
    let mut guest = Guest::start(directory, std::slice::from_ref(&volume), vec![bytes], &[]);
    let vault = Vault::new(key);
    let (mut last, mut then) = (guest.host.back_up(&vault), Vec::new());
    assert_eq!(last.plan, Plan::Full(FullReason::First));
    guest.writer.take_touched();
    for round in 0..5 {
        for _ in 0..6 + round {
            guest.writer.write(0);
        }
        // Those during the pull before are among them.
        let touched = guest.writer.take_touched();
        let point = guest.host.open(&vault).unwrap();
        then.clone_from(&guest.writer.contents[0]);
        let offer = point.offers()[0].clone();
        let pulled = while_written(&mut guest.writer, || vault.pull(&offer, &Unwatched).unwrap());
        let id = guest.host.disks[0].id().clone();
        point.close(&mut guest.host.qmp, &[id], None).unwrap();
        let Plan::Incremental { base, .. } = pulled.plan else { panic!("{:?}", pulled.plan) };
        assert_eq!(base, last.image.id);
        println!(
            "by the bitmap {:?} bytes were written, moved {} ({:.2} of that)",
            pulled.moved.changed.unwrap(),
            pulled.moved.received,
            pulled.moved.ratio().unwrap()
        );
        assert_eq!(pulled.moved.changed, Some(touched));
        assert!(pulled.moved.read < pulled.moved.size);
        // The one before is of no use to this one.
        vault.forget(last.image.id);
        last = pulled;
    }
    guest.kill();
    let (Data::Plain(place) | Data::Overlay { place, .. }) = volume.data();
    std::fs::remove_file(place.called()).unwrap();
    vault.archive.gc(&Unwatched).unwrap();
    assert_eq!(first_difference(&vault.restored(last.image.id), &then), None);
}

#[test]
fn the_fifth_incremental_backup_of_a_plain_volume_is_restored_without_the_others() {
    let directory = tempfile::tempdir().unwrap();
    let (volume, bytes) = plain(directory.path(), "disk");
    five_incrementals(volume, bytes, directory.path(), None);
}

#[test]
fn the_fifth_incremental_backup_of_a_clone_is_restored_in_an_encrypted_project() {
    let directory = tempfile::tempdir().unwrap();
    let (clone, bytes) = overlay(directory.path());
    let volume = clone.volume(recovered(), HostCache::Direct).unwrap();
    five_incrementals(volume, bytes, directory.path(), Some(ProjectKey::new([3; 32])));
}

/// Backs up five times what was written in between, and adds up what that moved.
fn little_is_moved(volume: &Volume, bytes: Vec<u8>, directory: &Path, key: Option<ProjectKey>) {
    let mut guest = Guest::start(directory, std::slice::from_ref(volume), vec![bytes], &[]);
    let vault = Vault::new(key);
    guest.host.back_up(&vault);
    guest.writer.take_touched();
    for round in 1..=5 {
        for _ in 0..round * 6 {
            guest.writer.write_blocks(0);
        }
        let touched = guest.writer.take_touched();
        let then = guest.writer.contents[0].clone();
        let Pulled { image, moved, .. } = guest.host.back_up(&vault);
        println!("of {touched} bytes written: {moved:?}, {:.3}", moved.ratio().unwrap());
        assert_eq!((moved.changed, moved.read), (Some(touched), touched));
        assert!(moved.passed * 10 <= touched * 11, "{moved:?}");
        assert_eq!(first_difference(&vault.restored(image.id), &then), None);
    }
}

#[test]
fn of_a_plain_volume_hardly_more_is_moved_than_was_written() {
    let directory = tempfile::tempdir().unwrap();
    let (volume, bytes) = plain(directory.path(), "disk");
    little_is_moved(&volume, bytes, directory.path(), None);
}

#[test]
fn of_a_clone_hardly_more_is_moved_than_was_written_into_an_encrypted_project() {
    let directory = tempfile::tempdir().unwrap();
    let (clone, bytes) = overlay(directory.path());
    let volume = clone.volume(recovered(), HostCache::Direct).unwrap();
    little_is_moved(&volume, bytes, directory.path(), Some(ProjectKey::new([3; 32])));
}

#[test]
fn a_chunk_of_the_base_that_is_damaged_is_moved_whole() {
    let directory = tempfile::tempdir().unwrap();
    let (volume, bytes) = plain(directory.path(), "disk");
    let mut guest = Guest::start(directory.path(), &[volume], vec![bytes], &[]);
    let vault = Vault::new(None);
    guest.host.back_up(&vault);
    guest.writer.take_touched();
    for at in (0..SIZE as u64 / 2).step_by(CHUNK) {
        guest.writer.fill(0, at + (8 << 10), 4 << 10, 7);
    }
    vault.damage();
    let touched = guest.writer.take_touched();
    let then = guest.writer.contents[0].clone();
    let Pulled { image, moved, plan, .. } = guest.host.back_up(&vault);
    assert!(matches!(plan, Plan::Incremental { .. }), "{plan:?}");
    assert!(moved.read >= touched + SIZE as u64 / 8, "{moved:?}");
    assert_eq!(first_difference(&vault.restored(image.id), &then), None);
}

/// Whether a guest that writes is held up in between, only one with processors can show: that is in
/// tests/cases/backup.rs.
#[test]
fn several_disks_are_opened_together_and_closed_one_by_one() {
    let directory = tempfile::tempdir().unwrap();
    let names = ["one", "two", "three"];
    let (volumes, contents): (Vec<_>, Vec<_>) =
        names.iter().map(|name| plain(directory.path(), name)).unzip();
    let mut guest = Guest::start(directory.path(), &volumes, contents, &[]);
    let vault = Vault::new(None);
    for round in 0..3 {
        let point = guest.host.open(&vault).unwrap();
        assert!(point.held().stopped > std::time::Duration::ZERO);
        assert!(guest.host.qmp.is_running().unwrap());
        let then = guest.writer.contents.clone();
        let points: Vec<_> = point.offers().iter().map(|offer| offer.point).collect();
        assert!(points.iter().all(|other| *other == points[0]));
        let mut published = Vec::new();
        for (at, offer) in point.offers().iter().enumerate() {
            // The last one's first backup fails.
            let is_incremental = round > 1 || (round == 1 && at < 2);
            assert_eq!(matches!(offer.plan, Plan::Incremental { .. }), is_incremental);
            if round == 0 && at == 2 {
                continue;
            }
            let pulled = while_written(&mut guest.writer, || vault.pull(offer, &Unwatched));
            assert_eq!(
                first_difference(&vault.restored(pulled.unwrap().image.id), &then[at]),
                None
            );
            published.push(offer.volume.clone());
        }
        point.close(&mut guest.host.qmp, &published, None).unwrap();
    }
}

#[test]
fn a_flusher_s_server_serves_the_backup_too_and_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let (clone, bytes) = overlay(directory.path());
    let volume = clone.volume(recovered(), HostCache::Direct).unwrap();
    let mut guest = Guest::start(directory.path(), std::slice::from_ref(&volume), vec![bytes], &[]);
    let vault = Vault::new(None);
    let socket = directory.path().join("flush");
    flusher::serve(&mut guest.host.qmp, &socket).unwrap();
    flusher::export(&mut guest.host.qmp, &volume).unwrap();
    let interval = volume.durability().flush_interval().unwrap();
    let flusher = flusher::Flusher::start(&socket, volume.id(), interval).unwrap();
    let settings =
        Settings::new(directory.path().into(), Server::Running(NbdAddress::Unix(socket)));
    for _ in 0..2 {
        let point = guest.host.open_with(&vault, &settings, None).unwrap();
        let then = guest.writer.contents[0].clone();
        let offer = point.offers()[0].clone();
        let pulled = while_written(&mut guest.writer, || vault.pull(&offer, &Unwatched).unwrap());
        assert_eq!(first_difference(&vault.restored(pulled.image.id), &then), None);
        let id = volume.id().clone();
        point.close(&mut guest.host.qmp, &[id], None).unwrap();
    }
    let flushes = flusher.status().flushes;
    let begin = std::time::Instant::now();
    while flusher.status().flushes < flushes + 2 {
        assert!(begin.elapsed() < std::time::Duration::from_secs(20));
        thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(flusher.status().failures, 0);
}

#[test]
fn a_point_is_pulled_over_tcp() {
    let directory = tempfile::tempdir().unwrap();
    let (volume, bytes) = plain(directory.path(), "disk");
    let mut guest = Guest::start(directory.path(), &[volume], vec![bytes.clone()], &[]);
    let vault = Vault::new(None);
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let settings = Settings::new(directory.path().into(), Server::Start(NbdAddress::Tcp(port)));
    let point = guest.host.open_with(&vault, &settings, None).unwrap();
    let pulled = vault.pull(&point.offers()[0], &Unwatched).unwrap();
    assert_eq!(first_difference(&vault.restored(pulled.image.id), &bytes), None);
    point.close(&mut guest.host.qmp, &[], None).unwrap();
    assert!(std::net::TcpStream::connect(port).is_err());
}

#[test]
fn a_survey_of_disks_that_are_another_guests_takes_no_point_in_time_down() {
    let directory = tempfile::tempdir().unwrap();
    let (volume, bytes) = plain(directory.path(), "disk");
    let (other, _) = plain(directory.path(), "other");
    let mut guest = Guest::start(directory.path(), &[volume], vec![bytes], &[]);
    let vault = Vault::new(None);
    let point = guest.host.open(&vault).unwrap();
    let mistaken = survey(&mut guest.host.qmp, &[crate::backup::disk::Disk::of(&other)], None);
    assert!(matches!(mistaken, Err(PointError::NoDisk(_))), "{mistaken:?}");
    // It is served, and can be read.
    vault.pull(&point.offers()[0], &Unwatched).unwrap();
}

//! What a backup that fails costs: never the guest's writes, and never a change.

use std::{
    fs,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use super::{
    guest::Guest,
    points::{overlay, plain, recovered, while_written},
    *,
};
use crate::{
    archive::pack,
    nbd::{ALLOCATION, Nbd, Protection},
    testing::{contents, first_difference},
    volume::HostCache,
};

/// Ends the work in the middle of the disk.
#[derive(Default)]
struct Impatient(AtomicU64);

impl Watch for Impatient {
    fn tell(&self, progress: Progress) {
        self.0.fetch_max(progress.done * 2 / progress.total.max(1), Ordering::SeqCst);
    }

    fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::SeqCst) > 0
    }
}

/// Takes a backup of the guest's only disk, which must be incremental and right.
pub(super) fn check_next(guest: &mut Guest, vault: &Vault) {
    let then = guest.writer.contents[0].clone();
    let pulled = guest.host.back_up(vault);
    assert!(matches!(pulled.plan, Plan::Incremental { .. }), "{:?}", pulled.plan);
    assert!(pulled.moved.read < pulled.moved.size);
    assert_eq!(first_difference(&vault.restored(pulled.image.id), &then), None);
}

#[test]
fn a_pull_that_ends_in_the_middle_costs_the_next_backup_no_change() {
    let directory = tempfile::tempdir().unwrap();
    let (volume, bytes) = plain(directory.path(), "disk");
    let mut guest = Guest::start(directory.path(), &[volume], vec![bytes], &[]);
    let vault = Vault::new(None);
    guest.host.back_up(&vault);
    for is_first in [true, false] {
        guest.writer.write(0);
        let point = guest.host.open(&vault).unwrap();
        let offer = point.offers()[0].clone();
        let images = vault.published(&guest.host.disks[0]).len();
        while_written(&mut guest.writer, || {
            let error = vault.pull(&offer, &Impatient::default()).unwrap_err();
            assert!(matches!(error, PullError::Archive(_)), "{error}");
        });
        assert_eq!(vault.published(&guest.host.disks[0]).len(), images);
        if is_first {
            point.close(&mut guest.host.qmp, &[], None).unwrap();
        } else {
            // The hypervisor's process is killed too, and QEMU goes on alone.
            drop(point);
            for _ in 0..5 {
                guest.writer.write(0);
            }
            guest.host.reconnect();
        }
        check_next(&mut guest, &vault);
    }
}

#[test]
fn an_image_that_was_made_while_the_hypervisor_s_process_died_is_the_next_base() {
    let directory = tempfile::tempdir().unwrap();
    let (volume, bytes) = plain(directory.path(), "disk");
    let mut guest = Guest::start(directory.path(), &[volume], vec![bytes], &[]);
    let vault = Vault::new(None);
    guest.host.back_up(&vault);
    guest.writer.write(0);
    let point = guest.host.open(&vault).unwrap();
    let made = vault.pull(&point.offers()[0], &Unwatched).unwrap();
    drop(point);
    guest.host.reconnect();
    guest.writer.write(0);
    let surveys = survey(&mut guest.host.qmp, &guest.host.disks, None).unwrap();
    let decision = vault.decide(&guest.host.disks[0], &surveys[0]);
    assert!(matches!(decision.plan, Plan::Incremental { base, .. } if base == made.image.id));
    check_next(&mut guest, &vault);
}

#[test]
fn whoever_pulls_and_stands_still_holds_up_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let (volume, bytes) = plain(directory.path(), "disk");
    let mut guest = Guest::start(directory.path(), &[volume], vec![bytes], &[]);
    let vault = Vault::new(None);
    guest.host.back_up(&vault);
    let point = guest.host.open(&vault).unwrap();
    let offer = &point.offers()[0];
    // One that reads and goes away without a word, and one that stays and says nothing.
    let open = || {
        let (address, bound) = (&offer.address, Duration::from_secs(5));
        Nbd::open(address, Protection::Local, &offer.export, &[ALLOCATION], bound).unwrap()
    };
    let (mut gone, _silent) = (open(), open());
    gone.read(0, &mut [0; 4096]).unwrap();
    drop(gone);
    let begin = Instant::now();
    for _ in 0..100 {
        guest.writer.write(0);
    }
    assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
    let begin = Instant::now();
    point.close(&mut guest.host.qmp, &[], None).unwrap();
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    check_next(&mut guest, &vault);
}

#[test]
fn a_base_that_was_deleted_meanwhile_is_not_needed() {
    let directory = tempfile::tempdir().unwrap();
    let (volume, bytes) = plain(directory.path(), "disk");
    let mut guest = Guest::start(directory.path(), &[volume], vec![bytes], &[]);
    let vault = Vault::new(None);
    let first = guest.host.back_up(&vault);
    guest.writer.write(0);
    let point = guest.host.open(&vault).unwrap();
    let mut offer = point.offers()[0].clone();
    let then = guest.writer.contents[0].clone();
    vault.forget(first.image.id);
    let pulled = vault.pull(&offer, &Unwatched).unwrap();
    assert_eq!(pulled.plan, Plan::Full(FullReason::BaseGone));
    assert_eq!(first_difference(&vault.restored(pulled.image.id), &then), None);
    // Nor is one believed that is not what the bitmap begins at.
    let Plan::Incremental { since, .. } = offer.plan else { panic!() };
    offer.plan = Plan::Incremental { base: pulled.image.id, since };
    assert_eq!(vault.pull(&offer, &Unwatched).unwrap().plan, Plan::Full(FullReason::BaseGone));
    point.close(&mut guest.host.qmp, &[], None).unwrap();
    // The bitmap that goes on is that of a backup that is gone.
    let pulled = guest.host.back_up(&vault);
    assert!(matches!(pulled.plan, Plan::Full(_)), "{:?}", pulled.plan);
}

#[test]
fn a_base_whose_list_of_chunks_can_not_be_read_costs_one_backup_of_everything() {
    let directory = tempfile::tempdir().unwrap();
    let (volume, bytes) = plain(directory.path(), "disk");
    let mut guest = Guest::start(directory.path(), &[volume], vec![bytes], &[]);
    let vault = Vault::new(None);
    guest.host.back_up(&vault);
    for pack in vault.store.list("packs/").unwrap() {
        let mut bytes = vault.store.read(&pack.name, u64::MAX).unwrap();
        // Pages lie behind all that they list.
        let page = *pack::check(&bytes).unwrap().last().unwrap();
        bytes[page.offset as usize + page.entry.stored as usize / 2] ^= 1;
        vault.store.replace(&pack.name, &bytes).unwrap();
        // As its operator does, so that nothing that is new counts on it.
        vault.archive.quarantine(&pack.name).unwrap();
    }
    guest.writer.write(0);
    let then = guest.writer.contents[0].clone();
    let pulled = guest.host.back_up(&vault);
    assert_eq!(pulled.plan, Plan::Full(FullReason::BaseGone));
    assert_eq!(first_difference(&vault.restored(pulled.image.id), &then), None);
    guest.writer.write(0);
    check_next(&mut guest, &vault);
}

#[test]
fn after_a_kill_of_qemu_the_bitmap_is_not_trusted_and_that_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let (clone, bytes) = overlay(directory.path());
    let volume = || [clone.volume(recovered(), HostCache::Direct).unwrap()];
    let vault = Vault::new(None);
    let start = |contents| Guest::start(directory.path(), &volume(), contents, &[]);
    let mut guest = start(vec![bytes]);
    guest.host.back_up(&vault);
    guest.writer.write(0);
    // Ended in good order, it is stored; also what a backup that failed has left.
    drop(guest.host.open(&vault).unwrap());
    guest.writer.write(0);
    let mut guest = start(guest.quit());
    guest.writer.write(0);
    check_next(&mut guest, &vault);
    let mut guest = start(guest.quit());
    guest.writer.write(0);
    let then = guest.kill();
    clone.recover(HostCache::Direct, directory.path()).unwrap();
    let mut guest = start(then);
    guest.writer.write(0);
    let then = guest.writer.contents[0].clone();
    let pulled = guest.host.back_up(&vault);
    assert_eq!(pulled.plan, Plan::Full(FullReason::BitmapInconsistent));
    let said = vault.label(pulled.image.id, "backup.read");
    assert!(said.contains("QEMU was killed"), "{said}");
    assert_eq!(first_difference(&vault.restored(pulled.image.id), &then), None);
    guest.writer.write(0);
    check_next(&mut guest, &vault);
    // Killed before the new bitmap was ever stored.
    let then = guest.kill();
    clone.recover(HostCache::Direct, directory.path()).unwrap();
    let mut guest = start(then);
    let pulled = guest.host.back_up(&vault);
    assert_eq!(pulled.plan, Plan::Full(FullReason::BitmapMissing));
    let then = guest.quit().remove(0);
    assert_eq!(first_difference(&contents(&volume()[0], directory.path()), &then), None);
}

#[test]
fn a_plain_volume_forgets_its_bitmap_with_qemu_and_all_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let (volume, bytes) = plain(directory.path(), "disk");
    let vault = Vault::new(None);
    let volumes = [volume];
    let mut guest = Guest::start(directory.path(), &volumes, vec![bytes], &[]);
    guest.host.back_up(&vault);
    let mut guest = Guest::start(directory.path(), &volumes, guest.quit(), &[]);
    let pulled = guest.host.back_up(&vault);
    assert_eq!(pulled.plan, Plan::Full(FullReason::BitmapMissing));
}

#[test]
fn a_scratch_file_that_is_full_breaks_the_backup_and_not_the_guest() {
    let directory = tempfile::tempdir().unwrap();
    let (volume, bytes) = plain(directory.path(), "disk");
    let full = directory.path().join("scratch");
    fs::create_dir(&full).unwrap();
    // QEMU sees a file system of 2 MiB there, and so do we by its own eyes.
    let mount = format!("mount -t tmpfs -o size=2m none {} && exec \"$@\"", full.display());
    let within = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", &mount, "sh"];
    let mut guest = Guest::start(directory.path(), &[volume], vec![bytes], &within);
    let vault = Vault::new(None);
    guest.host.back_up(&vault);
    guest.writer.write(0);
    let seen = format!("/proc/{}/root{}", guest.pid(), full.display());
    let settings = Settings::new(seen.into(), Server::Start(guest.host.address()));
    let point = guest.host.open_with(&vault, &settings, None).unwrap();
    assert!(point.broken().is_empty());
    // More than fits, and all of it is written.
    for at in 0..16_u8 {
        guest.writer.fill(0, u64::from(at) << 18, 1 << 18, at + 1);
    }
    assert!(guest.host.qmp.is_running().unwrap());
    let error = vault.pull(&point.offers()[0], &Unwatched).unwrap_err();
    assert!(matches!(error, PullError::Broken(_)), "{error}");
    let closed = point.close(&mut guest.host.qmp, &[], None).unwrap();
    assert_eq!(closed.broken, [guest.host.disks[0].id().clone()]);
    check_next(&mut guest, &vault);
}

#[test]
fn a_scratch_file_that_is_slow_holds_a_write_up_once_and_breaks_the_backup() {
    let directory = tempfile::tempdir().unwrap();
    let (volume, bytes) = plain(directory.path(), "disk");
    let mut guest = Guest::start(directory.path(), &[volume], vec![bytes], &[]);
    let vault = Vault::new(None);
    guest.host.back_up(&vault);
    guest.writer.write(0);
    // More than QEMU can count: it waits as long as it can.
    let settings = Settings { patience: Duration::from_secs(3600), ..guest.host.settings() };
    let patience = guest.host.settings().patience;
    let point = guest.host.open_with(&vault, &settings, None).unwrap();
    guest.host.slow_scratch_down();
    // The first fills what the throttle lets through at once.
    let mut waits: Vec<Duration> = (0..8)
        .map(|at| {
            let begin = Instant::now();
            guest.writer.fill(0, at << 18, 1 << 18, 7);
            begin.elapsed()
        })
        .collect();
    waits.sort();
    assert!(waits[7] >= patience && waits[7] < 5 * patience, "{waits:?}");
    assert!(waits[6] < patience, "{waits:?}");
    let error = vault.pull(&point.offers()[0], &Unwatched).unwrap_err();
    assert!(matches!(error, PullError::Broken(_)), "{error}");
    // The copy that was given up is waited for here, by QEMU and the guest's disk both.
    let begin = Instant::now();
    let closed = point.close(&mut guest.host.qmp, &[], None).unwrap();
    println!("writes waited {waits:?}, and the end {:?}", begin.elapsed());
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    assert_eq!(closed.broken, [guest.host.disks[0].id().clone()]);
    check_next(&mut guest, &vault);
}

#[test]
fn what_can_not_be_opened_leaves_all_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let (volume, bytes) = plain(directory.path(), "disk");
    let mut guest = Guest::start(directory.path(), &[volume], vec![bytes], &[]);
    let vault = Vault::new(None);
    guest.host.back_up(&vault);
    guest.writer.write(0);
    let nodes = |guest: &mut Guest| -> Vec<String> {
        let nodes = guest.host.qmp.nodes().unwrap();
        let bitmaps = |node: &crate::qmp::block::Node| {
            let names = node.bitmaps.iter().filter_map(|bitmap| bitmap.name.clone());
            names.collect::<Vec<_>>()
        };
        nodes.iter().flat_map(|node| [vec![node.name.clone()], bitmaps(node)].concat()).collect()
    };
    let before = nodes(&mut guest);
    let files = || fs::read_dir(directory.path()).unwrap().count();
    let files_before = files();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let server = Server::Start(NbdAddress::Tcp(taken.local_addr().unwrap()));
    let bad_server = Settings::new(directory.path().into(), server);
    let bad_scratch = Settings { scratch: "/nowhere".into(), ..guest.host.settings() };
    for settings in [bad_server, bad_scratch] {
        let error = guest.host.open_with(&vault, &settings, None).unwrap_err();
        assert!(matches!(error, PointError::Qmp(_) | PointError::Scratch { .. }), "{error}");
        assert_eq!(nodes(&mut guest), before);
        guest.writer.write(0);
    }
    assert_eq!(files(), files_before, "a scratch file was left");
    check_next(&mut guest, &vault);
}

#[test]
fn a_scratch_file_that_a_killed_process_left_is_removed_by_the_next_one() {
    let directory = tempfile::tempdir().unwrap();
    let (volume, bytes) = plain(directory.path(), "disk");
    let mut guest = Guest::start(directory.path(), &[volume], vec![bytes], &[]);
    let point = "0123456789abcdef0123456789abcdef";
    let left = format!("disk-{point}.scratch");
    let others = [format!("disk-2-{point}.scratch"), format!("disk-{point}"), "disk".into()];
    for name in others.iter().take(2).chain([&left]) {
        fs::write(directory.path().join(name), "x").unwrap();
    }
    guest.host.open(&Vault::new(None)).unwrap();
    assert!(!directory.path().join(left).exists());
    assert!(others.iter().all(|name| directory.path().join(name).exists()));
}

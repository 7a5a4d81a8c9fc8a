//! Captures of real volumes, by QEMU's storage daemon, compared byte for byte.

use std::process::Command;

use nix::sys::signal::{Signal, kill};

use super::*;
use crate::{
    archive::{Progress, Unwatched},
    clone::{InstantClone, Master},
    encryption::KeyNumber,
    stopped::StoppedError,
    storage_daemon::StorageDaemon,
    testing::{
        contents, first_difference, ids, keys, master, open, pool, running,
        vault::{Vault, project_key},
    },
    volume::{Data, Durability, HostCache, Place, VolumeId, recovery::RecoveryError},
};

fn capture(vault: &Vault, of: Stopped<'_>, run: &Path) -> Result<Imported, CaptureError> {
    capture_with(vault, of, &VolumeKeys::none(), run)
}

fn capture_with(
    vault: &Vault,
    of: Stopped<'_>,
    keys: &VolumeKeys,
    run: &Path,
) -> Result<Imported, CaptureError> {
    capture_watched(vault, of, keys, run, &Unwatched)
}

fn capture_watched(
    vault: &Vault,
    of: Stopped<'_>,
    keys: &VolumeKeys,
    run: &Path,
    watch: &dyn Watch,
) -> Result<Imported, CaptureError> {
    let capture = Capture {
        project: &vault.project,
        key: vault.key.as_ref(),
        name: "golden".into(),
        labels: BTreeMap::from([(VOLUME.into(), "forged".into()), ("os".into(), "debian".into())]),
        by: "a test".into(),
        is_sealed: true,
    };
    stopped(&vault.archive, &capture, of, keys, run, watch)
}

fn of(clone: &InstantClone) -> Stopped<'_> {
    Stopped::Clone { clone, durability: Durability::default(), cache: HostCache::Direct }
}

fn clone(directory: &Path) -> (Master, InstantClone, Vec<u8>) {
    let (master, bytes) = master(directory);
    let clone = master.clone_into(&pool(directory), &ids(1)).unwrap().remove(0);
    (master, clone, bytes)
}

fn volume(clone: &InstantClone) -> Volume {
    clone.volume(Durability::default(), HostCache::Direct).unwrap()
}

#[test]
fn a_clone_is_captured_with_its_masters_bytes_and_needs_it_no_more() {
    let directory = tempfile::tempdir().unwrap();
    let vault = Vault::new(None);
    let (master, clone, mut bytes) = clone(directory.path());
    let daemon = open(&volume(&clone), &VolumeKeys::none(), directory.path());
    let mut blocks = daemon.open().unwrap();
    for at in [0, 5 << 20, bytes.len() - 512] {
        blocks.write(at as u64, &[9; 512]).unwrap();
        bytes[at..at + 512].fill(9);
    }
    drop(blocks);
    daemon.end().unwrap();
    let image = capture(&vault, of(&clone), directory.path()).unwrap().image;
    assert_eq!(image.kind, Kind::Captured);
    let detail = image.detail.clone().unwrap();
    assert!(!detail.labels.contains_key(ENCRYPTED));
    for (label, value) in [
        (VOLUME, "clone-0"),
        (BY, "a test"),
        (STATE, "stopped"),
        (SEALED, "agent"),
        ("os", "debian"),
    ] {
        assert_eq!(detail.labels[label], value);
    }
    assert_eq!(detail.provenance.source.as_deref(), Some("volume clone-0"));
    // The captured volume goes on being one.
    assert_eq!(first_difference(&contents(&volume(&clone), directory.path()), &bytes), None);
    master.remove_clone(&clone).unwrap();
    master.remove().unwrap();
    assert_eq!(first_difference(&vault.restored(image.id), &bytes), None);
}

#[test]
fn what_a_killed_guest_had_written_is_captured() {
    let directory = tempfile::tempdir().unwrap();
    let vault = Vault::new(None);
    let (_master, clone, mut bytes) = clone(directory.path());
    let daemon = open(&volume(&clone), &VolumeKeys::none(), directory.path());
    let mut blocks = daemon.open().unwrap();
    blocks.write(1 << 20, &[7; 65536]).unwrap();
    bytes[1 << 20..(1 << 20) + 65536].fill(7);
    // Dropped, it is killed: nothing was flushed.
    drop((blocks, daemon));
    let lost = volume(&clone);
    let error = capture(&vault, Stopped::Volume(&lost), directory.path()).unwrap_err();
    assert!(matches!(error, CaptureError::Stopped(StoppedError::Unrecovered(_))), "{error}");
    let image = capture(&vault, of(&clone), directory.path()).unwrap().image;
    assert_eq!(first_difference(&vault.restored(image.id), &bytes), None);
}

#[test]
fn a_volume_that_qemu_has_open_is_not_captured_and_none_is_opened_while_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let vault = Vault::new(None);
    let (_master, clone, bytes) = clone(directory.path());
    let plain = directory.path().join("plain");
    std::fs::write(&plain, &bytes).unwrap();
    let data = Data::Plain(Place::File(plain));
    let id = VolumeId::parse("plain").unwrap();
    let plain = Volume::new(id, data, Durability::Plain, HostCache::Direct).unwrap();
    for (volume, stopped) in [(&volume(&clone), of(&clone)), (&plain, Stopped::Volume(&plain))] {
        let daemon = open(volume, &VolumeKeys::none(), directory.path());
        let error = capture(&vault, stopped, directory.path()).unwrap_err();
        let is_refused = match &error {
            CaptureError::Stopped(StoppedError::InUse(_)) => true,
            // Recovery finds it first, by the same lock.
            CaptureError::Stopped(StoppedError::Recovery(RecoveryError::Daemon(error))) => {
                error.to_string().contains("lock")
            }
            _ => false,
        };
        assert!(is_refused, "{error:?}");
        daemon.end().unwrap();
        let held = Held::take(stopped, &VolumeKeys::none(), directory.path()).unwrap();
        let refused = StorageDaemon::start(&volume.blockdev(), directory.path()).unwrap_err();
        assert!(refused.to_string().contains("lock"), "{refused}");
        drop(held);
        let image = capture(&vault, stopped, directory.path()).unwrap().image;
        assert_eq!(first_difference(&vault.restored(image.id), &bytes), None);
    }
}

#[test]
fn an_encrypted_clone_is_captured_into_an_encrypted_project_alone() {
    let directory = tempfile::tempdir().unwrap();
    let (master, mut bytes) = master(directory.path());
    let (keys, id) = (keys(1), ids(1).remove(0));
    let pool = pool(directory.path());
    let clone = master.clone_encrypted(&pool, &id, KeyNumber(1), &keys).unwrap();
    let daemon = open(&volume(&clone), &keys, directory.path());
    daemon.open().unwrap().write(8192, &[3; 4096]).unwrap();
    bytes[8192..12288].fill(3);
    daemon.end().unwrap();
    let clear = Vault::new(None);
    let error = capture_with(&clear, of(&clone), &keys, directory.path()).unwrap_err();
    assert!(matches!(error, CaptureError::WouldBeClear(_)), "{error}");
    let sealed = Vault::new(Some(project_key()));
    let image = capture_with(&sealed, of(&clone), &keys, directory.path()).unwrap().image;
    assert_eq!(image.detail.as_ref().unwrap().labels[ENCRYPTED], "yes");
    assert_eq!(first_difference(&sealed.restored(image.id), &bytes), None);
}

#[test]
fn an_overlay_with_a_bitmap_is_as_it_was_after_a_capture() {
    let directory = tempfile::tempdir().unwrap();
    let vault = Vault::new(None);
    let (_master, clone, _) = clone(directory.path());
    let mut bitmap = Command::new("qemu-img");
    bitmap.args(["bitmap", "--add", "-f", "qcow2"]).arg(clone.path()).arg("mezame-mark");
    assert!(bitmap.status().unwrap().success());
    let before = std::fs::read(clone.path()).unwrap();
    capture(&vault, of(&clone), directory.path()).unwrap();
    assert_eq!(std::fs::read(clone.path()).unwrap(), before);
}

#[test]
fn an_image_that_is_there_is_told_of_however_the_daemon_that_read_it_ends() {
    /// Kills it once all is read.
    struct Kills<'a>(&'a str);

    impl Watch for Kills<'_> {
        fn tell(&self, progress: Progress) {
            if progress.done == progress.total {
                for daemon in running(&["qemu-storage-daemon", self.0]) {
                    kill(daemon, Signal::SIGKILL).unwrap();
                }
            }
        }
    }

    let directory = tempfile::tempdir().unwrap();
    let vault = Vault::new(None);
    let (_master, clone, bytes) = clone(directory.path());
    let kills = Kills(directory.path().to_str().unwrap());
    let none = VolumeKeys::none();
    let image = capture_watched(&vault, of(&clone), &none, directory.path(), &kills).unwrap().image;
    assert!(running(&["qemu-storage-daemon", kills.0]).is_empty());
    assert_eq!(first_difference(&vault.restored(image.id), &bytes), None);
}

//! Backups of a guest that goes over from its clone to a plain volume while it runs: it is never
//! moved back to what it has left.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{
    guest::Guest,
    points::{overlay, recovered},
    *,
};
use crate::{
    backup::disk::Disk,
    clone::Hydration,
    testing::first_difference,
    volume::{HostCache, Place, Volume},
};

/// A guest on a clone's volume, which has a backup.
fn guest(directory: &std::path::Path, vault: &Vault) -> (Guest, Volume, Hydration) {
    let (clone, bytes) = overlay(directory);
    let size = bytes.len() as u64;
    let volume = clone.volume(recovered(), HostCache::Direct).unwrap();
    let mut guest = Guest::start(directory, std::slice::from_ref(&volume), vec![bytes], &[]);
    guest.host.back_up(vault);
    let place = Place::File(directory.join("plain"));
    let qmp = &mut guest.host.qmp;
    let hydration = Hydration::start(qmp, &clone, size, place, HostCache::Direct, None).unwrap();
    (guest, volume, hydration)
}

/// Tells the job to go over, and waits until it has.
fn go_over(guest: &mut Guest, hydration: &Hydration, volume: &Volume) {
    let qmp = &mut guest.host.qmp;
    let begin = Instant::now();
    while !hydration.progress(qmp).unwrap().is_equal {
        assert!(begin.elapsed() < Duration::from_secs(60));
    }
    qmp.execute("job-complete", json!({ "id": volume.id().node("hydrate") })).unwrap();
    while qmp.execute("query-jobs", json!({})).unwrap()[0]["status"] != "concluded" {
        assert!(begin.elapsed() < Duration::from_secs(60));
    }
}

#[test]
fn a_guest_that_went_over_to_its_plain_volume_is_never_moved_back() {
    let directory = tempfile::tempdir().unwrap();
    let vault = Vault::new(None);
    let (mut guest, volume, hydration) = guest(directory.path(), &vault);
    go_over(&mut guest, &hydration, &volume);
    guest.writer.write(0);
    // The job has ended, and nobody has seen it yet.
    let error = guest.host.open(&vault).unwrap_err();
    assert!(matches!(error, PointError::Job(_)), "{error}");
    // Its node is still there, and the guest is elsewhere.
    let dismissed = json!({ "id": volume.id().node("hydrate") });
    guest.host.qmp.execute("job-dismiss", dismissed).unwrap();
    let error = guest.host.open(&vault).unwrap_err();
    let plain = volume.id().node("plain");
    assert!(matches!(&error, PointError::Elsewhere { node, .. } if *node == plain), "{error}");
    let device = guest.host.disks[0].device().to_owned();
    assert_eq!(guest.host.qmp.drive(&device).unwrap(), plain);

    guest.host.disks = vec![Disk::hydrated(&volume)];
    guest.writer.write(0);
    for is_first in [true, false] {
        let then = guest.writer.contents[0].clone();
        let pulled = guest.host.back_up(&vault);
        assert_eq!(matches!(pulled.plan, Plan::Full(_)), is_first);
        assert_eq!(first_difference(&vault.restored(pulled.image.id), &then), None);
        guest.writer.write(0);
    }
    // A process that is killed, and one that does not know that the guest went over.
    drop(guest.host.open(&vault).unwrap());
    guest.writer.write(0);
    guest.host.reconnect();
    survey(&mut guest.host.qmp, &[Disk::of(&volume)], None).unwrap();
    assert_eq!(guest.host.qmp.drive(&device).unwrap(), plain);
    guest.writer.write(0);
    let then = guest.writer.contents[0].clone();
    let pulled = guest.host.back_up(&vault);
    assert!(matches!(pulled.plan, Plan::Incremental { .. }), "{:?}", pulled.plan);
    assert_eq!(first_difference(&vault.restored(pulled.image.id), &then), None);
}

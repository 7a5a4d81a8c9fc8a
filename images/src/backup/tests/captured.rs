//! A running guest's disk becomes an image that is no backup: the next backup goes on from the last
//! one, and lacks nothing that was written since.

use super::{
    guest::Guest,
    points::{overlay, recovered, while_written},
    *,
};
use crate::{
    archive::Kind,
    capture::{self, Capture},
    testing::first_difference,
    volume::HostCache,
};

#[test]
fn a_running_guest_is_captured_at_a_point_in_time_and_its_backups_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let (clone, bytes) = overlay(directory.path());
    let volume = clone.volume(recovered(), HostCache::Direct).unwrap();
    let mut guest = Guest::start(directory.path(), &[volume], vec![bytes], &[]);
    let vault = Vault::new(None);
    guest.host.back_up(&vault);
    let last = guest.host.disks[0].clone();
    let before = vault.published(&last);
    for _ in 0..20 {
        guest.writer.write(0);
    }
    let point = guest.host.open(&vault).unwrap();
    let then = guest.writer.contents[0].clone();
    let offer = point.offers()[0].clone();
    let capture = Capture {
        project: &vault.project,
        key: None,
        name: "golden".into(),
        labels: BTreeMap::new(),
        by: "a test".into(),
        is_sealed: false,
    };
    let captured = while_written(&mut guest.writer, || {
        capture::running(&vault.archive, &capture, &offer, &Unwatched).unwrap()
    });
    // Nothing was published: what the bitmap says is for the next backup.
    point.close(&mut guest.host.qmp, &[], None).unwrap();
    assert!(matches!(captured.plan, Plan::Incremental { .. }), "{:?}", captured.plan);
    let image = captured.image;
    assert_eq!(image.kind, Kind::Captured);
    assert_eq!(first_difference(&vault.restored(image.id), &then), None);
    let labels = &image.detail.as_ref().unwrap().labels;
    assert_eq!((&labels[capture::STATE][..], &labels[capture::SEALED][..]), ("crash", "no"));
    assert_eq!(labels[capture::WHY_CRASH], "nobody was asked to freeze the guest");
    assert_eq!(labels[capture::TAKEN], offer.taken_ms.to_string());
    assert!(!labels.contains_key(crate::backup::pull::POINT), "it is taken for a backup");
    assert_eq!(vault.published(&last), before);
    let now = guest.writer.contents[0].clone();
    let next = guest.host.back_up(&vault);
    assert!(matches!(next.plan, Plan::Incremental { .. }), "{:?}", next.plan);
    assert_eq!(first_difference(&vault.restored(next.image.id), &now), None);
}

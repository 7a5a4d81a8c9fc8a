//! What is of an earlier state is not taken for the present one: a decision, an offer, a length, a
//! key.

use super::{failures::check_next, guest::Guest, points::plain, *};
use crate::testing::first_difference;

#[test]
fn a_decision_is_for_one_point_in_time_and_is_refused_for_the_next_one() {
    let directory = tempfile::tempdir().unwrap();
    let (volume, bytes) = plain(directory.path(), "disk");
    let mut guest = Guest::start(directory.path(), &[volume], vec![bytes], &[]);
    let vault = Vault::new(None);
    guest.host.back_up(&vault);
    guest.writer.write(0);
    let surveys = survey(&mut guest.host.qmp, &guest.host.disks, None).unwrap();
    let disk = guest.host.disks[0].clone();
    let decided = vec![(disk.clone(), vault.decide(&disk, &surveys[0]))];
    let settings = guest.host.settings();
    let open = |guest: &mut Guest| {
        let environment = SystemEnvironment::new();
        Point::open(&mut guest.host.qmp, decided.clone(), &settings, None, &environment)
    };
    // A process that is killed when the bitmap before has stopped.
    drop(open(&mut guest).unwrap());
    guest.writer.write(0);
    guest.host.reconnect();
    let error = open(&mut guest).unwrap_err();
    assert!(matches!(&error, PointError::Stale(id) if id == disk.id()), "{error}");
    check_next(&mut guest, &vault);
}

#[test]
fn a_disk_that_was_cut_and_made_as_long_again_is_read_whole() {
    let directory = tempfile::tempdir().unwrap();
    let (volume, bytes) = plain(directory.path(), "disk");
    let size = bytes.len();
    let mut guest = Guest::start(directory.path(), &[volume], vec![bytes], &[]);
    let vault = Vault::new(None);
    guest.host.back_up(&vault);
    let disk = guest.host.disks[0].clone();
    for length in [size / 4, size] {
        resize(&mut guest.host.qmp, &disk, length as u64, None).unwrap();
        guest.writer.contents[0].resize(length, 0);
    }
    let then = guest.writer.contents[0].clone();
    let pulled = guest.host.back_up(&vault);
    assert_eq!(pulled.plan, Plan::Full(FullReason::BitmapMissing));
    assert_eq!(first_difference(&vault.restored(pulled.image.id), &then), None);
    guest.writer.write(0);
    check_next(&mut guest, &vault);
}

#[test]
fn who_pulls_late_gets_nothing_and_not_the_next_point_in_time() {
    let directory = tempfile::tempdir().unwrap();
    let (volume, bytes) = plain(directory.path(), "disk");
    let mut guest = Guest::start(directory.path(), &[volume], vec![bytes], &[]);
    let vault = Vault::new(None);
    let point = guest.host.open(&vault).unwrap();
    let late = point.offers()[0].clone();
    point.close(&mut guest.host.qmp, &[], None).unwrap();
    guest.writer.write(0);
    let point = guest.host.open(&vault).unwrap();
    let error = vault.pull(&late, &Unwatched).unwrap_err();
    assert!(matches!(error, PullError::Broken(_)), "{error}");
    assert!(vault.published(&guest.host.disks[0]).is_empty());
    vault.pull(&point.offers()[0], &Unwatched).unwrap();
    point.close(&mut guest.host.qmp, &[], None).unwrap();
}

#[test]
fn a_backup_that_is_encrypted_otherwise_is_no_base() {
    let directory = tempfile::tempdir().unwrap();
    let (volume, bytes) = plain(directory.path(), "disk");
    let mut guest = Guest::start(directory.path(), &[volume], vec![bytes], &[]);
    let mut vault = Vault::new(None);
    guest.host.back_up(&vault);
    for key in [Some(ProjectKey::new([1; 32])), Some(ProjectKey::new([2; 32])), None] {
        guest.writer.write(0);
        vault.key = key;
        let then = guest.writer.contents[0].clone();
        let pulled = guest.host.back_up(&vault);
        assert_eq!(pulled.plan, Plan::Full(FullReason::BaseGone));
        assert_eq!(first_difference(&vault.restored(pulled.image.id), &then), None);
        guest.writer.write(0);
        check_next(&mut guest, &vault);
    }
}

//! Points in time that are served over TCP: by TLS to whom the offer was given, or not at all.

use std::{fs, net::TcpListener, path::Path};

use super::{
    guest::Guest,
    points::{plain, while_written},
    *,
};
use crate::{
    nbd::{ALLOCATION, Nbd, Protection},
    testing::first_difference,
};

/// A port that nobody listens on.
fn free() -> std::net::SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn by_tls(guest: &Guest, keys: &Path) -> Settings {
    let server = Server::StartTls { address: free(), keys: keys.into() };
    Settings { server, ..guest.host.settings() }
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().next().is_none()
}

#[test]
fn backups_are_pulled_over_tls_and_each_offer_opens_its_own_point_in_time_alone() {
    let directory = tempfile::tempdir().unwrap();
    let keys = tempfile::tempdir().unwrap();
    let (volume, bytes) = plain(directory.path(), "disk");
    let mut guest = Guest::start(directory.path(), &[volume], vec![bytes], &[]);
    let vault = Vault::new(None);
    let settings = by_tls(&guest, keys.path());
    // What a process that was killed has left.
    let left = keys.path().join(format!("disk-{}.tls", "0".repeat(32)));
    fs::create_dir(&left).unwrap();
    fs::write(left.join("server-key.pem"), "a key").unwrap();
    let mut offers = Vec::new();
    for round in 0..3 {
        let point = guest.host.open_with(&vault, &settings, None).unwrap();
        assert!(is_empty(keys.path()));
        let then = guest.writer.contents[0].clone();
        let offer = point.offers()[0].clone();
        assert!(!format!("{offer:?} {point:?}").contains("BEGIN"));
        let pulled = while_written(&mut guest.writer, || vault.pull(&offer, &Unwatched).unwrap());
        assert_eq!(first_difference(&vault.restored(pulled.image.id), &then), None);
        assert_eq!(matches!(pulled.plan, Plan::Incremental { .. }), round > 0);
        // Neither without them, nor by those of an earlier point in time at the same address.
        let bare = Offer { tls: None, ..offer.clone() };
        vault.pull(&bare, &Unwatched).unwrap_err();
        for earlier in &offers {
            let Offer { tls, .. } = earlier;
            let mixed = Offer { tls: tls.clone(), ..offer.clone() };
            vault.pull(&mixed, &Unwatched).unwrap_err();
        }
        let published = [guest.host.disks[0].id().clone()];
        let closed = point.close(&mut guest.host.qmp, &published, None).unwrap();
        assert!(closed.broken.is_empty());
        let objects = guest.host.qmp.objects().unwrap();
        assert!(!objects.iter().any(|object| object.contains("tls")), "{objects:?}");
        vault.pull(&offer, &Unwatched).unwrap_err();
        offers.push(offer);
    }
}

#[test]
fn a_point_in_time_is_served_to_a_network_without_tls_only_where_both_sides_ask_for_it() {
    let directory = tempfile::tempdir().unwrap();
    let (volume, bytes) = plain(directory.path(), "disk");
    let mut guest = Guest::start(directory.path(), &[volume], vec![bytes], &[]);
    let vault = Vault::new(None);
    let every = std::net::SocketAddr::from(([0, 0, 0, 0], free().port()));
    for server in [Server::Start(NbdAddress::Tcp(every)), Server::Running(NbdAddress::Tcp(every))] {
        let settings = Settings { server, ..guest.host.settings() };
        let error = guest.host.open_with(&vault, &settings, None).unwrap_err();
        assert!(matches!(error, PointError::Exposed(address) if address == every), "{error}");
    }
    let settings = Settings { server: Server::StartClear(every), ..guest.host.settings() };
    let point = guest.host.open_with(&vault, &settings, None).unwrap();
    let offer = point.offers()[0].clone();
    let error = vault.pull(&offer, &Unwatched).unwrap_err();
    assert!(matches!(error, PullError::Exposed(address) if address == every), "{error}");
    let exceptions = Exceptions { clear_network: true, ..Exceptions::default() };
    let pulled = vault.pull_with(&offer, exceptions, &Unwatched).unwrap();
    let then = guest.writer.contents[0].clone();
    assert_eq!(first_difference(&vault.restored(pulled.image.id), &then), None);
    point.close(&mut guest.host.qmp, &[], None).unwrap();
}

#[test]
fn a_point_in_time_whose_keys_can_not_be_handed_over_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (volume, bytes) = plain(directory.path(), "disk");
    let mut guest = Guest::start(directory.path(), &[volume], vec![bytes], &[]);
    let vault = Vault::new(None);
    let settings = by_tls(&guest, &directory.path().join("none such"));
    let error = guest.host.open_with(&vault, &settings, None).unwrap_err();
    assert!(matches!(error, PointError::Keys { .. }), "{error}");
    // A port that is taken: QEMU has the keys by then.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let server = Server::StartTls { address, keys: directory.path().into() };
    let settings = Settings { server, ..guest.host.settings() };
    let error = guest.host.open_with(&vault, &settings, None).unwrap_err();
    assert!(matches!(error, PointError::Qmp(_)), "{error}");
    assert!(guest.host.qmp.objects().unwrap().iter().all(|object| !object.contains("tls")));
    drop(taken);
    let point = guest.host.open_with(&vault, &settings, None).unwrap();
    let offer = &point.offers()[0];
    let client = offer.tls.as_ref().unwrap();
    let bound = std::time::Duration::from_secs(20);
    let open =
        |protection| Nbd::open(&offer.address, protection, &offer.export, &[ALLOCATION], bound);
    open(Protection::Local).unwrap_err();
    open(Protection::Tls(client)).unwrap();
    point.close(&mut guest.host.qmp, &[], None).unwrap();
}

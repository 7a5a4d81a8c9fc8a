//! Tests of the object store: the contract with a real server, the same with a network that loses
//! things, and against servers that misbehave.

mod archive;
mod faults;
#[path = "../../../../tests/archive/object_store.rs"]
mod object_store;
mod scripted;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use self::{faults::Network, object_store::ObjectStore};
use super::*;
use crate::{archive::store::contract, environment::SystemEnvironment};

fn place<'a>(endpoint: &'a str, folder: &'a str) -> Place<'a> {
    Place {
        endpoint,
        region: object_store::REGION,
        bucket: object_store::BUCKET,
        folder,
        style: Style::Path,
        plain: PlainHttp::ToLoopback,
    }
}

fn credentials() -> Credentials {
    Credentials::new(object_store::KEY, object_store::SECRET, None).unwrap()
}

fn open(port: u16, folder: &str) -> Result<S3, S3Error> {
    open_with(port, folder, credentials(), Patience::default())
}

fn open_with(
    port: u16,
    folder: &str,
    credentials: Credentials,
    patience: Patience,
) -> Result<S3, S3Error> {
    let endpoint = format!("http://127.0.0.1:{port}");
    let environment = Arc::new(SystemEnvironment::new());
    S3::open(&place(&endpoint, folder), credentials, &Trust::System, patience, environment)
}

fn name(text: &str) -> ObjectName {
    ObjectName::parse(text).unwrap()
}

/// Each call of the contract's in a folder of its own, the first in the bucket itself.
fn check_contract(port: u16) {
    let number = AtomicU32::new(0);
    contract::check(&|| {
        let folder = match number.fetch_add(1, Ordering::SeqCst) {
            0 => String::new(),
            number => format!("deep/folder-{number}"),
        };
        Box::new(open(port, &folder).unwrap())
    });
}

/// Where `MEZAME_S3_ENDPOINT` names a server, it is that one, in the bucket `MEZAME_S3_BUCKET` of the
/// region `MEZAME_S3_REGION` with the keys of AWS's variables; what is written is left there.
#[test]
fn an_object_store_keeps_the_contract() {
    match std::env::var("MEZAME_S3_ENDPOINT") {
        Ok(endpoint) => check_contract_of(&endpoint),
        Err(_) => check_contract(ObjectStore::start().port()),
    }
}

fn check_contract_of(endpoint: &str) {
    let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let (bucket, region) = (variable("MEZAME_S3_BUCKET"), variable("MEZAME_S3_REGION"));
    let keys = Credentials::from_variables(|name| std::env::var(name).ok()).unwrap();
    let environment = Arc::new(SystemEnvironment::new());
    // The contract wants empty folders.
    let run: [u8; 8] = crate::environment::random(&*environment).unwrap();
    let number = AtomicU32::new(0);
    contract::check(&|| {
        let number = number.fetch_add(1, Ordering::SeqCst);
        let folder = format!("contract-{:016x}/{number}", u64::from_le_bytes(run));
        let place = Place { bucket: &bucket, region: &region, ..place(endpoint, &folder) };
        let patience = Patience::default();
        let trust = Trust::System;
        Box::new(S3::open(&place, keys.clone(), &trust, patience, environment.clone()).unwrap())
    });
}

#[test]
fn an_object_store_keeps_the_contract_over_a_network_that_loses_things() {
    let store = ObjectStore::start();
    let network = Network::losing(store.port(), 1);
    check_contract(network.port());
    let lost = network.lost();
    assert!(lost.iter().all(|count| *count > 0), "{lost:?}");
}

#[test]
fn a_list_of_more_than_two_pages_is_whole() {
    let server = ObjectStore::start();
    let store = open(server.port(), "many").unwrap();
    std::thread::scope(|scope| {
        for part in 0..8 {
            let store = &store;
            scope.spawn(move || {
                for number in (part..2300).step_by(8) {
                    store.put_new(&name(&format!("packs/{number:05}")), b"x").unwrap();
                }
            });
        }
    });
    let mut listed = store.list("packs/").unwrap();
    listed.sort();
    let expected: Vec<_> = (0..2300)
        .map(|number| Listed { name: name(&format!("packs/{number:05}")), length: 1 })
        .collect();
    assert!(listed == expected, "{} of 2300 names", listed.len());
    assert_eq!(store.list("images/").unwrap(), []);
}

#[test]
fn a_server_that_ignores_the_condition_is_refused_in_words() {
    let server = ObjectStore::start();
    let network = Network::without_conditions(server.port());
    let error = open(network.port(), "a").unwrap_err();
    assert!(matches!(error, S3Error::Unfit(_)), "{error}");
    assert!(error.to_string().contains("If-None-Match"), "{error}");
    // Nothing is left of the look.
    assert_eq!(open(server.port(), "a").unwrap().list("probe/").unwrap(), []);
}

#[test]
fn bytes_that_were_changed_on_the_way_are_not_stored() {
    let server = ObjectStore::start();
    let store = open(server.port(), "a").unwrap();
    let bytes = vec![7; 300_000];
    let network = Network::changing_requests(server.port(), 2);
    let changed = open_unproved(network.port(), "a").unwrap();
    changed.put_new(&name("packs/a"), &bytes).unwrap();
    assert_eq!(network.lost()[0], 2);
    assert!(store.read(&name("packs/a"), 300_000).unwrap() == bytes);
}

fn open_unproved(port: u16, folder: &str) -> Result<S3, S3Error> {
    let endpoint = format!("http://127.0.0.1:{port}");
    let environment = Arc::new(SystemEnvironment::new());
    let patience = Patience { attempt: Duration::from_secs(2), whole: Duration::from_secs(4) };
    S3::unproved(&place(&endpoint, folder), credentials(), &Trust::System, patience, environment)
}

#[test]
fn wrong_keys_and_a_missing_bucket_are_told_in_words_and_without_the_keys() {
    let server = ObjectStore::start();
    let wrong = Credentials::new(object_store::KEY, "another-secret", None).unwrap();
    let error = open_with(server.port(), "a", wrong, Patience::default()).unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(text.contains("SignatureDoesNotMatch"), "{text}");
    assert!(!text.contains("another-secret") && !text.contains("X-Amz"), "{text}");

    let endpoint = format!("http://127.0.0.1:{}", server.port());
    let elsewhere = Place { bucket: "no-such-bucket", ..place(&endpoint, "") };
    let environment = Arc::new(SystemEnvironment::new());
    let patience = Patience::default();
    let store =
        S3::unproved(&elsewhere, credentials(), &Trust::System, patience, environment).unwrap();
    // A collection of garbage would believe that nothing is needed.
    let error = store.read(&name("images/a"), 9).unwrap_err();
    assert!(matches!(error, StoreError::Io { .. }), "{error}");
    let StoreError::Io { source, .. } = error else { unreachable!() };
    assert!(source.to_string().contains("NoSuchBucket"), "{source}");
}

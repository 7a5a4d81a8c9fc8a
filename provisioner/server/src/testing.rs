//! What several test modules use: a client over each kind of connection, and single steps of
//! futures.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use mezame_model::Snapshot;

use crate::{
    environment::Environment,
    record::encode,
    site_keys::StoredSite,
    store::{Batch, Store, memory::MemoryStore},
};

pub(crate) mod http;

/// Lets a future take one step.
pub(crate) fn poll_once<F: Future + ?Sized>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

/// A store in memory with an installation's keys. The signing key is one that was made for tests,
/// since making one takes long.
pub(crate) async fn store(environment: &dyn Environment) -> Arc<MemoryStore> {
    let made_for_tests =
        include_str!("../../../metadata-server/protocol/testdata/snapshot-with-test-keys.json");
    let snapshot: Snapshot = serde_json::from_str(made_for_tests).unwrap();
    let site = StoredSite::without_signing_key(environment)
        .with_signing_key(snapshot.site.signing_key.clone());
    let store = MemoryStore::default();
    let site = encode(&site).unwrap();
    store.commit(Batch { site: Some(site), ..Batch::default() }).await.unwrap();
    Arc::new(store)
}

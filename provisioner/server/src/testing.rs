//! What several test modules use: a client over each kind of connection, and single steps of
//! futures.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

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

/// A store in memory with an installation's keys, of which the signing key is none: making one
/// takes long, and few tests sign.
pub(crate) async fn store(environment: &dyn Environment) -> Arc<MemoryStore> {
    let site = encode(&StoredSite::without_signing_key(environment)).unwrap();
    let store = MemoryStore::default();
    store.commit(Batch { site: Some(site), ..Batch::default() }).await.unwrap();
    Arc::new(store)
}

//! A store whose process is killed by its own hand, with `SIGKILL`, at one of its operations.
//!
//! So a worker can be stopped between any two of its steps, however short the time between them is;
//! a killer from outside, who draws a time, mostly meets the long ones.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use mezame_images::archive::{
    ObjectName,
    store::{Listed, Store, StoreError},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// Counts its operations, and dies at one of them.
pub(crate) struct Dying {
    store: Arc<dyn Store>,
    done: AtomicU64,
    at: u64,
}

impl Dying {
    /// `at` 0 is before the first operation, 1 after it, and so on.
    pub(crate) fn new(store: Arc<dyn Store>, at: u64) -> Self {
        Self { store, done: AtomicU64::new(0), at }
    }

    /// How many operations there have been.
    pub(crate) fn done(&self) -> u64 {
        self.done.load(Ordering::SeqCst)
    }

    fn step<T>(&self, operation: impl FnOnce(&dyn Store) -> T) -> T {
        self.die_if(self.done());
        let value = operation(&*self.store);
        self.die_if(self.done.fetch_add(1, Ordering::SeqCst) + 1);
        value
    }

    fn die_if(&self, done: u64) {
        if done == self.at {
            kill(Pid::this(), Signal::SIGKILL).expect("one may kill oneself");
        }
    }
}

impl Store for Dying {
    fn put_new(&self, name: &ObjectName, bytes: &[u8]) -> Result<(), StoreError> {
        self.step(|store| store.put_new(name, bytes))
    }

    fn replace(&self, name: &ObjectName, bytes: &[u8]) -> Result<(), StoreError> {
        self.step(|store| store.replace(name, bytes))
    }

    fn read(&self, name: &ObjectName, limit: u64) -> Result<Vec<u8>, StoreError> {
        self.step(|store| store.read(name, limit))
    }

    fn read_at(&self, name: &ObjectName, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        self.step(|store| store.read_at(name, offset, buffer))
    }

    fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        self.step(|store| store.list(prefix))
    }

    fn delete(&self, name: &ObjectName) -> Result<(), StoreError> {
        self.step(|store| store.delete(name))
    }
}

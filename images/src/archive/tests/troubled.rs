//! A store that hides objects, and counts its listings.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

pub(super) struct Troubled {
    memory: Arc<Memory>,
    hidden: Mutex<Option<&'static str>>,
    listings: AtomicUsize,
}

impl Troubled {
    pub(super) fn new(memory: Arc<Memory>) -> Self {
        Self { memory, hidden: Mutex::default(), listings: AtomicUsize::new(0) }
    }

    /// From now on nothing below this prefix can be seen, as if its folder were gone.
    pub(super) fn hide(&self, prefix: Option<&'static str>) {
        *self.hidden.lock().unwrap() = prefix;
    }

    pub(super) fn listings(&self) -> usize {
        self.listings.load(Ordering::SeqCst)
    }

    fn is_hidden(&self, name: &ObjectName) -> bool {
        self.hidden.lock().unwrap().is_some_and(|prefix| name.as_str().starts_with(prefix))
    }

    fn look(&self, name: &ObjectName) -> Result<(), StoreError> {
        if self.is_hidden(name) {
            return Err(StoreError::Missing { name: name.clone() });
        }
        Ok(())
    }
}

impl Store for Troubled {
    fn put_new(&self, name: &ObjectName, bytes: &[u8]) -> Result<(), StoreError> {
        self.memory.put_new(name, bytes)
    }
    fn replace(&self, name: &ObjectName, bytes: &[u8]) -> Result<(), StoreError> {
        self.memory.replace(name, bytes)
    }
    fn read(&self, name: &ObjectName, limit: u64) -> Result<Vec<u8>, StoreError> {
        self.look(name)?;
        self.memory.read(name, limit)
    }
    fn read_at(&self, name: &ObjectName, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        self.look(name)?;
        self.memory.read_at(name, offset, buffer)
    }
    fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        self.listings.fetch_add(1, Ordering::SeqCst);
        let mut listed = self.memory.list(prefix)?;
        listed.retain(|object| !self.is_hidden(&object.name));
        Ok(listed)
    }
    fn delete(&self, name: &ObjectName) -> Result<(), StoreError> {
        self.memory.delete(name)
    }
}

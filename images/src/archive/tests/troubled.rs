//! A store that hides objects, fails to read some, and counts its listings.

use std::{
    collections::BTreeSet,
    io,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use super::*;

pub(super) struct Troubled {
    memory: Arc<Memory>,
    hidden: Mutex<Option<&'static str>>,
    broken: Mutex<BTreeSet<ObjectName>>,
    unreachable: Mutex<BTreeSet<ObjectName>>,
    bad_place: AtomicBool,
    is_lying: AtomicBool,
    listings: AtomicUsize,
    failures: AtomicUsize,
}

impl Troubled {
    pub(super) fn new(memory: Arc<Memory>) -> Self {
        let (hidden, broken) = (Mutex::default(), Mutex::default());
        Self {
            memory,
            hidden,
            broken,
            unreachable: Mutex::default(),
            bad_place: AtomicBool::new(false),
            is_lying: AtomicBool::new(false),
            listings: AtomicUsize::new(0),
            failures: AtomicUsize::new(0),
        }
    }

    /// From now on nothing below this prefix can be seen, as if its folder were gone.
    pub(super) fn hide(&self, prefix: Option<&'static str>) {
        *self.hidden.lock().unwrap() = prefix;
    }

    /// From now on these can't be read, as if the disk below them were bad.
    pub(super) fn break_these(&self, names: &[&str]) {
        let names = names.iter().map(|name| ObjectName::parse(name).unwrap());
        *self.broken.lock().unwrap() = names.collect();
    }

    /// From now on the store does not answer when it is asked for these.
    pub(super) fn lose_sight_of(&self, names: &[String]) {
        let names = names.iter().map(|name| ObjectName::parse(name).unwrap());
        *self.unreachable.lock().unwrap() = names.collect();
    }

    /// How often it did not answer.
    pub(super) fn failures(&self) -> usize {
        self.failures.load(Ordering::SeqCst)
    }

    /// From now on the first hundred bytes of each pack can't be read.
    pub(super) fn break_first_bytes(&self, are_bad: bool) {
        self.bad_place.store(are_bad, Ordering::SeqCst);
    }

    /// From now on an image's record is there, and its folder could not be synced.
    pub(super) fn lose_records(&self) {
        self.is_lying.store(true, Ordering::SeqCst);
    }

    pub(super) fn listings(&self) -> usize {
        self.listings.load(Ordering::SeqCst)
    }

    fn is_hidden(&self, name: &ObjectName) -> bool {
        self.hidden.lock().unwrap().is_some_and(|prefix| name.as_str().starts_with(prefix))
    }

    fn look(&self, name: &ObjectName, length: usize) -> Result<(), StoreError> {
        if self.is_hidden(name) {
            return Err(StoreError::Missing { name: name.clone() });
        }
        if length > 0 && self.unreachable.lock().unwrap().contains(name) {
            self.failures.fetch_add(1, Ordering::SeqCst);
            return Err(StoreError::io(name, io::ErrorKind::TimedOut.into()));
        }
        if length > 0 && self.broken.lock().unwrap().contains(name) {
            return Err(bad(name));
        }
        Ok(())
    }
}

fn bad(name: &ObjectName) -> StoreError {
    let source = io::Error::from_raw_os_error(nix::errno::Errno::EIO as i32);
    StoreError::Damaged { name: name.clone(), source }
}

impl Store for Troubled {
    fn put_new(&self, name: &ObjectName, bytes: &[u8]) -> Result<(), StoreError> {
        self.memory.put_new(name, bytes)?;
        if self.is_lying.load(Ordering::SeqCst) && name.as_id(prefix::IMAGES).is_some() {
            let source = io::ErrorKind::Other.into();
            return Err(StoreError::NotDurable { name: name.clone(), source });
        }
        Ok(())
    }
    fn replace(&self, name: &ObjectName, bytes: &[u8]) -> Result<(), StoreError> {
        self.memory.replace(name, bytes)
    }
    fn read(&self, name: &ObjectName, limit: u64) -> Result<Vec<u8>, StoreError> {
        self.look(name, 1)?;
        self.memory.read(name, limit)
    }
    fn read_at(&self, name: &ObjectName, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        self.look(name, buffer.len())?;
        if self.bad_place.load(Ordering::SeqCst) && name.as_pack().is_some() && offset < 100 {
            return Err(bad(name));
        }
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

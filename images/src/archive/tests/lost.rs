//! A store far away, whose answers are lost: what it was asked for may come to be later, or never.

use std::collections::BTreeSet;

use super::*;

/// What is lost on the way, of objects below one prefix, and may be delivered late.
struct Lossy {
    memory: Arc<Memory>,
    /// Of how many requests for new objects below which prefix the answer is lost.
    losses: Mutex<(&'static str, usize)>,
    late: Mutex<Vec<(ObjectName, Vec<u8>)>>,
    sent: Mutex<BTreeSet<ObjectName>>,
}

impl Lossy {
    fn new(memory: Arc<Memory>) -> Self {
        let (losses, late) = (Mutex::default(), Mutex::default());
        Self { memory, losses, late, sent: Mutex::default() }
    }

    fn lose(&self, prefix: &'static str, count: usize) {
        *self.losses.lock().unwrap() = (prefix, count);
    }

    /// What was under way arrives; whether each took effect.
    fn deliver(&self) -> Vec<bool> {
        let late = std::mem::take(&mut *self.late.lock().unwrap());
        late.iter().map(|(name, bytes)| self.memory.put_new(name, bytes).is_ok()).collect()
    }
}

impl Store for Lossy {
    fn put_new(&self, name: &ObjectName, bytes: &[u8]) -> Result<(), StoreError> {
        if name.as_pack().is_some() {
            assert!(self.sent.lock().unwrap().insert(name.clone()), "{name} was sent twice");
        }
        let mut losses = self.losses.lock().unwrap();
        if losses.1 > 0 && name.as_str().starts_with(losses.0) {
            losses.1 -= 1;
            self.late.lock().unwrap().push((name.clone(), bytes.to_vec()));
            let source = std::io::ErrorKind::TimedOut.into();
            return Err(StoreError::Unsettled { name: name.clone(), source });
        }
        self.memory.put_new(name, bytes)
    }
    fn replace(&self, name: &ObjectName, bytes: &[u8]) -> Result<(), StoreError> {
        self.memory.replace(name, bytes)
    }
    fn read(&self, name: &ObjectName, limit: u64) -> Result<Vec<u8>, StoreError> {
        self.memory.read(name, limit)
    }
    fn read_at(&self, name: &ObjectName, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        self.memory.read_at(name, offset, buffer)
    }
    fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        self.memory.list(prefix)
    }
    fn delete(&self, name: &ObjectName) -> Result<(), StoreError> {
        self.memory.delete(name)
    }
}

fn lossy() -> (Arc<Memory>, Arc<Lossy>, Archive) {
    let memory = Arc::new(Memory::new());
    let store = Arc::new(Lossy::new(memory.clone()));
    let archive = archive(store.clone(), 1, Duration::from_secs(900));
    (memory, store, archive)
}

#[test]
fn a_pack_whose_answer_was_lost_is_written_under_another_name() {
    let (memory, store, archive) = lossy();
    store.lose(prefix::PACKS, 2);
    let wide = import(&archive, &Disk::of(&[1, 2, 3, 4, 5, 6])).image.id;
    let narrow = import(&archive, &Disk::of(&[1])).image.id;
    archive.forget(wide).unwrap();
    // And those of a collection, which copies what is left.
    store.lose(prefix::PACKS, 2);
    assert!(archive.gc(&Unwatched).unwrap().copied > 0);
    // What comes late is garbage.
    assert_eq!(store.deliver(), [true; 4]);
    archive.gc(&Unwatched).unwrap();
    assert_eq!(names(&memory, prefix::PACKS).len(), 1);
    assert_eq!(restore(&archive, narrow).unwrap(), Disk::of(&[1]).bytes);
}

#[test]
fn a_store_that_loses_every_pack_ends_an_import() {
    let (_, store, archive) = lossy();
    store.lose(prefix::PACKS, usize::MAX);
    let end = archive.import(&new(&project("web"), None), &Disk::of(&[1]), &Unwatched);
    assert!(matches!(end, Err(ArchiveError::Store(StoreError::Unsettled { .. }))), "{end:?}");
}

#[test]
fn an_image_whose_record_comes_late_is_whole_or_never_comes() {
    for dead_after in [Duration::from_secs(900), Duration::ZERO] {
        let (memory, store, archive) = lossy();
        store.lose(prefix::IMAGES, 1);
        let end = archive.import(&new(&project("web"), None), &Disk::of(&[1, 2]), &Unwatched);
        assert!(matches!(end, Err(ArchiveError::Store(StoreError::Unsettled { .. }))), "{end:?}");
        super::archive(memory, 5, dead_after).gc(&Unwatched).unwrap();
        let is_there = store.deliver() == [true];
        assert_eq!(is_there, !dead_after.is_zero());
        let images = archive.list(Viewer::Operator, &no_keys).unwrap();
        assert_eq!(images.len(), usize::from(is_there));
        for image in images {
            assert_eq!(restore(&archive, image.id).unwrap(), Disk::of(&[1, 2]).bytes);
        }
    }
}

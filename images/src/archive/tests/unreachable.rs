//! A store that lists its packs and does not give all of them.

use std::sync::Condvar;

use super::*;

/// An archive with so many images, each in a pack of its own; and one that has not seen them yet.
fn with_packs(count: u8) -> (Arc<Memory>, Arc<Troubled>, Vec<String>, Archive) {
    let memory = Arc::new(Memory::new());
    let store = Arc::new(Troubled::new(memory.clone()));
    let first = archive(store.clone(), 1, Duration::from_secs(900));
    for letter in 1..=count {
        import(&first, &Disk::of(&[letter]));
    }
    let packs = names(&memory, prefix::PACKS);
    assert_eq!(packs.len(), usize::from(count));
    (memory, store.clone(), packs, archive(store, 2, Duration::from_secs(900)))
}

#[test]
fn a_pack_that_can_t_be_reached_is_reported_and_not_condemned() {
    let (memory, store, packs, archive) = with_packs(2);
    for image in archive.list(Viewer::Operator, &no_keys).unwrap() {
        archive.forget(image.id).unwrap();
    }
    // The same in a sound pack, so that nothing needs the one that can't be reached.
    store.lose_sight_of(&packs[..1]);
    let other = super::archive(store.clone(), 3, Duration::from_secs(900));
    let kept = [import(&other, &Disk::of(&[1])), import(&other, &Disk::of(&[2]))];
    let swept = other.gc(&Unwatched).unwrap();
    assert_eq!(swept.unread, [ObjectName::parse(&packs[0]).unwrap()].into());
    assert!(names(&memory, prefix::PACKS).contains(&packs[0]), "it was deleted");
    assert_eq!(names(&memory, prefix::CONDEMNED), Vec::<String>::new());
    // What is damaged instead goes.
    store.lose_sight_of(&[]);
    store.break_these(&[&packs[0]]);
    super::archive(store.clone(), 4, Duration::from_secs(900)).gc(&Unwatched).unwrap();
    assert!(!names(&memory, prefix::PACKS).contains(&packs[0]));
    for (image, letter) in kept.iter().zip(1..) {
        assert_eq!(restore(&other, image.image.id).unwrap(), Disk::of(&[letter]).bytes);
    }
}

#[test]
fn a_store_that_lists_and_does_not_read_is_asked_a_few_times_and_no_more() {
    let (_, store, packs, archive) = with_packs(40);
    store.lose_sight_of(&packs);
    let end = archive.import(&new(&project("web"), None), &Disk::of(&[99]), &Unwatched);
    let is_told = matches!(end, Err(ArchiveError::Store(StoreError::Io { .. })));
    assert!(is_told, "{end:?}");
    assert!(archive.gc(&Unwatched).is_err());
    assert!(archive.verify_packs(&Unwatched).is_err());
    let failures = store.failures();
    assert!((3..=18).contains(&failures), "{failures} requests in vain");
    // As few as that are passed over.
    store.lose_sight_of(&packs[..4]);
    import(&archive, &Disk::of(&[99]));
    let faults = archive.verify_packs(&Unwatched).unwrap();
    assert_eq!(faults.len(), 4, "{faults:?}");
}

#[test]
fn an_image_whose_packs_can_t_be_reached_is_given_up_after_a_few_chunks() {
    let memory = Arc::new(Memory::new());
    let store = Arc::new(Troubled::new(memory.clone()));
    let archive = archive(store.clone(), 1, Duration::from_secs(900));
    let letters: Vec<u8> = (1..=100).collect();
    let id = import(&archive, &Disk::of(&letters)).image.id;
    let image = archive.view(id, Viewer::Operator, &no_keys).unwrap();
    assert_eq!(archive.verify(&image, &Unwatched).unwrap().damaged, 0);
    store.lose_sight_of(&names(&memory, prefix::PACKS));
    assert!(archive.verify(&image, &Unwatched).is_err());
    assert!(store.failures() < 10, "{} requests in vain", store.failures());
}

/// A store that answers no reading of a pack before so many are asked for at once.
struct Far {
    memory: Arc<Memory>,
    asked: Mutex<usize>,
    changed: Condvar,
    together: usize,
}

impl Store for Far {
    fn put_new(&self, name: &ObjectName, bytes: &[u8]) -> Result<(), StoreError> {
        self.memory.put_new(name, bytes)
    }
    fn replace(&self, name: &ObjectName, bytes: &[u8]) -> Result<(), StoreError> {
        self.memory.replace(name, bytes)
    }
    fn read(&self, name: &ObjectName, limit: u64) -> Result<Vec<u8>, StoreError> {
        self.memory.read(name, limit)
    }
    fn read_at(&self, name: &ObjectName, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        if name.as_pack().is_some() {
            let mut asked = self.asked.lock().unwrap();
            *asked += 1;
            self.changed.notify_all();
            let patience = Duration::from_secs(60);
            let waited = self
                .changed
                .wait_timeout_while(asked, patience, |asked| *asked < self.together)
                .unwrap();
            assert!(!waited.1.timed_out(), "packs are read one after another");
        }
        self.memory.read_at(name, offset, buffer)
    }
    fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        self.memory.list(prefix)
    }
    fn delete(&self, name: &ObjectName) -> Result<(), StoreError> {
        self.memory.delete(name)
    }
}

#[test]
fn the_ends_of_packs_are_read_side_by_side() {
    let (memory, ..) = with_packs(40);
    let far = Far { memory, asked: Mutex::default(), changed: Condvar::new(), together: 16 };
    let settings = Settings { threads: 2, beat: None, dead_after: Duration::from_secs(900) };
    let environment = Arc::new(FixedEnvironment::new(5));
    let archive = Archive::open(Arc::new(far), environment, settings).unwrap();
    assert_eq!(archive.packs(&BTreeSet::new()).unwrap().sound.len(), 40);
}

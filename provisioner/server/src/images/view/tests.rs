//! Calls about images while others change the archive, or while it fails.

use std::{
    collections::BTreeSet,
    io,
    sync::{Arc, Mutex},
};

use mezame_images::{
    archive::{
        Detail, KeyOf, NewImage, ObjectName, Settings, Unwatched,
        source::FileSource,
        store::{Listed, Store, StoreError, memory::Memory},
    },
    backup::pull::VOLUME,
    environment::SystemEnvironment,
};

use mezame_model::api::{schedules::Keep, volumes::PruneBackups};

use super::*;

/// A store in memory of which objects go while they are listed, or can't be deleted.
#[derive(Default)]
struct Troubled {
    memory: Memory,
    /// Read so many times and then gone.
    going: Mutex<Vec<(String, u32)>>,
    stuck: Mutex<BTreeSet<String>>,
    /// How often an image's record was read.
    reads: std::sync::atomic::AtomicUsize,
}

impl Store for Troubled {
    fn put_new(&self, name: &ObjectName, bytes: &[u8]) -> Result<(), StoreError> {
        self.memory.put_new(name, bytes)
    }
    fn replace(&self, name: &ObjectName, bytes: &[u8]) -> Result<(), StoreError> {
        self.memory.replace(name, bytes)
    }
    fn read(&self, name: &ObjectName, limit: u64) -> Result<Vec<u8>, StoreError> {
        if name.as_str().starts_with("images/") {
            self.reads.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }
        for (going, left) in self.going.lock().unwrap().iter_mut() {
            if *going == name.as_str() {
                match left.checked_sub(1) {
                    Some(less) => *left = less,
                    None => return Err(StoreError::Missing { name: name.clone() }),
                }
            }
        }
        self.memory.read(name, limit)
    }
    fn read_at(&self, name: &ObjectName, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        self.memory.read_at(name, offset, buffer)
    }
    fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        self.memory.list(prefix)
    }
    fn delete(&self, name: &ObjectName) -> Result<(), StoreError> {
        if self.stuck.lock().unwrap().contains(name.as_str()) {
            let source = io::Error::from(io::ErrorKind::TimedOut);
            return Err(StoreError::Io { name: name.as_str().into(), source });
        }
        self.memory.delete(name)
    }
}

struct Place {
    store: Arc<Troubled>,
    archive: Archive,
    keys: KeyLookup,
    project: ProjectName,
}

impl Place {
    fn make() -> Self {
        let store = Arc::new(Troubled::default());
        let environment = Arc::new(SystemEnvironment::new());
        let archive = Archive::create(store.clone(), environment, Settings::default()).unwrap();
        let keys: KeyLookup = Arc::new(|_| KeyOf::Open);
        Self { store, archive, keys, project: ProjectName::parse("p").unwrap() }
    }

    /// How many records this reads.
    fn reads<T>(&self, call: impl FnOnce() -> T) -> (usize, T) {
        use std::sync::atomic::Ordering::SeqCst;
        let before = self.store.reads.load(SeqCst);
        let result = call();
        (self.store.reads.load(SeqCst) - before, result)
    }

    fn page(
        &self,
        project: Option<&ProjectName>,
        after: Option<&str>,
        most: usize,
    ) -> (Vec<String>, bool) {
        let (list, more) = page(&self.archive, &self.keys, project, after, most).unwrap();
        (list.items.into_iter().map(|image| image.id).collect(), more)
    }

    /// A backup of the volume `one`; its id.
    fn backup(&self) -> String {
        self.image_of(&self.project, "nightly")
    }

    fn image_of(&self, project: &ProjectName, name: &str) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [7; 1000]).unwrap();
        let labels = [(VOLUME.to_owned(), "one".to_owned())].into();
        let new = NewImage {
            project,
            kind: Kind::Backup,
            detail: Detail { name: name.into(), labels, ..Detail::default() },
            key: None,
            base: None,
        };
        let source = FileSource::open(file.path()).unwrap();
        self.archive.import(&new, &source, &Unwatched).unwrap().image.id.to_string()
    }
}

#[test]
fn a_retention_tells_what_it_deleted_though_one_is_gone_and_another_fails() {
    let place = Place::make();
    let ids: Vec<String> = (0..6)
        .map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(2));
            place.backup()
        })
        .collect();
    let name = |id: &str| format!("images/{}", id.trim_start_matches("img-"));
    // It is there when the backups are listed, and gone when it is to be deleted.
    place.store.going.lock().unwrap().push((name(&ids[1]), 1));
    place.store.stuck.lock().unwrap().insert(name(&ids[3]));
    let policy = PruneBackups { volume: "one".into(), keep: Keep { last: 1, ..Keep::default() } };
    let pruned = crate::images::prune::prune(
        &place.archive,
        &place.keys,
        &place.project,
        &policy,
        Some("test"),
    )
    .unwrap();
    assert_eq!(pruned.kept, ids[5..]);
    let mut told = pruned.dropped.clone();
    told.extend(pruned.faults.iter().map(|fault| fault.path.clone()));
    told.sort();
    let mut wanted = [&ids[..1], &ids[2..5]].concat();
    wanted.sort();
    assert_eq!(told, wanted, "{pruned:?}");
    assert!(pruned.faults.iter().any(|fault| fault.path == ids[3]));
    for id in &pruned.dropped {
        let id = ImageId::parse(id).unwrap();
        assert!(look(&place.archive, &place.keys, &place.project, id).is_err());
    }
}

#[test]
fn a_page_reads_what_it_shows_and_no_record_is_read_twice_to_be_passed_over() {
    let place = Place::make();
    let other = ProjectName::parse("other").unwrap();
    let mut own: Vec<String> = (0..3).map(|_| place.backup()).collect();
    let mut all = own.clone();
    all.extend((0..20).map(|_| place.image_of(&other, "x")));
    own.sort();
    all.sort();
    let (reads, page) = place.reads(|| place.page(None, None, 4));
    assert_eq!((reads, page), (5, (all[..4].to_vec(), true)));
    let (reads, page) = place.reads(|| place.page(None, Some(&all[20]), 4));
    assert_eq!((reads, page), (2, (all[21..].to_vec(), false)));
    // Whose they are has to be seen once.
    place.page(Some(&place.project), None, 100);
    let (reads, page) = place.reads(|| place.page(Some(&place.project), None, 100));
    assert_eq!((reads, page), (3, (own.clone(), false)));
    let (reads, count) = place.reads(|| place.archive.count_own(&place.project).unwrap());
    assert_eq!((reads, count), (0, 3));
    let gone = ImageId::parse(&own[0]).unwrap();
    let visible = look(&place.archive, &place.keys, &place.project, gone).unwrap();
    place.archive.delete(&visible).unwrap();
    assert_eq!(place.archive.count_own(&place.project).unwrap(), 2);
    assert_eq!(place.page(Some(&place.project), None, 2), (own[1..].to_vec(), false));
}

#[test]
fn a_page_of_long_names_is_shorter_and_says_that_there_is_more() {
    let place = Place::make();
    for _ in 0..70 {
        place.image_of(&place.project, &"x".repeat(64_000));
    }
    let (first, more) = place.page(Some(&place.project), None, 100);
    assert!((60..70).contains(&first.len()) && more, "{}", first.len());
    let (rest, more) = place.page(Some(&place.project), first.last().map(String::as_str), 100);
    assert_eq!((first.len() + rest.len(), more), (70, false));
}

#[test]
fn images_of_a_label_are_found_without_reading_those_that_are_known_to_say_something_else() {
    let place = Place::make();
    let other = ProjectName::parse("other").unwrap();
    let ids: Vec<String> = (0..3).map(|_| place.backup()).collect();
    place.image_of(&other, "x");
    let labelled = |words: &[&str]| {
        let words = words.iter().copied().collect();
        let keys = |it: &ProjectName| (place.keys)(it);
        let found = place.archive.list_labelled(&place.project, &keys, VOLUME, &words).unwrap();
        let mut found: Vec<_> = found.iter().map(|image| image.id.to_string()).collect();
        found.sort();
        found
    };
    let mut sorted = ids.clone();
    sorted.sort();
    // Each has to be seen once; that of the other project says nothing here, though its label is the same.
    assert_eq!(place.reads(|| labelled(&["two"])), (4, Vec::new()));
    assert_eq!(place.reads(|| labelled(&["two"])), (0, Vec::new()));
    assert_eq!(place.reads(|| labelled(&["one", "two"])), (3, sorted));
    let late = place.backup();
    assert_eq!(place.reads(|| labelled(&["two"])), (1, Vec::new()));
    for id in &ids {
        let id = ImageId::parse(id).unwrap();
        let gone = look(&place.archive, &place.keys, &place.project, id).unwrap();
        place.archive.delete(&gone).unwrap();
    }
    assert_eq!(place.reads(|| labelled(&["one"])), (1, vec![late]));
}

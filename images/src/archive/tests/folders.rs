//! A part of the store that is not there is never taken for an empty one.

use super::*;

/// A store whose objects below one prefix can't be seen for a while, as if its folder were gone.
struct Hiding {
    memory: Arc<Memory>,
    hidden: Mutex<Option<&'static str>>,
}

impl Hiding {
    fn is_hidden(&self, name: &ObjectName) -> bool {
        self.hidden.lock().unwrap().is_some_and(|prefix| name.as_str().starts_with(prefix))
    }
}

impl Store for Hiding {
    fn put_new(&self, name: &ObjectName, bytes: &[u8]) -> Result<(), StoreError> {
        self.memory.put_new(name, bytes)
    }
    fn replace(&self, name: &ObjectName, bytes: &[u8]) -> Result<(), StoreError> {
        self.memory.replace(name, bytes)
    }
    fn read(&self, name: &ObjectName, limit: u64) -> Result<Vec<u8>, StoreError> {
        if self.is_hidden(name) {
            return Err(StoreError::Missing { name: name.clone() });
        }
        self.memory.read(name, limit)
    }
    fn read_at(&self, name: &ObjectName, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        if self.is_hidden(name) {
            return Err(StoreError::Missing { name: name.clone() });
        }
        self.memory.read_at(name, offset, buffer)
    }
    fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        let mut listed = self.memory.list(prefix)?;
        listed.retain(|object| !self.is_hidden(&object.name));
        Ok(listed)
    }
    fn delete(&self, name: &ObjectName) -> Result<(), StoreError> {
        self.memory.delete(name)
    }
}

#[test]
fn nothing_is_deleted_while_the_images_folder_is_not_there() {
    let memory = Arc::new(Memory::new());
    let store = Arc::new(Hiding { memory: memory.clone(), hidden: Mutex::new(None) });
    let archive = archive(store.clone(), 1, Duration::from_secs(900));
    let disk = Disk::of(&[1, 2, 3]);
    let web = project("web");
    let id = archive.import(&new(&web, None), &disk, &Unwatched).unwrap().image.id;
    for prefix in [prefix::IMAGES, prefix::WRITERS, prefix::CONDEMNED] {
        *store.hidden.lock().unwrap() = Some(prefix);
        for _ in 0..2 {
            let refused = archive.gc(&Unwatched).unwrap_err();
            let is_told =
                matches!(refused, ArchiveError::FolderMissing { prefix: p } if p == prefix);
            assert!(is_told, "{prefix}: {refused}");
        }
        *store.hidden.lock().unwrap() = None;
        assert_eq!(restore(&archive, id).unwrap(), disk.bytes);
    }
    assert_eq!(archive.gc(&Unwatched).unwrap().deleted, 0);
}

#[test]
fn a_store_without_an_archive_is_not_made_one_by_opening_it() {
    let memory = Arc::new(Memory::new());
    let environment = Arc::new(FixedEnvironment::new(1));
    let open = || Archive::open(memory.clone(), environment.clone(), Settings::default());
    assert!(matches!(open(), Err(ArchiveError::NoArchive)));
    assert!(memory.list("").unwrap().is_empty());
    Archive::create(memory.clone(), environment.clone(), Settings::default()).unwrap();
    open().unwrap();
    let again = Archive::create(memory.clone(), environment.clone(), Settings::default());
    assert!(matches!(again, Err(ArchiveError::NotEmpty { .. })));
}

#[test]
fn an_archive_is_made_neither_over_packs_nor_over_other_files_and_goes_on_where_it_was_cut_short() {
    let environment = Arc::new(FixedEnvironment::new(1));
    let create = |memory: &Arc<Memory>| {
        Archive::create(memory.clone(), environment.clone(), Settings::default())
    };
    for name in ["packs/00-00", "notes"] {
        let memory = Arc::new(Memory::new());
        let name = ObjectName::parse(name).unwrap();
        memory.put_new(&name, b"x").unwrap();
        let refused = create(&memory).unwrap_err();
        assert!(matches!(refused, ArchiveError::NotEmpty { name: n } if n == name));
    }
    let memory = Arc::new(Memory::new());
    memory.put_new(&ObjectName::marker(prefix::IMAGES), b"").unwrap();
    create(&memory).unwrap();
}

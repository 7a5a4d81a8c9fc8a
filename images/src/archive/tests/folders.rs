//! A part of the store that is not there is never taken for an empty one.

use super::*;

#[test]
fn nothing_is_deleted_while_the_images_folder_is_not_there() {
    let memory = Arc::new(Memory::new());
    let store = Arc::new(Troubled::new(memory.clone()));
    let archive = archive(store.clone(), 1, Duration::from_secs(900));
    let disk = Disk::of(&[1, 2, 3]);
    let web = project("web");
    let id = archive.import(&new(&web, None), &disk, &Unwatched).unwrap().image.id;
    for prefix in [prefix::IMAGES, prefix::WRITERS, prefix::CONDEMNED] {
        store.hide(Some(prefix));
        for _ in 0..2 {
            let refused = archive.gc(&Unwatched).unwrap_err();
            let is_told =
                matches!(refused, ArchiveError::FolderMissing { prefix: p } if p == prefix);
            assert!(is_told, "{prefix}: {refused}");
        }
        store.hide(None);
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
fn an_archive_is_not_made_over_what_is_left_of_one_and_goes_on_where_it_was_cut_short() {
    let environment = Arc::new(FixedEnvironment::new(1));
    let create = |memory: &Arc<Memory>| {
        Archive::create(memory.clone(), environment.clone(), Settings::default())
    };
    for name in ["packs/00-00", "images/00", "waits/00"] {
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

//! What becomes of an archive in which something was changed or lost.

use super::*;

#[test]
fn any_changed_byte_of_the_store_is_found_and_never_restored() {
    let (memory, archive) = fresh();
    let disk = secret_disk();
    let id = import(&archive, &disk).image.id;
    let image = archive.view(id, Viewer::Operator, &no_keys).unwrap();
    let name = memory.list(prefix::PACKS).unwrap()[0].name.clone();
    let sound = memory.read(&name, u64::MAX).unwrap();
    for place in (0..40).map(|n| n * (sound.len() - 1) / 39) {
        let mut bytes = sound.clone();
        bytes[place] ^= 0x10;
        memory.replace(&name, &bytes).unwrap();
        // One that has not seen the pack before.
        let other = super::archive(memory.clone(), 77, Duration::from_secs(900));
        assert_eq!(other.verify_packs(&Unwatched).unwrap().len(), 1, "byte {place}");
        if let Ok(read) = restore(&other, id) {
            assert_eq!(read, disk.bytes, "byte {place}: something else was restored");
        }
    }
    let mut bytes = sound.clone();
    bytes[100] ^= 1;
    memory.replace(&name, &bytes).unwrap();
    let found = archive.verify(&image, &Unwatched).unwrap();
    assert_eq!((found.damaged, found.faults[0].offset), (1, 0));
    memory.replace(&name, &sound).unwrap();
    assert_eq!(
        archive.verify(&image, &Unwatched).unwrap(),
        Verified { chunks: 3, ..Verified::default() }
    );
}

#[test]
fn nothing_is_deleted_while_an_image_can_t_be_read_and_all_goes_on_when_it_is_deleted() {
    let (memory, archive) = fresh();
    let damaged = import(&archive, &Disk::of(&[1, 2])).image.id;
    let garbage = import(&archive, &Disk::of(&[3, 4])).image.id;
    archive.forget(garbage).unwrap();
    let name = ObjectName::image(damaged);
    let mut record = memory.read(&name, u64::MAX).unwrap();
    record[20] ^= 1;
    memory.replace(&name, &record).unwrap();
    let refused = archive.gc(&Unwatched).unwrap_err();
    assert!(matches!(refused, ArchiveError::Unreadable { id, .. } if id == damaged), "{refused}");
    // The operator is told of it, and other projects are not kept from theirs.
    assert!(archive.list(Viewer::Operator, &no_keys).is_err());
    let web = project("web");
    assert_eq!(archive.list(Viewer::Project(&web), &no_keys).unwrap().len(), 0);
    assert_eq!(names(&memory, prefix::PACKS).len(), 2);
    archive.forget(damaged).unwrap();
    assert_eq!(archive.gc(&Unwatched).unwrap().deleted, 2);
    assert!(names(&memory, prefix::PACKS).is_empty());
}

#[test]
fn a_lost_pack_costs_a_few_looks_and_not_some_for_each_of_its_chunks() {
    let memory = Arc::new(Memory::new());
    let store = Arc::new(Troubled::new(memory.clone()));
    let archive = super::archive(store.clone(), 1, Duration::from_secs(900));
    // So that not only those that are lost are there.
    let other = import(&archive, &Disk::of(&[250])).image.id;
    let kept = names(&memory, prefix::PACKS);
    let letters: Vec<u8> = (1..=100).collect();
    let id = import(&archive, &Disk::of(&letters)).image.id;
    let image = archive.view(id, Viewer::Operator, &no_keys).unwrap();
    let pages: Vec<ObjectName> = names(&memory, prefix::PACKS)
        .iter()
        .filter(|name| !kept.contains(name))
        .map(|name| ObjectName::parse(name).unwrap())
        .collect();
    // All chunks but the page, which lies in a pack of its own then.
    let bytes = memory.read(&pages[0], u64::MAX).unwrap();
    let placed = pack::check(&bytes).unwrap();
    let page = placed.last().unwrap();
    let mut rest = pack::Builder::new();
    let added: Result<_, ()> = rest.add(|out| {
        let start = page.offset as usize;
        out.extend_from_slice(&bytes[start..start + page.entry.stored as usize]);
        Ok(page.entry)
    });
    added.unwrap();
    memory.delete(&pages[0]).unwrap();
    let own = ObjectName::pack(PackId { writer: ImageId::new([9; 16]), number: 0 });
    memory.put_new(&own, &rest.finish()).unwrap();
    let before = store.listings();
    let verified = archive.verify(&image, &Unwatched).unwrap();
    assert_eq!((verified.damaged, verified.faults[0].why), (100, ChunkFault::Missing));
    let looks = store.listings() - before;
    assert!(looks <= 8, "{looks} looks at all packs");
    assert_eq!(restore(&archive, other).unwrap(), Disk::of(&[250]).bytes);
}

/// An archive with an image in a pack that can't be read, and one in another; the first is first.
fn with_a_bad_pack() -> (Arc<Memory>, Arc<Troubled>, [ImageId; 2], ObjectName) {
    let memory = Arc::new(Memory::new());
    let store = Arc::new(Troubled::new(memory.clone()));
    let archive = super::archive(store.clone(), 1, Duration::from_secs(900));
    let bad = import(&archive, &Disk::of(&[1, 2])).image.id;
    let pack = names(&memory, prefix::PACKS)[0].clone();
    let good = import(&archive, &Disk::of(&[3, 4])).image.id;
    store.break_these(&[&pack]);
    (memory, store, [bad, good], ObjectName::parse(&pack).unwrap())
}

#[test]
fn a_pack_that_can_t_be_read_stops_none_but_the_images_in_it() {
    let (_, store, [bad, good], pack) = with_a_bad_pack();
    let archive = super::archive(store.clone(), 2, Duration::from_secs(900));
    assert_eq!(restore(&archive, good).unwrap(), Disk::of(&[3, 4]).bytes);
    let refused = restore(&archive, bad).unwrap_err();
    let is_told = matches!(refused, ArchiveError::Chunk { source: ChunkFault::Unlisted, .. });
    assert!(is_told, "{refused}");
    assert_eq!(archive.verify_packs(&Unwatched).unwrap(), [(pack, pack::PackFault::Read)]);
    // What it had is written anew.
    let again = import(&archive, &Disk::of(&[1, 2, 3])).image.id;
    assert_eq!(restore(&archive, again).unwrap(), Disk::of(&[1, 2, 3]).bytes);
    // And with that the first one can be read again but for its own page.
    store.break_these(&[]);
    assert_eq!(restore(&archive, bad).unwrap(), Disk::of(&[1, 2]).bytes);
}

#[test]
fn a_bad_place_of_a_pack_takes_the_chunks_there_and_no_others() {
    let (_, store, [bad, _], _) = with_a_bad_pack();
    store.break_these(&[]);
    let archive = super::archive(store.clone(), 2, Duration::from_secs(900));
    let image = archive.view(bad, Viewer::Operator, &no_keys).unwrap();
    // So that its list of chunks is known. Its page lies behind both.
    assert_eq!(archive.verify(&image, &Unwatched).unwrap().damaged, 0);
    store.break_first_bytes(true);
    let verified = archive.verify(&image, &Unwatched).unwrap();
    assert_eq!((verified.chunks, verified.damaged), (2, 1));
    assert!(matches!(verified.faults[0].why, ChunkFault::Read(_)), "{verified:?}");
}

#[test]
fn garbage_is_collected_beside_a_pack_that_can_t_be_read_and_it_is_reported() {
    let (memory, store, [bad, good], pack) = with_a_bad_pack();
    let archive = super::archive(store.clone(), 2, Duration::from_secs(900));
    // Its page lies in the bad pack, so nobody knows what it needs.
    assert!(
        matches!(archive.gc(&Unwatched), Err(ArchiveError::Unreadable { id, .. }) if id == bad)
    );
    // Another image of the same chunks is in sound packs, so nothing needed is in the bad one.
    archive.forget(bad).unwrap();
    let garbage = import(&archive, &Disk::of(&[8, 9])).image.id;
    archive.forget(garbage).unwrap();
    let swept = archive.gc(&Unwatched).unwrap();
    assert_eq!(swept.unread, [pack.clone()].into());
    assert_eq!((swept.deleted, swept.waiting), (1, 0));
    assert_eq!(names(&memory, prefix::PACKS).len(), 1, "the bad one is still there");
    assert_eq!(restore(&archive, good).unwrap(), Disk::of(&[3, 4]).bytes);
}

#[test]
fn a_pack_with_a_damaged_chunk_that_something_is_needed_of_stays_and_others_go() {
    let (memory, archive) = fresh();
    let kept = import(&archive, &Disk::of(&[1])).image.id;
    let before = names(&memory, prefix::PACKS);
    let mut ids = vec![import(&archive, &Disk::of(&[1, 2, 3, 4, 5, 6])).image.id];
    let mut added = names(&memory, prefix::PACKS);
    added.retain(|name| !before.contains(name));
    let name = ObjectName::parse(&added[0]).unwrap();
    let small = import(&archive, &Disk::of(&[2])).image.id;
    let before = names(&memory, prefix::PACKS);
    ids.push(import(&archive, &Disk::of(&[20, 21])).image.id);
    let mut garbage = names(&memory, prefix::PACKS);
    garbage.retain(|name| !before.contains(name));
    let mut bytes = memory.read(&name, u64::MAX).unwrap();
    let of_use = pack::check(&bytes).unwrap()[0].entry.stored as usize;
    bytes[8 + of_use + 5] ^= 1;
    memory.replace(&name, &bytes).unwrap();
    for id in ids {
        archive.forget(id).unwrap();
    }
    // One chunk of six is needed of it, so it would be copied from; another pack is garbage.
    let swept = archive.gc(&Unwatched).unwrap();
    assert_eq!(swept.unread, [name.clone()].into());
    let left = names(&memory, prefix::PACKS);
    assert!(left.contains(&name.to_string()) && !left.contains(&garbage[0]), "{swept:?}");
    for (id, letter) in [(kept, 1), (small, 2)] {
        assert_eq!(restore(&archive, id).unwrap(), Disk::of(&[letter]).bytes);
    }
}

#[test]
fn what_is_in_quarantine_is_read_and_nobody_new_counts_on_it() {
    let (memory, archive) = fresh();
    let disk = Disk::of(&[1, 2, 3]);
    let first = import(&archive, &disk).image.id;
    let pack = ObjectName::parse(&names(&memory, prefix::PACKS)[0]).unwrap();
    assert!(import(&archive, &disk).written < 1024);
    archive.quarantine(&pack).unwrap();
    assert_eq!(archive.quarantined().unwrap(), std::slice::from_ref(&pack));
    assert_eq!(restore(&archive, first).unwrap(), disk.bytes);
    // It is the only one that has it, so it is not deleted.
    assert_eq!(archive.gc(&Unwatched).unwrap().deleted, 0);
    let again = import(&archive, &disk);
    assert!(again.written > 1024, "{again:?}");
    // Now it is needed no more.
    assert_eq!(archive.gc(&Unwatched).unwrap().deleted, 1);
    assert!(names(&memory, prefix::QUARANTINED).is_empty());
    assert!(!names(&memory, prefix::PACKS).contains(&pack.to_string()));
    for id in [first, again.image.id] {
        assert_eq!(restore(&archive, id).unwrap(), disk.bytes);
    }
    assert!(matches!(archive.quarantine(&pack), Err(ArchiveError::NoPack { .. })));
}

#[test]
fn a_pack_that_is_released_counts_as_before() {
    let (memory, archive) = fresh();
    let disk = Disk::of(&[1, 2, 3]);
    import(&archive, &disk);
    let pack = ObjectName::parse(&names(&memory, prefix::PACKS)[0]).unwrap();
    archive.quarantine(&pack).unwrap();
    archive.release(&pack).unwrap();
    assert!(import(&archive, &disk).written < 1024);
}

#[test]
fn a_condemned_pack_whose_end_was_damaged_holds_up_nothing_else_and_goes_when_it_can() {
    let (memory, archive) = fresh();
    let ids: Vec<_> =
        [1, 2, 3].map(|letter| import(&archive, &Disk::of(&[letter])).image.id).into();
    let packs: Vec<PackId> = memory
        .list(prefix::PACKS)
        .unwrap()
        .iter()
        .filter_map(|object| object.name.as_pack())
        .collect();
    let of = |id: ImageId| packs.iter().find(|pack| pack.writer == id).copied().unwrap();
    let (damaged, sound) = (ObjectName::pack(of(ids[1])), ObjectName::pack(of(ids[0])));
    let bytes = memory.read(&damaged, u64::MAX).unwrap();
    let list = ObjectName::condemned(ImageId::new([7; 16]));
    memory.put_new(&list, &sweep::list::packs(&[of(ids[0]), of(ids[1])])).unwrap();
    archive.forget(ids[0]).unwrap();
    // Who has not seen it before does not know what the image needs.
    memory.replace(&damaged, &bytes[..bytes.len() - 1]).unwrap();
    let other = super::archive(memory.clone(), 5, Duration::from_secs(900));
    let refused = other.gc(&Unwatched).unwrap_err();
    assert!(matches!(refused, ArchiveError::Unreadable { id, .. } if id == ids[1]), "{refused}");
    // Who has deletes what is not of it.
    let swept = archive.gc(&Unwatched).unwrap();
    assert_eq!((swept.deleted, swept.waiting), (1, 1), "{swept:?}");
    assert_eq!(swept.unread, [damaged.clone()].into());
    let left = names(&memory, prefix::PACKS);
    assert!(left.contains(&damaged.to_string()) && !left.contains(&sound.to_string()));
    // Nobody needs it once the same bytes are there again.
    import(&archive, &Disk::of(&[2]));
    let swept = archive.gc(&Unwatched).unwrap();
    assert_eq!(swept.waiting, 0, "{swept:?}");
    assert!(!names(&memory, prefix::PACKS).contains(&damaged.to_string()));
    for (id, letter) in ids[1..].iter().zip([2, 3]) {
        assert_eq!(restore(&archive, *id).unwrap(), Disk::of(&[letter]).bytes);
    }
}

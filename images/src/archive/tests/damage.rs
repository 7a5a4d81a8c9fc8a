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

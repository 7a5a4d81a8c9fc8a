//! What an archive promises its callers, one at a time.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use proptest::prelude::*;

use super::*;
use crate::environment::Environment;

fn fresh() -> (Arc<Memory>, Archive) {
    let memory = Arc::new(Memory::new());
    let archive = archive(memory.clone(), 1, Duration::from_secs(900));
    (memory, archive)
}

fn with_threads(memory: Arc<Memory>, threads: usize) -> Archive {
    let settings = Settings { threads, beat: None, dead_after: Duration::from_secs(900) };
    Archive::create(memory, Arc::new(FixedEnvironment::new(5)), settings).unwrap()
}

fn import(archive: &Archive, disk: &Disk) -> Imported {
    archive.import(&new(&project("web"), None), disk, &Unwatched).unwrap()
}

fn stored(memory: &Memory) -> u64 {
    memory.list(prefix::PACKS).unwrap().iter().map(|object| object.length).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_disk_comes_back_as_it_was(
        letters in prop::collection::vec(0..5u8, 0..40), tail in 0..CHUNK, threads in 1..4usize
    ) {
        let memory = Arc::new(Memory::new());
        let archive = with_threads(memory, threads);
        let mut disk = Disk::of(&letters);
        disk.bytes.extend((0..tail).map(|n| (n % 251) as u8));
        let imported = import(&archive, &disk);
        prop_assert_eq!(imported.image.size, disk.bytes.len() as u64);
        prop_assert_eq!(restore(&archive, imported.image.id).unwrap(), disk.bytes);
    }

    #[test]
    fn what_is_on_the_target_is_written_only_where_it_differs(
        before in prop::collection::vec(0..3u8, 12..13), wanted in prop::collection::vec(0..3u8, 12..13)
    ) {
        let (_, archive) = fresh();
        let disk = Disk::of(&wanted);
        let id = import(&archive, &disk).image.id;
        let image = archive.view(id, Viewer::Operator, &no_keys).unwrap();
        let there = Disk::of(&before).bytes;
        let target = Restored { bytes: Mutex::new(there), is_blank: false };
        let exported = archive.export(&image, &target, &Unwatched).unwrap();
        prop_assert_eq!(target.bytes.into_inner().unwrap(), disk.bytes);
        let differing = before.iter().zip(&wanted).filter(|(a, b)| a != b).count() * CHUNK;
        prop_assert_eq!(exported.written, differing as u64);
    }
}

#[test]
fn the_same_bytes_are_stored_once_whosever_they_are() {
    let (memory, archive) = fresh();
    let disk = Disk::of(&[1, 2, 0, 3]);
    let first = import(&archive, &disk);
    let before = stored(&memory);
    let second = archive.import(&new(&project("other"), None), &disk, &Unwatched).unwrap();
    assert_eq!(stored(&memory), before);
    assert!(second.written < 1024, "{second:?}");
    assert_eq!(first.image.content, second.image.content);
    assert_ne!(first.image.id, second.image.id);
}

#[test]
fn a_disk_of_zeros_takes_no_more_than_its_record() {
    let (memory, archive) = fresh();
    let id = import(&archive, &Disk::of(&[0; 600])).image.id;
    assert_eq!(stored(&memory), 0);
    assert_eq!(restore(&archive, id).unwrap(), vec![0; 600 * CHUNK]);
}

#[test]
fn a_backup_reads_what_has_changed_and_needs_nothing_of_its_base() {
    struct Counting(Disk, AtomicU64);
    impl Source for Counting {
        fn size(&self) -> u64 {
            self.0.size()
        }
        fn extents(&self) -> std::io::Result<Vec<Extent>> {
            self.0.extents()
        }
        fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
            self.1.fetch_add(buffer.len() as u64, Ordering::SeqCst);
            self.0.read_at(buffer, offset)
        }
    }
    let (memory, archive) = fresh();
    let base = import(&archive, &Disk::of(&[1, 2, 3, 4, 5, 6])).image.id;
    let mut disk = Disk::of(&[1, 2, 9, 4, 5, 6, 7]);
    disk.extents = vec![extent(0, 2, Content::Unchanged), extent(3, 4, Content::Unchanged)];
    let disk = Counting(disk, AtomicU64::new(0));
    let viewed = archive.view(base, Viewer::Operator, &no_keys).unwrap();
    let project = project("web");
    let backup = archive.import(&new(&project, Some(&viewed)), &disk, &Unwatched).unwrap().image.id;
    // The changed one; the base's last, whose length is not known to be the same; and the new one.
    assert_eq!(disk.1.load(Ordering::SeqCst), 3 * CHUNK as u64);
    archive.delete(&viewed).unwrap();
    archive.gc(&Unwatched).unwrap();
    assert!(names(&memory, prefix::CONDEMNED).is_empty());
    assert_eq!(restore(&archive, backup).unwrap(), disk.0.bytes);
}

#[test]
fn an_image_is_seen_by_its_project_and_those_that_it_is_shared_with() {
    let (memory, archive) = fresh();
    let id = import(&archive, &Disk::of(&[1])).image.id;
    let (web, other, third) = (project("web"), project("other"), project("third"));
    let sees = |who: &mezame_model::ProjectName| {
        let viewed = archive.view(id, Viewer::Project(who), &no_keys).is_ok();
        let listed = archive.list(Viewer::Project(who), &no_keys).unwrap().len() == 1;
        assert_eq!(viewed, listed);
        viewed
    };
    assert_eq!([sees(&web), sees(&other), sees(&third)], [true, false, false]);
    let own = archive.view(id, Viewer::Project(&web), &no_keys).unwrap();
    archive.share(&own, Some(&other)).unwrap();
    assert_eq!([sees(&web), sees(&other), sees(&third)], [true, true, false]);
    let lent = archive.view(id, Viewer::Project(&other), &no_keys).unwrap();
    for refused in [archive.delete(&lent), archive.share(&lent, None)] {
        assert!(matches!(refused, Err(ArchiveError::OtherProject { .. })), "{refused:?}");
    }
    archive.share(&own, None).unwrap();
    assert!(sees(&third));
    archive.unshare(&own, None).unwrap();
    archive.unshare(&own, Some(&other)).unwrap();
    assert_eq!([sees(&web), sees(&other), sees(&third)], [true, false, false]);
    archive.share(&own, Some(&other)).unwrap();
    archive.delete(&own).unwrap();
    assert!(!sees(&web));
    assert!(names(&memory, prefix::SHARES).is_empty());
}

/// Text that no chance brings into a store.
const SECRET: &[u8] = b"-----BEGIN OPENSSH PRIVATE KEY-----";

fn secret_disk() -> Disk {
    let mut bytes = Disk::of(&[1, 2, 0, 3]).bytes;
    bytes[CHUNK + 5..CHUNK + 5 + SECRET.len()].copy_from_slice(SECRET);
    // And a chunk that can't be compressed.
    FixedEnvironment::new(3).fill(&mut bytes[..CHUNK]).unwrap();
    Disk::new(bytes)
}

#[test]
fn of_an_encrypted_project_nothing_can_be_read_without_its_key() {
    let (memory, archive) = fresh();
    let key = ProjectKey::new([5; 32]);
    let project = project("vault");
    let mut about = new(&project, None);
    about.key = Some(&key);
    about.detail.name = "payroll".into();
    let disk = secret_disk();
    let id = archive.import(&about, &disk, &Unwatched).unwrap().image.id;

    for object in memory.list("").unwrap() {
        let bytes = memory.read(&object.name, u64::MAX).unwrap();
        for known in [SECRET, b"payroll", &disk.bytes[..24], key.expose()] {
            let is_found = bytes.windows(known.len()).any(|window| window == known);
            assert!(!is_found, "{} holds {known:?}", object.name);
        }
    }
    let refused = archive.view(id, Viewer::Operator, &no_keys).unwrap_err();
    assert!(matches!(refused, ArchiveError::KeyNeeded { .. }), "{refused}");
    let wrong = |_: &mezame_model::ProjectName| Some(ProjectKey::new([6; 32]));
    let refused = archive.view(id, Viewer::Operator, &wrong).unwrap_err();
    assert!(matches!(refused, ArchiveError::Record { .. }), "{refused}");
    let listed = archive.list(Viewer::Operator, &no_keys).unwrap();
    assert_eq!((listed.len(), &listed[0].detail), (1, &None));

    let right = |_: &mezame_model::ProjectName| Some(key.clone());
    let image = archive.view(id, Viewer::Operator, &right).unwrap();
    assert_eq!(image.image().detail.as_ref().unwrap().name, "payroll");
    let target = Restored { is_blank: true, ..Restored::default() };
    archive.export(&image, &target, &Unwatched).unwrap();
    assert_eq!(target.bytes.into_inner().unwrap(), disk.bytes);
    // Garbage is collected without any key.
    archive.gc(&Unwatched).unwrap();
    assert_eq!(archive.verify(&image, &Unwatched).unwrap().damaged, 0);
}

#[test]
fn an_encrypted_project_s_chunks_are_nobody_else_s() {
    let (memory, archive) = fresh();
    let disk = Disk::of(&[1, 2, 3]);
    import(&archive, &disk);
    let open = stored(&memory);
    let (key, project) = (ProjectKey::new([5; 32]), project("vault"));
    let mut about = new(&project, None);
    about.key = Some(&key);
    archive.import(&about, &disk, &Unwatched).unwrap();
    let once = stored(&memory);
    assert!(once > open, "chunks are shared between domains");
    archive.import(&about, &disk, &Unwatched).unwrap();
    assert_eq!(stored(&memory), once, "chunks are not shared within one");
}

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
fn a_session_that_was_taken_for_dead_can_t_publish() {
    struct Slow<'a>(Disk, &'a (dyn Fn() + Sync));
    impl Source for Slow<'_> {
        fn size(&self) -> u64 {
            self.0.size()
        }
        fn extents(&self) -> std::io::Result<Vec<Extent>> {
            Ok(Vec::new())
        }
        fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
            (self.1)();
            self.0.read_at(buffer, offset)
        }
    }
    let (memory, archive) = fresh();
    let other = super::archive(memory.clone(), 9, Duration::ZERO);
    let collect = || {
        assert_eq!(other.gc(&Unwatched).unwrap().ended, 1);
    };
    let web = project("web");
    let end = archive.import(&new(&web, None), &Slow(Disk::of(&[1]), &collect), &Unwatched);
    assert!(matches!(end, Err(ArchiveError::Ended)), "{end:?}");
    assert!(archive.list(Viewer::Operator, &no_keys).unwrap().is_empty());
    // The tombstone stays, whoever wants it deleted.
    let tombstone = ObjectName::parse(&names(&memory, prefix::IMAGES)[0])
        .and_then(|name| name.as_id(prefix::IMAGES))
        .unwrap();
    assert!(matches!(archive.forget(tombstone), Err(ArchiveError::NoImage { .. })));
}

#[test]
fn a_session_that_takes_long_gives_signs_of_life() {
    struct Long(Disk, Arc<Memory>);
    impl Source for Long {
        fn size(&self) -> u64 {
            self.0.size()
        }
        fn extents(&self) -> std::io::Result<Vec<Extent>> {
            Ok(Vec::new())
        }
        fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
            let beat = || {
                let name = ObjectName::parse(&names(&self.1, prefix::WRITERS)[0]).unwrap();
                session::parse_beat(&self.1.read(&name, 64).unwrap()).unwrap()
            };
            let (first, begin) = (beat(), std::time::Instant::now());
            while beat() < first + 20 {
                assert!(begin.elapsed() < Duration::from_secs(30), "no sign of life");
                std::thread::yield_now();
            }
            self.0.read_at(buffer, offset)
        }
    }
    let memory = Arc::new(Memory::new());
    let beat = Some(Duration::from_millis(5));
    let settings = Settings { threads: 1, beat, dead_after: Duration::from_secs(900) };
    let environment = Arc::new(crate::environment::SystemEnvironment::new());
    let archive = Archive::create(memory.clone(), environment, settings).unwrap();
    let web = project("web");
    let disk = Long(Disk::of(&[1]), memory.clone());
    archive.import(&new(&web, None), &disk, &Unwatched).unwrap();
    assert!(names(&memory, prefix::WRITERS).is_empty());
}

#[test]
fn an_image_is_not_continued_under_another_key() {
    let (_, archive) = fresh();
    let base = import(&archive, &Disk::of(&[1, 2])).image.id;
    let viewed = archive.view(base, Viewer::Operator, &no_keys).unwrap();
    let (key, web) = (ProjectKey::new([5; 32]), project("web"));
    let mut about = new(&web, Some(&viewed));
    about.key = Some(&key);
    let refused = archive.import(&about, &Disk::of(&[1, 2]), &Unwatched);
    assert!(matches!(refused, Err(ArchiveError::OtherKey { .. })), "{refused:?}");
}

#[test]
fn a_name_that_no_record_holds_is_refused_before_anything_is_written() {
    let (memory, archive) = fresh();
    let web = project("web");
    let mut about = new(&web, None);
    about.detail.name = "x".repeat(70_000);
    let refused = archive.import(&about, &Disk::of(&[1]), &Unwatched);
    assert!(matches!(refused, Err(ArchiveError::Detail { .. })), "{refused:?}");
    assert_eq!(memory.list("").unwrap().len(), 4, "more than the format and markers are there");
}

#[test]
fn a_living_session_is_waited_for_and_its_packs_are_let_be() {
    let (memory, archive) = fresh();
    let (alive, now) = (ImageId::new([8; 16]), FixedEnvironment::new(0).now_ms());
    memory.put_new(&ObjectName::writer(alive), &now.to_le_bytes()).unwrap();
    let garbage = import(&archive, &Disk::of(&[3, 4])).image.id;
    archive.forget(garbage).unwrap();
    let swept = archive.gc(&Unwatched).unwrap();
    assert_eq!((swept.deleted, swept.waiting), (0, 1));
    memory.delete(&ObjectName::writer(alive)).unwrap();
    let swept = archive.gc(&Unwatched).unwrap();
    assert_eq!((swept.deleted, swept.waiting), (1, 0));
}

#[test]
fn an_import_that_is_cut_short_leaves_no_image_and_is_resumed_by_the_next() {
    struct Impatient(AtomicBool);
    impl Watch for Impatient {
        fn tell(&self, progress: Progress) {
            if progress.done > 64 * CHUNK as u64 {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        fn is_cancelled(&self) -> bool {
            self.0.load(Ordering::SeqCst)
        }
    }
    let (memory, archive) = fresh();
    // More than a pack, so that something is written before the end.
    let mut bytes = vec![0; 160 * CHUNK];
    FixedEnvironment::new(3).fill(&mut bytes).unwrap();
    let disk = Disk::new(bytes);
    let web = project("web");
    let end = archive.import(&new(&web, None), &disk, &Impatient(AtomicBool::new(false)));
    assert!(matches!(end, Err(ArchiveError::Cancelled)), "{end:?}");
    assert!(archive.list(Viewer::Operator, &no_keys).unwrap().is_empty());
    assert!(names(&memory, prefix::WRITERS).is_empty());
    let before = stored(&memory);
    assert!(before > 16 << 20, "{before}");
    let imported = import(&archive, &disk);
    assert!(imported.written < disk.bytes.len() as u64 - (15 << 20), "{imported:?}");
    assert_eq!(restore(&archive, imported.image.id).unwrap(), disk.bytes);
}

#[test]
fn what_many_small_backups_left_is_put_together() {
    let (memory, archive) = fresh();
    let ids: Vec<_> =
        (1..=10).map(|n| import(&archive, &Disk::of(&[n, n + 20])).image.id).collect();
    assert_eq!(names(&memory, prefix::PACKS).len(), 10);
    archive.gc(&Unwatched).unwrap();
    assert_eq!(names(&memory, prefix::PACKS).len(), 1);
    for (n, id) in (1..).zip(ids) {
        assert_eq!(restore(&archive, id).unwrap(), Disk::of(&[n, n + 20]).bytes);
    }
}

#[test]
fn an_archive_of_another_form_is_not_touched() {
    let memory = Arc::new(Memory::new());
    memory.put_new(&ObjectName::format(), b"{\"mezame archive\": 3}").unwrap();
    let environment = Arc::new(FixedEnvironment::new(1));
    let refused = Archive::open(memory, environment, Settings::default()).unwrap_err();
    assert!(matches!(refused, ArchiveError::Format));
}

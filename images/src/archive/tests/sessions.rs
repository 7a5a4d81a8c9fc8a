//! Sessions that live, that are silent, and that were taken for dead.

use super::*;
use crate::environment::Environment;

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
fn a_session_whose_record_is_no_sign_of_life_is_not_waited_for() {
    let now = FixedEnvironment::new(0).now_ms();
    let far = (now + 901_000).to_le_bytes();
    let near = (now + 899_000).to_le_bytes();
    for (record, is_dead) in [
        (&b""[..], true),
        (b"seven b", true),
        (&[0xff; 8], true),
        (&[0; 5000], true),
        (&far, true),
        (&near, false),
    ] {
        let (memory, archive) = fresh();
        let garbage = import(&archive, &Disk::of(&[3, 4])).image.id;
        archive.forget(garbage).unwrap();
        let session = ImageId::new([8; 16]);
        memory.put_new(&ObjectName::writer(session), record).unwrap();
        let swept = archive.gc(&Unwatched).unwrap();
        let wanted = if is_dead { (1, 0, 1) } else { (0, 1, 0) };
        let found = (swept.deleted, swept.waiting, swept.ended);
        assert_eq!(found, wanted, "{} bytes", record.len());
    }
}

#[test]
fn a_damaged_list_of_sessions_is_made_anew() {
    let (memory, archive) = fresh();
    let (alive, now) = (ImageId::new([8; 16]), FixedEnvironment::new(0).now_ms());
    memory.put_new(&ObjectName::writer(alive), &now.to_le_bytes()).unwrap();
    let garbage = import(&archive, &Disk::of(&[3, 4])).image.id;
    archive.forget(garbage).unwrap();
    assert_eq!(archive.gc(&Unwatched).unwrap().waiting, 1);
    let list = ObjectName::parse(&names(&memory, prefix::WAITS)[0]).unwrap();
    memory.replace(&list, b"\xff").unwrap();
    // It still waits for the one that is alive.
    assert_eq!(archive.gc(&Unwatched).unwrap().waiting, 1);
    memory.delete(&ObjectName::writer(alive)).unwrap();
    let swept = archive.gc(&Unwatched).unwrap();
    assert_eq!((swept.deleted, swept.waiting), (1, 0));
}

#[test]
fn a_damaged_list_of_packs_is_named() {
    let (memory, archive) = fresh();
    let list = ObjectName::condemned(ImageId::new([8; 16]));
    memory.put_new(&list, b"\xff").unwrap();
    let refused = archive.gc(&Unwatched).unwrap_err();
    assert!(matches!(refused, ArchiveError::List { name } if name == list));
}

#[test]
fn an_image_is_not_said_to_be_there_because_its_record_can_be_read() {
    let memory = Arc::new(Memory::new());
    let store = Arc::new(Troubled::new(memory.clone()));
    let archive = archive(store.clone(), 1, Duration::from_secs(900));
    store.lose_records();
    let web = project("web");
    let end = archive.import(&new(&web, None), &Disk::of(&[1]), &Unwatched);
    let is_told = matches!(end, Err(ArchiveError::Store(StoreError::NotDurable { .. })));
    assert!(is_told, "{end:?}");
}

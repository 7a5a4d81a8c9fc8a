//! What an archive promises its callers, one at a time.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use proptest::prelude::*;

use super::*;

#[test]
fn what_of_an_image_is_no_holes_is_known_without_reading_it() {
    let (_, archive) = fresh();
    for (letters, data) in [(&[0, 0, 0][..], 0), (&[1, 0, 2][..], 2), (&[1, 1, 1][..], 3)] {
        let id = import(&archive, &Disk::of(letters)).image.id;
        let image = archive.view(id, Viewer::Operator, &no_keys).unwrap();
        assert_eq!(archive.data_bytes(&image).unwrap(), data * CHUNK as u64);
    }
    let odd = import(&archive, &Disk::new(vec![1; 1000])).image.id;
    let image = archive.view(odd, Viewer::Operator, &no_keys).unwrap();
    assert_eq!(archive.data_bytes(&image).unwrap(), 1000);
}
use crate::environment::Environment;

fn with_threads(memory: Arc<Memory>, threads: usize) -> Archive {
    let settings = Settings { threads, beat: None, dead_after: Duration::from_secs(900) };
    Archive::create(memory, Arc::new(FixedEnvironment::new(5)), settings).unwrap()
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

/// Ends the work once it was asked so often whether to.
struct Impatient(std::sync::atomic::AtomicUsize);

impl Watch for Impatient {
    fn tell(&self, _progress: Progress) {}
    fn is_cancelled(&self) -> bool {
        use std::sync::atomic::Ordering::SeqCst;
        self.0.fetch_update(SeqCst, SeqCst, |left| Some(left.saturating_sub(1))) == Ok(0)
    }
}

#[test]
fn a_collection_that_copies_hears_that_it_is_to_end() {
    let (memory, archive) = fresh();
    let wide = import(&archive, &Disk::of(&[1, 2, 3, 4, 5, 6])).image.id;
    let narrow = import(&archive, &Disk::of(&[1])).image.id;
    archive.forget(wide).unwrap();
    let packs = names(&memory, prefix::PACKS);
    // Once for the one image that is left, and then where its chunks are copied.
    let end = archive.gc(&Impatient(1.into()));
    assert!(matches!(end, Err(ArchiveError::Cancelled)), "{end:?}");
    assert_eq!(names(&memory, prefix::PACKS), packs, "it has copied");
    assert!(archive.gc(&Unwatched).unwrap().copied > 0);
    assert_eq!(restore(&archive, narrow).unwrap(), Disk::of(&[1]).bytes);
}

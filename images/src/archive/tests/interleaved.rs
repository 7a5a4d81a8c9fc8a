//! Writers, collections of garbage and deletions at once, in thousands of orders, with deaths.
//!
//! Each store operation of each actor is a step, and which actor steps next is drawn. After each
//! run every image that was ever said to be there, and was not deleted, must be there whole.

use std::collections::BTreeMap;

use super::*;
use crate::archive::store::scheduled::{Scheduled, Scheduler};

/// What was published by this run, and is not deleted, by its letters.
type Expected = Mutex<BTreeMap<ImageId, Vec<u8>>>;

struct Run {
    memory: Arc<Memory>,
    scheduler: Arc<Scheduler>,
    expected: Expected,
    dead_after: Duration,
    seed: u64,
}

impl Run {
    fn open(&self, actor: usize) -> Option<Archive> {
        let store =
            Scheduled { memory: self.memory.clone(), scheduler: self.scheduler.clone(), actor };
        let settings = Settings { threads: 1, beat: None, dead_after: self.dead_after };
        let environment = Arc::new(FixedEnvironment::new(self.seed * 16 + actor as u64 + 1));
        Archive::open(Arc::new(store), environment, settings).ok()
    }

    /// Imports disks that have much in common with what was there, some based on another image.
    fn write(&self, actor: usize, random: &mut Random) -> Result<(), ArchiveError> {
        let Some(archive) = self.open(actor) else { return Ok(()) };
        let project = project("web");
        for _ in 0..6 {
            let mut letters: Vec<u8> = (0..4).map(|_| random.below(9) as u8).collect();
            let base = if random.below(2) == 0 { self.some_image(random) } else { None };
            let mut disk;
            let viewed = base.as_ref().map(|(id, _)| archive.view(*id, Viewer::Operator, &no_keys));
            let viewed = match viewed {
                Some(Ok(viewed)) => Some(viewed),
                // Deleted meanwhile.
                Some(Err(ArchiveError::NoImage { .. })) => None,
                Some(Err(error)) => return Err(error),
                None => None,
            };
            match (&viewed, base) {
                (Some(_), Some((_, of_base))) => {
                    letters[1..].copy_from_slice(&of_base[1..]);
                    disk = Disk::of(&letters);
                    disk.extents = vec![extent(1, 3, Content::Unchanged)];
                }
                _ => disk = Disk::of(&letters),
            }
            match archive.import(&new(&project, viewed.as_ref()), &disk, &Unwatched) {
                Ok(imported) => {
                    self.expected.lock().unwrap().insert(imported.image.id, letters);
                }
                // Taken for dead; or the base went while it was read.
                Err(ArchiveError::Ended | ArchiveError::Chunk { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn some_image(&self, random: &mut Random) -> Option<(ImageId, Vec<u8>)> {
        let expected = self.expected.lock().unwrap();
        let place = random.below(expected.len() as u64) as usize;
        expected.iter().nth(place).map(|(id, letters)| (*id, letters.clone()))
    }

    fn delete(&self, actor: usize, random: &mut Random) -> Result<(), ArchiveError> {
        let Some(archive) = self.open(actor) else { return Ok(()) };
        for _ in 0..16 {
            // A step, so that others go on.
            archive.list(Viewer::Operator, &no_keys)?;
            let Some((id, _)) = self.some_image(random) else { continue };
            self.expected.lock().unwrap().remove(&id);
            archive.forget(id)?;
        }
        Ok(())
    }

    fn collect(&self, actor: usize) -> Result<(), ArchiveError> {
        let Some(archive) = self.open(actor) else { return Ok(()) };
        for _ in 0..6 {
            archive.gc(&Unwatched)?;
        }
        Ok(())
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, below: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below.max(1)
    }
}

/// Runs two writers, two collections and one who deletes; gives the store.
fn run(seed: u64, dead_after: Duration, mortality: u64) -> Arc<Memory> {
    let memory = Arc::new(Memory::new());
    drop(archive(memory.clone(), 0, dead_after));
    let run = Run {
        memory: memory.clone(),
        scheduler: Scheduler::new(seed, 5, &[0, 1, 2, 3], mortality),
        expected: Mutex::default(),
        dead_after,
        seed,
    };
    std::thread::scope(|scope| {
        for actor in 0..5 {
            let run = &run;
            scope.spawn(move || {
                let mut random = Random(seed * 8 + actor as u64);
                let end = match actor {
                    0 | 1 => run.write(actor, &mut random),
                    2 | 3 => run.collect(actor),
                    _ => run.delete(actor, &mut random),
                };
                run.scheduler.leave(actor);
                // One who died of the test's own doing sees its store fail.
                let is_death = matches!(&end, Err(error) if chain_has_io(error));
                assert!(end.is_ok() || is_death, "seed {seed}, actor {actor}: {end:?}");
            });
        }
    });
    all_are_whole(&memory, &run, seed);
    // What is left is finished by the next collections, and then nothing is left over.
    let after = archive(memory.clone(), seed + 1_000_000, Duration::ZERO);
    for _ in 0..3 {
        after.gc(&Unwatched).unwrap();
    }
    all_are_whole(&memory, &run, seed);
    for prefix in [prefix::CONDEMNED, prefix::WAITS, prefix::WRITERS] {
        assert_eq!(names(&memory, prefix), Vec::<String>::new(), "seed {seed}");
    }
    memory
}

fn chain_has_io(error: &ArchiveError) -> bool {
    match error {
        ArchiveError::Store(store::StoreError::Io { .. }) => true,
        ArchiveError::Chunk { source, .. } => {
            matches!(source, ChunkFault::Read(_) | ChunkFault::Unlisted)
        }
        ArchiveError::Unreadable { source, .. } => chain_has_io(source),
        _ => false,
    }
}

fn all_are_whole(memory: &Arc<Memory>, run: &Run, seed: u64) {
    let archive = archive(memory.clone(), seed + 2_000_000, Duration::from_secs(3600));
    let expected = run.expected.lock().unwrap();
    for (id, letters) in &*expected {
        let read = restore(&archive, *id);
        let is_whole = read.as_ref().is_ok_and(|bytes| *bytes == Disk::of(letters).bytes);
        assert!(is_whole, "seed {seed}: {id} is not whole: {:?}", read.err());
    }
    // Also what was published by one who died before it could say so.
    for image in archive.list(Viewer::Operator, &no_keys).unwrap() {
        restore(&archive, image.id).unwrap_or_else(|error| panic!("seed {seed}: {error:?}"));
    }
}

#[test]
fn no_order_of_writers_deletions_and_collections_loses_a_chunk() {
    for seed in 0..120 {
        run(seed, Duration::from_secs(3600), 0);
    }
}

#[test]
fn nor_does_one_in_which_living_sessions_are_taken_for_dead() {
    for seed in 1000..1100 {
        run(seed, Duration::ZERO, 0);
    }
}

#[test]
fn nor_does_one_in_which_writers_and_collections_die_at_any_step() {
    for seed in 2000..2150 {
        run(seed, if seed % 2 == 0 { Duration::ZERO } else { Duration::from_secs(3600) }, 60);
    }
}

/// Two packs have the same chunks, and two collections each have condemned another of them.
#[test]
fn two_collections_that_count_on_each_other_s_packs_leave_one_copy() {
    for seed in 0..300 {
        let memory = Arc::new(Memory::new());
        let before = archive(memory.clone(), seed + 1, Duration::from_secs(3600));
        let project = project("web");
        let disk = Disk::of(&[1, 2, 3]);
        let id = before.import(&new(&project, None), &disk, &Unwatched).unwrap().image.id;
        let one = memory.list(prefix::PACKS).unwrap()[0].name.as_pack().unwrap();
        let other = PackId { writer: ImageId::new([9; 16]), number: 0 };
        let bytes = memory.read(&ObjectName::pack(one), u64::MAX).unwrap();
        memory.put_new(&ObjectName::pack(other), &bytes).unwrap();
        for (number, pack) in [(1, one), (2, other)] {
            let name = ObjectName::condemned(ImageId::new([number; 16]));
            memory.put_new(&name, &sweep::list::packs(&[pack])).unwrap();
        }
        let scheduler = Scheduler::new(seed, 2, &[], 0);
        std::thread::scope(|scope| {
            for actor in 0..2 {
                let (memory, scheduler) = (memory.clone(), scheduler.clone());
                scope.spawn(move || {
                    let store = Scheduled { memory, scheduler: scheduler.clone(), actor };
                    let seed = 1000 * seed + actor as u64 + 7;
                    let end = archive(Arc::new(store), seed, Duration::ZERO).gc(&Unwatched);
                    scheduler.leave(actor);
                    assert!(end.is_ok(), "seed {seed}: {end:?}");
                });
            }
        });
        let read = restore(&archive(memory, seed + 2, Duration::ZERO), id);
        assert!(read.as_ref().is_ok_and(|bytes| *bytes == disk.bytes), "seed {seed}: {read:?}");
    }
}

#[test]
fn when_all_images_are_deleted_no_byte_of_them_is_left() {
    let memory = run(7, Duration::ZERO, 0);
    let archive = archive(memory.clone(), 99, Duration::ZERO);
    for image in archive.list(Viewer::Operator, &no_keys).unwrap() {
        archive.forget(image.id).unwrap();
    }
    archive.gc(&Unwatched).unwrap();
    assert_eq!(names(&memory, prefix::PACKS), Vec::<String>::new());
}

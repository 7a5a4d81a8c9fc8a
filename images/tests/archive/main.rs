//! An archive in a directory or an object store whose processes are killed: `SIGKILL`, at random
//! moments.
//!
//! The order of steps is tested with all interleavings in `archive/tests/interleaved.rs`; here it
//! is real processes on a real file system. What a crash of the whole machine does is not tested:
//! that names and contents reach the disk hangs on `fsync(2)` alone.

#![allow(clippy::unwrap_used, reason = "everything here is a test")]

mod beside;
mod dying;
mod object_store;
mod remote;
mod worker;

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use mezame_images::{
    archive::{
        Archive, ImageId, KeyOf, Settings, Unwatched, Viewer,
        store::{Store, directory::Directory},
        target::FileTarget,
    },
    environment::SystemEnvironment,
};

const CHUNK: usize = 256 * 1024;
/// Chunks in a disk.
const CHUNKS: u64 = 12;
const KILLS: u32 = 100;

struct Random(u64);

impl Random {
    fn below(&mut self, below: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below.max(1)
    }
}

struct Place {
    folder: tempfile::TempDir,
    /// Where the archive lies, unless it is in a directory here.
    remote: Option<remote::Remote>,
    random: Random,
    disks: u64,
    /// Images that are there, by the file that they are of.
    images: BTreeMap<ImageId, PathBuf>,
}

impl Place {
    fn new(seed: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Directory::create(folder.path().join("archive")).unwrap());
        let environment = Arc::new(SystemEnvironment::new());
        drop(Archive::create(store, environment, Settings::default()).unwrap());
        Self { folder, remote: None, random: Random(seed), disks: 0, images: BTreeMap::new() }
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("archive")
    }

    fn archive(&self) -> Archive {
        let store: Arc<dyn Store> = match &self.remote {
            Some(remote) => remote.store(),
            None => Arc::new(Directory::open(self.store()).unwrap()),
        };
        let environment = Arc::new(SystemEnvironment::new());
        Archive::open(store, environment, Settings::default()).unwrap()
    }

    /// A disk of a few chunks out of forty that all disks have in common.
    fn disk(&mut self) -> PathBuf {
        let mut bytes = Vec::new();
        for _ in 0..CHUNKS {
            let mut chunk = Random(self.random.below(40) + 1);
            bytes.extend((0..CHUNK / 8).flat_map(|_| (chunk.below(1 << 30) << 20).to_le_bytes()));
        }
        self.disks += 1;
        let path = self.folder.path().join(format!("disk-{}", self.disks));
        fs::write(&path, bytes).unwrap();
        path
    }

    fn start(&self, arguments: &[&str]) -> Child {
        let mut command = worker::command();
        match &self.remote {
            Some(remote) => remote.name(&mut command),
            None => _ = command.arg(self.store()),
        }
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    fn write(&mut self, count: usize) {
        for _ in 0..count {
            let disk = self.disk();
            let out = self.start(&["import", disk.to_str().unwrap()]).wait_with_output().unwrap();
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
            let text = String::from_utf8_lossy(&out.stdout);
            let ids: Vec<_> = text.lines().filter_map(|it| ImageId::parse(it).ok()).collect();
            assert_eq!(ids.len(), 1, "{text}");
            self.images.insert(ids[0], disk);
        }
    }

    fn delete(&mut self, count: usize) {
        for _ in 0..count {
            let place = self.random.below(self.images.len() as u64) as usize;
            let Some(id) = self.images.keys().nth(place).copied() else { return };
            self.archive().forget(id).unwrap();
            self.images.remove(&id);
        }
    }

    /// What writers told of is there, and perhaps one more that a killed writer of these disks
    /// could not tell of.
    fn expect(&mut self, told: Vec<(ImageId, PathBuf)>, of_killed: &[PathBuf]) {
        self.images.extend(told);
        if self.remote.is_some() {
            // What a killed writer has sent is still on its way into an object store.
            std::thread::sleep(Duration::from_millis(300));
        }
        for image in self.archive().list(Viewer::Operator, &|_| KeyOf::Open).unwrap() {
            if !self.images.contains_key(&image.id) {
                // It wrote one after the other.
                let known = self.images.values().filter(|disk| of_killed.contains(disk)).count();
                self.images.insert(image.id, of_killed[known].clone());
            }
        }
    }

    /// Restores all images; gives how many there are.
    fn assert_all_whole(&self, when: &str) {
        let archive = self.archive();
        let listed = archive.list(Viewer::Operator, &|_| KeyOf::Open).unwrap();
        assert_eq!(listed.len(), self.images.len(), "{when}");
        for (id, disk) in &self.images {
            let image = archive.view(*id, Viewer::Operator, &|_| KeyOf::Open).unwrap();
            let verified = archive.verify(&image, &Unwatched).unwrap();
            assert_eq!(verified.damaged, 0, "{when}: {id}: {verified:?}");
            let path = self.folder.path().join("restored");
            let target = FileTarget::create(&path).unwrap();
            archive.export(&image, &target, &Unwatched).unwrap();
            assert!(same(&path, disk), "{when}: {id} is another disk");
            fs::remove_file(path).unwrap();
        }
    }
}

fn same(one: &Path, other: &Path) -> bool {
    fs::read(one).unwrap() == fs::read(other).unwrap()
}

/// How long a process takes that is not killed.
fn time(child: Child) -> Duration {
    let begin = Instant::now();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    begin.elapsed()
}

/// Kills it after this time; says whether it was still at work.
fn kill_after(mut child: Child, after: Duration) -> bool {
    std::thread::sleep(after);
    let is_done = child.try_wait().unwrap().is_some();
    child.kill().unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(!is_done || out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    !is_done
}

#[test]
fn a_collection_that_is_killed_at_a_hundred_moments_leaves_every_image_whole() {
    let mut place = Place::new(1);
    let (mut killed, mut collected) = (0, Duration::from_millis(30));
    for round in 0.. {
        place.write(3);
        let surplus = place.images.len().saturating_sub(5);
        place.delete(surplus);
        for _ in 0..4 {
            let micros = collected.as_micros() as u64;
            let after = Duration::from_micros(place.random.below(micros.max(1)));
            killed += u32::from(kill_after(place.start(&["gc"]), after));
        }
        place.assert_all_whole(&format!("after {killed} kills"));
        if killed >= KILLS {
            break;
        }
        assert!(round < 200, "only {killed} were killed at work");
        if round % 5 == 4 {
            collected = time(place.start(&["gc"])).max(Duration::from_millis(5));
        }
    }
    // The last one finishes what all of them began.
    let surplus = place.images.len();
    place.delete(surplus);
    time(place.start(&["gc"]));
    for kind in ["packs", "condemned", "waits", "writers"] {
        let folder = place.store().join(kind);
        let left = fs::read_dir(&folder).into_iter().flatten();
        let left = left.filter(|entry| entry.as_ref().unwrap().file_name() != "folder").count();
        assert_eq!(left, 0, "{kind} has something left");
    }
}

#[test]
fn writers_and_collections_that_are_killed_beside_each_other_lose_nothing() {
    kill_beside_each_other(&mut Place::new(2), 25, 60);
}

/// Kills a writer and two collections, each within so many milliseconds, in each round.
fn kill_beside_each_other(place: &mut Place, rounds: u32, within: u64) {
    place.write(3);
    for round in 0..rounds {
        let disks: Vec<PathBuf> = (0..3).map(|_| place.disk()).collect();
        let mut arguments = vec!["write"];
        arguments.extend(disks.iter().map(|disk| disk.to_str().unwrap()));
        let mut writer = place.start(&arguments);
        let collections = [place.start(&["gc"]), place.start(&["gc"])];
        let moments = [0, 1, 2].map(|_| Duration::from_millis(place.random.below(within)));
        let told = std::thread::scope(|scope| {
            for (collection, after) in collections.into_iter().zip(moments) {
                scope.spawn(move || kill_after(collection, after));
            }
            std::thread::sleep(moments[2]);
            writer.kill().unwrap();
            let out = BufReader::new(writer.stdout.take().unwrap());
            out.lines().filter_map(|it| ImageId::parse(&it.unwrap()).ok()).collect::<Vec<_>>()
        });
        writer.wait().unwrap();
        place.expect(told.into_iter().zip(disks.clone()).collect(), &disks);
        place.assert_all_whole(&format!("round {round}"));
        let surplus = place.images.len().saturating_sub(4);
        place.delete(surplus);
    }
}

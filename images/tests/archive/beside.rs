//! Collections that are killed while writers go on: what is there stays whole, and the next
//! collection ends and frees what nobody needs.
//!
//! Half of them are killed from outside at a moment that is drawn, the other half at one of their
//! store operations. `MEZAME_KILLS` says how many are killed, for more than a sample.

use std::{
    io::{BufRead, BufReader, Read},
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{Child, ChildStdout},
    sync::Arc,
    time::{Duration, Instant},
};

use mezame_images::{
    archive::{
        Archive, Detail, ImageId, Kind, NewImage, Settings, Unwatched, source::FileSource,
        store::memory::Memory,
    },
    environment::SystemEnvironment,
};
use mezame_model::ProjectName;

use super::{Place, worker::BEGINS};

/// How many are killed where nobody says.
const SAMPLE: u32 = 12;
/// What a collection may take beside everything else.
const BOUND: Duration = Duration::from_secs(60);

/// How long a collection took that nobody killed: what the next one's end is drawn from.
struct Length {
    time: Duration,
    operations: u64,
}

/// What came of all kills.
#[derive(Debug, Default)]
struct Kills {
    by_time: u32,
    by_operation: u32,
    /// Those at which a writer was still at work.
    beside: u32,
    /// Those that left packs condemned.
    left_condemned: u32,
    /// Writers that were killed besides.
    writers: u32,
    images: usize,
    freed: u64,
}

impl Kills {
    fn all(&self) -> u32 {
        self.by_time + self.by_operation
    }
}

#[test]
fn a_collection_that_is_killed_beside_writers_leaves_every_image_whole_and_the_next_one_frees_the_rest()
 {
    let wanted = std::env::var("MEZAME_KILLS").map_or(SAMPLE, |kills| kills.parse().unwrap());
    let mut place = Place::new(5);
    let mut kills = Kills::default();
    let mut length = Length { time: Duration::from_millis(50), operations: 60 };
    place.write(4);
    for round in 0_u32.. {
        let is_by_time = round.is_multiple_of(2);
        let mut writers = [begin_writer(&mut place), begin_writer(&mut place)];
        let surplus = place.images.len().saturating_sub(3);
        place.delete(surplus);
        let was_killed = if is_by_time {
            kill_at_a_moment(&mut place, length.time)
        } else {
            die_at_an_operation(&mut place, length.operations)
        };
        let is_beside = writers.iter_mut().any(|it| it.child.try_wait().unwrap().is_none());
        if round.is_multiple_of(3) {
            writers[1].child.kill().unwrap();
            writers[1].is_killed = true;
            kills.writers += 1;
        }
        end_writers(&mut place, writers);
        kills.by_time += u32::from(was_killed && is_by_time);
        kills.by_operation += u32::from(was_killed && !is_by_time);
        kills.beside += u32::from(was_killed && is_beside);
        kills.left_condemned += u32::from(was_killed && left(&place, "condemned") > 0);
        place.assert_all_whole(&format!("after {kills:?}"));
        kills.images += place.images.len();
        // Every second one finds what two have left.
        if round % 4 > 1 {
            length = collect_the_rest(&mut place, &mut kills);
        }
        if kills.all() >= wanted {
            break;
        }
        assert!(round < 4 * wanted, "few were killed at work: {kills:?}");
    }
    collect_the_rest(&mut place, &mut kills);
    let all = place.images.len();
    place.delete(all);
    collect_the_rest(&mut place, &mut kills);
    assert_eq!(left(&place, "packs"), 0, "{kills:?}");
    println!("{kills:?}");
    assert!(kills.by_time > 0 && kills.by_operation > 0 && kills.freed > 0);
}

struct Writer {
    child: Child,
    disks: Vec<PathBuf>,
    is_killed: bool,
}

fn begin_writer(place: &mut Place) -> Writer {
    let disks: Vec<PathBuf> = (0..3).map(|_| place.disk()).collect();
    let mut arguments = vec!["write"];
    arguments.extend(disks.iter().map(|disk| disk.to_str().unwrap()));
    Writer { child: place.start(&arguments), disks, is_killed: false }
}

/// Waits for both; what they published is expected from now on.
fn end_writers(place: &mut Place, writers: [Writer; 2]) {
    let mut told = Vec::new();
    let mut of_killed = Vec::new();
    for writer in writers {
        let out = writer.child.wait_with_output().unwrap();
        // Where the machine held it up for a second it is taken for dead, and says so.
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(writer.is_killed || out.status.success() || said.contains("Ended"), "{said}");
        let text = String::from_utf8_lossy(&out.stdout);
        let ids = text.lines().filter_map(|line| ImageId::parse(line).ok());
        told.extend(ids.zip(writer.disks.clone()));
        if writer.is_killed {
            of_killed = writer.disks;
        }
    }
    place.expect(told, &of_killed);
}

/// A collection that has opened its archive and begins.
fn begin_collection(place: &Place) -> (Child, BufReader<ChildStdout>) {
    let mut child = place.start(&["gc"]);
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while line.trim_end() != BEGINS {
        line.clear();
        assert!(out.read_line(&mut line).unwrap() > 0, "it did not begin");
    }
    (child, out)
}

/// Says whether it was still at work.
fn kill_at_a_moment(place: &mut Place, within: Duration) -> bool {
    let after = Duration::from_micros(place.random.below(within.as_micros() as u64));
    // Who prints needs somebody who may read.
    let (mut child, _out) = begin_collection(place);
    std::thread::sleep(after);
    let is_done = child.try_wait().unwrap().is_some();
    child.kill().unwrap();
    let ended = child.wait_with_output().unwrap();
    assert!(!is_done || ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    !is_done
}

/// Says whether it had so many operations.
fn die_at_an_operation(place: &mut Place, of: u64) -> bool {
    // Four open the archive.
    let at = 4 + place.random.below(of.saturating_sub(3));
    let out = place.start(&["gc", &at.to_string()]).wait_with_output().unwrap();
    let is_killed = out.status.signal() == Some(nix::libc::SIGKILL);
    assert!(is_killed || out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    is_killed
}

/// Collects until no session is left that was killed; what stays is then what images need, but for
/// what a pack may have of garbage before it is emptied.
fn collect_the_rest(place: &mut Place, kills: &mut Kills) -> Length {
    let begin = Instant::now();
    loop {
        let (child, mut said) = begin_collection(place);
        let began = Instant::now();
        let mut text = String::new();
        said.read_to_string(&mut text).unwrap();
        let out = child.wait_with_output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let length = Length { time: began.elapsed(), operations: number(&text, "operations: ") };
        kills.freed += number(&text, "freed: ");
        if left(place, "writers") == 0 && number(&text, "waiting: ") == 0 {
            place.assert_all_whole("after the next collection");
            for kind in ["condemned", "waits"] {
                assert_eq!(left(place, kind), 0, "{kind}: {text}");
            }
            let (stored, needed) = (packs(&place.archive()), needed(place));
            assert!(stored <= 2 * needed, "{stored} bytes are kept, {needed} are needed");
            return length;
        }
        assert!(begin.elapsed() < BOUND, "it waits for somebody: {text}");
    }
}

/// The number that follows this word.
fn number(text: &str, word: &str) -> u64 {
    let (_, after) = text.split_once(word).unwrap_or_else(|| panic!("no {word}in {text}"));
    let digits = after.find(|it: char| !it.is_ascii_digit()).unwrap_or(after.len());
    after[..digits].parse().unwrap()
}

/// How many objects there are of a kind, but for the folder's own.
fn left(place: &Place, kind: &str) -> usize {
    let folder = std::fs::read_dir(place.store().join(kind)).into_iter().flatten();
    folder.filter(|entry| entry.as_ref().unwrap().file_name() != "folder").count()
}

fn packs(archive: &Archive) -> u64 {
    let stored = archive.stored().unwrap();
    // Records are small beside them, and the same in both.
    if stored.packs == 0 { 0 } else { stored.bytes }
}

/// What an archive takes that has never had anything else.
fn needed(place: &Place) -> u64 {
    let environment = Arc::new(SystemEnvironment::new());
    let store = Arc::new(Memory::new());
    let archive = Archive::create(store, environment, Settings::default()).unwrap();
    let project = ProjectName::parse("web").unwrap();
    for disk in place.images.values() {
        let new = NewImage {
            project: &project,
            kind: Kind::Imported,
            detail: Detail::default(),
            key: None,
            base: None,
        };
        archive.import(&new, &FileSource::open(disk).unwrap(), &Unwatched).unwrap();
    }
    packs(&archive)
}

//! Restores by a process that is killed (-9) at random moments: the volume is the old one or the new
//! one, or its record says that it is neither, and the next restore ends it.

use std::{
    os::unix::process::ExitStatusExt,
    process::{Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use mezame_model::ProjectName;

use super::*;
use crate::{
    archive::{Archive, ImageId, KeyOf, Settings, Viewer, store::directory::Directory},
    encryption::VolumeKeys,
    environment::SystemEnvironment,
};

/// What the child is told: a directory and an image, and whether to write over.
const TOLD: &str = "MEZAME_TEST_RESTORE";

fn archive(directory: &Path, is_new: bool) -> Archive {
    let path = directory.join("archive");
    let settings = Settings { threads: 2, beat: None, ..Settings::default() };
    let environment = Arc::new(SystemEnvironment::new());
    if is_new {
        let store = Arc::new(Directory::create(&path).unwrap());
        return Archive::create(store, environment, settings).unwrap();
    }
    Archive::open(Arc::new(Directory::open(&path).unwrap()), environment, settings).unwrap()
}

fn run(directory: &Path, image: ImageId, manner: Manner) {
    let archive = archive(directory, false);
    let project = ProjectName::parse("acme").unwrap();
    let image = archive.view(image, Viewer::Project(&project), &|_| KeyOf::Open).unwrap();
    let keys = VolumeKeys::none();
    let (archive, image, keys) = (&archive, &image, &keys);
    let of = Origin { archive, image, keys, may_be_clear: false, run: directory };
    let volume = plain("disk", Place::File(directory.join("disk.raw")));
    let records = Records::open(&directory.join("records")).unwrap();
    restore(&records, &of, Subject::Plain(&volume), manner, &Unwatched).unwrap();
}

fn manner(is_over: bool) -> Manner {
    if is_over { Manner::Over } else { Manner::Beside { keeps_old: true } }
}

/// What the process does that is killed.
fn restore_as_told(told: &str) {
    let mut told = told.split(',');
    let directory = PathBuf::from(told.next().unwrap());
    let image = ImageId::parse(told.next().unwrap()).unwrap();
    run(&directory, image, manner(told.next() == Some("over")));
}

/// Kills it so long after its record was there, or lets it come to its end; whether it was killed before that,
/// and how long it took.
fn kill_after(
    directory: &Path,
    image: ImageId,
    is_over: bool,
    moment: Option<Duration>,
) -> (bool, Duration) {
    let word = if is_over { "over" } else { "beside" };
    let mut child = Command::new(std::env::current_exe().unwrap())
        // The test of this name, which there does as it is told.
        .args([
            "--exact",
            "restore::tests::killed::a_restore_over_that_is_killed_anywhere_is_told_and_ended",
        ])
        .env(TOLD, format!("{},{image},{word}", directory.display()))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let begin = Instant::now();
    // It needs some time to come to the restore itself, which is when it has left its record.
    let record = directory.join("records/disk.json");
    while !record.exists() && begin.elapsed() < Duration::from_secs(60) {
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "the restore has failed: {status}");
            return (false, Duration::ZERO);
        }
        thread::sleep(Duration::from_micros(200));
    }
    let begin = Instant::now();
    if let Some(moment) = moment {
        thread::sleep(moment);
        let _ = child.kill();
    }
    let status = child.wait().unwrap();
    let is_killed = status.signal().is_some();
    assert!(is_killed || status.success(), "the restore has failed: {status}");
    (is_killed, begin.elapsed())
}

fn kills(is_over: bool) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk.raw");
    let bytes = (1..12).flat_map(contents_of).collect::<Vec<_>>();
    let old = contents_of(20).repeat(11);
    let image = {
        let archive = archive(directory.path(), true);
        Vault::backup_in(&archive, &ProjectName::parse("acme").unwrap(), None, "disk", &bytes)
    };
    let records = records(directory.path());
    let mut numbers = Numbers(41);
    let (mut killed, mut halves, mut rounds) = (0, 0, 0);
    std::fs::write(&path, &old).unwrap();
    let (_, whole) = kill_after(directory.path(), image, is_over, None);
    let whole = u64::try_from(whole.as_micros()).unwrap().max(1_000);
    // Until what is to be shown has happened.
    while rounds < 12 || (rounds < 100 && (killed == 0 || (is_over && halves == 0))) {
        rounds += 1;
        std::fs::write(&path, &old).unwrap();
        let moment = Duration::from_micros(numbers.below(whole));
        killed += u32::from(kill_after(directory.path(), image, is_over, Some(moment)).0);
        let there = std::fs::read(&path).unwrap();
        if there != old && there != bytes {
            assert!(is_over, "the volume is neither the old one nor the new one");
            let error = records.check(&id("disk")).unwrap_err();
            assert!(matches!(error, RestoreError::HalfRestored { .. }), "{error}");
            halves += 1;
        }
        // One that came to its end in time is not begun again: it would keep the new one as the old one.
        if !records.under_way().unwrap().is_empty() {
            run(directory.path(), image, manner(is_over));
        }
        assert!(std::fs::read(&path).unwrap() == bytes);
        assert!(records.under_way().unwrap().is_empty());
    }
    eprintln!("{killed} of {rounds} were killed before their end, {halves} of them half way");
    assert!(killed > 0, "none was killed in the middle");
    assert!(!is_over || halves > 0, "none was killed half way");
    // Whatever became of the old ones, each that is kept is whole.
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(!name.ends_with(".restoring"), "{name} is left");
        if name.contains(".replaced-") {
            let kept = std::fs::read(&path).unwrap();
            assert!(kept == old, "{name} is not what was there before");
        }
    }
}

#[test]
fn a_restore_beside_that_is_killed_anywhere_leaves_a_whole_volume() {
    kills(false);
}

#[test]
fn a_restore_over_that_is_killed_anywhere_is_told_and_ended() {
    match std::env::var(TOLD) {
        Ok(told) => restore_as_told(&told),
        Err(_) => kills(true),
    }
}

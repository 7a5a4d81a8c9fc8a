//! What the kill tests kill: an archive in a directory or an object store, and one thing done with
//! it.
//!
//! It is this test program itself, started anew with one test: so the product has no such program,
//! and it can't be an older one than the tests. Its words are what follows [`WORDS`].
//!
//! An object store is `http://127.0.0.1:PORT/BUCKET/FOLDER`, with its keys in AWS's variables.
//! `PLACE gc` collects garbage and says when it begins, `PLACE gc N` does so and is killed at its
//! store's operation N, `PLACE import FILE` makes an image and prints its id,
//! `PLACE write FILE…` makes many, printing each
//! id when it is there. Sessions that are silent for a second are taken for dead.

use std::{io::Write, path::Path, process::Command, sync::Arc, time::Duration};

use mezame_images::{
    archive::{
        Archive, Detail, Kind, NewImage, Settings, Unwatched,
        source::{FileSource, Source},
        store::{
            Store,
            directory::Directory,
            s3::{self, Credentials, Patience, S3, Trust},
        },
    },
    environment::SystemEnvironment,
};
use mezame_model::ProjectName;

use super::dying::Dying;

type Failure = Box<dyn std::error::Error>;

/// What the worker's words follow. The test harness takes all of them for names of further tests,
/// of which there are none.
const WORDS: &str = "words-of-the-worker";

/// What a collection says when it begins.
pub(super) const BEGINS: &str = "begins";

/// The command that does what its further words say.
pub(super) fn command() -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let work = "worker::a_worker_does_what_its_words_say_and_nothing_without_any";
    command.args(["--exact", work, "--nocapture", WORDS]);
    command
}

#[test]
fn a_worker_does_what_its_words_say_and_nothing_without_any() {
    let words: Vec<String> = std::env::args().skip_while(|word| word != WORDS).collect();
    let words: Vec<&str> = words.iter().skip(1).map(String::as_str).collect();
    match &words[..] {
        [] => assert!(run(&[]).is_err()),
        words => run(words).unwrap(),
    }
}

fn run(arguments: &[&str]) -> Result<(), Failure> {
    let [place, rest @ ..] = arguments else { return Err("no place".into()) };
    let settings = Settings {
        threads: 2,
        beat: Some(Duration::from_millis(100)),
        dead_after: Duration::from_secs(1),
    };
    let at = match rest {
        ["gc", at] => at.parse()?,
        _ => u64::MAX,
    };
    let store = Arc::new(Dying::new(store(place)?, at));
    let archive = Archive::open(store.clone(), Arc::new(SystemEnvironment::new()), settings)?;
    match rest {
        ["gc", ..] => {
            println!("\n{BEGINS}");
            let swept = archive.gc(&Unwatched)?;
            println!("\n{swept:?}\noperations: {}", store.done());
        }
        ["import", file] => import(&archive, &FileSource::open(Path::new(file))?)?,
        ["write", files @ ..] => {
            for file in files {
                import(&archive, &FileSource::open(Path::new(file))?)?;
            }
        }
        _ => return Err("unknown command".into()),
    }
    Ok(())
}

fn store(place: &str) -> Result<Arc<dyn Store>, Failure> {
    let Some((endpoint, path)) = place
        .strip_prefix("http://")
        .and_then(|_| place.match_indices('/').nth(2))
        .map(|(at, _)| {
            let (endpoint, path) = place.split_at(at);
            (endpoint, &path[1..])
        })
    else {
        return Ok(Arc::new(Directory::open(place)?));
    };
    let (bucket, folder) = path.split_once('/').ok_or("no folder")?;
    let place = s3::Place {
        endpoint,
        region: "us-east-1",
        bucket,
        folder,
        style: s3::Style::Path,
        plain: s3::PlainHttp::ToLoopback,
    };
    let keys = Credentials::from_variables(|name| std::env::var(name).ok())?;
    let environment = Arc::new(SystemEnvironment::new());
    Ok(Arc::new(S3::open(&place, keys, &Trust::System, Patience::default(), environment)?))
}

fn import(archive: &Archive, source: &dyn Source) -> Result<(), Failure> {
    let project = ProjectName::parse("web")?;
    let new = NewImage {
        project: &project,
        kind: Kind::Imported,
        detail: Detail::default(),
        key: None,
        base: None,
    };
    let imported = archive.import(&new, source, &Unwatched)?;
    // On a line of its own, whatever the harness says.
    println!("\n{}", imported.image.id);
    Ok(std::io::stdout().flush()?)
}

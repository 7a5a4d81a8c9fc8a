//! What the kill test kills: an archive in a directory, and one thing done with it.
//!
//! `archive-worker DIRECTORY gc` collects garbage, `archive-worker DIRECTORY import FILE` makes an
//! image and prints its id, `archive-worker DIRECTORY write SEED COUNT` makes many, printing each
//! id when it is there. Sessions that are silent for a second are taken for dead.

use std::{io::Write, path::Path, sync::Arc, time::Duration};

use mezame_images::{
    archive::{
        Archive, Detail, Kind, NewImage, Settings, Unwatched,
        source::{FileSource, Source},
        store::directory::Directory,
    },
    environment::SystemEnvironment,
};
use mezame_model::ProjectName;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [directory, rest @ ..] = &arguments[..] else { return Err("no directory".into()) };
    let settings = Settings {
        threads: 2,
        beat: Some(Duration::from_millis(100)),
        dead_after: Duration::from_secs(1),
    };
    let store = Arc::new(Directory::open(*directory)?);
    let archive = Archive::open(store, Arc::new(SystemEnvironment::new()), settings)?;
    match rest {
        ["gc"] => {
            let swept = archive.gc(&Unwatched)?;
            println!("{swept:?}");
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
    println!("{}", imported.image.id);
    Ok(std::io::stdout().flush()?)
}

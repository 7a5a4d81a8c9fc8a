//! What the kill test kills: an archive in a directory or an object store, and one thing done with
//! it.
//!
//! An object store is `http://127.0.0.1:PORT/BUCKET/FOLDER`, with its keys in AWS's variables.
//! `archive-worker PLACE gc` collects garbage, `archive-worker PLACE import FILE` makes an
//! image and prints its id, `archive-worker PLACE write FILE…` makes many, printing each
//! id when it is there. Sessions that are silent for a second are taken for dead.

use std::{io::Write, path::Path, sync::Arc, time::Duration};

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

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [place, rest @ ..] = &arguments[..] else { return Err("no place".into()) };
    let settings = Settings {
        threads: 2,
        beat: Some(Duration::from_millis(100)),
        dead_after: Duration::from_secs(1),
    };
    let archive = Archive::open(store(place)?, Arc::new(SystemEnvironment::new()), settings)?;
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
    println!("{}", imported.image.id);
    Ok(std::io::stdout().flush()?)
}

//! Single files out of an image: a thread reads the guest's disk, and a connection takes what comes.
//!
//! A disk is read by one thread from its opening to the end, so each question has one of its own; they
//! are counted among the images that are read out. What is wrong with a question is told before the
//! first byte; where a file turns out to be damaged after that, the answer breaks off.

use std::sync::Arc;

use mezame_images::{
    archive::ImageId,
    files::{Disk, Entry, FileKind, FileSystem, FilesError, Limits, probe::Kind},
};
use mezame_model::{
    ProjectName,
    api::image_files::{ImageDisk, ImageFile, ImageFiles, ImagePartition},
};
use tokio::sync::oneshot;

use super::{
    Images, ImagesError,
    download::{Parts, Sink},
};
use crate::fault::{chain, plain};

/// The longest file, and the most bytes of a tar stream: as holes are read as zeros, a file may be longer
/// than its disk.
const MOST_BYTES: u64 = 1 << 40;
/// The most names of a tar stream.
const MOST_NAMES: u64 = 1_000_000;

/// What of a disk is meant.
#[derive(Debug, Clone)]
pub(crate) struct Spot {
    /// The number of its partition; the only one that can be read without.
    pub(crate) partition: Option<u32>,
    /// The path there; it need not be text.
    pub(crate) path: Vec<u8>,
}

/// How files are read out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// The bytes of one.
    Content,
    /// One, or a folder with all that is in it, as a tar stream.
    Tar,
}

impl Images {
    /// How an image's disk is divided.
    pub(crate) async fn partitions(
        self: &Arc<Self>,
        project: &ProjectName,
        id: ImageId,
    ) -> Result<ImageDisk, ImagesError> {
        let look = |disk: &Disk, tell: oneshot::Sender<_>, _: Sink<'_>| {
            let _ = tell.send(Ok(shown_disk(disk)));
        };
        self.read_disk(project, id, look).await.map(|(disk, _)| disk)
    }

    /// What is in a folder, `limit` names at most, of those that come after one; of anything else, that
    /// alone.
    pub(crate) async fn list_files(
        self: &Arc<Self>,
        project: &ProjectName,
        id: ImageId,
        spot: Spot,
        after: Option<Vec<u8>>,
        limit: usize,
    ) -> Result<ImageFiles, ImagesError> {
        let look = move |disk: &Disk, tell: oneshot::Sender<_>, _: Sink<'_>| {
            let _ = tell.send(listed(disk, &spot, after.as_deref(), limit));
        };
        self.read_disk(project, id, look).await.map(|(files, _)| files)
    }

    /// Reads files out: how many bytes there will be, where that is known, and the bytes.
    pub(crate) async fn read_files(
        self: &Arc<Self>,
        project: &ProjectName,
        id: ImageId,
        spot: Spot,
        form: Form,
    ) -> Result<(Option<u64>, Parts), ImagesError> {
        let read = move |disk: &Disk, tell: oneshot::Sender<_>, mut sink: Sink<'_>| {
            let begun = opened(disk, &spot, form);
            let (files, size) = match begun {
                Ok(begun) => begun,
                Err(error) => {
                    let _ = tell.send(Err(error));
                    return;
                }
            };
            if tell.send(Ok(size)).is_err() {
                return;
            }
            let limits = Limits { names: MOST_NAMES, bytes: MOST_BYTES };
            let read = match form {
                Form::Content => files.read(&spot.path, MOST_BYTES, &mut sink).map(drop),
                Form::Tar => files.tar(&spot.path, limits, &mut sink).map(drop),
            };
            match read {
                // The connection has gone, or is given up.
                Ok(()) | Err(FilesError::Sink(_)) => {}
                Err(error) => {
                    tracing::warn!(image = %id, error = chain(&error), "files could not be read out");
                    sink.fail("the files can't be read to their end");
                }
            }
        };
        self.read_disk(project, id, read).await
    }

    /// Opens a disk on a thread of its own. What is told there is waited for; what is read out after
    /// that is in the parts.
    async fn read_disk<T: Send + 'static>(
        self: &Arc<Self>,
        project: &ProjectName,
        id: ImageId,
        work: impl FnOnce(&Disk, oneshot::Sender<Result<T, ImagesError>>, Sink<'_>) + Send + 'static,
    ) -> Result<(T, Parts), ImagesError> {
        let most = self.settings.downloads;
        let permit = Arc::clone(&self.downloads).try_acquire_owned();
        let permit =
            permit.map_err(|_| ImagesError::TooMany { what: "images being read out", most })?;
        let (sender, parts) = Sink::channel();
        let (tell, told) = oneshot::channel();
        let (images, project) = (Arc::clone(self), project.clone());
        let task = move || {
            let _held = permit;
            let disk = images.look(&project, id).and_then(|(archive, visible)| {
                Disk::open(archive, visible).map_err(ImagesError::Files)
            });
            match disk {
                Ok(disk) => work(&disk, tell, Sink::new(sender, &images)),
                Err(error) => drop(tell.send(Err(error))),
            }
        };
        let thread = std::thread::Builder::new().name("image-files".into());
        thread.spawn(task).map_err(ImagesError::Thread)?;
        let told = told.await.map_err(|_| ImagesError::Ending)??;
        Ok((told, parts))
    }
}

/// The file system that is meant.
fn chosen(disk: &Disk, partition: Option<u32>) -> Result<(u32, FileSystem), ImagesError> {
    let number = match partition {
        Some(number) => number,
        None => {
            let readable = disk.partitions().iter().filter(|(_, kind)| *kind == Kind::Ext);
            let readable: Vec<u32> = readable.map(|(partition, _)| partition.number).collect();
            match (readable.as_slice(), disk.partitions()) {
                ([number], _) => *number,
                // What it is instead is told by opening it.
                ([], [(partition, _)]) => partition.number,
                (several, _) => {
                    let message = format!("{} of its partitions can be read here", several.len());
                    let fault =
                        plain("partition", message, "name one of 'mezame image partitions'");
                    return Err(ImagesError::Faults(vec![fault]));
                }
            }
        }
    };
    Ok((number, disk.file_system(number)?))
}

/// What is to be read out, and how long it will be.
fn opened(disk: &Disk, spot: &Spot, form: Form) -> Result<(FileSystem, Option<u64>), ImagesError> {
    let (_, files) = chosen(disk, spot.partition)?;
    let entry = files.entry(&spot.path)?;
    let path = || String::from_utf8_lossy(&spot.path).into_owned();
    match form {
        Form::Content if entry.kind != FileKind::File => {
            Err(FilesError::NotAFile { path: path() }.into())
        }
        Form::Content if entry.size > MOST_BYTES => {
            Err(FilesError::TooLarge { path: path(), size: entry.size }.into())
        }
        Form::Content => Ok((files, Some(entry.size))),
        Form::Tar => Ok((files, None)),
    }
}

fn listed(
    disk: &Disk,
    spot: &Spot,
    after: Option<&[u8]>,
    limit: usize,
) -> Result<ImageFiles, ImagesError> {
    let (partition, files) = chosen(disk, spot.partition)?;
    let entry = files.entry(&spot.path)?;
    if entry.kind != FileKind::Directory {
        let target = target(&files, &entry, &spot.path);
        return Ok(ImageFiles { partition, items: vec![shown(&entry, target)], more: false });
    }
    let mut entries = files.list(&spot.path)?;
    if let Some(after) = after {
        entries.retain(|entry| entry.name.as_slice() > after);
    }
    let more = entries.len() > limit;
    entries.truncate(limit);
    let items = entries.iter().map(|entry| {
        let path = [spot.path.as_slice(), b"/", entry.name.as_slice()].concat();
        shown(entry, target(&files, entry, &path))
    });
    Ok(ImageFiles { partition, items: items.collect(), more })
}

/// Where a symbolic link leads; nothing where that can't be read.
fn target(files: &FileSystem, entry: &Entry, path: &[u8]) -> Option<Vec<u8>> {
    if entry.kind == FileKind::Symlink { files.link(path).ok() } else { None }
}

fn shown(entry: &Entry, target: Option<Vec<u8>>) -> ImageFile {
    let kind = match entry.kind {
        FileKind::File => "file",
        FileKind::Directory => "folder",
        FileKind::Symlink => "link",
        FileKind::Special => "special",
    };
    let is_text = std::str::from_utf8(&entry.name).is_ok();
    ImageFile {
        name: lossy(&entry.name),
        bytes: (!is_text).then(|| entry.name.iter().map(|byte| format!("{byte:02x}")).collect()),
        kind: kind.into(),
        size: entry.size,
        mode: entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        modified: entry.modified,
        target: target.map(|target| lossy(&target)),
    }
}

fn shown_disk(disk: &Disk) -> ImageDisk {
    use mezame_images::files::partitions::Table;
    let table = match disk.table() {
        Table::None => "none",
        Table::Mbr => "mbr",
        Table::Gpt => "gpt",
    };
    let partitions = disk.partitions().iter().map(|(partition, kind)| ImagePartition {
        number: partition.number,
        offset: partition.offset,
        size: partition.length,
        name: partition.name.clone(),
        holds: kind.to_string(),
        is_readable: *kind == Kind::Ext,
    });
    ImageDisk { table: table.into(), partitions: partitions.collect() }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

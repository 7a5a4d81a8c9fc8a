//! Writing an image over a plain volume as it lies there: a block device, or a file that there is no
//! room beside.
//!
//! Nothing is written before every chunk of the image was read and found sound, and a record says that
//! the volume is half restored until all is durable. What is there already is not written again, so
//! repeating it goes on where it was.

use std::{fs::File, io, path::Path};

use super::{
    Origin, RestoreError, fetch,
    in_place::local,
    records::{Record, Records, Way},
};
use crate::{
    archive::{
        Exported, Watch,
        target::{FileTarget, Target},
    },
    encryption::{header::HEAD, header::Luks},
    storage_daemon::StorageDaemon,
    volume::{Place, Volume},
};

/// Writes over a plain volume that nobody has open.
pub(super) fn write_over(
    records: &Records,
    of: &Origin<'_>,
    volume: &Volume,
    watch: &dyn Watch,
) -> Result<Exported, RestoreError> {
    let (id, path) = (volume.id(), local(volume)?);
    match records.read(id)?.map(|record| record.way) {
        Some(Way::Over) | None => {}
        Some(_) => return Err(RestoreError::OtherRestore(id.clone())),
    }
    check_room(of, volume, path)?;
    let begin = || {
        verify(of, watch)?;
        records.write(id, &Record { image: of.image.image().id, way: Way::Over })
    };
    let exported = if volume.key().is_some() {
        let secrets = volume.secrets(of.keys)?;
        // It has QEMU's lock.
        let daemon = StorageDaemon::start_with(&volume.blockdev(), &secrets, of.run)?;
        begin()?;
        let exported = fetch::export(of, &daemon, watch)?;
        daemon.end()?;
        sync(path)?;
        exported
    } else {
        let target = FileTarget::open(path);
        let target = target.map_err(RestoreError::io_of(id, "opening", path))?;
        begin()?;
        let exported = of.archive.export(of.image, &target as &dyn Target, watch)?;
        drop(target);
        exported
    };
    records.remove(id)?;
    Ok(exported)
}

/// That the image can be read to its end.
pub(super) fn verify(of: &Origin<'_>, watch: &dyn Watch) -> Result<(), RestoreError> {
    let verified = of.archive.verify(of.image, watch)?;
    match verified.faults.first() {
        None => Ok(()),
        Some(first) => Err(RestoreError::Damaged {
            image: of.image.image().id,
            damaged: verified.damaged,
            first: first.offset,
        }),
    }
}

/// That a device is as long as the image. A file in the clear becomes so; an encrypted one is
/// written through a header that says nothing of a length, so it is one, too.
fn check_room(of: &Origin<'_>, volume: &Volume, path: &Path) -> Result<(), RestoreError> {
    let (place, is_encrypted) = (volume.place(), volume.key().is_some());
    let (file, length) = place.open().map_err(RestoreError::io("opening", path))?;
    let header = if is_encrypted { payload(&file, path)? } else { 0 };
    let (length, size) = (length.saturating_sub(header), of.image.image().size);
    let is_fixed = is_encrypted || matches!(place, Place::Device(_));
    if is_fixed && length < size {
        return Err(RestoreError::TooSmall { path: path.into(), length, size });
    }
    Ok(())
}

/// How long the header of an encrypted volume is.
fn payload(file: &File, path: &Path) -> Result<u64, RestoreError> {
    let mut head = vec![0; HEAD];
    let read = std::os::unix::fs::FileExt::read_exact_at(file, &mut head, 0);
    read.map_err(RestoreError::io("reading", path))?;
    let luks = Luks::parse(&head).map_err(io::Error::other);
    Ok(luks.map_err(RestoreError::io("reading the header of", path))?.payload)
}

fn sync(path: &Path) -> Result<(), RestoreError> {
    let synced = File::open(path).and_then(|file| file.sync_all());
    synced.map_err(RestoreError::io("syncing", path))
}

//! Backups of volumes that no guest runs on: all of each is read while it is [held](crate::stopped), and
//! there is no point in time to open or close.
//!
//! It leaves the volume's bitmaps alone: a guest that runs again is backed up from its last point in time on.

use std::path::Path;

use super::{
    name::PointId,
    pull::{Destination, Taken},
};
use crate::{
    archive::{Archive, Detail, Imported, Kind, NewImage, Provenance, Watch},
    encryption::VolumeKeys,
    environment::{Environment, NoRandomness, random},
    stopped::{Held, StoppedError},
    volume::VolumeId,
};

/// What a backup's [consistency](super::pull::CONSISTENCY) is called that no guest ran at.
const STOPPED: &str = "stopped";
/// What such a backup was [read](super::pull::READ) by.
const ALL: &str = "all: no guest ran on it";

/// Why a volume that no guest runs on is not backed up. There is no image then.
#[derive(Debug, thiserror::Error)]
pub enum StoppedBackupError {
    /// The volume is encrypted, and the project is not, and that was not asked for.
    #[error("{0} is encrypted, and the project that its backup was to be put into is not")]
    WouldBeClear(VolumeId),
    /// It can't be read.
    #[error(transparent)]
    Stopped(#[from] StoppedError),
}

/// The moment that volumes were held at, all of them.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    point: PointId,
    taken_ms: u64,
}

impl Moment {
    /// Now: to be asked for once all volumes of a backup are held.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn now(environment: &dyn Environment) -> Result<Self, NoRandomness> {
        Ok(Self { point: PointId::new(random(environment)?), taken_ms: environment.now_ms() })
    }
}

/// Reads a volume that is held into the archive. The image is there when this returns, or not at all.
///
/// # Errors
/// As [`StoppedBackupError`] says.
pub fn back_up(
    archive: &Archive,
    to: &Destination<'_>,
    moment: Moment,
    held: Held,
    keys: &VolumeKeys,
    run: &Path,
    watch: &dyn Watch,
) -> Result<Imported, StoppedBackupError> {
    let volume = held.volume();
    let id = volume.id();
    if volume.is_encrypted() && to.key.is_none() && !to.exceptions.clear_archive {
        return Err(StoppedBackupError::WouldBeClear(id.clone()));
    }
    let Moment { point, taken_ms } = moment;
    let (read, encrypted) = (ALL.into(), volume.is_encrypted());
    let taken = Taken { volume: id, point, taken_ms, consistency: STOPPED, read, encrypted };
    let labels = taken.labels(to);
    let source = Some(format!("volume {id}"));
    let provenance = Provenance { format: Some("raw".into()), source, ..Provenance::default() };
    let detail = Detail { name: to.name.clone(), labels, provenance };
    let Destination { project, key, .. } = *to;
    let new = NewImage { project, kind: Kind::Backup, detail, key, base: None };
    Ok(held.import(archive, &new, keys, run, watch)?)
}

#[cfg(test)]
mod tests;

//! What is being restored: a record for each volume whose restore is under way, durable before
//! anything is written and removed when all is.
//!
//! It says how, so that whatever process comes next ends what was begun, whenever the last one was
//! stopped. And it says of a volume that is written over that it holds a part of each until then:
//! [`Records::check`] is to be asked before each start of a guest.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::RestoreError;
use crate::{
    archive::ImageId,
    clone::{durable, make_private_directory},
    volume::{FileIdentity, VolumeId},
};

/// A directory of records. One for all volumes of a host; not where volumes lie that may be away.
#[derive(Debug)]
pub struct Records {
    directory: PathBuf,
}

/// A restore that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    pub(super) image: ImageId,
    pub(super) way: Way,
}

/// A file as it was when its last byte was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Made {
    file: FileIdentity,
    /// When it was written last, in seconds and nanoseconds since 1970. A guest that has run since has
    /// written later.
    modified: (i64, i64),
}

impl Made {
    pub(super) fn of(file: &File) -> io::Result<Self> {
        let about = file.metadata()?;
        let modified = (about.mtime(), about.mtime_nsec());
        Ok(Self { file: FileIdentity::of(file)?, modified })
    }
}

/// How a volume is restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Way {
    /// A new file is written, and gets the old one's name.
    Beside {
        new: PathBuf,
        /// The file that had the volume's name when it was begun.
        old: FileIdentity,
        /// What the old file is called afterwards, if it is kept.
        kept: Option<PathBuf>,
        /// The new file, once it is whole.
        #[serde(default)]
        made: Option<Made>,
    },
    /// A new file is written, and the clone's record names it.
    Clone {
        new: PathBuf,
        /// The plain volume that it was before, which is not kept.
        removed: Option<PathBuf>,
        /// The same, where it is. Of neither, it was an overlay.
        #[serde(default)]
        kept: Option<PathBuf>,
        /// The new file, once it is whole.
        #[serde(default)]
        made: Option<Made>,
    },
    /// The volume itself is written over.
    Over,
}

impl Records {
    /// Makes the directory unless it is there; only we may enter it from then on.
    pub fn create(directory: &Path) -> Result<Self, RestoreError> {
        make_private_directory(directory).map_err(RestoreError::io("making", directory))?;
        durable::sync_parent(directory).map_err(RestoreError::io("syncing", directory))?;
        Self::open(directory)
    }

    /// One that was made before. A directory that is not there is an error: it may not be mounted,
    /// and then nobody knows what is half restored.
    pub fn open(directory: &Path) -> Result<Self, RestoreError> {
        let found = fs::canonicalize(directory);
        Ok(Self { directory: found.map_err(RestoreError::io("finding", directory))? })
    }

    /// That a guest may be started on this volume, as far as restores go.
    ///
    /// # Errors
    /// [`RestoreError::HalfRestored`].
    pub fn check(&self, id: &VolumeId) -> Result<(), RestoreError> {
        match self.read(id)? {
            Some(Record { image, way: Way::Over }) => {
                Err(RestoreError::HalfRestored { id: id.clone(), image })
            }
            _ => Ok(()),
        }
    }

    /// Whether a restore of this volume was begun and has not ended.
    pub fn is_under_way(&self, id: &VolumeId) -> Result<bool, RestoreError> {
        Ok(self.read(id)?.is_some())
    }

    /// The file that a restore of this volume has begun to write, if it is written beside.
    pub fn begun_at(&self, id: &VolumeId) -> Result<Option<PathBuf>, RestoreError> {
        Ok(match self.read(id)?.map(|record| record.way) {
            Some(Way::Beside { new, .. } | Way::Clone { new, .. }) => Some(new),
            Some(Way::Over) | None => None,
        })
    }

    /// Forgets a restore of a volume that is about to be removed, or is gone. Of any other it would not
    /// be known any more that it is half restored.
    pub fn forget(&self, id: &VolumeId) -> Result<(), RestoreError> {
        self.remove(id)
    }

    /// The volumes whose restore was begun and has not ended, and from which image.
    pub fn under_way(&self) -> Result<Vec<(VolumeId, ImageId)>, RestoreError> {
        let failed = || RestoreError::io("reading", &self.directory);
        let mut all = Vec::new();
        for entry in fs::read_dir(&self.directory).map_err(failed())? {
            let path = entry.map_err(failed())?.path();
            // One that was being written when the host stopped has another extension.
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            let Some(id) = stem.and_then(|stem| VolumeId::parse(stem).ok()) else { continue };
            if let Some(record) = self.read(&id)? {
                all.push((id, record.image));
            }
        }
        all.sort();
        Ok(all)
    }

    pub(super) fn read(&self, id: &VolumeId) -> Result<Option<Record>, RestoreError> {
        let path = self.path(id);
        let text = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text.map_err(RestoreError::io("reading", &path))?,
        };
        let record = serde_json::from_slice(&text);
        record.map(Some).map_err(|source| RestoreError::Record { path, source })
    }

    /// Notes what is about to be done; durable when this returns.
    pub(super) fn write(&self, id: &VolumeId, record: &Record) -> Result<(), RestoreError> {
        let path = self.path(id);
        let text = serde_json::to_vec(record);
        let text = text.map_err(|source| RestoreError::Record { path: path.clone(), source })?;
        durable::write_new(&path, &text)
            .and_then(|()| durable::sync_parent(&path))
            .map_err(RestoreError::io("writing", &path))
    }

    /// Notes that it is done.
    pub(super) fn remove(&self, id: &VolumeId) -> Result<(), RestoreError> {
        let path = self.path(id);
        durable::remove(&path)
            .and_then(|()| durable::sync_parent(&path))
            .map_err(RestoreError::io("removing", &path))
    }

    fn path(&self, id: &VolumeId) -> PathBuf {
        self.directory.join(format!("{id}.json"))
    }
}

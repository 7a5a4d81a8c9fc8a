//! Whether the file systems are there that volumes lie on, and the ones that they were made on.
//!
//! The directory of masters has a file that says which it is, as pools have. An empty directory may
//! be where one is mounted at other times, and one that was made since is another: that a volume is
//! not seen there does not mean that it is gone, and its keys are not forgotten for it. Each
//! volume's record says which masters it was made with.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use mezame_images::clone::{InstantClone, Master, Pool as Directory};
use serde::{Deserialize, Serialize};

use super::{ExecutorError, Facts, Local, Reason, hydration::target_name};
use crate::{
    environment::{SystemEnvironment, random},
    spec::hex,
};

const MARKER: &str = "masters.json";

/// What the file says.
#[derive(Serialize, Deserialize)]
struct Marker {
    id: String,
}

impl Local {
    /// Which masters these are.
    pub(super) fn masters_id(&self) -> Result<String, ExecutorError> {
        let path = self.masters.join(MARKER);
        let read = fs::read(&path).and_then(|text| Ok(serde_json::from_slice::<Marker>(&text)?));
        let marker = read.map_err(|error| {
            let message = format!(
                "{} can't be read ({error}): 'mezame volume pool create' makes it; if it was there, \
                 its file system is not mounted",
                path.display()
            );
            ExecutorError::new(Reason::NoPool, message)
        })?;
        Ok(marker.id)
    }

    /// Has the directory of masters say which it is, unless it does.
    pub(super) fn mark_masters(&self) -> Result<(), ExecutorError> {
        let path = self.masters.join(MARKER);
        if path.exists() {
            return Ok(());
        }
        self.check_no_site()?;
        let failed = |error: io::Error| {
            ExecutorError::new(Reason::Failed, format!("{}: {error}", path.display()))
        };
        let id: Result<[u8; 16], _> = random(&SystemEnvironment::new());
        let id = id.map_err(|error| ExecutorError::new(Reason::Failed, error.to_string()))?;
        let text = serde_json::to_vec(&Marker { id: hex(&id) }).unwrap_or_default();
        write_new(&path, &text).map_err(failed)
    }

    /// That the masters are there that a volume was made with.
    pub(super) fn check_masters(&self, volume: &Facts) -> Result<(), ExecutorError> {
        let here = self.masters_id()?;
        if volume.masters.as_ref().is_none_or(|made| *made == here) {
            return Ok(());
        }
        let message = format!(
            "{} has other masters than those that the volume was made with; the right ones may not \
             be mounted",
            self.masters.display()
        );
        Err(ExecutorError::new(Reason::NoPool, message))
    }

    /// A volume's clone, and the master that it is one of. Its pool is there.
    pub(super) fn find(&self, volume: &Facts) -> Result<(Master, InstantClone), ExecutorError> {
        self.check_masters(volume)?;
        let master = Master::open(&self.masters.join(&volume.master))?;
        let clone = master.find(&volume.id)?;
        clone.check_pool()?;
        Ok((master, clone))
    }

    /// That nothing of a volume is there before it is made: what is made here, and no more, is
    /// removed where the making fails.
    pub(super) fn check_new(&self, volume: &Facts, pool: &Directory) -> Result<(), ExecutorError> {
        let at = self.masters.join(&volume.master);
        let is_noted = match Master::open(&at) {
            // It may go with another volume in this moment.
            Err(_) if !at.is_dir() => false,
            opened => opened?.find(&volume.id).is_ok(),
        };
        let left = Self::left(volume, pool);
        if !is_noted && left.is_none() {
            return Ok(());
        }
        let what = left.unwrap_or_else(|| format!("{} has a clone {}", at.display(), volume.id));
        let message = format!("{what} already, of a volume that is not known; it is left alone");
        Err(ExecutorError::new(Reason::Exists, message))
    }

    /// That a volume is gone which no master knows of.
    pub(super) fn check_gone(&self, volume: &Facts) -> Result<(), ExecutorError> {
        match Self::left(volume, &self.pool(&volume.pool)?) {
            None => Ok(()),
            Some(what) => {
                let message = format!("{what}, and no master knows of it; it is left alone");
                Err(ExecutorError::new(Reason::Conflict, message))
            }
        }
    }

    /// What a pool has of a volume.
    fn left(volume: &Facts, pool: &Directory) -> Option<String> {
        let names = [format!("{}.qcow2", volume.id), target_name(volume)];
        let mut paths = names.iter().map(|name| pool.path().join(name));
        paths.find(|path| path.exists()).map(|path| format!("{} is there", path.display()))
    }
}

/// Writes a small file, whole or not at all, that lasts.
pub(super) fn write_new(path: &Path, text: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

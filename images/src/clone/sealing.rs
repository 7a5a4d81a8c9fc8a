//! Sealing: making a master of an image, and noticing that somebody has written to it since.
//!
//! The image is moved, protected and described in a directory that gets its name last, so that a
//! master is there whole or not at all. What is compared later is the file's length, its time of
//! change and its inode; its bytes are not read.

use std::{
    fs::{self, File},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

use serde::{Deserialize, Serialize};

use super::{
    CLONES, CloneError, IMAGE, LOCK, Master, beside,
    durable::{self, sync_directory, write_new},
    failed, json,
    pool::{make_lock, private_directory},
    template,
};
use crate::{
    iscsi::{Lun, LunSeal},
    volume::{FileIdentity, Format},
};

pub(super) const MANIFEST: &str = "master.json";

/// What a master was when it was sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) format: Format,
    #[serde(default)]
    pub(super) is_encrypted: bool,
    /// As a guest sees it, in bytes.
    pub(super) size: u64,
    #[serde(flatten)]
    pub(super) sealed: Sealed,
}

/// Where a master's bytes are, and what they are told by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Sealed {
    /// In the file `image` beside the manifest.
    File {
        /// In bytes.
        length: u64,
        /// When the file was last written, in seconds and nanoseconds since 1970.
        modified: (i64, i64),
        identity: FileIdentity,
    },
    /// On a LUN.
    Lun { lun: Lun, seal: LunSeal },
}

impl Master {
    /// Makes a master of an image, which is moved into a directory that is made for it, on the
    /// same file system. Repeating it after a crash completes it, also if all was done.
    ///
    /// # Errors
    /// [`CloneError::NotAlone`], [`CloneError::Qcow2`], [`CloneError::MasterExists`],
    /// [`CloneError::Leftover`]; the image is then where it was.
    pub fn seal(image: &Path, format: Format, directory: &Path) -> Result<Self, CloneError> {
        Self::seal_as(image, format, false, directory)
    }

    /// The same of an image that is encrypted: LUKS over a raw file, or within a qcow2 file. No key is
    /// needed for it; its clones want the image's key besides their own.
    ///
    /// # Errors
    /// [`CloneError::NotEncrypted`].
    pub fn seal_encrypted(
        image: &Path,
        format: Format,
        directory: &Path,
    ) -> Result<Self, CloneError> {
        Self::seal_as(image, format, true, directory)
    }

    fn seal_as(
        image: &Path,
        format: Format,
        is_encrypted: bool,
        directory: &Path,
    ) -> Result<Self, CloneError> {
        let stage = beside(directory, ".new");
        let within = stage.join(IMAGE);
        let is_there = |path: &Path| path.try_exists().map_err(failed("finding", path));
        let is_moved = match (is_there(image)?, is_there(&within)?) {
            (true, true) => return Err(CloneError::Leftover { path: stage }),
            (is_image, is_within) => !is_image && is_within,
        };
        if is_there(directory)? {
            return Self::sealed(image, (format, is_encrypted), directory);
        }
        let now = if is_moved { &within } else { image };
        let size = template::size_of(now, format, is_encrypted)?;
        private_directory(&stage.join(CLONES)).map_err(failed("making", &stage))?;
        if !is_moved {
            fs::rename(image, &within).map_err(failed("moving", image))?;
        }
        fs::set_permissions(&within, fs::Permissions::from_mode(0o444))
            .map_err(failed("protecting", &within))?;
        let file = File::open(&within).map_err(failed("opening", &within))?;
        file.sync_all().map_err(failed("syncing", &within))?;
        let manifest = Manifest::of(&file, &within, (format, is_encrypted), size)?;
        make_lock(&stage.join(LOCK))?;
        let path = stage.join(MANIFEST);
        write_new(&path, &json(&manifest)).map_err(failed("writing", &path))?;
        sync_directory(&stage).map_err(failed("syncing", &stage))?;
        fs::rename(&stage, directory).map_err(failed("making", directory))?;
        durable::sync_parent(directory).map_err(failed("syncing", directory))?;
        Ok(Self { directory: directory.into(), manifest, access: None })
    }

    /// One that was sealed by a process that was stopped before it could say so.
    fn sealed(
        image: &Path,
        (format, is_encrypted): (Format, bool),
        directory: &Path,
    ) -> Result<Self, CloneError> {
        if image.exists() {
            return Err(CloneError::MasterExists { path: directory.into() });
        }
        let master = Self::open(directory)?;
        if (master.manifest.format, master.manifest.is_encrypted) != (format, is_encrypted) {
            return Err(CloneError::MasterExists { path: directory.into() });
        }
        master.check()?;
        durable::sync_parent(directory).map_err(failed("syncing", directory))?;
        Ok(master)
    }

    /// One that was sealed before.
    pub fn open(directory: &Path) -> Result<Self, CloneError> {
        let path = directory.join(MANIFEST);
        let text = fs::read(&path).map_err(failed("reading", &path))?;
        let manifest =
            serde_json::from_slice(&text).map_err(|source| CloneError::Record { path, source })?;
        Ok(Self { directory: directory.into(), manifest, access: None })
    }

    /// That the image is what was sealed.
    ///
    /// # Errors
    /// [`CloneError::Changed`]: its clones now read a mixture.
    pub fn check(&self) -> Result<(), CloneError> {
        if let Sealed::Lun { lun, seal } = &self.manifest.sealed {
            return self.check_lun(lun, seal);
        }
        let path = self.directory.join(IMAGE);
        let file = File::open(&path).map_err(failed("opening", &path))?;
        let Manifest { format, is_encrypted, size, .. } = self.manifest;
        let now = Manifest::of(&file, &path, (format, is_encrypted), size)?;
        if now == self.manifest {
            return Ok(());
        }
        Err(CloneError::Changed { path: self.directory.clone() })
    }
}

impl Manifest {
    fn of(
        file: &File,
        path: &Path,
        (format, is_encrypted): (Format, bool),
        size: u64,
    ) -> Result<Self, CloneError> {
        let metadata = file.metadata().map_err(failed("reading", path))?;
        let identity = FileIdentity::of(file).map_err(failed("reading", path))?;
        let modified = (metadata.mtime(), metadata.mtime_nsec());
        let sealed = Sealed::File { length: metadata.len(), modified, identity };
        Ok(Self { format, is_encrypted, size, sealed })
    }
}

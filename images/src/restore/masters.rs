//! Masters that are made of the archive's images: each image's once, whoever asks and how often.
//!
//! ```text
//!   MASTERS/IMAGE/       the master, once it is whole
//!          /IMAGE.raw    what has been fetched of it so far
//!          /IMAGE.new/   it is being sealed
//!          /IMAGE.lock   held while one of these is made; it stays
//! ```
//! The image's id is the name, so asking again finds the master, also after a crash at any moment.
//! Nothing is kept of who may see the image: that is asked of the archive each time, by the
//! [`Visible`](crate::archive::Visible) that it takes.

use std::{
    fs::{self, File, TryLockError},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use super::{
    Origin, RestoreError, beside,
    fetch::{SECTOR, fetch},
};
use crate::{
    archive::{ArchiveError, ImageId, Watch},
    clone::{Master, durable, make_private_directory},
    encryption::{KeyNumber, VolumeKey, VolumeKeys},
    volume::{Format, VolumeId},
};

/// How often a master that somebody else makes is looked for.
const LOOK: Duration = Duration::from_millis(50);

/// A directory of masters.
#[derive(Debug)]
pub struct Masters {
    directory: PathBuf,
}

/// A lock's file, held.
struct Held {
    _file: File,
}

impl Masters {
    /// Makes the directory unless it is there; only we may enter it from then on.
    pub fn create(directory: &Path) -> Result<Self, RestoreError> {
        make_private_directory(directory).map_err(RestoreError::io("making", directory))?;
        durable::sync_parent(directory).map_err(RestoreError::io("syncing", directory))?;
        Self::open(directory)
    }

    /// One that was made before.
    pub fn open(directory: &Path) -> Result<Self, RestoreError> {
        let found = fs::canonicalize(directory);
        Ok(Self { directory: found.map_err(RestoreError::io("finding", directory))? })
    }

    /// The image's master, which is fetched unless it is there. One that somebody else is fetching is
    /// waited for until `watch` ends it. Of a fetch that was cut short only the rest is fetched.
    ///
    /// Of an encrypted project's image, too, it is in the clear; see
    /// [`obtain_encrypted`](Self::obtain_encrypted).
    ///
    /// # Errors
    /// [`RestoreError::WouldBeClear`]; [`RestoreError::OtherMaster`] where there is an encrypted one.
    pub fn obtain(&self, of: &Origin<'_>, watch: &dyn Watch) -> Result<Master, RestoreError> {
        self.made(of, None, watch)
    }

    /// The same, encrypted with a key of its own: its clones want that key as their master's
    /// ([`VolumeKeys::with_master`]). The caller keeps it, for as long as there is the master.
    ///
    /// # Errors
    /// [`RestoreError::OtherMaster`] where there is one in the clear.
    pub fn obtain_encrypted(
        &self,
        of: &Origin<'_>,
        key: &VolumeKey,
        watch: &dyn Watch,
    ) -> Result<Master, RestoreError> {
        self.made(of, Some(key), watch)
    }

    /// The image's master, if it is there and whole.
    pub fn find(&self, image: ImageId) -> Result<Option<Master>, RestoreError> {
        let path = self.path(image);
        if !path.try_exists().map_err(RestoreError::io("finding", &path))? {
            return Ok(None);
        }
        let master = Master::open(&path)?;
        master.check()?;
        Ok(Some(master))
    }

    /// Removes the image's master, which has no clones, and what was fetched of one.
    pub fn remove(&self, image: ImageId) -> Result<(), RestoreError> {
        let path = self.path(image);
        let Some(_held) = self.hold(image)? else { return Err(self.busy(image)) };
        if path.try_exists().map_err(RestoreError::io("finding", &path))? {
            Master::open(&path)?.remove()?;
        }
        self.clean(image)
    }

    /// Removes what was fetched of images whose master did not come to be, and that nobody fetches;
    /// which images those were. Who asks for one of them again has it fetched from its beginning.
    pub fn sweep(&self) -> Result<Vec<ImageId>, RestoreError> {
        let failed = || RestoreError::io("reading", &self.directory);
        let mut swept = Vec::new();
        for entry in fs::read_dir(&self.directory).map_err(failed())? {
            let path = entry.map_err(failed())?.path();
            let is_part = path.extension().is_some_and(|it| it == "raw" || it == "new");
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            let Some(image) = stem.and_then(|stem| ImageId::parse(stem).ok()) else { continue };
            if is_part && let Some(_held) = self.hold(image)? {
                self.clean(image)?;
                swept.push(image);
            }
        }
        swept.dedup();
        Ok(swept)
    }

    fn made(
        &self,
        of: &Origin<'_>,
        key: Option<&VolumeKey>,
        watch: &dyn Watch,
    ) -> Result<Master, RestoreError> {
        let image = of.image.image();
        of.check_key(key.is_some())?;
        let _held = self.wait(image.id, watch)?;
        let path = self.path(image.id);
        let master = match self.find(image.id)? {
            Some(master) => master,
            None => self.make(of, &path, key, watch)?,
        };
        let is_other = master.size() != image.size.next_multiple_of(SECTOR)
            || master.backing().is_encrypted != key.is_some();
        if is_other { Err(RestoreError::OtherMaster { path }) } else { Ok(master) }
    }

    /// Fetches and seals one, under its lock.
    fn make(
        &self,
        of: &Origin<'_>,
        path: &Path,
        key: Option<&VolumeKey>,
        watch: &dyn Watch,
    ) -> Result<Master, RestoreError> {
        let raw = beside(path, ".raw");
        // What is being sealed was whole.
        let sealing = beside(path, ".new").join("image");
        let is_sealing = sealing.try_exists().map_err(RestoreError::io("finding", &sealing))?;
        if !is_sealing {
            let id = name_of(of.image.image().id);
            let number = KeyNumber(1);
            let keys = key.map(|key| VolumeKeys::none().with(number, key.clone()));
            let of = Origin { keys: keys.as_ref().unwrap_or(of.keys), ..*of };
            fetch(&of, &id, &raw, keys.as_ref().map(|_| number), watch)?;
        }
        Ok(match key {
            None => Master::seal(&raw, Format::Raw, path)?,
            Some(_) => Master::seal_encrypted(&raw, Format::Raw, path)?,
        })
    }

    fn path(&self, image: ImageId) -> PathBuf {
        self.directory.join(image.to_string())
    }

    fn busy(&self, image: ImageId) -> RestoreError {
        crate::clone::CloneError::Busy { path: beside(&self.path(image), ".lock") }.into()
    }

    /// Removes parts of a master, under its lock.
    fn clean(&self, image: ImageId) -> Result<(), RestoreError> {
        let path = self.path(image);
        let raw = beside(&path, ".raw");
        durable::remove(&raw).map_err(RestoreError::io("removing", &raw))?;
        let new = beside(&path, ".new");
        match fs::remove_dir_all(&new) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(RestoreError::io("removing", &new)(error))
            }
            _ => durable::sync_directory(&self.directory)
                .map_err(RestoreError::io("syncing", &self.directory)),
        }
    }

    /// Waits until nobody else makes or removes this one.
    fn wait(&self, image: ImageId, watch: &dyn Watch) -> Result<Held, RestoreError> {
        loop {
            if let Some(held) = self.hold(image)? {
                return Ok(held);
            }
            if watch.is_cancelled() {
                return Err(ArchiveError::Cancelled.into());
            }
            thread::sleep(LOOK);
        }
    }

    fn hold(&self, image: ImageId) -> Result<Option<Held>, RestoreError> {
        let path = beside(&self.path(image), ".lock");
        let mut options = File::options();
        options.create(true).truncate(false).write(true).mode(0o600);
        let file = options.open(&path).map_err(RestoreError::io("opening", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Held { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(RestoreError::io("locking", &path)(source)),
        }
    }
}

/// What QEMU's programs call an image's master while it is made: no other one, in the same directory of
/// sockets.
fn name_of(image: ImageId) -> VolumeId {
    let digits: String = image.to_string().chars().filter(char::is_ascii_hexdigit).collect();
    // `m`, and half of the digits.
    let name = format!("m{}", digits.get(..16).unwrap_or_default());
    VolumeId::parse(&name).unwrap_or_else(|_| unreachable!("{name}"))
}

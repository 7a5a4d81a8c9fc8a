//! Masters that are made of the archive's images, or of zeros: each once, whoever asks and how often.
//!
//! ```text
//!   MASTERS/NAME/       the master, once it is whole
//!          /NAME.raw    what has been fetched of it so far
//!          /NAME.new/   it is being sealed
//!          /NAME.removed/ its removal was cut short
//!          /NAME.lock   held alone while one of these is made or removed, and by all together who are
//!                       about to make a clone of it; it goes with the master
//! ```
//! The [name](MasterName) says of what a master is, so asking again finds it, also after a crash at any
//! moment. One in the clear is a raw file with holes; an encrypted one is qcow2 with LUKS in it, which has
//! holes too, where LUKS over a raw file would have noise. Nothing is kept of who may see the image: that is asked of the archive each time, by the
//! [`Visible`](crate::archive::Visible) that it takes.

mod inventory;
mod name;

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

pub use inventory::{Listed, Stage};
pub use name::MasterName;

use super::{
    Origin, RestoreError, beside,
    fetch::{SECTOR, fetch, fetch_compact},
    held::Held,
};
use crate::{
    archive::{ArchiveError, Watch},
    clone::{CloneError, Master, durable, make_private_directory},
    encryption::{KeyNumber, VolumeKey, VolumeKeys},
    volume::Format,
};

/// How often a master that somebody else makes is looked for.
const LOOK: Duration = Duration::from_millis(50);

/// How often one may be removed by others between its making and its use.
const REMOVED: u32 = 8;

/// A directory of masters.
#[derive(Debug)]
pub struct Masters {
    directory: PathBuf,
}

/// A master that nobody removes before this is dropped, so that it gets its clone first. Others may have
/// the same one meanwhile.
pub struct HeldMaster {
    master: Master,
    _held: Held,
}

impl std::ops::Deref for HeldMaster {
    type Target = Master;

    fn deref(&self) -> &Master {
        &self.master
    }
}

/// What a master is made of.
enum Contents<'a> {
    Image { of: &'a Origin<'a>, key: Option<&'a VolumeKey> },
    Zeros,
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
        self.obtain_longer(of, of.image.image().size, None, watch)
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
        self.obtain_longer(of, of.image.image().size, Some(key), watch)
    }

    /// Either of them with zeros behind the image, up to `size` bytes: each length is a master of its
    /// own.
    ///
    /// # Errors
    /// As of the others.
    pub fn obtain_longer(
        &self,
        of: &Origin<'_>,
        size: u64,
        key: Option<&VolumeKey>,
        watch: &dyn Watch,
    ) -> Result<Master, RestoreError> {
        Ok(self.held(of, size, key, watch)?.master)
    }

    /// The same, for who makes a clone of it.
    ///
    /// # Errors
    /// As of the others.
    pub fn held(
        &self,
        of: &Origin<'_>,
        size: u64,
        key: Option<&VolumeKey>,
        watch: &dyn Watch,
    ) -> Result<HeldMaster, RestoreError> {
        let image = of.image.image();
        of.check_key(key.is_some())?;
        let size = size.max(image.size).next_multiple_of(SECTOR);
        let name = MasterName::of(image.id, image.size, size);
        self.made(&name, size, &Contents::Image { of, key }, watch)
    }

    /// A master of zeros.
    pub fn zeros(&self, size: u64, watch: &dyn Watch) -> Result<Master, RestoreError> {
        Ok(self.held_zeros(size, watch)?.master)
    }

    /// The same, for who makes a clone of it.
    pub fn held_zeros(&self, size: u64, watch: &dyn Watch) -> Result<HeldMaster, RestoreError> {
        let size = size.next_multiple_of(SECTOR);
        self.made(&MasterName::Zeros(size), size, &Contents::Zeros, watch)
    }

    /// The master of this name, if it is there and whole.
    pub fn find(&self, name: &MasterName) -> Result<Option<Master>, RestoreError> {
        let path = self.path(name);
        if !path.try_exists().map_err(RestoreError::io("finding", &path))? {
            return Ok(None);
        }
        let master = Master::open(&path)?;
        master.check()?;
        Ok(Some(master))
    }

    /// Removes a master, which has no clones, and what was fetched of one, or is left of its removal.
    ///
    /// # Errors
    /// [`CloneError::HasClones`]; [`CloneError::Busy`] while somebody makes it, or a clone of it.
    pub fn remove(&self, name: &MasterName) -> Result<(), RestoreError> {
        let path = self.path(name);
        let Some(held) = Held::alone(&self.lock(name))? else { return Err(self.busy(name)) };
        if path.try_exists().map_err(RestoreError::io("finding", &path))? {
            Master::open(&path)?.remove()?;
        }
        self.clean(name, held)
    }

    /// Removes what was fetched of masters that did not come to be, and that nobody fetches; which
    /// those were. Who asks for one of them again has it fetched from its beginning.
    pub fn sweep(&self) -> Result<Vec<MasterName>, RestoreError> {
        let failed = || RestoreError::io("reading", &self.directory);
        let mut parts = BTreeSet::new();
        for entry in fs::read_dir(&self.directory).map_err(failed())? {
            let path = entry.map_err(failed())?.path();
            let extension = path.extension().and_then(|it| it.to_str());
            let is_part = matches!(extension, Some("raw" | "new" | "removed"));
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            parts.extend(stem.filter(|_| is_part).and_then(MasterName::parse));
        }
        let mut swept = Vec::new();
        for name in parts {
            if self.discard(&name)? {
                swept.push(name);
            }
        }
        Ok(swept)
    }

    /// Removes what was fetched of one master, unless somebody fetches it; whether it was so.
    pub fn discard(&self, name: &MasterName) -> Result<bool, RestoreError> {
        let Some(held) = Held::alone(&self.lock(name))? else { return Ok(false) };
        self.clean(name, held)?;
        Ok(true)
    }

    fn made(
        &self,
        name: &MasterName,
        size: u64,
        contents: &Contents<'_>,
        watch: &dyn Watch,
    ) -> Result<HeldMaster, RestoreError> {
        let (master, held) = self.found_or_made(name, size, contents, watch)?;
        let is_encrypted = matches!(contents, Contents::Image { key: Some(_), .. });
        if master.size() == size && master.backing().is_encrypted == is_encrypted {
            return Ok(HeldMaster { master, _held: held });
        }
        Err(RestoreError::OtherMaster { path: self.path(name) })
    }

    /// It is held together with others, so that it is not held alone while clones are made of it.
    fn found_or_made(
        &self,
        name: &MasterName,
        size: u64,
        contents: &Contents<'_>,
        watch: &dyn Watch,
    ) -> Result<(Master, Held), RestoreError> {
        let lock = self.lock(name);
        for _ in 0..REMOVED {
            // Whoever waits while it is made has it with all others once it is there.
            let _alone = loop {
                if let Some(together) = Held::together(&lock)? {
                    if let Some(master) = self.find(name)? {
                        return Ok((master, together));
                    }
                    drop(together);
                    if let Some(alone) = Held::alone(&lock)? {
                        break alone;
                    }
                }
                pause(watch)?;
            };
            if self.find(name)?.is_none() {
                self.make(name, size, contents, watch)?;
            }
        }
        Err(self.busy(name))
    }

    /// Fetches and seals one, under its lock.
    fn make(
        &self,
        name: &MasterName,
        size: u64,
        contents: &Contents<'_>,
        watch: &dyn Watch,
    ) -> Result<Master, RestoreError> {
        let path = self.path(name);
        let raw = beside(&path, ".raw");
        // What is being sealed was whole.
        let sealing = beside(&path, ".new").join("image");
        let is_sealing = sealing.try_exists().map_err(RestoreError::io("finding", &sealing))?;
        if !is_sealing {
            match contents {
                Contents::Image { of, key: None } => {
                    fetch(of, &name.node(), &raw, None, watch)?;
                    lengthen(&raw, size)?;
                }
                Contents::Image { of, key: Some(key) } => {
                    let number = KeyNumber(1);
                    let keys = VolumeKeys::none().with(number, (*key).clone());
                    let of = Origin { keys: &keys, ..**of };
                    fetch_compact(&of, &name.node(), &raw, (size, number), watch)?;
                }
                Contents::Zeros => {
                    let anew = durable::remove(&raw).and_then(|()| durable::create_private(&raw));
                    anew.map_err(RestoreError::io("making", &raw))?;
                    lengthen(&raw, size)?;
                }
            }
        }
        Ok(match contents {
            Contents::Image { key: Some(_), .. } => {
                Master::seal_encrypted(&raw, Format::Qcow2, &path)?
            }
            _ => Master::seal(&raw, Format::Raw, &path)?,
        })
    }

    fn path(&self, name: &MasterName) -> PathBuf {
        self.directory.join(name.to_string())
    }

    fn lock(&self, name: &MasterName) -> PathBuf {
        beside(&self.path(name), ".lock")
    }

    fn busy(&self, name: &MasterName) -> RestoreError {
        CloneError::Busy { path: self.lock(name) }.into()
    }

    /// Removes parts of a master, under its lock, which goes too where there is no master.
    fn clean(&self, name: &MasterName, held: Held) -> Result<(), RestoreError> {
        let path = self.path(name);
        let raw = beside(&path, ".raw");
        durable::remove(&raw).map_err(RestoreError::io("removing", &raw))?;
        for folder in [".new", ".removed"].map(|part| beside(&path, part)) {
            match fs::remove_dir_all(&folder) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(RestoreError::io("removing", &folder)(error));
                }
                _ => {}
            }
        }
        let lock = self.lock(name);
        if !path.try_exists().map_err(RestoreError::io("finding", &path))? {
            durable::remove(&lock).map_err(RestoreError::io("removing", &lock))?;
        }
        drop(held);
        durable::sync_directory(&self.directory)
            .map_err(RestoreError::io("syncing", &self.directory))
    }
}

/// Until it is looked again whether somebody else has made or removed one.
fn pause(watch: &dyn Watch) -> Result<(), RestoreError> {
    if watch.is_cancelled() {
        return Err(ArchiveError::Cancelled.into());
    }
    thread::sleep(LOOK);
    Ok(())
}

/// Puts zeros behind a file's end, which take no room; durable when this returns.
fn lengthen(path: &Path, size: u64) -> Result<(), RestoreError> {
    let file = File::options().write(true).open(path);
    let file = file.map_err(RestoreError::io("opening", path))?;
    let is_short = file.metadata().is_ok_and(|metadata| metadata.len() < size);
    let lengthened = if is_short { file.set_len(size) } else { Ok(()) };
    lengthened.and_then(|()| file.sync_all()).map_err(RestoreError::io("lengthening", path))
}

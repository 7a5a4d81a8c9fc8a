//! The image archive: imported images, captured system storages and backups, in one form.
//!
//! An image is a list of chunks, and a chunk is stored once whoever has it. So every image can be
//! restored by itself, a backup is an image, and there is no chain that a lost part would break.
//! It works with blocking threads: what takes the time is compression and digests, on all
//! processors, and reads of files. A caller on an async runtime gives it a thread.
//!
//! ```text
//!  images/ID ── record ──► pages ──► chunks          [`record`] [`page`] [`chunk`]
//!                            └────────┴─ in packs/   [`pack`] [`index`]
//!  writers/ID, condemned/ID, waits/ID ── who may delete what, and when   [`session`] [`sweep`]
//!  quarantined/ID-N ── packs that nobody new may count on   [`quarantine`]
//!  shares/ID/PROJECT ── who sees it besides its own project
//! ```
//! It never mounts a disk or looks into one, and keeps no key: callers hand these in.

pub mod chunk;
pub(crate) mod domain;
pub(crate) mod ends;
pub mod error;
pub mod export;
pub mod foreign;
#[doc(hidden)]
pub mod fuzzing;
pub(crate) mod id;
pub mod import;
pub(crate) mod index;
pub mod labelled;
pub mod listing;
pub mod pack;
pub(crate) mod page;
pub mod progress;
pub(crate) mod quarantine;
pub mod random;
pub(crate) mod read;
pub mod record;
pub mod retention;
pub(crate) mod session;
pub mod signature;
pub mod source;
pub mod status;
pub mod store;
pub mod stream;
pub mod sweep;
pub mod target;
pub mod verify;
pub mod view;
pub(crate) mod writing;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

pub use self::{
    domain::ProjectKey,
    error::{ArchiveError, ChunkFault},
    export::Exported,
    foreign::{FileImport, ForeignError, ForeignFormat},
    id::{ChunkId, ContentId, ImageId, ImageIdError, ObjectName},
    import::{Imported, NewImage},
    listing::Page,
    progress::{Phase, Progress, Unwatched, Watch},
    random::ImageReader,
    record::{Detail, Image, Kind, Provenance},
    retention::Retention,
    status::Stored,
    sweep::Swept,
    verify::Verified,
    view::{KeyOf, Viewer, Visible},
};
use self::{
    id::{PackId, prefix},
    pack::Placed,
    store::{Listed, Store, StoreError},
};
use crate::environment::Environment;

/// What lies in every archive under the name `format`.
const FORMAT: &[u8] = b"{\"mezame archive\": 2, \"chunk\": 262144}\n";
/// Of lists of packs: 16 TiB of chunks would take 40 MiB.
const LONGEST_LIST: u64 = 256 * 1024 * 1024;

/// How an archive works; the default is for production.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Threads that read, compress and write. More than processors, since some wait for disks. Where
    /// it is one, requests to the store are not made side by side either.
    pub threads: usize,
    /// How often a session gives a sign of life; never where it is None.
    pub beat: Option<Duration>,
    /// After how long without one a session is ended by whoever collects garbage. Clocks of
    /// machines that share a store must not differ by more. Too short a time costs a session that
    /// has to be repeated, and never an image.
    pub dead_after: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            threads: (2 * processors).min(16),
            beat: Some(Duration::from_secs(60)),
            dead_after: Duration::from_secs(15 * 60),
        }
    }
}

/// An archive in a store. Any number of processes may have the same one open.
pub struct Archive {
    store: Arc<dyn Store>,
    environment: Arc<dyn Environment>,
    settings: Settings,
    /// Ends of packs that were read already: these never change.
    known: Mutex<BTreeMap<PackId, Arc<[Placed]>>>,
    owners: listing::Owners,
    labels: labelled::Labels,
}

impl Archive {
    /// Makes an archive in a store. One that was cut short is done by doing it again.
    ///
    /// # Errors
    /// [`ArchiveError::NotEmpty`] where there is an archive already, or anything of one.
    pub fn create(
        store: Arc<dyn Store>,
        environment: Arc<dyn Environment>,
        settings: Settings,
    ) -> Result<Self, ArchiveError> {
        let markers = prefix::MARKED.map(ObjectName::marker);
        for prefix in prefix::ALL {
            let listed = store.list(prefix)?.into_iter();
            if let Some(other) = listed.map(|object| object.name).find(|it| !markers.contains(it)) {
                return Err(ArchiveError::NotEmpty { name: other });
            }
        }
        for marker in &markers {
            match store.put_new(marker, b"") {
                Err(StoreError::Exists { .. }) => {}
                other => other?,
            }
        }
        // The last, so that what has it has all.
        let name = ObjectName::format();
        match store.put_new(&name, FORMAT) {
            Err(StoreError::Exists { .. }) => return Err(ArchiveError::NotEmpty { name }),
            other => other?,
        }
        Ok(Self::of(store, environment, settings))
    }

    /// Opens the archive in this store.
    ///
    /// # Errors
    /// [`ArchiveError::NoArchive`] where there is none: a mount point without its file system
    /// must not become a new, empty archive.
    pub fn open(
        store: Arc<dyn Store>,
        environment: Arc<dyn Environment>,
        settings: Settings,
    ) -> Result<Self, ArchiveError> {
        let format = match store.read(&ObjectName::format(), 4096) {
            Err(StoreError::Missing { .. }) => return Err(ArchiveError::NoArchive),
            other => other?,
        };
        if format != FORMAT {
            return Err(ArchiveError::Format);
        }
        let archive = Self::of(store, environment, settings);
        for prefix in prefix::MARKED {
            archive.list_marked(prefix)?;
        }
        Ok(archive)
    }

    fn of(store: Arc<dyn Store>, environment: Arc<dyn Environment>, settings: Settings) -> Self {
        let (known, owners, labels) = Default::default();
        Self { store, environment, settings, known, owners, labels }
    }

    /// Milliseconds since 1970, as images are told to be of.
    pub(crate) fn now_ms(&self) -> u64 {
        self.environment.now_ms()
    }

    /// A listing that is known to be of the archive's own folder: its marker is in it.
    fn list_marked(&self, prefix: &'static str) -> Result<Vec<Listed>, ArchiveError> {
        let mut listed = self.store.list(prefix)?;
        let marker = ObjectName::marker(prefix);
        let place = listed.iter().position(|object| object.name == marker);
        listed.swap_remove(place.ok_or(ArchiveError::FolderMissing { prefix })?);
        Ok(listed)
    }

    /// The packs that are to be deleted: no session that begins now may count on them.
    fn condemned(&self) -> Result<BTreeSet<PackId>, ArchiveError> {
        let mut packs = BTreeSet::new();
        for object in self.list_marked(prefix::CONDEMNED)? {
            let Some(id) = object.name.as_id(prefix::CONDEMNED) else { continue };
            packs.extend(self.condemned_by(id, object.length)?.unwrap_or_default());
        }
        Ok(packs)
    }

    /// The packs of one list, which is known to be no longer than this; None where the list is gone,
    /// and with it its packs.
    fn condemned_by(&self, id: ImageId, longest: u64) -> Result<Option<Vec<PackId>>, ArchiveError> {
        let name = ObjectName::condemned(id);
        let bytes = match self.store.read(&name, longest.min(LONGEST_LIST)) {
            Err(StoreError::Missing { .. }) => return Ok(None),
            other => other?,
        };
        // Whoever wrote it may be about to delete what nobody can read there any more.
        sweep::list::parse_packs(&bytes).map(Some).ok_or(ArchiveError::List { name })
    }

    fn exists(&self, name: &ObjectName) -> Result<bool, ArchiveError> {
        match self.store.read_at(name, 0, &mut []) {
            Err(StoreError::Missing { .. }) => Ok(false),
            other => Ok(other.map(|()| true)?),
        }
    }
}

impl std::fmt::Debug for Archive {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Archive").field("settings", &self.settings).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

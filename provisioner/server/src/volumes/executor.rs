//! Whoever has the pools: orders in, progress and results out.
//!
//! This process is one ([`super::local`]). A hypervisor's own would be another implementation, which
//! carries the same orders to it; so what is here is data, and an error is a word and a text.

mod attended;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use mezame_images::{
    archive::{ImageId, Watch},
    encryption::{KeyNumber, VolumeKey, VolumeKeys},
    volume::{FlushInterval, VolumeId},
};
use mezame_model::{
    InstanceId, ProjectName,
    api::volumes::{Leftover, Limits, Master, Pool, VolumeClass, VolumeStart},
};
use serde::{Deserialize, Serialize};

pub(crate) use self::attended::{Attended, Flushed};
use super::monitors::GuestMonitor;

/// What is to be known of a volume to do anything with it. It has no `Debug`, since it has keys.
#[derive(Clone)]
pub(crate) struct Facts {
    pub(crate) id: VolumeId,
    pub(crate) pool: String,
    /// In bytes.
    pub(crate) size: u64,
    /// The disk that it was put on, where it has one of its own.
    pub(crate) place: Option<String>,
    pub(crate) master: String,
    /// Which masters it was made with, if that is known.
    pub(crate) masters: Option<String>,
    /// Its master's, where that is encrypted; it is among `keys`, too.
    pub(crate) master_key: Option<VolumeKey>,
    /// Whether its master goes with the last of its volumes: nobody else wants it, or its key goes.
    pub(crate) master_goes: bool,
    pub(crate) class: VolumeClass,
    /// How often it is flushed, where its class is.
    pub(crate) interval: FlushInterval,
    pub(crate) keys: VolumeKeys,
    /// The newest of its keys, if it is encrypted.
    pub(crate) newest: Option<KeyNumber>,
}

/// What a volume begins as.
pub(crate) struct Beginning {
    /// This image, seen by this project; zeros without.
    pub(crate) image: Option<(ProjectName, ImageId)>,
    /// In bytes.
    pub(crate) size: u64,
}

/// Who can freeze a guest's file systems.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Agent {
    /// Our own in the guest of this instance, behind the host's metadata-server.
    Instance(InstanceId),
    /// QEMU's, behind this socket of a serial port.
    QemuGa(PathBuf),
}

/// That a guest is to be frozen for the moment of a point in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FreezeOrder {
    pub(crate) agent: Agent,
    /// For how long at most.
    pub(crate) bound: Duration,
    /// Whether nothing is to be made where it was not frozen.
    pub(crate) is_required: bool,
}

/// A point in time of several volumes of one guest.
pub(crate) struct BackupOrder {
    pub(crate) project: ProjectName,
    pub(crate) volumes: Vec<Facts>,
    /// Of its QEMU; where nobody listens, or none is named, no guest may run on them.
    pub(crate) qmp: Option<GuestMonitor>,
    pub(crate) full: bool,
    /// What the images are called.
    pub(crate) name: Option<String>,
    /// The schedule that makes them, for their label [`SCHEDULE`].
    pub(crate) schedule: Option<Box<str>>,
    pub(crate) freeze: Option<FreezeOrder>,
}

/// The label of a backup that a schedule of its project made: which.
pub(crate) const SCHEDULE: &str = "backup.schedule";

/// What a backup came to.
#[derive(Debug, Default)]
pub(crate) struct BackedUp {
    /// The images, in the order of the volumes, as far as they are there.
    pub(crate) images: Vec<ImageId>,
    /// Bytes that were read of the volumes, and that were written to the archive.
    pub(crate) read: u64,
    pub(crate) written: u64,
    /// How long the guest's processors stood still, in microseconds.
    pub(crate) stopped_us: u64,
    /// How long its file systems were frozen, in microseconds.
    pub(crate) frozen_us: u64,
    /// Why there are no images: the guest had to be frozen, and was not.
    pub(crate) not_frozen: Option<ExecutorError>,
    /// Volumes that there is no image of, and why.
    pub(crate) missing: Vec<(VolumeId, ExecutorError)>,
    /// Why the point in time could not be closed: the guest goes on copying what it overwrites until
    /// its next backup.
    pub(crate) not_closed: Option<ExecutorError>,
}

/// An image that takes the place of what a volume holds.
pub(crate) struct RestoreOrder {
    /// Who sees the image.
    pub(crate) project: ProjectName,
    pub(crate) image: ImageId,
    pub(crate) is_over: bool,
    pub(crate) keeps_old: bool,
}

/// What a restored volume is.
#[derive(Debug, Clone)]
pub(crate) struct Restored {
    /// Its length in bytes.
    pub(crate) size: u64,
    /// Bytes that were written.
    pub(crate) written: u64,
    /// What it held before, where that was kept as a file of its own.
    pub(crate) kept: Option<PathBuf>,
}

/// An image that is made of what a volume holds.
pub(crate) struct CaptureOrder {
    pub(crate) project: ProjectName,
    pub(crate) name: String,
    /// Who wants it.
    pub(crate) by: String,
    pub(crate) is_sealed: bool,
    /// The monitor of the guest that runs on it.
    pub(crate) qmp: Option<GuestMonitor>,
    pub(crate) freeze: Option<FreezeOrder>,
}

/// What was made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Captured {
    pub(crate) image: ImageId,
    /// Bytes that were new to the archive.
    pub(crate) written: u64,
}

/// What is left of a volume that was deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Erasure {
    /// `in-place`, `unsure` or `nothing`.
    pub(crate) what: &'static str,
    pub(crate) doubt: Option<String>,
}

/// Work that may have a guest stand still, noted for as long as it may.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Left {
    pub(crate) what: LeftWork,
    pub(crate) volumes: Vec<VolumeId>,
    pub(crate) qmp: PathBuf,
    /// Who thaws the guest, where it may be frozen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) agent: Option<Agent>,
}

/// Which work that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LeftWork {
    Backup,
    Hydration,
}

/// Why an order was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// QEMU has the volume open, or something is at work on it.
    InUse,
    /// The pool, or the masters' directory, is not there, or no pool is called so.
    NoPool,
    /// QEMU's monitor can't be used.
    Monitor,
    /// Something of this id is there, which was not made by this order; nothing was made.
    Exists,
    /// It does not go with what the volume is now.
    Conflict,
    /// The image can't be had.
    Image,
    /// The guest's agent did not freeze it, or is no agent of that guest.
    NotFrozen,
    /// The archive's place is away, or full.
    Archive,
    /// The key of an encrypted project is not at hand.
    NoKey,
    /// There is too little room for it.
    NoRoom,
    /// No disk of the pool is free and long enough; nothing was made.
    NoDisk,
    /// Volumes stand on the master, or one is being made of it.
    MasterInUse,
    /// It is half of what it was and half of an image.
    HalfRestored,
    /// It was to end before it was done.
    Cancelled,
    /// The host failed.
    Failed,
}

/// An order that was not done, for people.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct ExecutorError {
    pub(crate) reason: Reason,
    pub(crate) message: String,
}

impl Reason {
    /// Whether the same order may be done in a while without anybody changing it.
    pub(crate) fn is_away(self) -> bool {
        matches!(self, Self::Archive | Self::NoPool)
    }
}

impl ExecutorError {
    pub(crate) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

/// Who does what is ordered. All of it blocks.
pub(crate) trait Executor: Send + Sync {
    /// The host that it is on.
    fn host(&self) -> &str;

    /// Its pools.
    fn pools(&self) -> Vec<Pool>;

    /// Which masters it has, where it can have others at another time.
    fn masters(&self) -> Result<Option<String>, ExecutorError> {
        Ok(None)
    }

    /// All of them.
    fn list_masters(&self) -> Result<Vec<Master>, ExecutorError>;

    /// Removes one that no volume stands on; false where there is none of this name.
    fn remove_master(&self, name: &str) -> Result<bool, ExecutorError>;

    /// Old contents of these volumes, which are all that are known here, and files of others.
    fn leftovers(&self, known: &[Facts]) -> Result<Vec<Leftover>, ExecutorError>;

    /// Removes old contents of a volume; None where there are none of this name.
    fn remove_leftover(&self, of: &Facts, file: &str) -> Result<Option<Erasure>, ExecutorError>;

    /// One of them.
    fn look_at_pool(&self, name: &str) -> Option<Pool> {
        self.pools().into_iter().find(|pool| pool.name == name)
    }

    /// All of them without a look at each of their disks.
    fn pools_in_brief(&self) -> Vec<Pool> {
        self.pools()
    }

    /// Makes a pool, and the directory of masters where that is missing. Of its disks those that are
    /// named are taken over, whatever is on them.
    fn make_pool(&self, name: &str, take_over: &[String]) -> Result<Pool, ExecutorError>;

    /// Claims the disk that a volume is to be on, where it gets one of its own; nothing of the volume is
    /// written yet. Which, as it is to be known from then on. Where it fails nothing was claimed.
    fn claim(&self, _volume: &Facts, _from: &Beginning) -> Result<Option<String>, ExecutorError> {
        Ok(None)
    }

    /// Makes a volume, with its newest key if it has any, on the disk that was claimed for it. Where it
    /// fails as [`Reason::Exists`], [`Reason::NoPool`] or [`Reason::NoDisk`] nothing was made.
    fn create(
        &self,
        volume: &Facts,
        from: &Beginning,
        watch: &dyn Watch,
    ) -> Result<(), ExecutorError>;

    /// Removes what a making that failed has left: of the disk that was claimed, if one was, and of no
    /// other.
    fn undo(&self, volume: &Facts) -> Result<(), ExecutorError> {
        self.delete(volume).map(drop)
    }

    /// Puts back what a hard stop took; what QEMU is to be told. The limits are left out.
    fn open(&self, volume: &Facts) -> Result<VolumeStart, ExecutorError>;

    /// Removes a volume, and its master, where that is to go with it, once no other volume stands on it.
    /// Nothing where it is gone.
    fn delete(&self, volume: &Facts) -> Result<Erasure, ExecutorError>;

    /// Has its newest key open it; which keys may not be forgotten then.
    fn rotate_key(
        &self,
        volume: &Facts,
        qmp: Option<GuestMonitor>,
    ) -> Result<BTreeSet<u32>, ExecutorError>;

    /// Sets what a running guest may do.
    fn set_limits(&self, of: &Facts, limits: Limits, qmp: PathBuf) -> Result<(), ExecutorError>;

    /// Sets what a running guest may do, and has its volume flushed from then on, if its class says
    /// so. Where that is so already nothing changes.
    fn attend(
        &self,
        _volume: &Facts,
        _limits: Limits,
        _qmp: &Path,
    ) -> Result<Attended, ExecutorError> {
        Ok(Attended::Limited)
    }

    /// How a volume's flusher does; None where it has none.
    fn flushed(&self, _volume: &VolumeId) -> Option<Flushed> {
        None
    }

    /// Ends a volume's flusher, and in its QEMU what it was flushed by, where one is there.
    fn leave(&self, _volume: &Facts, _qmp: &Path) -> Result<(), ExecutorError> {
        Ok(())
    }

    /// Copies a running guest's volume into a plain one, and has the guest go over to it. It goes on
    /// with what was begun. At this process's end QEMU goes on by itself.
    fn hydrate(
        &self,
        volume: &Facts,
        qmp: PathBuf,
        speed: Option<u64>,
        watch: &dyn Watch,
    ) -> Result<(), ExecutorError>;

    /// Has a hydration rest, or go on.
    fn pace(&self, volume: &Facts, qmp: PathBuf, is_paused: bool) -> Result<(), ExecutorError>;

    /// Removes what an earlier process has left that nobody goes on with.
    fn sweep(&self) {}

    /// What an earlier process has left in QEMUs.
    fn left(&self) -> Vec<Left> {
        Vec::new()
    }

    /// Ends that: a guest that stands still goes on. Whether its volume is plain now. Done where its
    /// QEMU is gone.
    fn settle(&self, _left: &Left, _volumes: &[Facts]) -> Result<bool, ExecutorError> {
        Ok(false)
    }

    /// Replaces what a volume that no guest runs on holds by an image; goes on with what was begun.
    fn restore(
        &self,
        volume: &Facts,
        order: &RestoreOrder,
        watch: &dyn Watch,
    ) -> Result<Restored, ExecutorError>;

    /// Makes a volume longer that no guest runs on; ends what was begun.
    fn grow(&self, volume: &Facts, size: u64, watch: &dyn Watch) -> Result<(), ExecutorError>;

    /// Gives up a restore that was cut short: the volume is what it was.
    fn give_up_restore(&self, volume: &Facts) -> Result<(), ExecutorError>;

    /// The volumes whose restore was begun and has not ended, and whether they are half of each.
    fn restoring(&self) -> Result<Vec<(VolumeId, bool)>, ExecutorError> {
        Ok(Vec::new())
    }

    /// Which of these files, which restores have kept, are there.
    fn still_kept(&self, files: &[PathBuf]) -> Vec<PathBuf> {
        files.to_vec()
    }

    /// Makes an image of what a volume holds.
    fn capture(
        &self,
        volume: &Facts,
        order: &CaptureOrder,
        watch: &dyn Watch,
    ) -> Result<Captured, ExecutorError>;

    /// Backs volumes up.
    fn back_up(&self, order: BackupOrder, watch: &dyn Watch) -> Result<BackedUp, ExecutorError>;
}

//! Hydration: copying all of a running clone into a plain volume, in the background, and going on
//! with that one, so that the clone needs its master no more.
//!
//! It is QEMU's mirror job in its write-blocking mode: from the beginning, what the guest writes
//! goes to both, and when all the rest has been copied the two are equal, write for write.
//!
//! ```text
//!            pause / resume
//!              ┌──────┐
//!  start ─► copying ──┴─► equal ─► complete: the guest is handed over ─► plain
//!              │            │
//!              └── cancel ──┴──► the clone as before; the target is of no use
//! ```
//! Handing over is in steps that [`super::handover`] decides, and a stop at any of them loses
//! nothing. It removes nothing: the overlay and its record go with [`Master::remove_clone`], once
//! whoever starts guests knows of the plain volume.

mod completion;
mod course;
mod encrypted;
mod pace;
mod presence;
#[cfg(test)]
mod tests;

use std::{
    io,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{CloneError, InstantClone, Master, durable};
use crate::{
    archive::{
        source::Source,
        target::{FileTarget, Target},
    },
    encryption::rotation::ImageError,
    iscsi::{Lun, LunAccess, LunDisk, LunError},
    qmp::{Qmp, QmpError},
    volume::{Data, Durability, HostCache, Place, Volume, VolumeError, VolumeId},
};

pub use encrypted::EncryptedTarget;

/// How long going over may take: the writes that are under way, and a flush.
const COMPLETION: Duration = Duration::from_secs(60);

/// Why a clone is not hydrated. It goes on as it was unless its record says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum HydrationError {
    /// The target can't be made.
    #[error("making the plain volume {}", path.display())]
    Target {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The guest is on its way to another QEMU, which would know nothing of the copy.
    #[error("the guest of {0} is being moved to another QEMU, or has been")]
    Moving(VolumeId),
    /// The class has none.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// QEMU refused, or is gone.
    #[error(transparent)]
    Qmp(#[from] QmpError),
    /// It is another guest's QEMU, most likely.
    #[error("QEMU has no disk {0}")]
    NoDisk(VolumeId),
    /// There is no such job in this QEMU.
    #[error("QEMU has no hydration of {0}")]
    NoJob(VolumeId),
    /// The plain volume can't be flushed.
    #[error("flushing the plain volume {}", path.display())]
    Flush {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The clone is plain already, or is being handed over.
    #[error("{0} was hydrated before")]
    Plain(VolumeId),
    /// A hydration into an encrypted volume was begun before.
    #[error("a hydration of {0} was begun before; complete or cancel that one")]
    Begun(VolumeId),
    /// What is encrypted in the clone, or in its master, would be in the clear in the plain volume.
    #[error("{0} is encrypted, or was to be hydrated so; hydrate it into an encrypted volume")]
    WouldBeClear(VolumeId),
    /// An encrypted target can't be made.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The two are not equal yet.
    #[error("{0} has not been copied whole yet")]
    NotEqual(VolumeId),
    /// The job failed.
    #[error("copying {id}: {said}")]
    Failed {
        /// The volume.
        id: VolumeId,
        /// QEMU's words.
        said: String,
    },
    /// QEMU did not go over in time.
    #[error("QEMU did not go over to the plain volume of {0} within {COMPLETION:?}")]
    Late(VolumeId),
    /// The record can't be changed.
    #[error(transparent)]
    Record(#[from] CloneError),
}

/// How far a hydration is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that have been copied.
    pub done: u64,
    /// Bytes that are to be, as far as is known; it grows with what the guest writes.
    pub total: u64,
    /// Whether it is paused.
    pub is_paused: bool,
    /// Whether both volumes are equal, and stay so.
    pub is_equal: bool,
    /// Whether QEMU goes over to the plain volume, or has gone over: it was told so by somebody.
    pub is_over: bool,
}

impl Progress {
    /// Whether nothing is left to be copied, so that [`Hydration::complete`] is next.
    pub fn is_copied(&self) -> bool {
        self.is_equal || self.is_over
    }
}

/// A hydration that QEMU is doing. It goes on when this is dropped; [`Hydration::of`] finds it.
#[derive(Debug)]
pub struct Hydration {
    id: VolumeId,
    plain: Volume,
    /// How a target that is a LUN is reached.
    access: Option<LunAccess>,
}

impl Hydration {
    /// Starts copying a clone's volume, which QEMU has open, into a file that is made, or into a
    /// block device or a LUN that is as long as the volume or longer. `speed` is in bytes a second.
    /// A LUN's QEMU was started with [`Self::plain`]'s secrets too, and the clone's master was
    /// [reached by](Master::reached_by) somebody.
    pub fn start(
        qmp: &mut Qmp,
        clone: &InstantClone,
        size: u64,
        target: Place,
        cache: HostCache,
        speed: Option<u64>,
    ) -> Result<Self, HydrationError> {
        if clone.hydrated().is_some() {
            return Err(HydrationError::Plain(clone.id().clone()));
        }
        let record = &clone.record;
        if record.keyslots.or(record.plain_keyslots).is_some() || clone.backing.is_encrypted {
            return Err(HydrationError::WouldBeClear(clone.id().clone()));
        }
        prepare(&target, size, clone.access.as_ref())
            .map_err(|source| HydrationError::Target { path: target.called(), source })?;
        let made = target.clone();
        let hydration = Self::of(clone, target, cache)?;
        hydration.begin_in(qmp, &made, size, speed)?;
        Ok(hydration)
    }

    /// Has QEMU copy into a target that was made, which is removed again if QEMU refuses.
    fn begin_in(
        &self,
        qmp: &mut Qmp,
        made: &Place,
        size: u64,
        speed: Option<u64>,
    ) -> Result<(), HydrationError> {
        self.begin(qmp, size, speed).inspect_err(|error| {
            // Where no answer came, it may be copying.
            if error.is_answer() {
                unmake(made);
            }
        })
    }

    fn begin(&self, qmp: &mut Qmp, size: u64, speed: Option<u64>) -> Result<(), HydrationError> {
        self.check_in(qmp)?;
        self.check_here(qmp)?;
        qmp.execute("blockdev-add", self.target(size))?;
        let id = &self.id;
        let job = json!({
            "job-id": id.node("hydrate"),
            "device": id.node(""),
            "target": id.node("plain"),
            "sync": "full",
            "copy-mode": "write-blocking",
            "on-source-error": "report",
            "on-target-error": "report",
            "speed": speed.unwrap_or(0),
            "auto-dismiss": false,
        });
        if let Err(error) = qmp.execute("blockdev-mirror", job) {
            // The node is of no use without the job; the job's refusal is what counts.
            let _ = qmp.execute("blockdev-del", json!({ "node-name": id.node("plain") }));
            return Err(error.into());
        }
        Ok(())
    }

    /// A hydration that was started before, by the clone and the target.
    pub fn of(
        clone: &InstantClone,
        target: Place,
        cache: HostCache,
    ) -> Result<Self, HydrationError> {
        let id = clone.id().clone();
        let plain = Volume::new(id.clone(), Data::Plain(target), Durability::Plain, cache)?;
        let plain = match clone.record.plain_keyslots {
            Some(keyslots) => plain.encrypted(keyslots.opening()),
            None => plain,
        };
        let access = clone.access.clone();
        let plain = match &access {
            Some(access) => plain.reached_by(access.initiator()),
            None => plain,
        };
        Ok(Self { id, plain, access })
    }

    /// What the volume is afterwards.
    pub fn plain(&self) -> &Volume {
        &self.plain
    }

    /// The target's nodes, named apart from the clone's.
    ///
    /// They can't make holes. To a target that can, QEMU before its commit 0f51f9c342 ("mirror: Fix
    /// missed dirty bitmap writes during startup") copies only what it finds allocated in the source
    /// at the start, and a write that is under way at that moment is never copied: it was
    /// acknowledged, and is not in the plain volume. To a target that can't, it copies everything.
    /// So the target takes all of its length.
    ///
    /// Both must be of one length (mirror.c, "Source and target image have different sizes"), so of a
    /// device or a LUN no more is seen than that, until it is opened anew.
    fn target(&self, size: u64) -> Value {
        let mut target = self.plain.blockdev();
        let is_longer = !matches!(self.plain.place(), Place::File(_));
        if is_longer && target["driver"] == "raw" {
            target["size"] = size.into();
        }
        target["discard"] = "ignore".into();
        target["file"]["discard"] = "ignore".into();
        target["node-name"] = self.id.node("plain").into();
        target["file"]["node-name"] = self.id.node("plain-file").into();
        target
    }

    /// How far it is.
    pub fn progress(&self, qmp: &mut Qmp) -> Result<Progress, HydrationError> {
        let job = self.job(qmp)?.ok_or_else(|| HydrationError::NoJob(self.id.clone()))?;
        if let Some(said) = job["error"].as_str() {
            return Err(self.failed(said));
        }
        let status = job["status"].as_str().unwrap_or_default();
        Ok(Progress {
            done: job["current-progress"].as_u64().unwrap_or_default(),
            total: job["total-progress"].as_u64().unwrap_or_default(),
            is_paused: matches!(status, "paused" | "standby"),
            is_equal: status == "ready",
            is_over: matches!(status, "waiting" | "pending" | "concluded"),
        })
    }

    /// Ends it before its end, or takes away what is left of one that has failed or whose QEMU has
    /// ended. A guest that was stopped for it goes on. The target holds a part of the volume; it is
    /// the caller's to remove.
    ///
    /// # Errors
    /// [`HydrationError::Plain`] if the guest is being handed over: that is for
    /// [`complete`](Self::complete) to end. [`HydrationError::Target`] if another QEMU has the target
    /// open: which key opens it stays noted then. [`HydrationError::Moving`] before anything is done.
    pub fn cancel(self, qmp: &mut Qmp, master: &Master) -> Result<(), HydrationError> {
        if master.find(&self.id)?.hydrated().is_some() {
            return Err(HydrationError::Plain(self.id));
        }
        self.check_here(qmp)?;
        if self.job(qmp)?.is_some() {
            // One that has failed refuses, and is at its end.
            let asked = self.tell(qmp, "job-cancel");
            match self.concluded(qmp) {
                // A cancelled job has an error of its own to tell.
                Ok(()) | Err(HydrationError::Failed { .. }) => {}
                Err(error) => return Err(asked.err().unwrap_or(error)),
            }
            self.dismiss(qmp, "plain")?;
        } else {
            // It is there only where QEMU took the target and was not heard to take the job.
            let _ = qmp.execute("blockdev-del", json!({ "node-name": self.id.node("plain") }));
        }
        if self.is_in(qmp)? {
            self.let_go(qmp, master)?;
        }
        self.check_unused()?;
        self.note_target(master, None)
    }

    /// The job, and the node that is not used any more.
    fn dismiss(&self, qmp: &mut Qmp, node: &str) -> Result<(), HydrationError> {
        self.tell(qmp, "job-dismiss")?;
        qmp.execute("blockdev-del", json!({ "node-name": self.id.node(node) }))?;
        Ok(())
    }

    fn tell(&self, qmp: &mut Qmp, command: &str) -> Result<(), HydrationError> {
        qmp.execute(command, json!({ "id": self.id.node("hydrate") }))?;
        Ok(())
    }

    fn job(&self, qmp: &mut Qmp) -> Result<Option<Value>, HydrationError> {
        let Value::Array(jobs) = qmp.execute("query-jobs", json!({}))? else { return Ok(None) };
        let name = self.id.node("hydrate");
        Ok(jobs.into_iter().find(|job| job["id"] == *name))
    }

    /// Waits for the job's end; its error, if it has one.
    fn concluded(&self, qmp: &mut Qmp) -> Result<(), HydrationError> {
        let begin = Instant::now();
        while begin.elapsed() < COMPLETION {
            let job = self.job(qmp)?.ok_or_else(|| HydrationError::NoJob(self.id.clone()))?;
            if job["status"] == "concluded" {
                return job["error"].as_str().map_or(Ok(()), |said| Err(self.failed(said)));
            }
            thread::sleep(Duration::from_millis(5));
        }
        Err(HydrationError::Late(self.id.clone()))
    }

    fn failed(&self, said: &str) -> HydrationError {
        HydrationError::Failed { id: self.id.clone(), said: said.into() }
    }
}

/// Makes a file of a volume's length, or checks that a block device has it; what a longer device has
/// behind it becomes zeroes, since the guest sees all of the device and it was somebody's.
fn prepare(target: &Place, size: u64, access: Option<&LunAccess>) -> io::Result<()> {
    let short = || io::Error::new(io::ErrorKind::InvalidInput, "it is shorter than the volume");
    let path = match target {
        Place::File(path) => path,
        Place::Device(path) => {
            if target.open()?.1 < size {
                return Err(short());
            }
            let device = FileTarget::open(path)?;
            device.prepare(size)?;
            return device.finish();
        }
        Place::Lun(lun) => {
            let disk = open_lun(lun, access)?;
            if disk.size() < size {
                return Err(short());
            }
            disk.prepare(size)?;
            disk.finish()?;
            return disk.close().map_err(io::Error::other);
        }
    };
    let file = durable::create_private(path)?;
    file.set_len(size)?;
    file.sync_all()?;
    durable::sync_parent(path)
}

fn open_lun(lun: &Lun, access: Option<&LunAccess>) -> io::Result<LunDisk> {
    let access = access.ok_or_else(|| LunError::NoAccess(Box::new(lun.clone())));
    access.and_then(|access| LunDisk::write(lun, access)).map_err(io::Error::other)
}

/// Removes the file that was made for a hydration which QEMU refused. It is nobody else's: it was not
/// there before.
fn unmake(target: &Place) {
    if let Place::File(path) = target {
        // The refusal is what counts.
        let _ = durable::remove(path).and_then(|()| durable::sync_parent(path));
    }
}

//! What something is done with now, so that nothing else is.
//!
//! A volume is claimed by whatever is done with it. The monitor of a guest is claimed by a backup
//! besides, and by a capture of a running guest's volume: a guest has one point in time at once, whichever of its volumes are in it, and the end of
//! one takes the server down that another would be read by.
//!
//! ```text
//!                        other work   `volume open`
//!  it is being opened    busy         busy
//!  a job waits for its turn
//!    its monitor is known  busy       goes on; the job waits for its end when its turn comes
//!    it is to be off       busy       busy
//!  it is worked with     busy         busy
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use mezame_images::volume::VolumeId;

use super::{Volumes, VolumesError};

/// How long a job whose turn it is waits for a volume to be opened: what a hard stop took may have to be
/// put back.
const OPENING: Duration = Duration::from_secs(600);
/// Between two looks whether the job was cancelled meanwhile.
const LOOK: Duration = Duration::from_millis(100);

/// What is claimed.
#[derive(Default)]
pub(super) struct Busy {
    taken: Mutex<Taken>,
    /// One was opened.
    is_opened: Condvar,
}

#[derive(Default)]
struct Taken {
    /// By work, and who may be opened all the same.
    volumes: BTreeMap<VolumeId, MayOpen>,
    opening: BTreeSet<VolumeId>,
    monitors: BTreeSet<PathBuf>,
}

/// Whether a volume may be opened for its guest while a job waits for its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MayOpen {
    /// The job works with a guest whose monitor is known, and with one that was started anew as well.
    Yes,
    /// It wants the guest to be off, or has begun.
    No,
}

impl Busy {
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims volumes for work.
    fn claim(
        self: &Arc<Self>,
        volumes: &[VolumeId],
        may_open: MayOpen,
    ) -> Result<Claim, VolumesError> {
        let mut taken = self.taken();
        let is_taken =
            |id: &&VolumeId| taken.volumes.contains_key(*id) || taken.opening.contains(*id);
        if let Some(one) = volumes.iter().find(is_taken) {
            return Err(VolumesError::Busy(one.clone()));
        }
        taken.volumes.extend(volumes.iter().map(|id| (id.clone(), may_open)));
        Ok(Claim { busy: Arc::clone(self), volumes: volumes.to_vec(), monitor: None })
    }

    /// Claims a volume to be opened.
    fn opening(self: &Arc<Self>, volume: &VolumeId) -> Result<Opening, VolumesError> {
        let mut taken = self.taken();
        let is_kept = taken.volumes.get(volume) == Some(&MayOpen::No);
        if is_kept || !taken.opening.insert(volume.clone()) {
            return Err(VolumesError::Busy(volume.clone()));
        }
        Ok(Opening { busy: Arc::clone(self), volume: volume.clone() })
    }
}

/// Volumes, and a monitor, that nothing else is done with until this is dropped.
pub(super) struct Claim {
    busy: Arc<Busy>,
    volumes: Vec<VolumeId>,
    monitor: Option<PathBuf>,
}

impl Claim {
    pub(super) fn volumes(&self) -> &[VolumeId] {
        &self.volumes
    }

    /// Keeps other backups from this guest, too: by the one name that [`super::monitors`] found.
    pub(super) fn with_monitor(mut self, socket: PathBuf) -> Result<Self, VolumesError> {
        if !self.busy.taken().monitors.insert(socket.clone()) {
            return Err(VolumesError::MonitorBusy(socket));
        }
        self.monitor = Some(socket);
        Ok(self)
    }

    /// Has the volumes opened no more, now that their job's turn has come, and waits for those that are
    /// being opened. Given up where the job is cancelled, which it looks at itself afterwards.
    pub(super) fn begin(&self, is_cancelled: &dyn Fn() -> bool) -> Result<(), VolumesError> {
        let until = Instant::now() + OPENING;
        let mut taken = self.busy.taken();
        for volume in &self.volumes {
            taken.volumes.insert(volume.clone(), MayOpen::No);
        }
        while let Some(one) = self.volumes.iter().find(|it| taken.opening.contains(*it)) {
            if is_cancelled() || Instant::now() >= until {
                return Err(VolumesError::Busy(one.clone()));
            }
            let woken = self.busy.is_opened.wait_timeout(taken, LOOK);
            taken = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut taken = self.busy.taken();
        taken.volumes.retain(|volume, _| !self.volumes.contains(volume));
        if let Some(monitor) = &self.monitor {
            taken.monitors.remove(monitor);
        }
    }
}

/// A volume that is being opened until this is dropped.
pub(super) struct Opening {
    busy: Arc<Busy>,
    volume: VolumeId,
}

impl Drop for Opening {
    fn drop(&mut self) {
        self.busy.taken().opening.remove(&self.volume);
        self.busy.is_opened.notify_all();
    }
}

impl Volumes {
    /// Keeps others from these volumes.
    pub(super) fn claim(&self, volumes: &[VolumeId]) -> Result<Claim, VolumesError> {
        self.busy.claim(volumes, MayOpen::No)
    }

    /// The same for a job that may have to wait for its turn. Where it works with a running guest
    /// the volumes can be opened until then.
    pub(super) fn claim_for_job(
        &self,
        volumes: &[VolumeId],
        may_open: MayOpen,
    ) -> Result<Claim, VolumesError> {
        self.busy.claim(volumes, may_open)
    }

    /// Keeps others from a volume that is being opened.
    pub(super) fn opening(&self, volume: &VolumeId) -> Result<Opening, VolumesError> {
        self.busy.opening(volume)
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc::channel, thread};

    use super::*;

    fn id(text: &str) -> VolumeId {
        VolumeId::parse(text).unwrap()
    }

    #[test]
    fn a_job_s_turn_waits_for_what_is_being_opened_and_lets_nothing_be_opened_after_that() {
        let (busy, web) = (Arc::new(Busy::default()), id("web"));
        let claim = busy.claim(&[web.clone(), id("db")], MayOpen::Yes).unwrap();
        assert!(busy.claim(&[id("db")], MayOpen::Yes).is_err());
        let opening = busy.opening(&web).unwrap();
        assert!(busy.opening(&web).is_err());
        let (tell, told) = channel();
        thread::scope(|scope| {
            scope.spawn(|| {
                claim.begin(&|| false).unwrap();
                tell.send(()).unwrap();
            });
            // It has begun to wait when others are refused.
            while busy.opening(&id("db")).is_ok() {
                thread::yield_now();
            }
            assert!(told.try_recv().is_err());
            drop(opening);
            told.recv().unwrap();
        });
        assert!(busy.opening(&web).is_err());
        drop(claim);
        drop(busy.opening(&web).unwrap());
        busy.claim(&[web], MayOpen::No).unwrap();
    }

    #[test]
    fn a_job_that_wants_its_guest_stopped_keeps_it_so_from_the_beginning_on() {
        let (busy, web) = (Arc::new(Busy::default()), id("web"));
        let claim = busy.claim(std::slice::from_ref(&web), MayOpen::No).unwrap();
        assert!(busy.opening(&web).is_err());
        drop(claim);
        let _opening = busy.opening(&web).unwrap();
        assert!(busy.claim(std::slice::from_ref(&web), MayOpen::Yes).is_err());
    }

    #[test]
    fn a_job_that_is_cancelled_does_not_wait_for_what_is_being_opened() {
        let (busy, web) = (Arc::new(Busy::default()), id("web"));
        let claim = busy.claim(std::slice::from_ref(&web), MayOpen::Yes).unwrap();
        let _opening = busy.opening(&web).unwrap();
        assert!(matches!(claim.begin(&|| true), Err(VolumesError::Busy(one)) if one == web));
    }
}

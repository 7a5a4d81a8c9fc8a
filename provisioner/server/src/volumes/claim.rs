//! What something is done with now, so that nothing else is.
//!
//! A volume is claimed by whatever is done with it. The monitor of a guest is claimed by a backup
//! besides, and by a capture of a running guest's volume: a guest has one point in time at once, whichever of its volumes are in it, and the end of
//! one takes the server down that another would be read by.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use mezame_images::volume::VolumeId;

use super::{Volumes, VolumesError};

/// What is claimed.
#[derive(Default)]
pub(super) struct Busy(Mutex<Taken>);

#[derive(Default)]
struct Taken {
    volumes: BTreeSet<VolumeId>,
    monitors: BTreeSet<PathBuf>,
}

impl Busy {
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut taken = self.busy.taken();
        taken.volumes.retain(|volume| !self.volumes.contains(volume));
        if let Some(monitor) = &self.monitor {
            taken.monitors.remove(monitor);
        }
    }
}

impl Volumes {
    /// Keeps others from these volumes.
    pub(super) fn claim(&self, volumes: &[VolumeId]) -> Result<Claim, VolumesError> {
        let mut taken = self.busy.taken();
        if let Some(one) = volumes.iter().find(|volume| taken.volumes.contains(volume)) {
            return Err(VolumesError::Busy(one.clone()));
        }
        taken.volumes.extend(volumes.iter().cloned());
        let (busy, volumes) = (Arc::clone(&self.busy), volumes.to_vec());
        Ok(Claim { busy, volumes, monitor: None })
    }
}

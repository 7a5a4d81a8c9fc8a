//! Volumes as operators use them: records here, what they name wherever the pools are, and long work
//! as jobs.
//!
//! ```text
//! routes ─► ask ─► a thread of `calls` ─► Executor           open, delete, limits, pools
//!        ─► create, back_up, … ─► Ticket ─► a thread of `workers` ─► Executor
//!                                     └──► the table of jobs, which is one for all
//! ```
//! A record is written before what it names is made and forgotten after it is gone, so that a key is
//! never lost and nothing is left that nobody knows of. One thing at a time is done with a volume.

mod attend;
pub(crate) mod backups;
mod checks;
mod claim;
mod create;
pub(crate) mod executor;
mod failure;
pub(crate) mod freezing;
mod growth;
mod jobs;
mod leftovers;
pub(crate) mod local;
mod lookout;
pub(crate) mod monitors;
mod opening;
pub(crate) mod part;
mod pools;
pub(crate) mod quota;
pub(crate) mod record;
mod removal;
mod restores;
mod settle;
mod shown;
mod work;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use mezame_images::volume::VolumeId;
use mezame_model::{
    ProjectName,
    api::{
        Fault,
        volumes::{Master, Pool, Volume, VolumeDeleted, VolumeState},
    },
};
use tokio::runtime::Handle;

use self::{
    attend::Attendance,
    checks::check_limits,
    claim::Busy,
    executor::{Executor, ExecutorError},
    failure::unfinished,
    lookout::Lookout,
    record::VolumeRecord,
};
use crate::{
    control::{Control, ControlError},
    crew::{Crew, Unanswered},
    environment::{Environment, NoRandomness},
    fault::plain,
    images::{Images, ImagesError, PATIENCE, StartError},
    jobs::{JobsError, Unfinished},
};

/// Threads for calls that are waited for; as many for those that wait for a QEMU, which may not answer.
const CALLS: usize = 4;
/// Threads that see to running guests, and orders that wait for one: as many guests as a host has.
const ATTENDANTS: usize = 4;
const ORDERS: usize = 4096;
/// Such calls that may wait for one.
const CALLS_WAITING: usize = 64;

/// Why a call about volumes fails.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VolumesError {
    /// What works with volumes could not begin.
    #[error("volumes can't be worked with")]
    NotBegun(#[source] StartError),
    /// The records.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// Images.
    #[error(transparent)]
    Images(#[from] ImagesError),
    /// The table of jobs.
    #[error(transparent)]
    Jobs(#[from] JobsError),
    /// Whoever has the pools.
    #[error(transparent)]
    Executor(#[from] ExecutorError),
    /// What was asked for is wrong.
    #[error("what was asked for has faults")]
    Faults(Vec<Fault>),
    /// It is not made yet.
    #[error("the volume is being made")]
    NotReady,
    /// Something else is done with it.
    #[error("something else is done with the volume {0} now")]
    Busy(VolumeId),
    /// A backup has it.
    #[error("the guest behind {} is being backed up now", .0.display())]
    MonitorBusy(PathBuf),
    /// Nobody here can do it.
    #[error("the volume is on the host {host}, and this is {here}")]
    OtherHost { host: String, here: String },
    /// No key can be made.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

impl VolumesError {
    fn fault(path: &str, message: impl Into<String>, mend: &str) -> Self {
        Self::Faults(vec![plain(path, message, mend)])
    }
}

/// The volumes, and all that is at work on them.
pub(crate) struct Volumes {
    control: Arc<Control>,
    images: Arc<Images>,
    executor: Arc<dyn Executor>,
    environment: Arc<dyn Environment>,
    default_pool: String,
    calls: Crew,
    /// For what waits for monitors: no guest is kept from being opened by another's QEMU.
    monitors: Crew,
    workers: Crew,
    /// For what only looks on at QEMU, for hours.
    hydrations: Crew,
    /// For what sees to running guests.
    attendants: Crew,
    attendance: Attendance,
    busy: Arc<Busy>,
    lookout: Lookout,
    has_ended: Arc<AtomicBool>,
    runtime: Handle,
}

/// What is to be known besides, to begin.
#[derive(Debug, Clone)]
pub(crate) struct Manner {
    pub(crate) default_pool: String,
    pub(crate) jobs: usize,
    pub(crate) hydrations: usize,
    pub(crate) jobs_waiting: usize,
}

impl Volumes {
    /// Begins. To be called on a runtime, which jobs write records by.
    pub(crate) fn start(
        control: Arc<Control>,
        images: Arc<Images>,
        executor: Arc<dyn Executor>,
        environment: Arc<dyn Environment>,
        manner: Manner,
    ) -> Result<Arc<Self>, StartError> {
        let crew = |name, threads, waiting| {
            Crew::start(name, threads, waiting).map_err(StartError::Threads)
        };
        let volumes = Arc::new(Self {
            control,
            images,
            executor,
            environment,
            default_pool: manner.default_pool,
            calls: crew("volume-call", CALLS, CALLS_WAITING)?,
            monitors: crew("volume-monitor", CALLS, CALLS_WAITING)?,
            workers: crew("volume-job", manner.jobs, manner.jobs_waiting)?,
            hydrations: crew("volume-hydrate", manner.hydrations, manner.jobs_waiting)?,
            attendants: crew("volume-attend", ATTENDANTS, ORDERS)?,
            attendance: Attendance::default(),
            busy: Arc::default(),
            lookout: Lookout::default(),
            has_ended: Arc::default(),
            runtime: Handle::current(),
        });
        volumes.settle_left();
        volumes.runtime.spawn(Self::attend(Arc::downgrade(&volumes)));
        Ok(volumes)
    }

    /// Does something that is waited for.
    async fn ask<T: Send + 'static>(
        &self,
        call: impl FnOnce(&dyn Executor) -> Result<T, ExecutorError> + Send + 'static,
    ) -> Result<T, VolumesError> {
        self.ask_by(&self.calls, call).await
    }

    /// The same of a guest's monitor.
    async fn ask_monitor<T: Send + 'static>(
        &self,
        call: impl FnOnce(&dyn Executor) -> Result<T, ExecutorError> + Send + 'static,
    ) -> Result<T, VolumesError> {
        self.ask_by(&self.monitors, call).await
    }

    async fn ask_by<T: Send + 'static>(
        &self,
        crew: &Crew,
        call: impl FnOnce(&dyn Executor) -> Result<T, ExecutorError> + Send + 'static,
    ) -> Result<T, VolumesError> {
        let (executor, has_ended) = (Arc::clone(&self.executor), Arc::clone(&self.has_ended));
        let call = move || {
            // Who was told that it failed does not want it done after that.
            if has_ended.load(Ordering::SeqCst) {
                return Err(ImagesError::Ending.into());
            }
            Ok(call(&*executor)?)
        };
        crew.ask(call).await.map_err(|unanswered| match unanswered {
            Unanswered::Busy => ImagesError::TooMany { what: "calls", most: CALLS_WAITING },
            Unanswered::Gone => ImagesError::Ending,
        })?
    }

    /// The pools.
    pub(crate) async fn pools(&self) -> Result<Vec<Pool>, VolumesError> {
        self.ask(|executor| Ok(executor.pools())).await
    }

    /// What volumes are clones of.
    pub(crate) async fn masters(&self) -> Result<Vec<Master>, VolumesError> {
        self.ask(|executor| executor.list_masters()).await
    }

    /// Removes a master that no volume stands on.
    pub(crate) async fn remove_master(&self, name: String) -> Result<(), VolumesError> {
        let is_removed = self.ask(move |executor| executor.remove_master(&name)).await?;
        if is_removed { Ok(()) } else { Err(ControlError::NotFound.into()) }
    }

    /// A project's volumes.
    pub(crate) fn list(&self, project: &ProjectName) -> Result<Vec<Volume>, VolumesError> {
        Ok(self.control.volumes(project)?.iter().map(|record| self.shown(record)).collect())
    }

    /// One of them.
    pub(crate) fn show(
        &self,
        project: &ProjectName,
        id: &VolumeId,
    ) -> Result<Volume, VolumesError> {
        Ok(self.shown(self.control.volume(project, id)?.as_ref()))
    }

    /// Deletes a volume that no QEMU has open, and forgets its keys.
    pub(crate) async fn delete(
        self: &Arc<Self>,
        project: &ProjectName,
        id: &VolumeId,
    ) -> Result<VolumeDeleted, VolumesError> {
        let claim = self.claim(std::slice::from_ref(id))?;
        let record = self.here(project, id)?;
        removal::remove(self, record, claim).await
    }

    /// A volume that this host has.
    fn here(
        &self,
        project: &ProjectName,
        id: &VolumeId,
    ) -> Result<Arc<VolumeRecord>, VolumesError> {
        let record = self.control.volume(project, id)?;
        let here = self.executor.host();
        if *record.host != *here {
            let host = record.host.to_string();
            return Err(VolumesError::OtherHost { host, here: here.into() });
        }
        Ok(record)
    }

    /// One that can be used, and is as long as it is said to be.
    fn usable(
        &self,
        project: &ProjectName,
        id: &VolumeId,
    ) -> Result<Arc<VolumeRecord>, VolumesError> {
        let record = self.ready(project, id)?;
        Self::check_grown(&record)?;
        Ok(record)
    }

    /// One that was made.
    fn ready(
        &self,
        project: &ProjectName,
        id: &VolumeId,
    ) -> Result<Arc<VolumeRecord>, VolumesError> {
        let record = self.here(project, id)?;
        if record.state == VolumeState::Ready { Ok(record) } else { Err(VolumesError::NotReady) }
    }

    /// Ends all that is at work, whose jobs the images' end has told to; what does not end in time is
    /// left to itself.
    pub(crate) async fn end(self: Arc<Self>) {
        self.has_ended.store(true, Ordering::SeqCst);
        let ended = tokio::task::spawn_blocking(move || {
            let until = Instant::now() + PATIENCE;
            let left = || until.saturating_duration_since(Instant::now());
            let crews =
                [&self.workers, &self.hydrations, &self.calls, &self.monitors, &self.attendants];
            if crews.map(|crew| crew.finish(left())).contains(&false) {
                tracing::warn!("what is at work on volumes does not end in time");
            }
        });
        if ended.await.is_err() {
            tracing::error!("the threads of the volumes did not end");
        }
    }
}

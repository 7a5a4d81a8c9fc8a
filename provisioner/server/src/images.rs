//! The image archive as operators use it: what is in it, and long work as jobs.
//!
//! ```text
//! routes ─► ask ─► a thread of `calls` ─► Archive        list, look, share, delete
//!        ─► begin ─► Ticket ─► a thread of `workers` ─► Archive   verify, collect, scrub
//!        ─► begin_import … send ─► Upload ─► a thread of `workers` ─► Archive
//!        ─► download ─► a thread of its own ─► Archive ─► the connection
//! ```
//! The archive works with blocking threads, so nothing of it runs on the runtime's. It is opened
//! when it is first needed and never made but by [`Images::create`]: a place that is not mounted is
//! told, and works once it is. Projects' keys come from the control plane's state.

pub(crate) mod crew;
pub(crate) mod download;
pub(crate) mod fault;
mod import;
pub(crate) mod jobs;
mod journal;
mod order;
mod place;
mod upload;
pub(crate) mod view;
mod work;

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use mezame_images::{
    archive::{Archive, ArchiveError, ImageId, KeyOf, Settings as ArchiveSettings, Visible},
    environment::SystemEnvironment,
};
use mezame_model::{
    ProjectName,
    api::{
        Fault,
        images::{ArchiveStatus, ImageJob},
    },
};
use tokio::sync::Semaphore;

use self::{
    crew::{Crew, Unanswered},
    jobs::Jobs,
    journal::Journal,
    place::PlaceError,
    upload::Room,
};
use crate::{
    environment::{Environment, NoRandomness},
    settings::images::ImageSettings,
};

pub(crate) use self::fault::chain;

/// Threads for calls that don't take long.
const CALLS: usize = 4;
/// Such calls that may wait for one.
const CALLS_WAITING: usize = 64;

/// Why the part of the control plane that works with images can't begin.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The folder of uploads or of jobs can't be used.
    #[error("{path}: can't be used")]
    Folder {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There are no threads.
    #[error("no threads for the image archive")]
    Threads(#[source] io::Error),
}

/// Why a call about images fails.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImagesError {
    /// There is no archive at its place.
    #[error("there is no archive at {place}")]
    NotMade { place: String },
    /// Its place can't be used.
    #[error("the archive's place can't be used")]
    Place(#[source] PlaceError),
    /// The archive does not do it.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// What was asked for is wrong.
    #[error("what was asked for has faults")]
    Faults(Vec<Fault>),
    /// There is no such job, or it is another project's.
    #[error("there is no such job")]
    NoJob,
    /// A job that is not waiting for a file is sent one.
    #[error("the job is {state} and waits for no file")]
    NotAwaiting { state: &'static str },
    /// There are too many already.
    #[error("there are {most} {what} already")]
    TooMany { what: &'static str, most: usize },
    /// A job's record can't be written.
    #[error("a job's record can't be written")]
    Journal(#[source] io::Error),
    /// No ids can be made.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    /// No thread can be started.
    #[error("no thread can be started")]
    Thread(#[source] io::Error),
    /// The control plane is ending, or a thread failed.
    #[error("the control plane is ending")]
    Ending,
}

/// Where projects' keys come from.
pub(crate) type KeyLookup = Arc<dyn Fn(&ProjectName) -> KeyOf + Send + Sync>;

/// The archive, and all that is at work on it.
pub(crate) struct Images {
    settings: ImageSettings,
    archive: Mutex<Option<Arc<Archive>>>,
    keys: KeyLookup,
    calls: Crew,
    workers: Crew,
    jobs: Arc<Jobs>,
    room: Arc<Room>,
    downloads: Arc<Semaphore>,
    /// What was asked for of imports that wait for their files, by job.
    orders: Mutex<std::collections::BTreeMap<String, import::Asked>>,
    /// Held while a project is deleted and while something begins in one, so that no image comes
    /// to be in a project that is gone.
    pub(crate) projects: tokio::sync::Mutex<()>,
}

impl Images {
    /// Begins; opens no archive yet. Without a folder jobs are kept in memory.
    pub(crate) fn start(
        settings: ImageSettings,
        uploads: PathBuf,
        journal: Option<PathBuf>,
        keys: KeyLookup,
        environment: Arc<dyn Environment>,
    ) -> Result<Arc<Self>, StartError> {
        let uploads = settings.upload_dir.clone().unwrap_or(uploads);
        let at = |path: &PathBuf| {
            let path = path.clone();
            move |source| StartError::Folder { path, source }
        };
        let room = Room::open(uploads.clone(), settings.upload_bytes).map_err(at(&uploads))?;
        let folder = journal.clone().unwrap_or_default();
        let journal = journal.map(|folder| Journal::open(&folder)).transpose();
        let journal = journal.map_err(at(&folder))?;
        let jobs = Jobs::open(journal, environment, settings.jobs_waiting).map_err(at(&folder))?;
        let crew = |name, threads, waiting| {
            Crew::start(name, threads, waiting).map_err(StartError::Threads)
        };
        Ok(Arc::new(Self {
            archive: Mutex::new(None),
            keys,
            calls: crew("archive-call", CALLS, CALLS_WAITING)?,
            workers: crew("archive-job", settings.jobs, settings.jobs_waiting)?,
            jobs,
            room,
            downloads: Arc::new(Semaphore::new(settings.downloads)),
            orders: Mutex::default(),
            projects: tokio::sync::Mutex::new(()),
            settings,
        }))
    }

    /// Does something that does not take long, and answers what came of it.
    pub(crate) async fn ask<T: Send + 'static>(
        self: &Arc<Self>,
        call: impl FnOnce(&Archive, &KeyLookup) -> Result<T, ImagesError> + Send + 'static,
    ) -> Result<T, ImagesError> {
        let images = Arc::clone(self);
        self.on_a_thread(move || call(&*images.archive()?, &images.keys)).await
    }

    async fn on_a_thread<T: Send + 'static>(
        &self,
        call: impl FnOnce() -> Result<T, ImagesError> + Send + 'static,
    ) -> Result<T, ImagesError> {
        self.calls.ask(call).await.map_err(|unanswered| match unanswered {
            Unanswered::Busy => ImagesError::TooMany { what: "calls", most: CALLS_WAITING },
            Unanswered::Gone => ImagesError::Ending,
        })?
    }

    /// Makes the archive.
    pub(crate) async fn create(self: &Arc<Self>) -> Result<(), ImagesError> {
        let images = Arc::clone(self);
        let create = move || {
            let mut archive = images.archive.lock().unwrap_or_else(PoisonError::into_inner);
            let store = place::open(&images.settings, true).map_err(ImagesError::Place)?;
            let environment = Arc::new(SystemEnvironment::new());
            let made = Archive::create(store, environment, ArchiveSettings::default())?;
            *archive = Some(Arc::new(made));
            Ok(())
        };
        self.on_a_thread(create).await
    }

    /// The archive as a whole.
    pub(crate) async fn status(self: &Arc<Self>) -> Result<ArchiveStatus, ImagesError> {
        let images = Arc::clone(self);
        self.ask(move |archive, _| {
            let stored = archive.stored()?;
            Ok(ArchiveStatus {
                place: place::describe(&images.settings),
                records: stored.records,
                packs: stored.packs,
                bytes: stored.bytes,
                sessions: stored.sessions,
                quarantined: stored.quarantined,
                uploading: images.room.taken(),
                uploading_most: images.room.most(),
                jobs: images.jobs.unfinished() as u64,
            })
        })
        .await
    }

    /// The archive, opened where it was not yet. Blocks.
    pub(crate) fn archive(&self) -> Result<Arc<Archive>, ImagesError> {
        let mut archive = self.archive.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(archive) = &*archive {
            return Ok(Arc::clone(archive));
        }
        let not_made = || ImagesError::NotMade { place: place::describe(&self.settings) };
        let store = match place::open(&self.settings, false) {
            Err(PlaceError::NoDirectory { .. }) => return Err(not_made()),
            other => other.map_err(ImagesError::Place)?,
        };
        let environment = Arc::new(SystemEnvironment::new());
        let opened = match Archive::open(store, environment, ArchiveSettings::default()) {
            Err(ArchiveError::NoArchive) => return Err(not_made()),
            other => Arc::new(other?),
        };
        *archive = Some(Arc::clone(&opened));
        Ok(opened)
    }

    /// The key that images of this project are made with.
    pub(crate) fn key_of(&self, project: &ProjectName) -> KeyOf {
        (self.keys)(project)
    }

    /// An image as a project sees it. Blocks.
    pub(crate) fn look(
        &self,
        project: &ProjectName,
        id: ImageId,
    ) -> Result<(Arc<Archive>, Visible), ImagesError> {
        let archive = self.archive()?;
        let visible = view::look(&archive, &self.keys, project, id)?;
        Ok((archive, visible))
    }

    /// The table of jobs, which volumes' jobs are in too.
    pub(crate) fn table(&self) -> &Arc<Jobs> {
        &self.jobs
    }

    /// All jobs, of this project where one is named; newest first.
    pub(crate) fn jobs(&self, project: Option<&ProjectName>) -> Vec<ImageJob> {
        self.jobs.list(project)
    }

    /// One of them.
    pub(crate) fn job(
        &self,
        project: Option<&ProjectName>,
        id: &str,
    ) -> Result<ImageJob, ImagesError> {
        self.jobs.get(project, id).ok_or(ImagesError::NoJob)
    }

    /// Ends a job as soon as it can be.
    pub(crate) fn cancel(
        &self,
        project: Option<&ProjectName>,
        id: &str,
    ) -> Result<ImageJob, ImagesError> {
        self.jobs.cancel(project, id).ok_or(ImagesError::NoJob)
    }

    /// What of a project's is in the way of its end. Holds for as long as `projects` is held.
    pub(crate) async fn in_the_way(
        self: &Arc<Self>,
        project: &ProjectName,
    ) -> Result<Vec<Fault>, ImagesError> {
        let mut faults = Vec::new();
        if self.jobs.is_busy(project) {
            let mend = "wait for it, or cancel it";
            faults.push(fault::plain("", "a job about an image is at work in it", mend));
        }
        let wanted = project.clone();
        let own = self.ask(move |archive, keys| view::own_count(archive, keys, &wanted)).await;
        match own {
            Ok(0) | Err(ImagesError::NotMade { .. }) => {}
            Ok(count) => {
                let message = format!("the project has {count} images in the archive");
                faults.push(fault::plain("", message, "delete them before"));
            }
            Err(error) => return Err(error),
        }
        Ok(faults)
    }

    /// Ends all that is at work. What does not finish is told as interrupted after the next start.
    pub(crate) async fn end(self: Arc<Self>) {
        self.jobs.end();
        self.orders.lock().unwrap_or_else(PoisonError::into_inner).clear();
        // Threads that wait for others are no matter of the runtime's.
        let ended = tokio::task::spawn_blocking(move || {
            self.workers.finish();
            self.calls.finish();
        });
        if ended.await.is_err() {
            tracing::error!("the threads of the image archive did not end");
        }
    }
}

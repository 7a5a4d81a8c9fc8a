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

pub(crate) mod download;
mod fault;
pub(crate) mod files;
mod import;
mod opened;
mod order;
pub(crate) mod part;
mod place;
pub(crate) mod prune;
pub(crate) mod upkeep;
mod upload;
pub(crate) mod view;
mod work;

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use mezame_images::{
    archive::{Archive, ArchiveError, KeyOf, Settings as ArchiveSettings, store::s3::Patience},
    environment::SystemEnvironment,
    files::FilesError,
};
use mezame_model::{
    ProjectName,
    api::{Fault, images::ArchiveStatus, jobs::Job},
};
use tokio::sync::Semaphore;

use self::{opened::Opened, place::PlaceError, upload::Room};
use crate::{
    control::{Control, ControlError},
    crew::{Crew, Unanswered},
    environment::Environment,
    fault::plain,
    jobs::{Jobs, JobsError, Journal},
    settings::images::ImageSettings,
};

pub(crate) use self::{fault::SITE, part::StartError};

/// Threads for calls that don't take long.
pub(crate) const CALLS: usize = 4;
/// Such calls that may wait for one.
const CALLS_WAITING: usize = 64;

/// How long a call waits for an object store; `mezame` gives up after 60 s.
const CALLS_PATIENCE: Patience =
    Patience { attempt: Duration::from_secs(10), whole: Duration::from_secs(30) };
/// How long the end waits for what is at work. What takes longer is left to itself: the archive can
/// be left at any moment, and a process that takes over waits for this one to end.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// How long it waits at least for the records of jobs.
const JOURNAL_PATIENCE: Duration = Duration::from_secs(2);

/// Why a call about images fails.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImagesError {
    /// What works with images could not begin.
    #[error("images can't be worked with")]
    NotBegun(#[source] StartError),
    /// There is no archive at its place.
    #[error("there is no archive at {place}")]
    NotMade { place: String },
    /// Its place can't be used.
    #[error("the archive's place can't be used")]
    Place(#[source] PlaceError),
    /// It could not be opened just now.
    #[error("the archive can't be opened: {why}")]
    Away { why: String },
    /// The archive does not do it.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A file of an image's can't be had.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// What was asked for is wrong.
    #[error("what was asked for has faults")]
    Faults(Vec<Fault>),
    /// What was asked for is right, and the site can't do it.
    #[error("the site has no room for what was asked for")]
    Site(Vec<Fault>),
    /// There are too many already.
    #[error("there are {most} {what} already")]
    TooMany { what: &'static str, most: usize },
    /// The table of jobs.
    #[error(transparent)]
    Jobs(#[from] JobsError),
    /// No thread can be started.
    #[error("no thread can be started")]
    Thread(#[source] io::Error),
    /// That there is an archive can't be noted.
    #[error("that there is an archive can't be noted")]
    Note(#[source] Box<ControlError>),
    /// The control plane is ending, or a thread failed.
    #[error("the control plane is ending")]
    Ending,
}

/// Opens the archive that these settings name, and never makes it.
fn opened(settings: &ImageSettings, patience: Patience) -> Opened {
    let settings = settings.clone();
    Opened::by(move || {
        let not_made = || ImagesError::NotMade { place: place::describe(&settings) };
        let store = match place::open(&settings, false, patience) {
            Err(PlaceError::NoDirectory { .. }) => return Err(not_made()),
            other => other.map_err(ImagesError::Place)?,
        };
        let environment = Arc::new(SystemEnvironment::new());
        match Archive::open(store, environment, ArchiveSettings::default()) {
            Err(ArchiveError::NoArchive) => Err(not_made()),
            other => Ok(other?),
        }
    })
}

/// Where projects' keys come from: the control plane's state.
pub(crate) type KeyLookup = Arc<dyn Fn(&ProjectName) -> KeyOf + Send + Sync>;

/// The archive, and all that is at work on it.
pub(crate) struct Images {
    settings: ImageSettings,
    /// For calls: somebody waits for what comes of them.
    for_calls: Opened,
    /// For long work, which a store that is away for some minutes does not end.
    for_jobs: Opened,
    control: Arc<Control>,
    keys: KeyLookup,
    calls: Crew,
    workers: Crew,
    jobs: Arc<Jobs>,
    room: Arc<Room>,
    downloads: Arc<Semaphore>,
    /// Images are read out until then, which is later than jobs end.
    has_ended: Arc<AtomicBool>,
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
        control: Arc<Control>,
        environment: Arc<dyn Environment>,
    ) -> Result<Arc<Self>, StartError> {
        let state = Arc::clone(&control);
        let keys: KeyLookup = Arc::new(move |project| state.image_key(project));
        // A folder that an operator names may be on a disk that is not mounted: what would be made
        // in its place would fill another.
        let is_ours = settings.upload_dir.is_none();
        let uploads = settings.upload_dir.clone().unwrap_or(uploads);
        let at = |path: &PathBuf| {
            let path = path.clone();
            move |source| StartError::Folder { path, source }
        };
        let (most, reserve) = (settings.upload_bytes, settings.upload_reserve_bytes);
        let room = Room::open(uploads.clone(), most, reserve, is_ours).map_err(at(&uploads))?;
        let folder = journal.clone().unwrap_or_default();
        let journal = journal.map(|folder| Journal::open(&folder)).transpose();
        let journal = journal.map_err(at(&folder))?;
        let jobs = Jobs::open(journal, environment, settings.jobs_waiting).map_err(at(&folder))?;
        jobs.forget_deleted(&control);
        let crew = |name, threads, waiting| {
            Crew::start(name, threads, waiting).map_err(StartError::Threads)
        };
        Ok(Arc::new(Self {
            for_calls: opened(&settings, CALLS_PATIENCE),
            for_jobs: opened(&settings, Patience::default()),
            control,
            keys,
            calls: crew("archive-call", CALLS, CALLS_WAITING)?,
            workers: crew("archive-job", settings.jobs, settings.jobs_waiting)?,
            jobs,
            room,
            downloads: Arc::new(Semaphore::new(settings.downloads)),
            has_ended: Arc::default(),
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
        self.noted_archive().await?;
        let images = Arc::clone(self);
        self.on_a_thread(move || call(&*images.for_calls.archive()?, &images.keys)).await
    }

    /// Opens the archive and notes in the store that there is one, once: before anything comes to
    /// be in it, since a project's key may be deleted where there was never one.
    async fn noted_archive(self: &Arc<Self>) -> Result<(), ImagesError> {
        if self.control.has_noted_archive() {
            return Ok(());
        }
        let images = Arc::clone(self);
        self.on_a_thread(move || images.for_calls.archive().map(drop)).await?;
        self.control.note_archive().await.map_err(|error| ImagesError::Note(error.into()))
    }

    async fn on_a_thread<T: Send + 'static>(
        &self,
        call: impl FnOnce() -> Result<T, ImagesError> + Send + 'static,
    ) -> Result<T, ImagesError> {
        let has_ended = Arc::clone(&self.has_ended);
        let call = move || {
            // Who was told that it failed does not want it done after that.
            if has_ended.load(Ordering::SeqCst) { Err(ImagesError::Ending) } else { call() }
        };
        self.calls.ask(call).await.map_err(|unanswered| match unanswered {
            Unanswered::Busy => ImagesError::TooMany { what: "calls", most: CALLS_WAITING },
            Unanswered::Gone => ImagesError::Ending,
        })?
    }

    /// Makes the archive.
    pub(crate) async fn create(self: &Arc<Self>) -> Result<(), ImagesError> {
        let images = Arc::clone(self);
        let create = move || {
            let store = place::open(&images.settings, true, CALLS_PATIENCE);
            let store = store.map_err(ImagesError::Place)?;
            let environment = Arc::new(SystemEnvironment::new());
            Archive::create(store, environment, ArchiveSettings::default())?;
            Ok(())
        };
        self.on_a_thread(create).await?;
        self.noted_archive().await
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

    /// The archive, for long work. Blocks.
    pub(crate) fn archive(&self) -> Result<Arc<Archive>, ImagesError> {
        self.for_jobs.archive()
    }

    /// The key that images of this project are made with.
    pub(crate) fn key_of(&self, project: &ProjectName) -> KeyOf {
        (self.keys)(project)
    }

    /// The table of jobs, which volumes' jobs are in too.
    pub(crate) fn table(&self) -> &Arc<Jobs> {
        &self.jobs
    }

    /// All jobs, of this project where one is named; newest first.
    pub(crate) fn jobs(&self, project: Option<&ProjectName>) -> Vec<Job> {
        self.jobs.list(project)
    }

    /// One of them.
    pub(crate) fn job(&self, project: Option<&ProjectName>, id: &str) -> Result<Job, ImagesError> {
        Ok(self.jobs.get(project, id).ok_or(JobsError::NoJob)?)
    }

    /// Ends a job as soon as it can be.
    pub(crate) fn cancel(
        &self,
        project: Option<&ProjectName>,
        id: &str,
    ) -> Result<Job, ImagesError> {
        Ok(self.jobs.cancel(project, id).ok_or(JobsError::NoJob)?)
    }

    /// What of a project's is in the way of its end. Holds for as long as `projects` is held.
    pub(crate) async fn in_the_way(
        self: &Arc<Self>,
        project: &ProjectName,
    ) -> Result<Vec<Fault>, ImagesError> {
        let mut faults = Vec::new();
        if self.jobs.is_busy(project) {
            let mend = "wait for it, or cancel it";
            faults.push(plain("", "a job about an image is at work in it", mend));
        }
        let wanted = project.clone();
        let own = self.ask(move |archive, _| Ok(archive.count_own(&wanted)?)).await;
        match own {
            Ok(0) => {}
            // Nothing tells one that was never made from one that is away but the note.
            Err(ImagesError::NotMade { .. }) if !self.control.may_have_images(project, true) => {}
            Ok(count) => {
                let message = format!("the project has {count} images in the archive");
                faults.push(plain("", message, "delete them before"));
            }
            Err(error) => return Err(error),
        }
        Ok(faults)
    }

    /// Has what is under way end, before connections are cut: what that cuts short is then told as
    /// interrupted, and not as broken off by who sent it.
    pub(crate) fn announce_end(&self) {
        self.jobs.end();
    }

    /// Ends all that is at work. What does not finish is told as interrupted after the next start.
    /// `others` end meanwhile: they tell the same table of jobs. Whether all threads have ended.
    pub(crate) async fn end(self: Arc<Self>, others: impl Future<Output = ()>) -> bool {
        self.jobs.end();
        self.has_ended.store(true, Ordering::SeqCst);
        self.orders.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let until = Instant::now() + PATIENCE;
        let left = move || until.saturating_duration_since(Instant::now());
        // Threads that wait for others are no matter of the runtime's.
        let images = Arc::clone(&self);
        let ended = tokio::task::spawn_blocking(move || {
            let workers = images.workers.finish(left());
            let is_all = images.calls.finish(left()) && workers;
            if !is_all {
                tracing::warn!("what is at work on the image archive does not end in time");
            }
            is_all
        });
        let (ended, ()) = tokio::join!(ended, others);
        // What ends later is told as interrupted.
        let close = move || self.jobs.close(left().max(JOURNAL_PATIENCE));
        tokio::task::spawn_blocking(close).await.and(ended).unwrap_or_else(|_| {
            tracing::error!("the threads of the image archive did not end");
            false
        })
    }
}

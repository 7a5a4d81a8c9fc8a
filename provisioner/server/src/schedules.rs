//! Schedules of backups: when they are made, what is kept of them, and who looks at the clock.
//!
//! ```text
//!   run ─► tick(now) ─► due? ─► Volumes::back_up ─► a job
//!                    └► ended? ─► what is not kept is deleted ─► the record
//! ```
//! When something is due ([`when`], [`record`]) and what is kept ([`kept`]) are pure. Those that are
//! due begin one a second, the one that is due the longest first, then by project and name. One whose
//! backup can't begin now, since its volumes are in use, or volumes or the archive are away, waits,
//! and tells what for; the others do not wait for it. It never deletes anything but what it made.

mod ended;
mod kept;
mod pruning;
pub(crate) mod record;
mod share;
mod state;
pub(crate) mod when;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use mezame_images::volume::VolumeId;
use mezame_model::{
    ProjectName,
    api::{
        Fault,
        schedules::{Schedule, ScheduleView},
        volumes::NewBackup,
    },
};

use self::{
    record::{Ended, ScheduleRecord},
    when::When,
};
use crate::{
    control::{Control, ControlError, Precondition},
    environment::Environment,
    fault::{chain, plain},
    images::{ImagesError, part::Part},
    jobs::JobsError,
    volumes::{VolumesError, backups::unknown_volumes, freezing, part::VolumePart},
};

/// Between two looks at the clock.
const TICK: Duration = Duration::from_secs(1);
/// The same while volumes or the archive are away.
const REST: Duration = Duration::from_secs(10);

/// The schedules of all projects.
pub(crate) struct Schedules {
    control: Arc<Control>,
    images: Arc<Part>,
    volumes: Arc<VolumePart>,
    environment: Arc<dyn Environment>,
    /// What each that is due waits for.
    waiting: Mutex<BTreeMap<Named, String>>,
}

type Named = (ProjectName, Box<str>);

/// What became of a schedule that is due.
enum Step {
    /// It was begun, or can't be and is told so: it is due no more.
    Taken,
    /// Something is done with its volumes.
    Waits(String),
    /// Nobody's backups can be made now.
    AllWait(String),
}

impl Schedules {
    pub(crate) fn new(
        control: Arc<Control>,
        images: Arc<Part>,
        volumes: Arc<VolumePart>,
        environment: Arc<dyn Environment>,
    ) -> Arc<Self> {
        let waiting = Mutex::default();
        Arc::new(Self { control, images, volumes, environment, waiting })
    }

    /// A project's schedules.
    pub(crate) fn list(&self, project: &ProjectName) -> Result<Vec<ScheduleView>, VolumesError> {
        Ok(self.control.schedules(project)?.iter().map(|record| self.shown(record)).collect())
    }

    /// One of them.
    pub(crate) fn show(
        &self,
        project: &ProjectName,
        name: &str,
    ) -> Result<ScheduleView, VolumesError> {
        Ok(self.shown(&*self.control.schedule(project, name)?))
    }

    /// Makes or replaces one. What became of its earlier form stays.
    pub(crate) async fn put(
        &self,
        project: &ProjectName,
        name: &str,
        spec: Schedule,
        precondition: Precondition,
    ) -> Result<ScheduleView, VolumesError> {
        let mut faults = faults_of(name, &spec);
        if faults.is_empty() {
            // One that has lost a volume since can be changed all the same.
            let before = self.control.schedule(project, name).ok();
            let is_new = |id: &str| before.as_ref().is_none_or(|it| !it.names(id));
            faults = unknown_volumes(&self.control, project, &spec.volumes, is_new)?;
        }
        if !faults.is_empty() {
            return Err(VolumesError::Faults(faults));
        }
        let now = self.environment.now_ms();
        let record = self.control.put_schedule(project, name, spec, precondition, now).await?;
        Ok(self.shown(&record))
    }

    /// Has one rest, or go on.
    pub(crate) async fn pause(
        &self,
        project: &ProjectName,
        name: &str,
        paused: bool,
    ) -> Result<ScheduleView, VolumesError> {
        let now = self.environment.now_ms();
        let change = move |it: &mut ScheduleRecord| {
            if it.spec.paused != paused {
                *it = it.replaced(Schedule { paused, ..it.spec.clone() }, now);
            }
        };
        let record = self.control.change_schedule(project, name, change).await?;
        Ok(self.shown(&record))
    }

    /// Deletes one. A backup that it has begun goes on.
    pub(crate) async fn delete(
        &self,
        project: &ProjectName,
        name: &str,
    ) -> Result<(), VolumesError> {
        Ok(self.control.forget_schedule(project, name).await?)
    }

    fn shown(&self, record: &ScheduleRecord) -> ScheduleView {
        let waiting = self.waiting().get(&named(record)).cloned();
        record.shown(waiting.filter(|_| !record.spec.paused))
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<Named, String>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what is due, for ever.
    pub(crate) async fn run(self: Arc<Self>) {
        loop {
            let rest = self.tick().await;
            tokio::time::sleep(rest).await;
        }
    }

    /// Looks at the clock once, and begins at most one backup; how long to wait until the next look.
    pub(crate) async fn tick(&self) -> Duration {
        let now = self.environment.now_ms();
        let mut due = Vec::new();
        let mut waiting = BTreeMap::new();
        let mut rest = TICK;
        for record in self.control.all_schedules() {
            if record.is_ahead(now) {
                self.note(&record, move |it| it.rebase(now)).await;
            } else if record.is_running() {
                if let Some(why) = self.look(&record, now).await {
                    waiting.insert(named(&record), why);
                    rest = REST;
                }
            } else if let Some(since) = record.due_ms(now) {
                due.push((since, record));
            }
        }
        due.sort_by_cached_key(|(since, record)| (*since, named(record)));
        if !due.is_empty() && self.has_its_share().await {
            let why = "schedules' jobs that are at work";
            waiting.extend(due.drain(..).map(|(_, it)| (named(&it), why.into())));
        }
        let mut due = due.into_iter().map(|(_, record)| record);
        while let Some(record) = due.next() {
            match self.begin(&record, now).await {
                Step::Taken => break,
                Step::Waits(why) => drop(waiting.insert(named(&record), why)),
                Step::AllWait(why) => {
                    waiting.insert(named(&record), why.clone());
                    waiting.extend(due.by_ref().map(|it| (named(&it), why.clone())));
                    rest = REST;
                }
            }
        }
        waiting.extend(due.map(|it| (named(&it), "others, which are due before it".into())));
        self.wait(waiting);
        rest
    }

    /// Tells what waits, and once for what.
    fn wait(&self, waiting: BTreeMap<Named, String>) {
        let before = std::mem::replace(&mut *self.waiting(), waiting.clone());
        for (named, why) in waiting.iter().filter(|(named, why)| before.get(named) != Some(*why)) {
            let (project, schedule) = named;
            tracing::info!(%project, %schedule, why, "a scheduled backup waits");
        }
    }

    /// Begins a backup whose time has come.
    async fn begin(&self, record: &ScheduleRecord, now: u64) -> Step {
        let Schedule { volumes, qmp, freeze, .. } = record.spec.clone();
        let name = Some(format!("schedule {}", record.name));
        let new = NewBackup { volumes, qmp, full: false, name, freeze };
        let begun = match self.volumes.volumes().await {
            Ok(all) => all.back_up(&record.project, new, Some(record.name.clone())).await,
            Err(error) => Err(error),
        };
        let begun = match begun {
            Ok(job) => Ok(job.id),
            Err(error) => match waits(&error) {
                Some(step) => return step,
                None => Err(why(&error)),
            },
        };
        if let Err(why) = &begun {
            tell_failure(record, why);
        }
        self.note(record, move |it| match begun {
            Ok(job) => it.begin(now, Some(job)),
            Err(why) => {
                it.begin(now, None);
                it.end(now, Ended::Failed(why));
            }
        })
        .await;
        Step::Taken
    }

    /// Looks whether a backup that was begun has ended, and deletes what is not kept after it; what it
    /// waits for, if it can't.
    async fn look(&self, record: &ScheduleRecord, now: u64) -> Option<String> {
        let images = match self.images.images().await {
            Ok(images) => images,
            Err(error) => return Some(chain(&error)),
        };
        let ended = match ended::of(&images, record) {
            Some(Ok(job)) => match self.prune(record, &job.backups).await {
                Ok(done) => done,
                Err(waits) => return Some(waits),
            },
            Some(Err(ended)) => ended,
            None => return None,
        };
        match &ended {
            Ended::Failed(why) | Ended::Interrupted(why) | Ended::Away(why) => {
                tell_failure(record, why);
            }
            Ended::Done { why: Some(why), .. } => {
                let (project, schedule) = (&record.project, &record.name);
                tracing::warn!(%project, %schedule, why, "older backups were not deleted");
            }
            Ended::Done { .. } => {}
        }
        self.note(record, move |it| it.end(now, ended)).await;
        None
    }

    async fn note(
        &self,
        record: &ScheduleRecord,
        change: impl FnOnce(&mut ScheduleRecord) + Send + 'static,
    ) {
        let noted = self.control.change_schedule(&record.project, &record.name, change).await;
        match noted {
            // It was deleted meanwhile.
            Ok(_) | Err(ControlError::NotFound) => {}
            Err(error) => {
                let (project, schedule) = (&record.project, &record.name);
                tracing::error!(
                    %project, %schedule, error = chain(&error),
                    "a schedule's record can't be written"
                );
            }
        }
    }
}

fn named(record: &ScheduleRecord) -> Named {
    (record.project.clone(), record.name.clone())
}

fn tell_failure(record: &ScheduleRecord, why: &str) {
    let (project, schedule) = (&record.project, &record.name);
    tracing::warn!(%project, %schedule, why, "a scheduled backup failed");
}

/// Whether a failure is one that passes.
fn waits(error: &VolumesError) -> Option<Step> {
    match error {
        VolumesError::Busy(_)
        | VolumesError::MonitorBusy(_)
        | VolumesError::NotReady
        | VolumesError::Jobs(JobsError::TooManyOfProject { .. }) => Some(Step::Waits(why(error))),
        VolumesError::NotBegun(_)
        | VolumesError::NoRandomness(_)
        | VolumesError::Images(
            ImagesError::NotBegun(_)
            | ImagesError::Place(_)
            | ImagesError::Away { .. }
            | ImagesError::TooMany { .. }
            | ImagesError::Thread(_)
            | ImagesError::Ending,
        )
        | VolumesError::Jobs(
            JobsError::TooMany { .. }
            | JobsError::Journal(_)
            | JobsError::NoRandomness(_)
            | JobsError::Ending,
        ) => Some(Step::AllWait(why(error))),
        _ => None,
    }
}

/// All that is wrong with a schedule.
fn faults_of(name: &str, spec: &Schedule) -> Vec<Fault> {
    let mut faults = Vec::new();
    let is_name = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if !(1..=63).contains(&name.len()) || !name.bytes().all(is_name) {
        faults.push(plain("name", "it is no name", "1 to 63 of a-z, 0-9 and '-'"));
    }
    for (at, volume) in spec.volumes.iter().enumerate() {
        let path = format!("volumes[{at}]");
        if let Err(error) = VolumeId::parse(volume) {
            faults.push(plain(&path, error.to_string(), "name a volume"));
        }
        if spec.volumes[..at].contains(volume) {
            faults.push(plain(&path, "it is named twice", "name each volume once"));
        }
    }
    if !(1..=64).contains(&spec.volumes.len()) {
        let message = format!("{} volumes", spec.volumes.len());
        faults.push(plain("volumes", message, "1 to 64 volumes of one guest"));
    }
    if spec.qmp.as_ref().is_some_and(|qmp| !qmp.is_absolute()) {
        faults.push(plain("qmp", "it is no whole path", "begin it with '/'"));
    }
    faults.extend(spec.freeze.iter().flat_map(freezing::faults_of));
    if let Err(error) = When::parse(&spec.when) {
        faults.push(plain(
            "when",
            error.to_string(),
            "such as '02:30', '30 2 * * 0' or 'every 6h', in UTC",
        ));
    }
    faults
}

fn why(error: &VolumesError) -> String {
    match error {
        VolumesError::Faults(faults) => {
            faults.first().map_or_else(|| error.to_string(), |fault| fault.message.clone())
        }
        error => chain(error),
    }
}

//! The table of jobs: what is at work, how far it is, what came of it.
//!
//! A job outlives the client that asked for it. It has one owner, a [`Ticket`], which tells how far
//! it is and in the end what came of it; one that is dropped without a word has failed. So many may
//! be unfinished, and so many that ended are kept.

mod bounds;
mod error;
mod journal;
mod kept;
mod ticker;
mod ticket;

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use mezame_images::archive::{Progress, Watch};
use mezame_model::{
    ProjectName,
    api::{
        Fault,
        jobs::{Job, JobKind, JobState},
    },
};

use crate::{
    environment::{Environment, random},
    fault::plain,
};

pub(crate) use self::{error::JobsError, journal::Journal, ticker::Ticker, ticket::Ticket};

/// How long a job waits for its file.
const AWAITED_MS: u64 = 10 * 60 * 1000;

/// How a job ended.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) image: Option<String>,
    pub(crate) backups: Vec<String>,
    pub(crate) figures: BTreeMap<String, u64>,
    pub(crate) faults: Vec<Fault>,
}

/// Why a job did not do what it was asked.
#[derive(Debug)]
pub(crate) enum Unfinished {
    /// Somebody ended it.
    Cancelled,
    /// It can't be done, or found what should not be; figures may be told all the same.
    Failed(Outcome),
}

impl From<Fault> for Unfinished {
    fn from(fault: Fault) -> Self {
        Self::Failed(Outcome { faults: vec![fault], ..Outcome::default() })
    }
}

struct Entry {
    job: Job,
    ticker: Arc<Ticker>,
}

impl Entry {
    fn shown(&self) -> Job {
        let mut job = self.job.clone();
        self.ticker.show(&mut job);
        job
    }
}

/// All jobs.
pub(crate) struct Jobs {
    table: Mutex<BTreeMap<String, Entry>>,
    journal: Option<Journal>,
    environment: Arc<dyn Environment>,
    most: usize,
    is_ending: AtomicBool,
}

impl Jobs {
    /// Those of the journal; what was unfinished there was interrupted.
    pub(crate) fn open(
        journal: Option<Journal>,
        environment: Arc<dyn Environment>,
        most: usize,
    ) -> io::Result<Arc<Self>> {
        let mut table = BTreeMap::new();
        for mut job in journal.iter().map(Journal::load).collect::<io::Result<Vec<_>>>()?.concat() {
            if !job.state.is_end() {
                interrupt(&mut job, environment.now_ms());
                // Where it can't be written the next start will tell the same.
                journal.iter().for_each(|journal| drop(journal.write(&job)));
            }
            let ticker = Arc::new(Ticker::default());
            ticker.tell(Progress { done: job.done, total: job.total, written: 0 });
            table.insert(job.id.clone(), Entry { job, ticker });
        }
        let (table, is_ending) = (Mutex::new(table), AtomicBool::new(false));
        Ok(Arc::new(Self { table, journal, environment, most, is_ending }))
    }

    /// Begins a job.
    pub(crate) fn begin(
        self: &Arc<Self>,
        what: JobKind,
        project: Option<&ProjectName>,
        image: Option<String>,
        state: JobState,
    ) -> Result<Ticket, JobsError> {
        if self.is_ending.load(Ordering::SeqCst) {
            return Err(JobsError::Ending);
        }
        let created_ms = self.environment.now_ms();
        let random: [u8; 8] = random(&*self.environment)?;
        let id = format!("job-{created_ms:012x}{:016x}", u64::from_be_bytes(random));
        let project = project.map(ToString::to_string);
        let job = Job {
            id: id.clone(),
            what,
            project,
            image,
            volumes: Vec::new(),
            backups: Vec::new(),
            state,
            phase: None,
            done: 0,
            total: 0,
            created_ms,
            ended_ms: None,
            figures: BTreeMap::new(),
            faults: Vec::new(),
        };
        let ticker = Arc::new(Ticker::default());
        let mut table = self.table();
        self.expire(&mut table);
        let unfinished = table.values().map(|it| &it.job).filter(|job| !job.state.is_end());
        bounds::check(self.most, unfinished, job.project.as_deref(), state)?;
        let noted = self.journal.as_ref().map(|journal| journal.write(&job));
        table.insert(id.clone(), Entry { job, ticker: Arc::clone(&ticker) });
        self.forget_oldest(&mut table);
        Ok(Ticket { jobs: Arc::clone(self), id, ticker, is_told: false, noted })
    }

    /// A job; of this project where one is named.
    pub(crate) fn get(&self, project: Option<&ProjectName>, id: &str) -> Option<Job> {
        let mut table = self.table();
        self.expire(&mut table);
        let entry = table.get(id)?;
        is_of(&entry.job, project).then(|| entry.shown())
    }

    /// All jobs, of this project where one is named; newest first.
    pub(crate) fn list(&self, project: Option<&ProjectName>) -> Vec<Job> {
        let mut table = self.table();
        self.expire(&mut table);
        let of = table.values().rev().filter(|entry| is_of(&entry.job, project));
        of.map(Entry::shown).collect()
    }

    /// Whether a job of this project is unfinished.
    pub(crate) fn is_busy(&self, project: &ProjectName) -> bool {
        self.list(Some(project)).iter().any(|job| !job.state.is_end())
    }

    /// How many are unfinished.
    pub(crate) fn unfinished(&self) -> usize {
        self.list(None).iter().filter(|job| !job.state.is_end()).count()
    }

    /// Ends a job as soon as it can be. One that has ended stays as it is.
    pub(crate) fn cancel(&self, project: Option<&ProjectName>, id: &str) -> Option<Job> {
        let mut table = self.table();
        let entry = table.get_mut(id).filter(|entry| is_of(&entry.job, project))?;
        entry.ticker.cancel();
        // Nobody is at work on it who would tell.
        if entry.job.state == JobState::Awaiting {
            entry.job.state = JobState::Cancelled;
            entry.job.ended_ms = Some(self.environment.now_ms());
            self.note(&entry.job);
        }
        Some(entry.shown())
    }

    /// Has all jobs end; what does not finish is told as interrupted.
    pub(crate) fn end(&self) {
        self.is_ending.store(true, Ordering::SeqCst);
        for entry in self.table().values_mut() {
            entry.ticker.cancel();
            if entry.job.state == JobState::Awaiting {
                interrupt(&mut entry.job, self.environment.now_ms());
                self.note(&entry.job);
            }
        }
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.is_ending.load(Ordering::SeqCst)
    }

    fn table(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Files that never came.
    fn expire(&self, table: &mut BTreeMap<String, Entry>) {
        let now = self.environment.now_ms();
        for entry in table.values_mut() {
            let age = now.saturating_sub(entry.job.created_ms);
            if entry.job.state == JobState::Awaiting && age > AWAITED_MS {
                entry.job.state = JobState::Failed;
                entry.job.ended_ms = Some(now);
                entry.job.faults =
                    vec![plain("", "its file did not come within 10 minutes", "import it again")];
                self.note(&entry.job);
            }
        }
    }

    fn forget_oldest(&self, table: &mut BTreeMap<String, Entry>) {
        let forgotten = kept::forgotten(table.values().map(|entry| &entry.job));
        for id in &forgotten {
            table.remove(id);
            if let Some(journal) = &self.journal {
                journal.remove(id);
            }
        }
    }

    /// Has a job's state written down.
    fn note(&self, job: &Job) {
        self.journal.iter().for_each(|journal| drop(journal.write(job)));
    }

    /// Notes nothing more, once all is that is told by now; waits for that as long as this.
    pub(crate) fn close(&self, patience: Duration) {
        if self.journal.as_ref().is_some_and(|journal| !journal.close(patience)) {
            tracing::error!("the records of jobs are not all written");
        }
    }

    fn change(&self, id: &str, change: impl FnOnce(&mut Job)) {
        if let Some(entry) = self.table().get_mut(id) {
            change(&mut entry.job);
            let shown = entry.shown();
            self.note(&shown);
        }
    }
}

fn interrupt(job: &mut Job, now_ms: u64) {
    job.state = JobState::Interrupted;
    job.ended_ms = Some(now_ms);
    job.faults = vec![plain("", "the provisioner ended before it did", "ask for it again")];
}

fn is_of(job: &Job, project: Option<&ProjectName>) -> bool {
    project.is_none_or(|project| job.project.as_deref() == Some(project.as_str()))
}

#[cfg(test)]
mod tests;

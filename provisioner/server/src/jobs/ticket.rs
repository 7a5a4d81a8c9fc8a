//! Who does a job, and says how far it is and what came of it.

use std::sync::Arc;

use mezame_images::volume::VolumeId;
use mezame_model::{
    ProjectName,
    api::jobs::{Job, JobState},
};

use super::{
    Jobs, JobsError, Outcome, Unfinished, interrupt, is_of, journal::Noted, ticker::Ticker,
};
use crate::fault::plain;

/// Who does a job.
pub(crate) struct Ticket {
    pub(super) jobs: Arc<Jobs>,
    pub(super) id: String,
    pub(super) ticker: Arc<Ticker>,
    pub(super) is_told: bool,
    pub(super) noted: Option<Noted>,
}

impl Ticket {
    pub(crate) fn ticker(&self) -> &Ticker {
        &self.ticker
    }

    /// The job as it is now.
    pub(crate) fn shown(&self) -> Result<Job, JobsError> {
        self.jobs.get(None, &self.id).ok_or(JobsError::NoJob)
    }

    /// Says which volumes it is about, before anybody is told of it.
    pub(crate) fn is_about(&mut self, volumes: &[VolumeId]) {
        let mut table = self.jobs.table();
        let Some(entry) = table.get_mut(&self.id) else { return };
        entry.job.volumes = volumes.iter().map(ToString::to_string).collect();
        // What is asked for later is written later.
        self.noted = self.jobs.journal.as_ref().map(|journal| journal.write(&entry.job));
    }

    /// Waits until a job that was begun is written down: not before that is anybody told of it.
    pub(crate) async fn noted(&mut self) -> Result<(), JobsError> {
        let Some(noted) = self.noted.take() else { return Ok(()) };
        noted.await.map_err(|_| JobsError::Ending)?.map_err(JobsError::Journal)
    }

    /// Leaves a job that awaits its file to who will send it.
    pub(crate) fn leave(mut self) {
        self.is_told = true;
    }

    /// Takes a job that awaits its file; no other may.
    pub(crate) fn take(
        jobs: &Arc<Jobs>,
        project: &ProjectName,
        id: &str,
    ) -> Result<Self, JobsError> {
        let mut table = jobs.table();
        jobs.expire(&mut table);
        let entry = table.get_mut(id).filter(|entry| is_of(&entry.job, Some(project)));
        let entry = entry.ok_or(JobsError::NoJob)?;
        if entry.job.state != JobState::Awaiting {
            return Err(JobsError::NotAwaiting { state: entry.job.state.as_str() });
        }
        entry.job.state = JobState::Uploading;
        jobs.note(&entry.job);
        let ticker = Arc::clone(&entry.ticker);
        Ok(Self { jobs: Arc::clone(jobs), id: id.into(), ticker, is_told: false, noted: None })
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Says how far it is.
    pub(crate) fn enter(&self, state: JobState) {
        // How far the file came says nothing of what follows.
        if state == JobState::Queued {
            self.ticker.begin(None);
        }
        self.jobs.change(&self.id, |job| job.state = state);
    }

    /// Says what came of it.
    pub(crate) fn finish(mut self, result: Result<Outcome, Unfinished>) {
        self.end(result);
    }

    fn end(&mut self, result: Result<Outcome, Unfinished>) {
        self.is_told = true;
        let (state, outcome) = match result {
            Ok(outcome) => (JobState::Done, outcome),
            Err(Unfinished::Failed(outcome)) => (JobState::Failed, outcome),
            Err(Unfinished::Cancelled) => (JobState::Cancelled, Outcome::default()),
        };
        let now = self.jobs.environment.now_ms();
        let is_ending = self.jobs.is_ending();
        self.jobs.change(&self.id, |job| {
            if is_ending && state == JobState::Cancelled {
                return interrupt(job, now);
            }
            job.state = state;
            job.ended_ms = Some(now);
            job.image = outcome.image.or(job.image.take());
            job.backups = outcome.backups;
            job.figures = outcome.figures;
            job.faults = outcome.faults;
        });
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.is_told {
            return;
        }
        // Whoever did it panicked, or was never begun since all ended.
        let result = if self.jobs.is_ending() {
            Unfinished::Cancelled
        } else {
            plain("", "the control plane failed", "its log has the cause").into()
        };
        self.end(Err(result));
    }
}

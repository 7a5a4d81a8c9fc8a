//! Long work on volumes: noted as a job, and done by a thread once one is free.
//!
//! Hydrations have threads of their own, since QEMU does their work, for hours, and other work is
//! not to wait for that. A job has its volumes to itself from its turn on ([`super::claim`]).

use std::sync::Arc;

use mezame_images::archive::Watch;
use mezame_model::{
    ProjectName,
    api::jobs::{Job, JobKind, JobState},
};

use super::{Volumes, VolumesError, claim::Claim};
use crate::{
    control::ControlError,
    fault::{chain, plain},
    jobs::{JobsError, Outcome, Ticket, Unfinished},
};

impl Volumes {
    /// Begins long work on volumes that are claimed.
    pub(super) async fn begin(
        self: &Arc<Self>,
        what: JobKind,
        project: &ProjectName,
        claim: Claim,
        work: impl FnOnce(&Self, &Ticket) -> Result<Outcome, Unfinished> + Send + 'static,
    ) -> Result<Job, VolumesError> {
        self.begin_or(what, project, claim, work, |_| ()).await
    }

    /// The same, with what is to be done in the work's place where it is cancelled before.
    pub(super) async fn begin_or(
        self: &Arc<Self>,
        what: JobKind,
        project: &ProjectName,
        claim: Claim,
        work: impl FnOnce(&Self, &Ticket) -> Result<Outcome, Unfinished> + Send + 'static,
        give_up: impl FnOnce(&Self) + Send + 'static,
    ) -> Result<Job, VolumesError> {
        let mut ticket = self.images.table().begin(what, Some(project), None, JobState::Queued)?;
        ticket.is_about(claim.volumes());
        ticket.noted().await?;
        let job = ticket.shown()?;
        let volumes = Arc::clone(self);
        let task = move || {
            if ticket.ticker().is_cancelled() {
                give_up(&volumes);
                drop(claim);
                return ticket.finish(Err(Unfinished::Cancelled));
            }
            if let Err(error) = claim.begin(&|| ticket.ticker().is_cancelled()) {
                give_up(&volumes);
                drop(claim);
                let mend = "ask for it again once that has ended";
                let why = plain("volume", error.to_string(), mend).into();
                let is_cancelled = ticket.ticker().is_cancelled();
                let why = if is_cancelled { Unfinished::Cancelled } else { why };
                return ticket.finish(Err(why));
            }
            ticket.enter(JobState::Running);
            let result = work(&volumes, &ticket);
            // Whoever is told of the end may use them.
            drop(claim);
            ticket.finish(result);
        };
        let crew = if what == JobKind::Hydrate { &self.hydrations } else { &self.workers };
        if crew.submit(task).is_err() {
            // The ticket has told so.
            return Err(JobsError::Ending.into());
        }
        Ok(job)
    }

    /// Waits for a record to be written, on a thread of a job.
    pub(super) fn wait<T>(
        &self,
        write: impl Future<Output = Result<T, ControlError>>,
    ) -> Result<T, Unfinished> {
        self.runtime.block_on(write).map_err(|error| {
            let message = chain(&error);
            plain("", message, "the provisioner's log has more; ask for it again").into()
        })
    }
}

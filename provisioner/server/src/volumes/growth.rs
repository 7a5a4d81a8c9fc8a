//! Making a volume longer: noted, so that the project's quota counts it and what is cut short is seen, and
//! then done by a job.

use std::sync::Arc;

use mezame_images::{archive::Unwatched, volume::VolumeId};
use mezame_model::{
    ProjectName,
    api::{
        jobs::{Job, JobKind},
        volumes::ResizeVolume,
    },
};

use super::{
    Volumes, VolumesError,
    claim::Claim,
    create::{LARGEST, MEBIBYTE},
    executor::Reason,
    record::VolumeRecord,
    unfinished,
};
use crate::{
    control::ControlError,
    jobs::{Outcome, Ticket},
};

impl Volumes {
    /// Begins to make a volume longer that no guest runs on; ends what was cut short.
    pub(crate) async fn resize(
        self: &Arc<Self>,
        project: &ProjectName,
        id: &VolumeId,
        asked: ResizeVolume,
    ) -> Result<Job, VolumesError> {
        let size = asked.size;
        let claim = self.claim(std::slice::from_ref(id))?;
        let before = self.ready(project, id)?;
        check_size(&before, size)?;
        let volumes = Arc::clone(self);
        // Where who asked goes meanwhile, no volume is left to become longer without its job.
        let begun = tokio::spawn(async move { volumes.begin_resizing(&before, size, claim).await });
        begun.await.map_err(|_| ControlError::Ending)?
    }

    async fn begin_resizing(
        self: &Arc<Self>,
        before: &VolumeRecord,
        size: u64,
        claim: Claim,
    ) -> Result<Job, VolumesError> {
        let (project, id) = (&before.project, &before.id);
        let record = self.control.note_growth(project, id, size).await?;
        let was_growing = before.growing;
        let (of, id) = (project.clone(), id.clone());
        let (given_up, of_given_up) = (id.clone(), project.clone());
        let work = move |volumes: &Self, ticket: &Ticket| {
            if let Err(error) = volumes.executor.grow(&record.facts(), size, ticket.ticker()) {
                // Of others it is not known how long it is by now: it is shown as it was begun.
                if is_unchanged(error.reason) {
                    volumes.wait(volumes.note_back(&of, &id, was_growing))?;
                }
                return Err(unfinished("volume", error));
            }
            let change = volumes.control.change_volume(&of, &id, move |it| {
                (it.size, it.growing) = (size, None);
            });
            volumes.wait(change)?;
            Ok(Outcome { figures: [("size".to_owned(), size)].into(), ..Outcome::default() })
        };
        let give_up = move |volumes: &Self| {
            let back = volumes.note_back(&of_given_up, &given_up, was_growing);
            if volumes.wait(back).is_err() {
                tracing::warn!(volume = %given_up, "a volume is shown as being made longer");
            }
        };
        let begun = self.begin_or(JobKind::ResizeVolume, project, claim, work, give_up).await;
        if begun.is_err() {
            self.note_back(project, &before.id, was_growing).await?;
        }
        begun
    }

    /// Takes back that a volume is to become longer, of which nothing was done.
    async fn note_back(
        &self,
        project: &ProjectName,
        id: &VolumeId,
        growing: Option<u64>,
    ) -> Result<(), ControlError> {
        let back = move |it: &mut VolumeRecord| it.growing = growing;
        self.control.change_volume(project, id, back).await.map(drop)
    }
}

impl Volumes {
    /// That making it longer was not cut short: what is read then may be half made.
    pub(super) fn check_grown(record: &VolumeRecord) -> Result<(), VolumesError> {
        let Some(size) = record.growing else { return Ok(()) };
        let message = format!("making it {size} bytes long was begun and has not ended");
        let mend = "end it by 'mezame volume resize', or by opening it";
        Err(VolumesError::fault("", message, mend))
    }

    /// Ends what was cut short, of a volume that is being opened.
    pub(super) async fn end_growth(
        &self,
        project: &ProjectName,
        record: Arc<VolumeRecord>,
    ) -> Result<Arc<VolumeRecord>, VolumesError> {
        let Some(size) = record.growing else { return Ok(record) };
        let facts = record.facts();
        self.ask(move |executor| executor.grow(&facts, size, &Unwatched)).await?;
        let change = self.control.change_volume(project, &record.id, move |it| {
            (it.size, it.growing) = (size, None);
        });
        Ok(change.await?)
    }
}

/// Whether a volume is as long as it was after an order that failed so.
fn is_unchanged(reason: Reason) -> bool {
    !matches!(reason, Reason::Failed)
}

/// That a volume can become so long.
fn check_size(record: &VolumeRecord, size: u64) -> Result<(), VolumesError> {
    if !size.is_multiple_of(MEBIBYTE) || size > LARGEST {
        let message = "it is no good size";
        return Err(VolumesError::fault("size", message, "whole MiB, up to 8 PiB"));
    }
    let longest = record.longest();
    if size < longest || (size == record.size && record.growing.is_none()) {
        let (message, mend) = if record.growing.is_some() {
            (format!("it was to have {longest} bytes, and may"), "at least so many")
        } else {
            (format!("it has {longest} bytes"), "more; no volume is made shorter")
        };
        return Err(VolumesError::fault("size", message, mend));
    }
    Ok(())
}

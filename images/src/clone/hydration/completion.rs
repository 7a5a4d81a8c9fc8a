//! Handing a guest over to its plain volume: the steps of [`handover`] taken, by QEMU's commands and
//! the clone's record. What comes next is decided there and not here.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{COMPLETION, Hydration, HydrationError};
use crate::{
    clone::{
        Master, durable,
        handover::{self, Guest, Job, Seen, Stage, Step},
        record::Record,
    },
    qmp::{Qmp, QmpError},
    volume::{Data, Place, Volume},
};

impl Hydration {
    /// Goes over to the plain volume, once both are equal. The guest stands still meanwhile, some
    /// milliseconds and a flush, unless QEMU is slow: a minute at most.
    ///
    /// It ends as well what another process of ours has begun. Where it fails before QEMU has gone
    /// over, the guest goes on with the clone.
    ///
    /// # Errors
    /// After [`HydrationError::Late`], or if QEMU's socket fails, the guest may stand still:
    /// repeat this, or end QEMU. Both volumes are right then.
    pub fn complete(&self, qmp: &mut Qmp, master: &Master) -> Result<Volume, HydrationError> {
        let begin = Instant::now();
        let (mut fault, mut is_asked) = (None, false);
        while begin.elapsed() < COMPLETION {
            let record = master.find(&self.id)?.record;
            let (job, said) = self.state(qmp)?;
            let seen = Seen {
                stage: &record.stage,
                is_held: record.is_held,
                job,
                guest: guest(qmp)?,
                is_asked,
                has_fault: fault.is_some(),
            };
            let step = handover::next(&seen);
            match step {
                Step::End => return Ok(self.plain.clone()),
                Step::GiveUp => return Err(fault.unwrap_or_else(|| self.reason(job, said))),
                Step::Complete => is_asked = true,
                _ => {}
            }
            match self.take(step, &record, qmp, master) {
                Ok(()) => {}
                // It is left the way it came; another fault on that way can't be helped.
                Err(error) if fault.is_none() && error.is_answer() => fault = Some(error),
                Err(error) => return Err(fault.unwrap_or(error)),
            }
        }
        Err(HydrationError::Late(self.id.clone()))
    }

    /// Takes a step of handing over.
    fn take(
        &self,
        step: Step,
        record: &Record,
        qmp: &mut Qmp,
        master: &Master,
    ) -> Result<(), HydrationError> {
        let mark = |stage: Stage, is_held| master.mark(&self.id, stage, is_held);
        match step {
            Step::Hold => mark(record.stage.clone(), true)?,
            Step::Release => mark(record.stage.clone(), false)?,
            Step::Stop => drop(qmp.execute("stop", json!({}))?),
            Step::Continue => drop(qmp.execute("cont", json!({}))?),
            Step::HandOver => {
                self.flush()?;
                mark(Stage::HandingOver(self.place()?.clone()), record.is_held)?;
            }
            Step::Complete => self.tell(qmp, "job-complete")?,
            Step::GoOver => mark(Stage::Plain(self.place()?.clone()), record.is_held)?,
            Step::GoBack => mark(Stage::Overlay, record.is_held)?,
            Step::Tidy => self.dismiss(qmp, "")?,
            Step::Wait => thread::sleep(Duration::from_millis(5)),
            Step::End | Step::GiveUp => {}
        }
        Ok(())
    }

    /// Makes the plain volume durable. QEMU passes a guest's flush on to the clone alone while it
    /// copies.
    fn flush(&self) -> Result<(), HydrationError> {
        let place = self.place()?;
        place
            .open()
            .and_then(|(file, _)| file.sync_all())
            .and_then(|()| durable::sync_parent(place.path()))
            .map_err(|source| HydrationError::Flush { path: place.path().into(), source })
    }

    fn place(&self) -> Result<&Place, HydrationError> {
        let Data::Plain(place) = self.plain.data() else {
            return Err(HydrationError::NoJob(self.id.clone()));
        };
        Ok(place)
    }

    /// What the job does, and what it says.
    fn state(&self, qmp: &mut Qmp) -> Result<(Job, Option<String>), HydrationError> {
        let Some(job) = self.job(qmp)? else { return Ok((Job::None, None)) };
        let said = job["error"].as_str().map(str::to_owned);
        let state = match job["status"].as_str().unwrap_or_default() {
            _ if said.is_some() => Job::Failed,
            "ready" => Job::Equal,
            "waiting" | "pending" | "aborting" => Job::Finishing,
            "concluded" => Job::Done,
            _ => Job::Copying,
        };
        Ok((state, said))
    }

    /// Why a clone is not handed over, where nothing was tried.
    fn reason(&self, job: Job, said: Option<String>) -> HydrationError {
        match (job, said) {
            (Job::None, _) => HydrationError::NoJob(self.id.clone()),
            (_, Some(said)) => self.failed(&said),
            _ => HydrationError::NotEqual(self.id.clone()),
        }
    }
}

impl HydrationError {
    /// Whether QEMU can still be told what to do.
    fn is_answer(&self) -> bool {
        !matches!(self, Self::Qmp(error) if !matches!(error, QmpError::Refused { .. }))
    }
}

/// What a guest does, if this QEMU is a machine.
fn guest(qmp: &mut Qmp) -> Result<Guest, HydrationError> {
    match qmp.execute("query-status", json!({})) {
        Ok(status) if status["running"] == true => Ok(Guest::Running),
        Ok(_) => Ok(Guest::Stopped),
        Err(QmpError::Refused { class, .. }) if class == "CommandNotFound" => Ok(Guest::None),
        Err(error) => Err(error.into()),
    }
}

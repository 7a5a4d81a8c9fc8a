//! What became of a job that a schedule has begun.
//!
//! One that failed since the archive or a pool was away has a fault whose place is [`SITE`]: that
//! passes, and the schedule tries again.

use mezame_model::api::jobs::{Job, JobState};

use super::record::{Ended, ScheduleRecord};
use crate::images::{Images, SITE};

/// How the job of a running schedule ended, if it did: with backups, or otherwise.
pub(super) fn of(images: &Images, record: &ScheduleRecord) -> Option<Result<Job, Ended>> {
    let Ok(job) = images.job(Some(&record.project), record.job().unwrap_or_default()) else {
        return Some(Err(Ended::Interrupted("its job is not known any more".into())));
    };
    let fault = job.faults.first().map(|fault| fault.message.clone());
    Some(match job.state {
        JobState::Done => Ok(job),
        JobState::Interrupted => Err(Ended::Interrupted(
            fault.unwrap_or_else(|| "the provisioner ended before the backup did".into()),
        )),
        state if state.is_end() => {
            let why = fault.unwrap_or_else(|| format!("the job was {}", state.as_str()));
            let is_away = job.faults.iter().any(|fault| fault.path == SITE);
            Err(if is_away { Ended::Away(why) } else { Ended::Failed(why) })
        }
        _ => return None,
    })
}

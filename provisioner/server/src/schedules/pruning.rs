//! Deleting what a schedule made and does not keep. Which that is, is [`super::kept`]'s to say.

use mezame_model::api::schedules::Schedule;

use super::{
    Schedules, kept,
    record::{Ended, ScheduleRecord},
    why,
};
use crate::{control::ControlError, volumes::VolumesError};

impl Schedules {
    /// Deletes what the schedule made and does not keep, after a backup that has come to these images.
    pub(crate) async fn prune(
        &self,
        record: &ScheduleRecord,
        fresh: &[String],
    ) -> Result<Ended, String> {
        let volumes = self.volumes.volumes().await.map_err(|error| why(&error))?;
        let mut dropped = 0;
        let all = match volumes.backups(&record.project).await {
            Ok(all) => all,
            Err(error) => return Ok(Ended::Done { dropped, why: Some(undropped(&error)) }),
        };
        // As it is by now: listing takes a while, and what is kept may have become more.
        let Some(spec) = self.spec_of(record) else {
            return Ok(Ended::Done { dropped, why: None });
        };
        for id in kept::dropped(spec.keep, &record.name, &spec.volumes, &all, fresh) {
            if self.spec_of(record).as_ref() != Some(&spec) {
                // What is not kept then goes after the next backup.
                break;
            }
            match volumes.delete_backup(&record.project, id).await {
                // One that somebody else has deleted is gone all the same.
                Ok(()) | Err(VolumesError::Control(ControlError::NotFound)) => {}
                // The others stay too, so that what goes is the oldest always.
                Err(error) => return Ok(Ended::Done { dropped, why: Some(undropped(&error)) }),
            }
            let (project, schedule, backup) = (&record.project, &record.name, id);
            tracing::info!(%project, %schedule, %backup, "a schedule deleted a backup");
            dropped += 1;
        }
        Ok(Ended::Done { dropped, why: None })
    }

    /// What it is to do by now, unless it was deleted.
    fn spec_of(&self, record: &ScheduleRecord) -> Option<Schedule> {
        let now = self.control.schedule(&record.project, &record.name).ok()?;
        Some(now.spec.clone())
    }
}

fn undropped(error: &VolumesError) -> String {
    format!("the backup is there, and older ones could not be deleted: {}", why(error))
}

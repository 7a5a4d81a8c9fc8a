//! Long work on a volume that is there: another key, and a hydration.

use std::{path::PathBuf, sync::Arc};

use mezame_images::volume::VolumeId;
use mezame_model::{
    ProjectName,
    api::{
        jobs::{Job, JobKind},
        volumes::{Hydrate, VolumeClass},
    },
};

use super::{Volumes, VolumesError, claim::MayOpen, create::new_key, unfinished};
use crate::jobs::Outcome;

impl Volumes {
    /// Begins to give a volume another key; goes on with a change that was cut short.
    pub(crate) async fn rotate_key(
        self: &Arc<Self>,
        project: &ProjectName,
        id: &VolumeId,
        qmp: Option<PathBuf>,
    ) -> Result<Job, VolumesError> {
        let qmp = self.monitor_of(project, std::slice::from_ref(id), qmp).await?;
        let may_open = if qmp.is_some() { MayOpen::Yes } else { MayOpen::No };
        let claim = self.claim_for_job(std::slice::from_ref(id), may_open)?;
        let record = self.usable(project, id)?;
        let Some((newest, _)) = record.keys.last_key_value() else {
            let mend = "make an encrypted one, and copy into it";
            return Err(VolumesError::fault("", "the volume is not encrypted", mend));
        };
        let (number, key) = (newest.saturating_add(1), new_key(&*self.environment)?);
        // The key is durable before the header knows it.
        let change = self.control.change_volume(project, id, move |it| {
            // One that was begun is ended first, whatever key is made now.
            if !it.is_rotating {
                it.keys.insert(number, key);
                it.is_rotating = true;
            }
        });
        let record = change.await?;
        let (of, id) = (project.clone(), id.clone());
        self.begin(JobKind::RotateKey, project, claim, move |volumes, _| {
            let needed = volumes.executor.rotate_key(&record.facts(), qmp);
            let needed = needed.map_err(|error| unfinished("volume", error))?;
            let forgotten = record.keys.keys().filter(|key| !needed.contains(key)).count();
            let change = volumes.control.change_volume(&of, &id, move |it| {
                it.keys.retain(|number, _| needed.contains(number));
                it.is_rotating = false;
            });
            volumes.wait(change)?;
            let figures = [("forgotten".to_owned(), forgotten as u64)].into();
            Ok(Outcome { figures, ..Outcome::default() })
        })
        .await
    }

    /// Begins to copy a running guest's volume into a plain one; goes on with what was begun.
    pub(crate) async fn hydrate(
        self: &Arc<Self>,
        project: &ProjectName,
        id: &VolumeId,
        asked: Hydrate,
    ) -> Result<Job, VolumesError> {
        let Hydrate { qmp, speed } = asked;
        let qmp = self.monitor_needed(project, id, qmp).await?;
        let claim = self.claim_for_job(std::slice::from_ref(id), MayOpen::Yes)?;
        let record = self.usable(project, id)?;
        if record.class == VolumeClass::Plain {
            return Err(VolumesError::fault("", "the volume is plain already", "nothing is to do"));
        }
        let (of, id) = (project.clone(), id.clone());
        self.begin(JobKind::Hydrate, project, claim, move |volumes, ticket| {
            let done = volumes.executor.hydrate(&record.facts(), qmp, speed, ticket.ticker());
            done.map_err(|error| unfinished("volume", error))?;
            let plain = volumes.control.change_volume(&of, &id, |it| it.class = VolumeClass::Plain);
            volumes.wait(plain)?;
            Ok(Outcome::default())
        })
        .await
    }

    /// Has a hydration rest, or go on.
    pub(crate) async fn pace(
        &self,
        project: &ProjectName,
        id: &VolumeId,
        qmp: Option<PathBuf>,
        is_paused: bool,
    ) -> Result<(), VolumesError> {
        let facts = self.usable(project, id)?.facts();
        let qmp = self.monitor_needed(project, id, qmp).await?;
        self.ask_monitor(move |executor| executor.pace(&facts, qmp, is_paused)).await
    }
}

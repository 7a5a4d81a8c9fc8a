//! Volume keys: changed one at a time, each by a call of its own, since no document has them; and
//! the trail of who asked for one.

use std::{cmp::Reverse, sync::Arc};

use mezame_model::{
    Generation, InstanceName, ProjectName, VolumeName,
    api::{Event, Kind, StoredKeyRequest, VolumeKeyView},
};

use super::{Control, ControlError, uncut};
use crate::{
    record::{Record, decode},
    state::Changes,
    store::{Batch, Trail},
    volume_keys::{self, Action, Refused},
};

impl Control {
    /// An instance's volume keys.
    pub(crate) fn volume_keys(
        &self,
        project: &ProjectName,
        name: &InstanceName,
    ) -> Result<Vec<VolumeKeyView>, ControlError> {
        let state = self.state();
        let held = state.instance(project, name).ok_or(ControlError::NotFound)?;
        Ok(volume_keys::views(&held.record))
    }

    /// Does something to one of an instance's volume keys, and shows it; none once it is gone.
    pub(crate) async fn change_volume_key(
        self: &Arc<Self>,
        project: ProjectName,
        name: InstanceName,
        volume: VolumeName,
        action: Action,
    ) -> Result<Option<VolumeKeyView>, ControlError> {
        let control = Arc::clone(self);
        uncut(async move {
            let _turn = control.turn.lock().await;
            let what = action.what();
            let changed = {
                let state = control.state();
                let held = state.instance(&project, &name).ok_or(ControlError::NotFound)?;
                volume_keys::change(&held.record, &volume, action)?
            };
            if let Some(record) = changed {
                let event = Event {
                    generation: Generation::ZERO,
                    at_ms: control.environment.now_ms(),
                    project: project.to_string(),
                    kind: Kind::Instance,
                    name: name.to_string(),
                    what: what.into(),
                    detail: volume.to_string(),
                };
                let puts = vec![Record::Instance(Arc::new(record))];
                let batch = Batch { events: vec![event], ..Batch::default() };
                control.commit(Changes { puts, ..Changes::default() }, batch).await?;
            }
            let keys = control.volume_keys(&project, &name)?;
            Ok(keys.into_iter().find(|key| key.name == volume))
        })
        .await
    }

    /// What an instance's guests asked for of its volume keys, newest first.
    pub(crate) async fn key_requests(
        &self,
        project: &ProjectName,
        name: &InstanceName,
    ) -> Result<Vec<StoredKeyRequest>, ControlError> {
        let id = self.instance_id(project, name)?;
        let mut requests = Vec::new();
        for trail in Trail::ALL {
            for (_, body) in self.store.key_requests(id.clone(), trail).await? {
                requests.push(decode::<StoredKeyRequest>(&body, "request for a volume's key")?);
            }
        }
        requests.sort_by_key(|request| Reverse(request.at_ms));
        Ok(requests)
    }
}

impl From<Refused> for ControlError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NotFound => Self::NotFound,
            Refused::Fault(fault) => Self::Faults(vec![fault]),
        }
    }
}

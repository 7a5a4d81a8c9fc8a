//! Old contents that restores in place have kept: told of, and deleted.

use mezame_model::api::volumes::{Leftover, VolumeDeleted};

use super::{Volumes, VolumesError, executor::ExecutorError, executor::Reason, local::volume_of};
use crate::control::ControlError;

impl Volumes {
    /// All that lie in the pools of this host, and files of volumes that are not known.
    pub(crate) async fn leftovers(&self) -> Result<Vec<Leftover>, VolumesError> {
        let records = self.control.volumes_of_host(self.executor.host());
        let known: Vec<_> = records.iter().map(|record| record.facts()).collect();
        self.ask(move |executor| executor.leftovers(&known)).await
    }

    /// Deletes one, which is none of what its volume is now. The volume's keys stay.
    pub(crate) async fn delete_leftover(
        &self,
        pool: &str,
        file: &str,
    ) -> Result<VolumeDeleted, VolumesError> {
        let id = volume_of(file).ok_or(ControlError::NotFound)?;
        let claim = self.claim(std::slice::from_ref(&id))?;
        let Some(record) = self.control.volume_of_any(&id) else {
            let message = format!("no volume {id} is known; look at {file}, and delete it by hand");
            return Err(ExecutorError::new(Reason::Conflict, message).into());
        };
        let facts = self.here(&record.project, &id)?.facts();
        if facts.pool != pool {
            return Err(ControlError::NotFound.into());
        }
        let file = file.to_owned();
        let remove = move |executor: &dyn super::executor::Executor| {
            Ok((executor.remove_leftover(&facts, &file)?, claim))
        };
        let (erased, _claim) = self.ask(remove).await?;
        let erasure = erased.ok_or(ControlError::NotFound)?;
        Ok(VolumeDeleted {
            id: id.to_string(),
            erased: erasure.what.into(),
            doubt: erasure.doubt,
            keys_forgotten: 0,
            kept: Vec::new(),
            schedules: Vec::new(),
        })
    }
}

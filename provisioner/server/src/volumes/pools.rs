//! Making a pool at the place that the settings name, or of the disks that they do.

use mezame_model::api::volumes::Pool;

use super::{
    Volumes, VolumesError,
    executor::{Executor, ExecutorError},
};
use crate::control::ControlError;

impl Volumes {
    /// Makes one, or finds that it is there; whether it was made now. Of its disks those that are named
    /// are taken over.
    pub(crate) async fn make_pool(
        &self,
        name: String,
        take_over: Vec<String>,
    ) -> Result<(Pool, bool), VolumesError> {
        let make = move |executor: &dyn Executor| -> Result<_, ExecutorError> {
            let Some(before) = executor.look_at_pool(&name) else { return Ok(None) };
            Ok(Some((executor.make_pool(&name, &take_over)?, !before.is_there)))
        };
        Ok(self.ask(make).await?.ok_or(ControlError::NotFound)?)
    }
}

//! Making a pool at the place that the settings name.

use mezame_model::api::volumes::Pool;

use super::{
    Volumes, VolumesError,
    executor::{Executor, ExecutorError},
};
use crate::control::ControlError;

impl Volumes {
    /// Makes one, or finds that it is there; whether it was made now.
    pub(crate) async fn make_pool(&self, name: String) -> Result<(Pool, bool), VolumesError> {
        let make = move |executor: &dyn Executor| -> Result<_, ExecutorError> {
            let Some(before) = executor.pools().into_iter().find(|pool| pool.name == name) else {
                return Ok(None);
            };
            Ok(Some((executor.make_pool(&name)?, !before.is_there)))
        };
        Ok(self.ask(make).await?.ok_or(ControlError::NotFound)?)
    }
}

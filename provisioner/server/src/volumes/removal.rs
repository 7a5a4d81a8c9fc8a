//! Deleting a volume that is claimed, carried to its end: what was erased is forgotten with its keys,
//! also where who asked goes meanwhile. What was not begun by then is not done.

use std::sync::Arc;

use mezame_model::api::volumes::VolumeDeleted;

use super::{
    Volumes, VolumesError,
    claim::Claim,
    executor::{Executor, ExecutorError, Reason},
    record::VolumeRecord,
};
use crate::images::ImagesError;

/// Deletes it where it lies, then its record.
pub(super) async fn remove(
    volumes: &Arc<Volumes>,
    record: Arc<VolumeRecord>,
    claim: Claim,
) -> Result<VolumeDeleted, VolumesError> {
    let asker = Arc::new(());
    let (volumes, is_wanted) = (Arc::clone(volumes), Arc::downgrade(&asker));
    let carried = tokio::spawn(async move {
        let facts = record.facts();
        let delete = move |executor: &dyn Executor| {
            if is_wanted.strong_count() == 0 {
                let message = "who asked for it went before it was begun";
                return Err(ExecutorError::new(Reason::Cancelled, message));
            }
            Ok((executor.delete(&facts)?, claim))
        };
        let (erasure, _claim) = volumes.ask(delete).await?;
        volumes.control.forget_volume(&record.project, &record.id).await?;
        Ok(VolumeDeleted {
            id: record.id.to_string(),
            erased: erasure.what.into(),
            doubt: erasure.doubt,
            keys_forgotten: record.keys.len(),
        })
    });
    let done = carried.await.map_err(|_| ImagesError::Ending)?;
    drop(asker);
    done
}

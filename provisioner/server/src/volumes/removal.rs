//! Deleting a volume that is claimed, carried to its end: what was erased is forgotten with its keys,
//! also where who asked goes meanwhile. What was not begun by then is not done.

use std::{path::PathBuf, sync::Arc};

use mezame_model::api::volumes::VolumeDeleted;

use super::{
    Volumes, VolumesError,
    claim::Claim,
    executor::{Erasure, Executor, ExecutorError, Reason},
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
        let (facts, kept) = (record.facts(), record.kept.clone());
        let delete = move |executor: &dyn Executor| {
            if is_wanted.strong_count() == 0 {
                let message = "who asked for it went before it was begun";
                return Err(ExecutorError::new(Reason::Cancelled, message));
            }
            Ok((executor.delete(&facts)?, executor.still_kept(&kept), claim))
        };
        let (erasure, kept, _claim) = volumes.ask(delete).await?;
        volumes.control.forget_volume(&record.project, &record.id).await?;
        // Its project may have gone by now, and they with it.
        let all = volumes.control.schedules(&record.project).unwrap_or_default();
        let of_it = all.iter().filter(|it| it.names(record.id.as_str()));
        let schedules = of_it.map(|it| it.name.to_string()).collect();
        Ok(VolumeDeleted { schedules, ..told(&record, erasure, &kept) })
    });
    let done = carried.await.map_err(|_| ImagesError::Ending)?;
    drop(asker);
    done
}

/// What became of it. Files that restores have kept have the keys in their headers, too.
fn told(record: &VolumeRecord, erasure: Erasure, kept: &[PathBuf]) -> VolumeDeleted {
    let kept: Vec<String> = kept.iter().map(|path| path.display().to_string()).collect();
    let Erasure { mut what, mut doubt } = erasure;
    if !kept.is_empty() && !record.keys.is_empty() {
        what = "unsure";
        let files = kept.join(", ");
        let of_kept = format!("what a restore has kept of it has its keys, too: {files}");
        doubt = Some(doubt.map_or(of_kept.clone(), |doubt| format!("{doubt}; {of_kept}")));
    }
    VolumeDeleted {
        id: record.id.to_string(),
        erased: what.into(),
        doubt,
        keys_forgotten: record.keys.len(),
        kept,
        schedules: Vec::new(),
    }
}

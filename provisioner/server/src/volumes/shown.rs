//! What is at work on volumes, told beside their records.

use std::collections::BTreeMap;

use mezame_model::{
    ProjectName,
    api::volumes::{RestoreWay, Volume},
};

use super::Volumes;
use crate::fault::chain;

impl Volumes {
    /// A project's volumes with what is at work on each. Where nobody can say what was begun, the
    /// records are shown as they are.
    pub(crate) async fn at_work(
        &self,
        project: &ProjectName,
        mut volumes: Vec<Volume>,
    ) -> Vec<Volume> {
        let mut jobs = BTreeMap::new();
        for job in self.images.table().list(Some(project)) {
            if !job.state.is_end() {
                jobs.extend(job.volumes.iter().map(|volume| (volume.clone(), job.id.clone())));
            }
        }
        let begun = self.ask(|executor| executor.restoring()).await.unwrap_or_else(|error| {
            tracing::warn!(error = chain(&error), "which volumes are being restored is not known");
            Vec::new()
        });
        let begun: BTreeMap<String, bool> =
            begun.into_iter().map(|(id, is_half)| (id.to_string(), is_half)).collect();
        for volume in &mut volumes {
            volume.job = jobs.remove(&volume.id);
            let way = |is_half: &bool| if *is_half { RestoreWay::Over } else { RestoreWay::Beside };
            volume.restoring = begun.get(&volume.id).map(way);
        }
        volumes
    }
}

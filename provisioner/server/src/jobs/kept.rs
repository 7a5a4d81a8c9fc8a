//! Which jobs that ended are still told of. One busy project does not push out the others'.

use std::{cmp::Reverse, collections::BTreeMap};

use mezame_model::{ProjectName, api::jobs::Job};

use super::Jobs;
use crate::control::Control;

/// Of one project, or of none; of more, those that ended first are forgotten.
pub(super) const KEPT: usize = 200;
/// Of all projects.
const KEPT_IN_ALL: usize = 5000;

impl Jobs {
    /// Forgets what ended in projects that there are no more: a later one of such a name is another's.
    pub(crate) fn forget_deleted(&self, control: &Control) {
        let state = control.state();
        self.forget_projects(|project| {
            ProjectName::parse(project).is_ok_and(|project| state.tenant(&project).is_some())
        });
    }

    pub(super) fn forget_projects(&self, is_there: impl Fn(&str) -> bool) {
        self.table().retain(|id, entry| {
            let project = entry.job.project.as_deref();
            let stays = !entry.job.state.is_end() || project.is_none_or(&is_there);
            if let Some(journal) = self.journal.as_ref().filter(|_| !stays) {
                journal.remove(id);
            }
            stays
        });
    }
}

/// The ids of those that are to be forgotten.
pub(super) fn forgotten<'a>(jobs: impl Iterator<Item = &'a Job>) -> Vec<String> {
    let mut ended: Vec<&Job> = jobs.filter(|job| job.state.is_end()).collect();
    // Not as they began: one that took hours may have ended last of all.
    ended.sort_by_key(|job| Reverse((job.ended_ms, &job.id)));
    let mut kept: BTreeMap<Option<&str>, usize> = BTreeMap::new();
    let mut forgotten = Vec::new();
    for (place, job) in ended.into_iter().enumerate() {
        let of_project = kept.entry(job.project.as_deref()).or_default();
        *of_project += 1;
        if *of_project > KEPT || place >= KEPT_IN_ALL {
            forgotten.push(job.id.clone());
        }
    }
    forgotten
}

//! How many jobs may be unfinished. Pure.
//!
//! One table is for all. So that nobody is locked out of it by others, one project has at most half of
//! it, those that wait for their file half in all and a quarter of one project, and schedules a quarter.

use mezame_model::api::jobs::{Job, JobState};

use super::{Jobs, JobsError};

/// Whether one more may begin where so many may be unfinished, and these are.
pub(super) fn check<'a>(
    most: usize,
    unfinished: impl Iterator<Item = &'a Job>,
    project: Option<&str>,
    state: JobState,
) -> Result<(), JobsError> {
    let (mut all, mut own, mut awaiting, mut own_awaiting) = (0, 0, 0, 0);
    for job in unfinished {
        let is_own = project.is_some() && job.project.as_deref() == project;
        let is_awaiting = job.state == JobState::Awaiting;
        all += 1;
        own += usize::from(is_own);
        awaiting += usize::from(is_awaiting);
        own_awaiting += usize::from(is_own && is_awaiting);
    }
    let half = most.div_ceil(2);
    if all >= most {
        return Err(JobsError::TooMany { what: "jobs", most });
    }
    if own >= half {
        return Err(JobsError::TooManyOfProject { what: "jobs", most: half });
    }
    if state == JobState::Awaiting {
        let what = "imports that wait for their file";
        let quarter = quarter(most);
        if own_awaiting >= quarter {
            return Err(JobsError::TooManyOfProject { what, most: quarter });
        }
        if awaiting >= half {
            return Err(JobsError::TooMany { what, most: half });
        }
    }
    Ok(())
}

fn quarter(most: usize) -> usize {
    (most / 4).max(1)
}

impl Jobs {
    /// How many may be unfinished of those that schedules begin.
    pub(crate) fn most_scheduled(&self) -> usize {
        quarter(self.most)
    }
}

#[cfg(test)]
mod tests {
    use mezame_model::api::jobs::JobKind;

    use super::*;

    fn jobs(project: &str, state: JobState, count: usize) -> Vec<Job> {
        let job = Job {
            id: "job-1".into(),
            what: JobKind::Import,
            project: Some(project.into()),
            image: None,
            volumes: Vec::new(),
            backups: Vec::new(),
            state,
            phase: None,
            done: 0,
            total: 0,
            created_ms: 0,
            ended_ms: None,
            figures: Default::default(),
            faults: Vec::new(),
        };
        vec![job; count]
    }

    fn may(there: &[Vec<Job>], project: &str, state: JobState) -> bool {
        check(32, there.iter().flatten(), Some(project), state).is_ok()
    }

    #[test]
    fn one_project_leaves_half_of_the_table_to_the_others() {
        let full = [jobs("a", JobState::Running, 16)];
        assert!(may(&[jobs("a", JobState::Running, 15)], "a", JobState::Queued));
        assert!(!may(&full, "a", JobState::Queued));
        assert!(may(&full, "b", JobState::Queued));
        assert!(check(32, full.iter().flatten(), None, JobState::Queued).is_ok());
        let both = [jobs("a", JobState::Running, 16), jobs("b", JobState::Queued, 16)];
        assert!(!may(&both, "c", JobState::Queued));
        // A table of one has it all the same.
        assert!(check(1, [].iter(), Some("a"), JobState::Awaiting).is_ok());
    }

    #[test]
    fn files_that_do_not_come_leave_room_for_work_and_for_other_projects_files() {
        let own = [jobs("a", JobState::Awaiting, 8)];
        assert!(!may(&own, "a", JobState::Awaiting));
        assert!(may(&own, "a", JobState::Queued) && may(&own, "b", JobState::Awaiting));
        let all = [jobs("a", JobState::Awaiting, 8), jobs("b", JobState::Awaiting, 8)];
        assert!(!may(&all, "c", JobState::Awaiting) && may(&all, "c", JobState::Queued));
        // A file that is being sent is work.
        let sent = [jobs("a", JobState::Uploading, 8)];
        assert!(may(&sent, "a", JobState::Awaiting));
    }
}

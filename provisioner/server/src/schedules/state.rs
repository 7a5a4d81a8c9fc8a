//! What a schedule is at, in one word, for who counts them.

use super::{Schedules, named, record::ScheduleRecord};

/// What a schedule is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Its first time has not come.
    New,
    /// Its backup is made.
    Running,
    /// It is due, and its backup can't begin now; or what it made can't be looked at.
    Waiting,
    /// Its last backup is there.
    Done,
    /// It is not, or not all of it.
    Failed,
    /// It rests, whatever its last backup came to.
    Paused,
}

impl State {
    /// All, each at the place that its number says.
    pub(super) const ALL: [Self; 6] =
        [Self::New, Self::Running, Self::Waiting, Self::Done, Self::Failed, Self::Paused];

    /// Its word.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Paused => "paused",
        }
    }
}

impl Schedules {
    /// How many of all projects' are in which state; each state that there is.
    pub(crate) fn states(&self) -> Vec<(&'static str, u64)> {
        let all = self.control.all_schedules();
        if all.is_empty() {
            return Vec::new();
        }
        let waiting = self.waiting();
        let mut states = State::ALL.map(|state| (state.as_str(), 0));
        for record in all {
            states[record.state(waiting.contains_key(&named(&record))) as usize].1 += 1;
        }
        states.into()
    }

    /// When the last good backup ended of that schedule whose is the oldest, in milliseconds since 1970.
    /// Those that are paused or have none are left out.
    pub(crate) fn oldest_done_ms(&self) -> Option<u64> {
        self.control
            .all_schedules()
            .iter()
            .filter_map(|record| record.done_while_in_force_ms())
            .min()
    }
}

impl ScheduleRecord {
    /// When its last good backup ended, unless it is paused.
    fn done_while_in_force_ms(&self) -> Option<u64> {
        self.done_ms().filter(|_| !self.spec.paused)
    }

    /// What it is at, if it waits or does not.
    pub(super) fn state(&self, waits: bool) -> State {
        match self.outcome() {
            _ if self.spec.paused => State::Paused,
            _ if waits => State::Waiting,
            _ if self.is_running() => State::Running,
            None => State::New,
            Some("done") => State::Done,
            Some(_) => State::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use mezame_model::{ProjectName, api::schedules::Schedule};

    use super::*;
    use crate::schedules::record::Ended;

    fn record() -> ScheduleRecord {
        let spec =
            serde_json::json!({ "volumes": ["web"], "qmp": "/run/web.qmp", "when": "02:30" });
        let spec: Schedule = serde_json::from_value(spec).unwrap();
        ScheduleRecord::new(ProjectName::parse("p").unwrap(), "nightly", spec, 0)
    }

    #[test]
    fn each_state_is_at_the_place_of_its_number() {
        for (place, state) in State::ALL.into_iter().enumerate() {
            assert_eq!(state as usize, place);
        }
    }

    #[test]
    fn a_schedule_is_at_what_its_last_run_came_to() {
        let mut record = record();
        assert_eq!(record.state(false), State::New);
        assert_eq!(record.state(true), State::Waiting);
        record.begin(1, Some("job".into()));
        assert_eq!(record.state(false), State::Running);
        record.end(2, Ended::Failed("the pool is full".into()));
        assert_eq!(record.state(false), State::Failed);
        record.begin(3, Some("job".into()));
        record.end(4, Ended::Done { dropped: 0, why: None });
        assert_eq!(record.state(false), State::Done);
        record.begin(5, Some("job".into()));
        record.end(6, Ended::Failed("the pool is full".into()));
        assert_eq!(record.done_while_in_force_ms(), Some(4), "a failure makes no backup younger");
        record.spec.paused = true;
        assert_eq!(record.state(true), State::Paused);
        assert_eq!(record.done_while_in_force_ms(), None);
    }
}

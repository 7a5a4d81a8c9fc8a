//! What the control plane keeps of a schedule, and what follows from it. Pure: the time is passed in.
//!
//! ```text
//!           a time comes, or did while nobody looked
//!   due ───────────────────────► running ───► done · failed ───► due at the next time
//!                                   ├──► interrupted ───► due at once, and that once
//!                                   └──► away ───► due in ten minutes, for six hours
//! ```
//! Times are counted from an anchor: when it was written, had its times changed, was resumed or was
//! begun last. So however many times were missed are one, and none of before it was written, or of
//! while it was paused, is made up for.

use mezame_model::{
    ProjectName,
    api::schedules::{Schedule, ScheduleRun, ScheduleView},
};
use serde::{Deserialize, Serialize};

use super::when::When;

/// How far the clock may be set back without a time coming once more.
const SLACK_MS: u64 = 60 * 60 * 1000;
/// After how long what failed since the archive or a pool was away is tried again, and how often.
const AGAIN_MS: u64 = 10 * 60 * 1000;
const MOST_TRIES: u32 = 36;

/// A schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ScheduleRecord {
    pub(crate) name: Box<str>,
    pub(crate) project: ProjectName,
    pub(crate) spec: Schedule,
    /// Times up to this one are none, in milliseconds since 1970.
    anchor_ms: u64,
    /// It is due from then on, whatever its times: what it had begun was interrupted.
    #[serde(default)]
    again_ms: Option<u64>,
    /// Whether what was begun last was so for that reason.
    #[serde(default)]
    is_second: bool,
    /// How often it was tried again since the archive or a pool was away.
    #[serde(default)]
    tries: u32,
    last: Option<ScheduleRun>,
    done_ms: Option<u64>,
    failures: u32,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The backups are there. So many older ones were deleted, and why not all that are not kept.
    Done { dropped: u64, why: Option<String> },
    /// They are not, or not all.
    Failed(String),
    /// The provisioner ended before they were.
    Interrupted(String),
    /// They are not, since the archive or a pool was away.
    Away(String),
}

impl ScheduleRecord {
    pub(crate) fn new(project: ProjectName, name: &str, spec: Schedule, now_ms: u64) -> Self {
        Self {
            name: name.into(),
            project,
            spec,
            anchor_ms: now_ms,
            again_ms: None,
            is_second: false,
            tries: 0,
            last: None,
            done_ms: None,
            failures: 0,
        }
    }

    /// The same with another form; what became of it stays. A time that has come is not lost by it,
    /// unless the times are others or it was paused.
    pub(crate) fn replaced(&self, spec: Schedule, now_ms: u64) -> Self {
        let is_anew = spec.when != self.spec.when || self.spec.paused;
        let anchor_ms = if is_anew { now_ms } else { self.anchor_ms };
        let again_ms = self.again_ms.filter(|_| !is_anew);
        Self { spec, anchor_ms, again_ms, ..self.clone() }
    }

    /// When it is due next, in milliseconds since 1970; earlier than now where a time was missed.
    pub(crate) fn next_ms(&self) -> Option<u64> {
        if self.spec.paused {
            return None;
        }
        let next = When::parse(&self.spec.when).ok().and_then(|it| it.next_after(self.anchor_ms));
        self.again_ms.into_iter().chain(next).min()
    }

    /// Since when it is due, if its time has come and what was begun before has ended.
    pub(crate) fn due_ms(&self, now_ms: u64) -> Option<u64> {
        self.next_ms().filter(|next| !self.is_running() && *next <= now_ms)
    }

    /// Whether the last run is not over, as far as is known.
    pub(crate) fn is_running(&self) -> bool {
        self.last.as_ref().is_some_and(|run| run.outcome == RUNNING)
    }

    /// Whether the volume of this id is one of its own.
    pub(crate) fn names(&self, id: &str) -> bool {
        self.spec.volumes.iter().any(|named| named == id)
    }

    /// What the last run came to, if there was one.
    pub(super) fn outcome(&self) -> Option<&str> {
        self.last.as_ref().map(|run| &run.outcome[..])
    }

    /// When its last good backup ended.
    pub(super) fn done_ms(&self) -> Option<u64> {
        self.done_ms
    }

    /// The job of a run that is not over.
    pub(crate) fn job(&self) -> Option<&str> {
        self.last.as_ref().filter(|run| run.outcome == RUNNING)?.job.as_deref()
    }

    /// Notes that a run is begun.
    pub(crate) fn begin(&mut self, now_ms: u64, job: Option<String>) {
        self.anchor_ms = now_ms;
        self.is_second = self.again_ms.take().is_some();
        if !self.is_second {
            self.tries = 0;
        }
        let outcome = RUNNING.into();
        self.last = Some(ScheduleRun { at_ms: now_ms, job, outcome, why: None, dropped: 0 });
    }

    /// Notes how it ended.
    pub(crate) fn end(&mut self, now_ms: u64, ended: Ended) {
        let Some(run) = &mut self.last else { return };
        let (failed, again_ms) = match ended {
            Ended::Done { dropped, why } => {
                (run.outcome, run.dropped, run.why) = ("done".into(), dropped, why);
                (self.done_ms, self.failures, self.tries) = (Some(now_ms), 0, 0);
                return;
            }
            Ended::Failed(why) => (why, None),
            // Once: a backup that brings the provisioner down must not do so for ever.
            Ended::Interrupted(why) => (why, (!self.is_second).then_some(now_ms)),
            Ended::Away(why) => {
                self.tries = self.tries.saturating_add(1);
                let again_ms = now_ms.saturating_add(AGAIN_MS);
                (why, (self.tries <= MOST_TRIES).then_some(again_ms))
            }
        };
        (run.outcome, run.why) = ("failed".into(), Some(failed));
        self.failures = self.failures.saturating_add(1);
        self.again_ms = again_ms;
    }

    /// Whether its anchor lies ahead: the clock was set back. Without help it would not be due for
    /// as long.
    pub(crate) fn is_ahead(&self, now_ms: u64) -> bool {
        self.anchor_ms.max(self.again_ms.unwrap_or(0)) > now_ms.saturating_add(SLACK_MS)
    }

    /// Counts its times from now on.
    pub(crate) fn rebase(&mut self, now_ms: u64) {
        self.anchor_ms = self.anchor_ms.min(now_ms);
        self.again_ms = self.again_ms.map(|again| again.min(now_ms));
    }

    /// As operators see it, with what it waits for.
    pub(crate) fn shown(&self, waiting: Option<String>) -> ScheduleView {
        ScheduleView {
            name: self.name.to_string(),
            project: self.project.to_string(),
            spec: self.spec.clone(),
            next_ms: self.next_ms(),
            waiting,
            last: self.last.clone(),
            done_ms: self.done_ms,
            failures: self.failures,
        }
    }
}

const RUNNING: &str = "running";

#[cfg(test)]
mod tests;

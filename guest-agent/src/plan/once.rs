//! Steps with a frequency, and what was done before that says of them: see the head of `plan.rs`.

use mezame_model::report::Outcome;

use super::{Mode, Planned, Planner};
use crate::{
    ledger::{Again, Past, Trace},
    step::{Action, Frequency, Step},
};

/// So often in a row a script is run again because it asks for it.
const MAX_AGAIN: u32 = 16;

impl Planner<'_> {
    pub(super) fn always(&mut self, key: String, action: Action) {
        let step = Step { key, frequency: Frequency::Always, fingerprint: None, action };
        self.steps.push(Planned::Do { step, resumed: false });
    }

    pub(super) fn all(&mut self, steps: &[Step]) {
        for step in steps {
            self.once(step.clone());
        }
    }

    /// As [`Planner::once`], but done in a live run as well: a new user's password can't wait.
    pub(super) fn once_even_live(&mut self, step: Step) {
        let mode = std::mem::replace(&mut self.mode, Mode::Boot);
        self.once(step);
        self.mode = mode;
    }

    /// A step with a frequency: done, or settled by what was done before.
    pub(super) fn once(&mut self, step: Step) {
        if step.frequency == Frequency::Always {
            self.steps.push(Planned::Do { step, resumed: false });
            return;
        }
        let settled = match self.history.past(&step) {
            Past::New if self.mode == Mode::Live => Planned::Settled {
                key: step.key,
                outcome: Outcome::Skipped,
                reason: "at-next-boot".into(),
                detail: format!("runs {}, at the next boot", step.frequency),
                note: None,
            },
            Past::New => Planned::Do { step, resumed: false },
            Past::Again(again) => self.again(step, again),
            Past::Interrupted if step.action.runs_foreign_code() => Planned::Settled {
                key: step.key.clone(),
                outcome: Outcome::Failed,
                reason: "interrupted".into(),
                detail: format!(
                    "an earlier run was cut off in it; it says {}, so it is not run again",
                    step.frequency
                ),
                note: Some(Box::new(step)),
            },
            Past::Interrupted => Planned::Do { step, resumed: true },
            Past::Ended(trace) => done_before(step, trace),
            // A password's hash is a state, not a deed: the new one is set.
            Past::Other(_) if matches!(step.action, Action::PasswordHash { .. }) => {
                Planned::Do { step, resumed: false }
            }
            // The same for each ask for another password, and for none before the last that was
            // answered.
            Past::Other(trace) if matches!(step.action, Action::GeneratePassword { .. }) => {
                if step.fingerprint > trace.fingerprint {
                    Planned::Do { step, resumed: false }
                } else {
                    done_before(step, trace)
                }
            }
            Past::Other(_) => Planned::Settled {
                key: step.key,
                outcome: Outcome::Skipped,
                reason: "changed-after-run".into(),
                detail: format!(
                    "something else was run in its place before, and it says {}",
                    step.frequency
                ),
                note: None,
            },
        };
        self.steps.push(settled);
    }

    /// A script that asked to be run again at the next boot.
    fn again(&self, step: Step, again: &Again) -> Planned {
        let settled = |outcome, reason: &str, detail: String| Planned::Settled {
            key: step.key.clone(),
            outcome,
            reason: reason.into(),
            detail,
            note: None,
        };
        if again.times >= MAX_AGAIN {
            let detail = format!("it asked {MAX_AGAIN} times in a row to be run again");
            settled(Outcome::Failed, "runs-for-ever", detail)
        } else if self.mode == Mode::Live || again.boot == self.history.boot {
            let detail = "it asked to be run again at the next boot".into();
            settled(Outcome::Skipped, "at-next-boot", detail)
        } else {
            Planned::Do { step, resumed: false }
        }
    }
}

fn done_before(step: Step, trace: &Trace) -> Planned {
    Planned::Settled {
        key: step.key,
        outcome: Outcome::Unchanged,
        reason: trace.reason.clone(),
        detail: format!("done before, {}", step.frequency),
        note: None,
    }
}

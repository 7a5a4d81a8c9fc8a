//! Code of others: what it is noted by, what its end means, and what waits for the reboot that it
//! asks for.

use std::time::Instant;

use mezame_model::report::Outcome;

use super::{Applied, Applier, Deed, StepError, reboot, step_report};
use crate::{
    exit_code::Wish,
    facts::System,
    ledger::LedgerError,
    platform::{Change, ScriptEnd},
    step::{Script, Step},
};

impl Applier<'_> {
    /// Runs code of others, and notes its begin and its end on the disk.
    pub(super) fn run_foreign(
        &mut self,
        step: &Step,
        applied: &mut Applied,
    ) -> Result<(), LedgerError> {
        let began = Instant::now();
        self.ledger.started(step, None)?;
        let mut result = self.perform(step);
        if result.as_ref().is_ok_and(|deed| deed.wish.reboot) {
            if !self.may_reboot() {
                result = Err(StepError::RebootInVain { boots: reboot::ASKED });
            }
            // Before it is noted that the script has ended: counted twice is better than never.
            self.count_reboot()?;
            applied.asked_for_reboot = true;
        }
        let wish = result.as_ref().map_or(Wish::default(), |deed| deed.wish);
        let (outcome, reason) = self.told(step, &result, began, applied);
        if wish.again {
            self.ledger.again(step)?;
        } else {
            self.ledger.done(step, outcome, reason)?;
        }
        self.ledger.sync()?;
        if wish.reboot {
            applied.reboot = Some(format!("{} asked for it", step.key));
        }
        if applied.configured_at.is_none() {
            applied.scripts_before += began.elapsed();
        }
        Ok(())
    }

    pub(super) fn run(&self, script: &Script) -> Result<Deed, StepError> {
        let asks = |status| match script.language.system() {
            System::Unix => None,
            System::Windows => Wish::of(status),
        };
        let (end, tail) = self.platform.run_script(script)?;
        match end {
            ScriptEnd::Exited(0) => Ok(Change::Changed.into()),
            ScriptEnd::Exited(status) => match asks(status) {
                Some(wish) => Ok(Deed { wish, ..Change::Changed.into() }),
                None => Err(StepError::ScriptExit { status, tail }),
            },
            ScriptEnd::Killed(signal) => Err(StepError::ScriptSignal { signal, tail }),
            ScriptEnd::TimedOut => Err(StepError::ScriptTimeout { tail }),
        }
    }
}

/// Leaves a step to the next boot.
pub(super) fn after_reboot(step: &Step, applied: &mut Applied) {
    let why = ("after-reboot".to_owned(), String::new());
    applied.steps.push(step_report(&step.key, Outcome::Skipped, why, Instant::now()));
}

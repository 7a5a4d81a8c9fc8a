//! The reboot that a system wants before a new host name is in use, and those that scripts ask for:
//! neither goes on for ever.

use std::time::Instant;

use mezame_model::report::Outcome;

use super::{Applied, Applier, step_report};
use crate::{
    ledger::LedgerError,
    plan::Mode,
    step::{Action, Fingerprint, Frequency, Step},
};

/// So often the guest is rebooted for the same host name.
pub(super) const REBOOTS: u32 = 3;
/// In so many boots in a row scripts may ask for a reboot; then one boot without.
pub(super) const ASKED: u32 = 16;
/// Names the count of them in the ledger.
const COUNT: &str = "reboots that scripts asked for";

impl Applier<'_> {
    /// Has the guest rebooted where a host name waits for it: before the first code of others, or
    /// at the end. Not for ever, where the system never takes it.
    pub(super) fn reboot_for_a_name(&mut self, applied: &mut Applied) -> Result<(), LedgerError> {
        let Some(name) = self.platform.name_awaiting_reboot() else { return Ok(()) };
        let began = Instant::now();
        let key = format!("reboot for the host name {name}");
        if applied.reboot.is_some() || applied.steps.iter().any(|step| step.step == key) {
            return Ok(());
        }
        let mut tell = |outcome, reason: &str, detail: &str| {
            let error = (reason.to_owned(), detail.to_owned());
            applied.steps.push(step_report(&key, outcome, error, began));
        };
        if self.mode == Mode::Live {
            tell(Outcome::Skipped, "at-next-boot", "the name is in use after the next boot");
            return Ok(());
        }
        let step = Step {
            key: key.clone(),
            frequency: Frequency::PerInstance,
            fingerprint: Some(Fingerprint::of(&[b"reboot", name.as_bytes()])),
            action: Action::Hostname(name.clone()),
        };
        if self.ledger.times_again(&step) >= REBOOTS {
            let detail = "the system was rebooted for it before, and has not taken it";
            tell(Outcome::Failed, "reboot-in-vain", detail);
            return Ok(());
        }
        self.ledger.again(&step)?;
        self.ledger.sync()?;
        tell(Outcome::Done, "", "");
        applied.reboot = Some(format!("the host name becomes {name}"));
        Ok(())
    }

    /// Whether a script may have the guest rebooted once more. Boots are counted, whichever script
    /// asks: two that take turns are a loop as well. A clock would let slow loops go on.
    pub(super) fn may_reboot(&self) -> bool {
        self.ledger.times_again(&self.count()) < ASKED
    }

    /// Counts a reboot that a script asked for. On the disk after the ledger's next sync.
    pub(super) fn count_reboot(&mut self) -> Result<(), LedgerError> {
        self.ledger.again(&self.count())
    }

    /// At the end of a boot's run in which no script asked: the count begins anew. A second run in
    /// a boot of which one asked before is none of these.
    pub(super) fn forget_reboots(&mut self, asked: bool) -> Result<(), LedgerError> {
        let step = self.count();
        let has_asked = asked || self.ledger.asked_in_this_boot(&step);
        if self.mode == Mode::Live || has_asked || self.ledger.times_again(&step) == 0 {
            return Ok(());
        }
        self.ledger.done(&step, Outcome::Done, "")?;
        self.ledger.sync()
    }

    fn count(&self) -> Step {
        Step {
            key: COUNT.into(),
            frequency: Frequency::PerInstance,
            fingerprint: None,
            action: Action::Hostname(String::new()),
        }
    }
}

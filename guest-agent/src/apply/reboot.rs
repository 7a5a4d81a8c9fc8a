//! The reboot that a system wants before a new host name is in use.

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

impl Applier<'_> {
    /// Has the guest rebooted where a host name waits for it: before the first code of others, or at
    /// the end. Not for ever, where the system never takes it.
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
}

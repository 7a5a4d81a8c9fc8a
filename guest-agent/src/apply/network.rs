//! The steps of a plan that change the network: together they are good, or are taken back.

use mezame_model::{document::Interface, report::Outcome};

use super::{Applied, Applier, Deed, StepError};
use crate::{
    plan::{Plan, Planned},
    platform::{Change, NetworkGuard, Platform},
    step::{Action, Step},
};

/// The steps of a plan that change the network, and what they did.
pub(super) struct Network<'a> {
    /// Where the last of them is in the plan.
    last: Option<usize>,
    interfaces: Vec<(&'a str, &'a Interface)>,
    /// Of those that were done.
    pub(super) keys: Vec<String>,
    pub(super) guard: Option<Box<dyn NetworkGuard + 'a>>,
    pub(super) changed: bool,
    is_rolled_back: bool,
    /// The devices whose steps failed.
    failed: Vec<&'a str>,
    /// They have cut the guest off.
    is_cut: bool,
}

impl<'a> Network<'a> {
    pub(super) fn of(plan: &'a Plan) -> Self {
        let interface = |planned: &'a Planned| match planned {
            Planned::Do { step, .. } => match &step.action {
                Action::Interface { device, interface } => Some((device.as_str(), interface)),
                _ => None,
            },
            Planned::Settled { .. } => None,
        };
        Self {
            last: plan.steps.iter().rposition(|planned| interface(planned).is_some()),
            interfaces: plan.steps.iter().filter_map(interface).collect(),
            keys: Vec::new(),
            guard: None,
            changed: false,
            is_rolled_back: false,
            failed: Vec::new(),
            is_cut: false,
        }
    }

    /// Before the first of them, what is there is remembered. Where that can't be, a change is made
    /// without a way back: a guest without a network is worse.
    pub(super) fn before(&mut self, step: &Step, platform: &'a dyn Platform) {
        if self.keys.is_empty() && matches!(step.action, Action::Interface { .. }) {
            self.guard = platform.guard_network(&self.interfaces).unwrap_or_default();
        }
    }

    pub(super) fn after(&mut self, step: &Step, result: &Result<Deed, StepError>) {
        if matches!(step.action, Action::Interface { .. }) {
            self.keys.push(step.key.clone());
            // One that failed may have changed something before it did.
            self.changed |= !matches!(result, Ok(Deed { change: Change::Same, .. }));
        }
        if let (Action::Interface { device, .. }, Err(_)) = (&step.action, result) {
            let own = self.interfaces.iter().map(|(name, _)| *name);
            self.failed.extend({ own }.find(|name| name == device));
        }
    }

    /// Why it was taken back, if it was.
    pub(super) fn rolled_back_for(&self) -> Option<StepError> {
        let why = if self.is_cut { StepError::HalfDone } else { StepError::RolledBack };
        self.is_rolled_back.then_some(why)
    }

    /// Whether steps that failed have taken away what the guest was reached by. Where that is not
    /// known, the service's answer tells.
    fn is_cut(&self, guard: &dyn NetworkGuard) -> bool {
        let (failed, good): (Vec<_>, Vec<_>) =
            self.interfaces.iter().copied().partition(|(device, _)| self.failed.contains(device));
        let good: Vec<&str> = good.into_iter().map(|(device, _)| device).collect();
        !failed.is_empty() && guard.is_cut(&failed, &good).unwrap_or(false)
    }

    /// Whether the last of them was done just now, and the network is another one.
    pub(super) fn is_changed(&mut self, at: usize) -> bool {
        if self.last != Some(at) {
            return false;
        }
        if !self.changed
            && let Some(guard) = self.guard.take()
        {
            let _ = guard.keep();
        }
        self.changed
    }
}

impl Applier<'_> {
    /// Asks the service after a change of the network, and takes the change back where it is not
    /// reached any more. The service is also reached without any of the record's addresses: so where
    /// a step that failed has cost the guest its own, it is not asked.
    pub(super) fn ask_again(&mut self, network: &mut Network<'_>, applied: &mut Applied) {
        let guard = network.guard.take();
        network.is_cut = guard.as_deref().is_some_and(|guard| network.is_cut(guard));
        if !network.is_cut {
            // With the addresses that stay, and not with one that was claimed for the time being.
            self.upstream.configured(self.platform, true);
        }
        let Some(guard) = guard else { return };
        if !network.is_cut && self.upstream.is_reached() {
            // One that stays is taken back by the next run, which asks again.
            let _ = guard.keep();
            return;
        }
        let back = guard.roll_back();
        self.upstream.rolled_back(self.platform);
        (network.changed, network.is_rolled_back) = (false, true);
        applied.rolled_back = true;
        let mut detail = network.rolled_back_for().unwrap_or(StepError::RolledBack).to_string();
        if let Err(error) = back {
            detail = format!(
                "the metadata service is no longer reached, and what was before can't \
                be put back: {error}"
            );
            if network.is_cut {
                detail = format!(
                    "a step failed when addresses were gone already, and what was before can't be \
                    put back: {error}"
                );
            }
        }
        for step in applied.steps.iter_mut().filter(|it| network.keys.contains(&it.step)) {
            // Where the failure is the cause, it is what is to be read.
            if network.is_cut && step.outcome == Outcome::Failed {
                continue;
            }
            step.outcome = Outcome::Failed;
            step.reason = StepError::RolledBack.reason().to_owned();
            step.detail.clone_from(&detail);
        }
    }
}

//! Who freezes a guest for a point in time: what a call says of it, checked, as an order.
//!
//! An instance is one of the project's own, so that none has another's guests frozen. A socket of
//! `qemu-ga` is looked at by who carries the order out: it has to be one of the QEMU that has the
//! project's volumes open.

use std::time::Duration;

use mezame_model::{
    InstanceId, InstanceName, ProjectName,
    api::{Fault, freezing::Freezing},
    freeze::Wanted,
};

use super::{
    Volumes, VolumesError,
    executor::{Agent, FreezeOrder},
    plain,
};
use crate::control::Control;

/// For how long a guest is frozen at most where nothing is said.
const USUAL: Duration = Duration::from_secs(10);

/// All that is wrong with what is said, whichever instances there are.
pub(crate) fn faults_of(asked: &Freezing) -> Vec<Fault> {
    let mut faults = Vec::new();
    if asked.instance.is_some() == asked.guest_agent.is_some() {
        let message = "it has to name who is asked, and one alone";
        faults.push(plain("freeze", message, "say 'instance', or 'guest_agent'"));
    }
    if asked.guest_agent.as_ref().is_some_and(|socket| !socket.is_absolute()) {
        let mend = "begin it with '/'";
        faults.push(plain("freeze.guest_agent", "it is no whole path", mend));
    }
    if asked.within_ms.is_some_and(|it| !(1..=Wanted::LONGEST_MS).contains(&it)) {
        let message = "nobody is frozen for so long, or so short";
        faults.push(plain("freeze.within_ms", message, "1 to 60000 milliseconds"));
    }
    faults
}

impl Volumes {
    /// The order that this is, of this project.
    pub(super) fn freezing(
        &self,
        project: &ProjectName,
        asked: Option<Freezing>,
    ) -> Result<Option<FreezeOrder>, VolumesError> {
        let Some(asked) = asked else { return Ok(None) };
        let faults = faults_of(&asked);
        if !faults.is_empty() {
            return Err(VolumesError::Faults(faults));
        }
        let agent = match (asked.instance, asked.guest_agent) {
            (_, Some(socket)) => Agent::QemuGa(socket),
            (instance, None) => {
                let name = instance.unwrap_or_default();
                let found = instance_of(&self.control, project, &name);
                let none = || {
                    let message = format!("the project has no instance '{name}'");
                    let mend = "list them by 'mezame get instances'";
                    VolumesError::fault("freeze.instance", message, mend)
                };
                Agent::Instance(found.ok_or_else(none)?)
            }
        };
        let bound = asked.within_ms.map_or(USUAL, |it| Duration::from_millis(it.into()));
        Ok(Some(FreezeOrder { agent, bound, is_required: asked.required }))
    }
}

/// The instance of a project that this is the name or the id of.
fn instance_of(control: &Control, project: &ProjectName, text: &str) -> Option<InstanceId> {
    let state = control.state();
    let by_name = InstanceName::parse(text).ok();
    let by_name = by_name.and_then(|name| state.instance(project, &name));
    let by_id = || {
        let held = state.instance_by_id(&InstanceId::parse(text).ok()?)?;
        (held.record.instance.project == *project).then_some(held)
    };
    by_name.or_else(by_id).map(|held| held.record.instance.id.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_nobody_or_both_or_no_time_at_all_is_refused_with_its_field() {
        let paths = |asked: &Freezing| -> Vec<String> {
            faults_of(asked).into_iter().map(|fault| fault.path).collect()
        };
        let ours = Freezing { instance: Some("web".into()), ..Freezing::default() };
        assert!(paths(&ours).is_empty());
        assert_eq!(paths(&Freezing::default()), ["freeze"]);
        assert_eq!(
            paths(&Freezing { guest_agent: Some("/run/qga".into()), ..ours.clone() }),
            ["freeze"]
        );
        let qemus = Freezing { guest_agent: Some("qga".into()), ..Freezing::default() };
        assert_eq!(paths(&qemus), ["freeze.guest_agent"]);
        for (within_ms, is_good) in [(0, false), (1, true), (60_000, true), (60_001, false)] {
            let asked = Freezing { within_ms: Some(within_ms), ..ours.clone() };
            assert_eq!(paths(&asked).is_empty(), is_good, "{within_ms}");
        }
    }
}

//! The agent: whether it runs, how its last run ended, and which step failed. Pure.

use mezame_model::report::{Outcome, StepReport};

use crate::{
    doctor::{
        finding::{Finding, Who},
        observation::{Observations, ServiceState, Starter},
    },
    settings::{self, STATE},
};

/// So many failed steps are told one by one.
const MAX_STEPS: usize = 8;

/// Whether a run came to its end in this boot.
pub(super) fn has_run(seen: &Observations) -> bool {
    seen.agent.report.as_ref().is_some_and(|report| report.boot_id == seen.agent.boot_id)
}

/// How the agent does what is missing once more: one that watches does it at its start, and keeps a
/// second one out.
pub(super) fn run_again(seen: &Observations) -> String {
    match &seen.agent.starter {
        _ if !seen.agent.running => "`guest-agent run`".to_owned(),
        Starter::Service { name, .. } => format!("`systemctl restart {name}`"),
        Starter::Nothing | Starter::Unknown => {
            "Restart the agent that runs (its unit, if it has one)".to_owned()
        }
    }
}

/// Why no run has come to its end in this boot.
pub(super) fn start(seen: &Observations, is_reached: bool) -> Option<Finding> {
    let agent = &seen.agent;
    let began = agent.began.as_ref().is_some_and(|(boot, _)| *boot == agent.boot_id);
    if has_run(seen) {
        let (_, last) = agent.began.as_ref().filter(|_| began)?;
        let ended = agent.report.as_ref().map_or(0, |report| report.run);
        return (ended < *last && !agent.running).then(|| cut_off(*last));
    }
    if agent.running {
        // It waits for the service, or works: where it is not reached, that was told.
        return is_reached.then(|| {
            let wrong = "the agent is at work, and has not come to its end yet".to_owned();
            let mend =
                format!("Wait; {} has what its scripts say.", settings::shown(STATE) + "/output");
            Finding::new("still-running", Who::GuestOwner, wrong, &mend)
                .seen("its ledger is locked")
        });
    }
    if began {
        return agent.began.as_ref().map(|(_, run)| cut_off(*run));
    }
    Some(not_started(&agent.starter))
}

fn cut_off(run: u32) -> Finding {
    let wrong = format!("run {run} of the agent was cut off before its end");
    let mend = "Look for what has ended it (out of memory? a reboot in a script?), then run \
         `guest-agent run`: what says once is not done twice.";
    Finding::new("run-cut-off", Who::GuestOwner, wrong, mend)
        .seen("the ledger has its beginning, there is no report of its end, and no agent runs")
}

fn not_started(starter: &Starter) -> Finding {
    let wrong = "the agent has not been started in this boot".to_owned();
    let (seen, mend) = match starter {
        Starter::Service { name, state: ServiceState::Disabled } => {
            (format!("{name} is there and not enabled"), format!("`systemctl enable --now {name}`"))
        }
        Starter::Service { name, state: ServiceState::Masked } => (
            format!("{name} is masked"),
            format!("`systemctl unmask {name} && systemctl enable --now {name}`"),
        ),
        Starter::Service { name, state: ServiceState::Enabled } => (
            format!("{name} is enabled, and the ledger has no run of this boot"),
            format!("`systemctl status {name}` and `journalctl -u {name}` say why"),
        ),
        Starter::Nothing => (
            "no service of this system names it".to_owned(),
            "Have a unit start `guest-agent watch` at boot; for now: `guest-agent run`".to_owned(),
        ),
        Starter::Unknown => (
            "the ledger has no run of this boot".to_owned(),
            "Have the system start `guest-agent watch` at boot; for now: `guest-agent run`"
                .to_owned(),
        ),
    };
    Finding::new("not-started", Who::GuestOwner, wrong, &format!("{mend}.")).seen(seen)
}

/// The steps of the last run that failed, where it is one of this boot.
pub(super) fn steps(seen: &Observations) -> Vec<Finding> {
    let Some(report) = seen.agent.report.as_ref().filter(|_| has_run(seen)) else {
        return Vec::new();
    };
    let failed = report.steps.iter().filter(|step| step.outcome == Outcome::Failed);
    failed.take(MAX_STEPS).map(step).collect()
}

fn step(step: &StepReport) -> Finding {
    let wrong = format!("the step \"{}\" failed: {}", step.step, step.reason);
    let (who, mend) = mend(step);
    let mut finding = Finding::new("step-failed", who, wrong, &mend);
    for line in step.detail.trim_end().lines().take(12) {
        finding = finding.seen(line);
    }
    finding
}

/// What to do about a failed step, by its reason.
fn mend(step: &StepReport) -> (Who, String) {
    let output =
        format!("{}/output/{}.log", settings::shown(STATE), step.step.replace([' ', '/'], "-"));
    let text = match step.reason.as_str() {
        "script-exit" | "script-signal" => {
            format!("Read {output}, and mend the script in the instance's `user_data`.")
        }
        "script-timeout" => format!(
            "Read {output}; make the script end, or set `script_timeout` in the agent's settings."
        ),
        "interrupted" => format!(
            "It was cut off and is not run again, since nobody knows how far it came: read {output} \
             and finish it by hand."
        ),
        "bad-value" | "bad-yaml" | "damaged" => {
            "Mend the seed: `mezame explain instance`, and the detail above says where.".to_owned()
        }
        "no-tool" | "tool-failed" => {
            "Install the program in the image, or leave the step out of the seed.".to_owned()
        }
        "rolled-back" => {
            "The record's addresses cut the guest off from the service and were taken \
             back: mend the port's or network's record."
                .to_owned()
        }
        "not-ready" | "no-connection" | "connection-broke" => {
            "The service was away: `guest-agent run` does it again.".to_owned()
        }
        "unsupported" => "This system can't do that: take it out of the seed or the record, or do it \
             by a script; the detail above says what it wants instead."
            .to_owned(),
        "reboot-in-vain" => vain(step, &output),
        "runs-for-ever" => format!(
            "It has ended with 1002 or 1003 at each of its runs: read {output}, and have it end with \
             0 once its work is done. For it to run again, it must be another script."
        ),
        "process" => "What runs as the user could not be ended: look for it (`ps -u USER`, on Windows \
             `tasklist /v`), end it by hand, then `guest-agent run`."
            .to_owned(),
        "no-recipient" => "Give the user of the record, or the instance, an ssh-ed25519 or ssh-rsa key: \
             the password is sealed to it, and nobody could open one that is sealed to none."
            .to_owned(),
        "accounts-locked" => "Another program holds /etc/.pwd.lock (passwd, useradd, a package's \
             installation?): `fuser -v /etc/.pwd.lock` names it. When it has ended, `guest-agent run`."
            .to_owned(),
        _ => "docs/agent.md says what the reason means; `guest-agent run` tries again.".to_owned(),
    };
    (who(step), text)
}

/// Who can do it.
fn who(step: &StepReport) -> Who {
    match step.reason.as_str() {
        "bad-value" | "bad-yaml" | "damaged" | "rolled-back" | "no-recipient" => Who::Operator,
        "script-exit" | "script-signal" | "script-timeout" | "runs-for-ever" | "unsupported" => {
            Who::Either
        }
        "reboot-in-vain" if !is_of_name(step) => Who::Either,
        _ => Who::GuestOwner,
    }
}

/// Whether a step is the reboot that a host name waits for, and not one that a script asked for.
fn is_of_name(step: &StepReport) -> bool {
    step.step.starts_with("reboot for the host name ")
}

/// What to do about reboots that changed nothing.
fn vain(step: &StepReport, output: &str) -> String {
    if is_of_name(step) {
        return "The system has not taken the name: look for what sets another one at each boot (a \
             domain's policy, sysprep's answer file, a start script), or set it by hand."
            .to_owned();
    }
    format!(
        "It asks for a reboot (1001, 1003) in each boot: read {output}, and have the script ask only \
         where something is left to be done."
    )
}

/// What waits to be sent though the service is reached.
pub(super) fn mail(seen: &Observations, is_reached: bool) -> Option<Finding> {
    let waits = seen.agent.has_mail && is_reached && !seen.agent.running;
    waits.then(|| {
        let wrong = "a report or a password of this guest's waits to be sent".to_owned();
        let mend = "`guest-agent run` sends it; until then the operator does not see how this guest \
             is.";
        Finding::new("unsent", Who::GuestOwner, wrong, mend)
            .seen(format!("files in {}/outbox, and no agent runs", settings::shown(STATE)))
    })
}

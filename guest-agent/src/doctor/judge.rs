//! From what was seen to what is wrong, the likeliest cause first. Pure.
//!
//! ```text
//!   may not look ─► no device ─► the way to the service ─► what keeps the agent from working
//!       ─► the agent itself ─► its steps ─► the guest against its record ─► what else may mislead
//! ```
//! Of several ways the one that led furthest tells the most: a device without a service on its link
//! is no fault where another device has one. What follows from a finding is not told beside it.

mod agent;
mod record;
mod way;

use super::{
    finding::{Finding, Who},
    observation::{Observations, Walked},
};
use crate::settings::{self, PATH};

/// All findings.
pub fn judge(seen: &Observations) -> Vec<Finding> {
    if !seen.privileged {
        let wrong = "this user may not look at the network".to_owned();
        let mend = "Run it as root: the rest can't be told without.";
        return vec![Finding::new("not-root", Who::GuestOwner, wrong, mend)];
    }
    if let Some(error) = &seen.no_list {
        let wrong = format!("the network devices can't be listed: {error}");
        return vec![Finding::new("network", Who::GuestOwner, wrong, "Run it as root.")];
    }
    let mut findings = Vec::new();
    let document = record::document(seen);
    if document.is_none() {
        findings.extend(wrong_endpoint(seen));
        if findings.is_empty() {
            findings.extend(unreached(seen));
        }
    } else {
        findings.extend(wrong_endpoint(seen));
        findings.extend(way::half_ways(seen));
        findings.extend(record::devices(seen));
    }
    findings.extend(agent::start(seen, document.is_some()));
    findings.extend(clock(seen));
    findings.extend(agent::steps(seen));
    if let Some(document) = document.filter(|_| agent::has_run(seen)) {
        findings.extend(record::settings(seen, document));
    }
    findings.extend(agent::mail(seen, document.is_some()));
    findings.extend(proxies(seen));
    findings
}

/// What works, for people.
pub fn worked(seen: &Observations) -> Vec<String> {
    let mut lines = Vec::new();
    for way in &seen.ways {
        let Walked::Asked(asked) = &way.walked else { continue };
        let through = way::through(way);
        if let Some(address) = asked.claimed {
            lines.push(format!("{through}: no address there; claimed {address} for the walk"));
        }
        if matches!(&asked.token, Ok(answer) if answer.status == 200) {
            lines.push(format!("{through}: a session token"));
        }
        if let Some(document) = way::document(way) {
            lines.push(format!(
                "{through}: the document of {} ({}), generation {}",
                document.name, document.instance_id, document.generation
            ));
        }
    }
    lines
}

/// Why nothing came of any way: what the best of them tells, then what the others tell besides.
fn unreached(seen: &Observations) -> Vec<Finding> {
    if seen.devices.is_empty() && seen.ways.is_empty() {
        let wrong = "there is no network device in this guest".to_owned();
        let mend = "Load the driver of the network card (virtio_net?), or have a card added.";
        return vec![Finding::new("no-device", Who::Either, wrong, mend)];
    }
    let mut causes: Vec<_> = seen.ways.iter().filter_map(|way| way::cause(seen, way)).collect();
    // Stable: of two that say as much the one that the agent tries first.
    causes.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
    let mut told: Vec<Finding> = Vec::new();
    for (weight, finding) in causes {
        let is_new = !told.iter().any(|known| known.reason == finding.reason);
        match told.first_mut() {
            Some(first) if !is_new || weight <= way::HARMLESS => first.seen.push(finding.wrong),
            _ => told.push(finding),
        }
    }
    told
}

/// The endpoint that was named leads nowhere, and a usual one answers.
fn wrong_endpoint(seen: &Observations) -> Option<Finding> {
    let named = seen.named?;
    let usual = seen.ways.iter().find(|it| it.endpoint != named && way::is_answered(it))?;
    let tried: Vec<_> = seen.ways.iter().filter(|it| it.endpoint == named).collect();
    if tried.iter().any(|way| way::document(way).is_some()) {
        return None;
    }
    let wrong = format!("no metadata service is at {named}, which this agent is told to ask");
    let mend = format!(
        "Take `endpoint` out of {} (or --endpoint off the command line): the service answers at \
         {}, where the agent looks by itself.",
        settings::shown(PATH),
        usual.endpoint.address
    );
    let mut finding = Finding::new("wrong-endpoint", Who::GuestOwner, wrong, &mend);
    for way in tried {
        if let Some((_, cause)) = way::cause(seen, way) {
            finding = finding.seen(cause.wrong);
        }
    }
    Some(finding.seen(format!("an answer on {}", way::through(usual))))
}

/// Seconds by which the clocks may differ before it is told.
const SKEW: i64 = 60;

fn clock(seen: &Observations) -> Option<Finding> {
    let ahead = seen.ways.iter().find_map(way::ahead)?;
    if ahead.abs() <= SKEW {
        return None;
    }
    let side = if ahead > 0 { "ahead of" } else { "behind" };
    let wrong = format!(
        "the clock is {} s {side} the metadata service's: certificates, tokens and logs \
             go wrong with it",
        ahead.abs()
    );
    let mend = "Set it: `chronyc makestep`, or `date -u -s`, and have a time service run; where the \
         guest's is right, the hypervisor's is wrong.";
    Some(
        Finding::new("clock-skew", Who::Either, wrong, mend)
            .seen("the Date of its answers against this system's clock"),
    )
}

fn proxies(seen: &Observations) -> Option<Finding> {
    if seen.proxies.is_empty() {
        return None;
    }
    let names = seen.proxies.join(", ");
    let wrong = format!(
        "{names}: curl and other programs ask a proxy for the metadata service, which can't tell \
         whose guest that is; the agent itself asks directly"
    );
    let mend = "Add 169.254.169.254 to `no_proxy`, in /etc/environment and in your shell.";
    Some(
        Finding::new("proxy", Who::GuestOwner, wrong, mend)
            .seen("these variables are set, and `no_proxy` does not name the service's address"),
    )
}

#[cfg(test)]
mod tests;

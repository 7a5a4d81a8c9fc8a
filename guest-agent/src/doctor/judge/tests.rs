//! Findings of observations that are made up: each cause alone, and which of several goes first.

mod record;

use std::net::IpAddr;

use mezame_model::{Document, MacAddress, Report};
use serde_json::json;

use super::*;
use crate::{
    doctor::observation::{
        Agent, Answer, Asked, Device, Exchange, Failure, FailureKind, Heard, Neighbour,
        ServiceState, Sight, Starter, Way,
    },
    endpoint::{Endpoint, LINK_V4, LINK_V6},
    facts::{Link, LinkKind},
};

const MAC: MacAddress = MacAddress([0x52, 0x54, 0, 0, 0, 1]);

fn link(up: bool) -> Link {
    Link {
        name: "eth0".into(),
        index: 2,
        mac: MAC,
        up,
        addresses: vec!["192.168.0.10/24".parse().unwrap()],
        kind: LinkKind::Card,
        bond: None,
    }
}

fn document_of(interfaces: serde_json::Value) -> Document {
    serde_json::from_value(json!({
        "version": 1, "generation": 7, "instance_id": "i-0123456789abcdef0", "name": "web",
        "hostname": "web", "interfaces": interfaces,
    }))
    .unwrap()
}

fn report(steps: serde_json::Value) -> Report {
    serde_json::from_value(json!({
        "instance_id": "i-0123456789abcdef0", "agent": "0", "boot_id": "b", "run": 1,
        "outcome": "failed", "steps": steps, "total_ms": 1, "host_keys": [],
    }))
    .unwrap()
}

fn ok(status: u16, said: &str) -> Answer {
    Answer { status, said: said.into(), ahead_s: Some(0), ..Answer::default() }
}

fn fails(connected: bool, kind: FailureKind) -> Failure {
    Failure { connected, kind, text: "timed out".into() }
}

fn asked(token: Exchange, document: Option<Exchange>) -> Asked {
    Asked {
        claimed: None,
        token,
        document,
        small: None,
        long: None,
        refusal: None,
        heard: Some(Heard::default()),
        neighbour: None,
    }
}

fn way(endpoint: IpAddr, asked: Asked) -> Way {
    let walked = Walked::Asked(Box::new(asked));
    Way { device: Some("eth0".into()), endpoint: endpoint.into(), walked }
}

fn good() -> Asked {
    let interfaces = json!([{"mac": MAC, "mtu": 1450, "addresses": ["192.168.0.10/24"]}]);
    let document = Some(Box::new(document_of(interfaces)));
    asked(Ok(ok(200, "")), Some(Ok(Answer { document, ..ok(200, "") })))
}

/// A guest in which all is well.
fn healthy() -> Observations {
    let sight = Sight { carrier: Some(true), mtu: Some(1450), permanent_mac: Some(MAC) };
    Observations {
        privileged: true,
        configures_network: true,
        devices: vec![Device { link: link(true), sight }],
        ways: vec![way(LINK_V4.into(), good())],
        agent: Agent {
            boot_id: "b".into(),
            began: Some(("b".into(), 1)),
            report: Some(report(json!([]))),
            known_macs: vec![MAC],
            ..Agent::default()
        },
        ..Observations::default()
    }
}

/// The same, but for what `change` does to it.
fn of(change: impl FnOnce(&mut Observations)) -> Vec<(&'static str, Who)> {
    let mut seen = healthy();
    change(&mut seen);
    let findings = judge(&seen);
    for finding in &findings {
        assert!(
            !finding.wrong.is_empty() && finding.mend.ends_with(['.', ')', '?']),
            "{finding:?}"
        );
    }
    findings.into_iter().map(|finding| (finding.reason, finding.who)).collect()
}

/// The same where nothing connects by IPv4 and IPv6 is off.
fn unconnected(kind: FailureKind, change: impl FnOnce(&mut Asked)) -> Vec<(&'static str, Who)> {
    of(|seen| {
        let mut one = asked(Err(fails(false, kind)), None);
        one.neighbour = Some(Neighbour {
            probes: 8,
            answered: 8,
            own: vec![("192.168.0.10".parse().unwrap(), true)],
        });
        change(&mut one);
        let off = Walked::Unopened { reason: "no-ipv6", text: "IPv6 is off".into() };
        let v6 = Way {
            device: Some("eth0".into()),
            endpoint: IpAddr::from(LINK_V6).into(),
            walked: off,
        };
        seen.ways = vec![way(LINK_V4.into(), one), v6];
    })
}

#[test]
fn where_all_is_well_nothing_is_found() {
    assert_eq!(of(|_| ()), []);
}

#[test]
fn who_may_not_look_is_told_that_alone() {
    let found = of(|seen| {
        seen.privileged = false;
        seen.ways.clear();
    });
    assert_eq!(found, [("not-root", Who::GuestOwner)]);
}

#[test]
fn where_a_connection_fails_the_evidence_names_the_cause() {
    use FailureKind::{Denied, NoNeighbour, NoRoute, Refused, TimedOut};
    let first = |found: Vec<(&'static str, Who)>| {
        assert_eq!(found.len(), 1, "{found:?}");
        found[0]
    };
    let neighbour = |probes, answered, own: bool| {
        let own = vec![("192.168.0.66".parse().unwrap(), own)];
        Some(Neighbour { probes, answered, own })
    };
    let no_arp = first(unconnected(NoNeighbour, |it| it.neighbour = neighbour(8, 0, false)));
    assert_eq!(no_arp, ("no-neighbour", Who::Operator));
    let spoofed = first(unconnected(TimedOut, |it| it.neighbour = neighbour(8, 8, false)));
    assert_eq!(spoofed, ("spoofed-source", Who::Either));
    let limited = first(unconnected(TimedOut, |it| it.neighbour = neighbour(8, 3, true)));
    assert_eq!(limited, ("rate-limited", Who::Either));
    let firewall = ("firewall", Who::GuestOwner);
    assert_eq!(first(unconnected(TimedOut, |_| ())), firewall, "nothing leaves");
    let inward = |it: &mut Asked| it.heard = Some(Heard { sent: 2, came: 2, resets: 0 });
    assert_eq!(first(unconnected(TimedOut, inward)), firewall, "what comes is not let in");
    assert_eq!(first(unconnected(Refused, |_| ())), firewall, "refused by nobody outside");
    assert_eq!(first(unconnected(Denied, |_| ())), firewall);
    let reset = |it: &mut Asked| it.heard = Some(Heard { sent: 1, came: 0, resets: 1 });
    assert_eq!(first(unconnected(Refused, reset)), ("not-listening", Who::Operator));
    let silent = |it: &mut Asked| it.heard = Some(Heard { sent: 3, came: 0, resets: 0 });
    assert_eq!(first(unconnected(TimedOut, silent)), ("no-connection", Who::Operator));
    let unasked = |it: &mut Asked| it.neighbour = None;
    let unsaid = first(unconnected(TimedOut, unasked));
    assert_eq!(unsaid, ("no-connection", Who::Either), "the port, or a rule of the guest's");
    let refusal = |it: &mut Asked| it.refusal = Some("prohibited".into());
    assert_eq!(first(unconnected(Denied, refusal)), ("route-refused", Who::GuestOwner));
    assert_eq!(first(unconnected(NoRoute, |_| ())), ("no-route", Who::GuestOwner));
}

#[test]
fn another_mac_than_the_last_documents_or_the_cards_own_is_named_before_the_port() {
    let changed = |known: Vec<MacAddress>, made: Option<MacAddress>| {
        of(|seen| {
            let mut one = asked(Err(fails(false, FailureKind::NoNeighbour)), None);
            one.neighbour = Some(Neighbour { probes: 8, answered: 0, own: Vec::new() });
            seen.ways = vec![way(LINK_V4.into(), one)];
            seen.agent.known_macs = known;
            seen.devices[0].sight.permanent_mac = made;
        })[0]
            .0
    };
    let other = MacAddress([0x52, 0x54, 0, 0, 0, 2]);
    assert_eq!(changed(vec![other], None), "wrong-mac");
    assert_eq!(changed(Vec::new(), Some(other)), "wrong-mac");
    assert_eq!(changed(Vec::new(), None), "no-neighbour");
    // The last document's word goes before the card's: a clone may have been given its MAC.
    assert_eq!(changed(vec![MAC], Some(MAC)), "no-neighbour");
}

#[test]
fn what_the_service_answers_names_the_cause() {
    let says = |status, said: &str| {
        let answer = ok(status, said);
        let found = of(|seen| {
            let one = asked(Ok(ok(200, "")), Some(Ok(answer)));
            seen.ways = vec![way(LINK_V4.into(), one)];
        });
        assert_eq!(found.len(), 1, "{found:?}");
        found[0]
    };
    assert_eq!(says(503, "not ready, try again"), ("not-ready", Who::Operator));
    assert_eq!(says(401, "token-required"), ("unauthorized", Who::GuestOwner));
    assert_eq!(says(401, "token-invalid"), ("unauthorized", Who::Operator));
    assert_eq!(says(403, "off"), ("endpoint-off", Who::Operator));
    assert_eq!(says(403, "unknown port"), ("unknown-port", Who::Operator));
    assert_eq!(says(403, "relayed"), ("relayed", Who::GuestOwner));
    assert_eq!(says(404, "not found"), ("no-document", Who::Operator));
    assert_eq!(says(429, "too many requests"), ("rate-limited", Who::GuestOwner));
    assert_eq!(says(200, ""), ("bad-document", Who::Either));
    assert_eq!(says(302, ""), ("unexpected-status", Who::Operator));
}

#[test]
fn replies_that_get_lost_are_told_apart_by_which_ones_do() {
    let lost = || Err(fails(true, FailureKind::TimedOut));
    let found = |one: Asked| of(|seen| seen.ways = vec![way(LINK_V4.into(), one)])[0].0;
    let mut token = asked(lost(), None);
    token.small = Some(Ok(ok(200, "")));
    assert_eq!(found(token.clone()), "hop-limit");
    let own = |answered| vec![("192.168.0.10".parse().unwrap(), answered)];
    let said = |answered, own| Some(Neighbour { probes: 8, answered, own });
    token.neighbour = said(0, own(true));
    assert_eq!(found(token.clone()), "hop-limit", "a router answers no probes");
    for lossy in [said(4, own(true)), said(0, own(false))] {
        token.neighbour = lossy;
        assert_eq!(found(token.clone()), "rate-limited");
    }
    token.neighbour = said(8, own(true));
    token.small = Some(lost());
    assert_eq!(found(token), "no-answer");
    let mut document = asked(Ok(ok(200, "")), Some(lost()));
    document.small = Some(Ok(ok(200, "")));
    assert_eq!(found(document), "mtu-black-hole");
    let long = Asked { long: Some(lost()), ..good() };
    assert_eq!(found(long), "mtu-black-hole");
}

#[test]
fn a_device_that_is_of_no_use_is_no_fault_beside_one_that_is() {
    let useless = |seen: &mut Observations| {
        let one = asked(Err(fails(false, FailureKind::NoNeighbour)), None);
        let device = Some("eth1".into());
        let walked = Walked::Asked(Box::new(one));
        seen.ways.insert(0, Way { device, endpoint: IpAddr::from(LINK_V4).into(), walked });
    };
    assert_eq!(of(useless), []);
    // What is wrong with the useful one by IPv4 is told though IPv6 leads there.
    let found = of(|seen| {
        let mut one = asked(Err(fails(false, FailureKind::TimedOut)), None);
        one.heard = Some(Heard { sent: 1, came: 1, resets: 0 });
        seen.ways = vec![way(LINK_V4.into(), one), way(LINK_V6.into(), good())];
    });
    assert_eq!(found, [("firewall", Who::GuestOwner)]);
}

#[test]
fn an_endpoint_that_was_named_wrongly_is_told_where_a_usual_one_answers() {
    let named: Endpoint = "http://10.0.0.1".parse().unwrap();
    let found = of(|seen| {
        seen.named = Some(named);
        let one = asked(Err(fails(false, FailureKind::NoRoute)), None);
        let walked = Walked::Asked(Box::new(one));
        seen.ways.insert(0, Way { device: None, endpoint: named, walked });
    });
    assert_eq!(found, [("wrong-endpoint", Who::GuestOwner)]);
}

#[test]
fn a_device_that_is_down_is_the_agents_own_affair_before_its_first_run() {
    let down = |seen: &mut Observations| {
        seen.devices[0].link = link(false);
        seen.devices[0].sight.carrier = None;
    };
    assert_eq!(of(down), [("device-down", Who::GuestOwner)]);
    let fresh = of(|seen| {
        down(seen);
        seen.agent = Agent { boot_id: "b".into(), ..Agent::default() };
    });
    assert_eq!(fresh, [("not-started", Who::GuestOwner)]);
}

#[test]
fn how_the_agent_is_kept_from_working_is_told_by_what_starts_it() {
    for state in [ServiceState::Enabled, ServiceState::Disabled, ServiceState::Masked] {
        let found = of(|seen| {
            let starter = Starter::Service { name: "a.service".into(), state };
            seen.agent = Agent { boot_id: "b".into(), starter, ..Agent::default() };
        });
        assert_eq!(found, [("not-started", Who::GuestOwner)], "{state:?}");
    }
    let of_agent = |change: fn(&mut Agent)| of(|seen| change(&mut seen.agent))[0].0;
    assert_eq!(of_agent(|agent| agent.boot_id = "next".into()), "not-started");
    assert_eq!(of_agent(|agent| agent.began = Some(("b".into(), 2))), "run-cut-off");
    let first = |agent: &mut Agent| agent.report = None;
    assert_eq!(of_agent(first), "run-cut-off");
    assert_eq!(of_agent(|agent| (agent.report, agent.running) = (None, true)), "still-running");
    assert_eq!(of_agent(|agent| agent.has_mail = true), "unsent");
}

#[test]
fn each_failed_step_is_told_with_what_it_said() {
    let steps = json!([
        {"step": "keys root", "outcome": "done", "milliseconds": 1},
        {"step": "user-data script 1", "outcome": "failed", "reason": "script-exit",
         "detail": "exit status 9\nbroken", "milliseconds": 1},
        {"step": "user-data part 2", "outcome": "failed", "reason": "bad-yaml", "milliseconds": 1},
    ]);
    let found = of(|seen| seen.agent.report = Some(report(steps)));
    assert_eq!(found, [("step-failed", Who::Either), ("step-failed", Who::Operator)]);
}

#[test]
fn reasons_that_say_little_by_themselves_come_with_what_to_do() {
    let failed = |step: &str, reason: &str| {
        let steps =
            json!([{"step": step, "outcome": "failed", "reason": reason, "milliseconds": 1}]);
        let mut seen = healthy();
        seen.agent.report = Some(report(steps));
        let finding = judge(&seen).remove(0);
        assert_eq!(finding.reason, "step-failed");
        (finding.who, finding.mend)
    };
    let mut told = Vec::new();
    for (step, reason, who, word) in [
        ("packages", "unsupported", Who::Either, "take it out"),
        ("tag windows-startup-script-cmd", "reboot-in-vain", Who::Either, "1003"),
        ("reboot for the host name web", "reboot-in-vain", Who::GuestOwner, "name"),
        ("user-data script 1", "runs-for-ever", Who::Either, "output/user-data-script-1.log"),
        ("stop eve", "process", Who::GuestOwner, "end it by hand"),
        ("generated password eve", "no-recipient", Who::Operator, "ssh-ed25519"),
        ("user eve", "accounts-locked", Who::GuestOwner, ".pwd.lock"),
    ] {
        let (found, mend) = failed(step, reason);
        assert_eq!(found, who, "{reason}");
        assert!(mend.contains(word), "{reason}: {mend}");
        assert!(!mend.starts_with("docs/"), "{reason} has no advice of its own");
        told.push(mend);
    }
    let all = told.len();
    told.sort();
    told.dedup();
    assert_eq!(told.len(), all, "each says something else");
}

#[test]
fn a_clock_that_is_off_is_told_and_one_that_is_a_little_off_is_not() {
    let off = |seconds: i64| {
        of(|seen| {
            let mut one = good();
            one.token = Ok(Answer { ahead_s: Some(seconds), ..ok(200, "") });
            seen.ways = vec![way(LINK_V4.into(), one)];
        })
    };
    assert_eq!(off(60), []);
    assert_eq!(off(-61), [("clock-skew", Who::Either)]);
}

#[test]
fn proxies_are_told_last() {
    let found = of(|seen| {
        seen.proxies = vec!["http_proxy".into()];
        seen.agent.report = Some(report(json!([
            {"step": "x", "outcome": "failed", "reason": "file", "milliseconds": 1},
        ])));
    });
    assert_eq!(found.iter().map(|it| it.0).collect::<Vec<_>>(), ["step-failed", "proxy"]);
}

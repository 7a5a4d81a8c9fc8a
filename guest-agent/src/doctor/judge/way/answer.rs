//! What the service answered, or did not any more once there was a connection. Pure.

use std::borrow::Cow;

use super::Weighed;
use crate::doctor::{
    finding::{Finding, Who},
    observation::{Answer, Asked, Failure, Neighbour},
};

pub(super) fn limited(said: &str, place: &str) -> Weighed {
    let wrong = format!(
        "{place}: most frames to the service are lost: this port is over its limit of frames, or the \
         link loses them"
    );
    let mend = "Look for a program in the guest that asks again and again; have the operator look at the \
         port's `rate_limit` and at `mezame_frames_total{verdict=\"rate_limited\"}`.";
    (86, Finding::new("rate-limited", Who::Either, wrong, mend).seen(said))
}

/// Whether ARP gets lost though there is a connection. A router in between, such as a container's,
/// answers no probes; but it does answer who asks with an address.
fn is_lossy(neighbour: &Neighbour) -> bool {
    let Neighbour { probes, answered, own } = neighbour;
    let is_proxied = *answered == 0 && own.iter().any(|(_, taken)| *taken);
    answered * 2 <= *probes && !is_proxied
}

/// Connected, and no answer to the request for a token: the one reply that leaves with a TTL of its
/// own.
pub(super) fn no_token(asked: &Asked, failure: &Failure, place: &str) -> Weighed {
    if let Some(neighbour) = asked.neighbour.as_ref().filter(|it| is_lossy(it)) {
        let Neighbour { probes, answered, .. } = neighbour;
        return limited(&format!("{answered} of {probes} ARP probes were answered"), place);
    }
    if matches!(asked.small, Some(Ok(_))) {
        let wrong = format!(
            "{place}: the reply with the session token does not arrive: its hop limit is too low for \
             where this runs"
        );
        let mend = "In a container or behind a router in the guest: ask for `hop_limit: 2` (or more) \
             in the instance's record.";
        return (
            85,
            Finding::new("hop-limit", Who::Operator, wrong, mend)
                .seen("other requests on the same way are answered")
                .seen(format!("the one for a token: {}", failure.text)),
        );
    }
    let wrong = format!("{place}: the connection is there, but nothing is answered on it");
    let mend =
        "A proxy or a filter in between? Look at the guest's rules, then at the service's log.";
    (62, Finding::new("no-answer", Who::Either, wrong, mend).seen(failure.text.clone()))
}

/// Something answered the request for a token.
pub(super) fn answered(asked: &Asked, token: &Answer, place: &str) -> Option<Weighed> {
    let has_token = token.status == 200;
    match &asked.document {
        None => Some((90, refusal(token, false, place))),
        Some(Err(failure)) => Some(lost("the document", asked.small.as_ref(), failure, place)),
        Some(Ok(answer)) if answer.document.is_none() => {
            Some((90, refusal(answer, has_token, place)))
        }
        Some(Ok(_)) => match &asked.long {
            Some(Err(failure)) => Some(lost("a long request", Some(&asked.token), failure, place)),
            _ => None,
        },
    }
}

/// Something long got lost where something short did not.
fn lost(
    what: &str,
    small: Option<&Result<Answer, Failure>>,
    failure: &Failure,
    place: &str,
) -> Weighed {
    if !matches!(small, Some(Ok(_))) {
        let wrong = format!("{place}: the connection breaks: {}", failure.text);
        let mend = "Look at the service's log on the hypervisor.";
        return (62, Finding::new("connection-broke", Who::Operator, wrong, mend));
    }
    let wrong = format!(
        "{place}: full packets get lost where small ones pass: the MTU is too big for the way"
    );
    let mend = "Set the device's MTU to the network's (`mtu` in `mezame get network`), or have the \
         operator lower that to what the way carries.";
    let finding = Finding::new("mtu-black-hole", Who::Either, wrong, mend)
        .seen("short requests are answered")
        .seen(format!("{what} is not: {}", failure.text));
    (84, finding)
}

/// What is wrong, whose it is to mend, and how.
type Said = (&'static str, Who, Cow<'static, str>, &'static str);

/// The service answered with something else than what was asked for.
fn refusal(answer: &Answer, has_token: bool, place: &str) -> Finding {
    let Answer { status, said, .. } = answer;
    let (reason, who, wrong, mend) = match status {
        401 | 403 => forbidden(answer, has_token),
        _ => unserved(answer),
    };
    Finding::new(reason, who, format!("{place}: {wrong}"), mend)
        .seen(format!("status {status}: {said:?}"))
}

/// 401 and 403: this guest, or this way of asking, gets nothing.
fn forbidden(answer: &Answer, has_token: bool) -> Said {
    let says = |word: &str| answer.said.contains(word);
    match answer.status {
        401 if has_token && says("required") => (
            "unauthorized",
            Who::GuestOwner,
            "a token was sent, and none arrived: something in between takes the header away".into(),
            "Take the proxy or filter out of the way that rewrites requests to the service.",
        ),
        401 => (
            "unauthorized",
            Who::Operator,
            "the service does not take the token that it gave a moment ago".into(),
            "Do the services of this guest's hypervisors have the same keys? See `mezame keys`.",
        ),
        _ if says("unknown port") => (
            "unknown-port",
            Who::Operator,
            "the service does not know the port that this came through".into(),
            "See that the port's `device` is this guest's tap.",
        ),
        _ if says("relayed") => (
            "relayed",
            Who::GuestOwner,
            "the request came by a proxy, and relayed ones are refused".into(),
            "Ask the service directly: take the proxy out of the way.",
        ),
        _ => (
            "endpoint-off",
            Who::Operator,
            "the service is switched off for this instance".into(),
            "Set `tokens` in the instance's record to `optional` or `required`.",
        ),
    }
}

/// All others: there is no document in the answer.
fn unserved(answer: &Answer) -> Said {
    match answer.status {
        200 => {
            let why = answer.no_document.as_deref().unwrap_or("it is no document");
            let mend = "Another service in its place, or another version of it: compare \
                 `guest-agent --version` with the service's.";
            ("bad-document", Who::Either, format!("what came is no document: {why}").into(), mend)
        }
        404 | 405 => (
            "no-document",
            Who::Operator,
            "there is a metadata service, and no Mezame document in it".into(),
            "Add `mezame` to the `dialects` of the instance's record. (Or it is another cloud's.)",
        ),
        429 => (
            "rate-limited",
            Who::GuestOwner,
            "the service has no patience left for this port's requests".into(),
            "Look for a program in the guest that asks again and again.",
        ),
        503 => (
            "not-ready",
            Who::Operator,
            "the service knows this port, and has no whole record of it yet".into(),
            "Apply an instance that names the port, and its network: `mezame describe port`. Right \
             after a start: wait.",
        ),
        _ => (
            "unexpected-status",
            Who::Operator,
            "the answer makes no sense".into(),
            "Is it our service at all? Look at its log.",
        ),
    }
}

//! Mezame's own dialect, for the guest agent and for appliances with nothing but a shell.
//!
//! ```text
//! GET  /mezame/v1/document                     the whole record, JSON, ETag
//! GET  /mezame/v1/document?watch=ETAG&timeout=S   answers when it differs from ETAG, or with 304
//! POST /mezame/v1/report                       the agent's report
//! POST /mezame/v1/password                     a sealed password
//! GET  /mezame/v1/secrets/NAME                 a secret, until it is acknowledged
//! POST /mezame/v1/secrets/NAME/ack             and never again; with If-Match, that very value
//! POST /mezame/v1/volume-keys/NAME             the key of an encrypted volume, once a boot
//! GET, POST /mezame/v1/freeze                  orders to freeze and thaw, and the agent's answers
//! GET  /mezame/v1/hostname, ssh-keys, …        plain text, a line each, for a shell
//! ```
//!
//! Errors are JSON, `{"error", "detail"}`. What a guest posts is checked for its form and for what
//! it may say about this guest, and believed no further.

mod document;
mod freeze;
mod inbox;
mod plain;
mod volume_keys;
mod watch;

use crate::{
    policy::Permit,
    render,
    request::{Method, Request},
    respond::Answer,
    response::{Audit, Response, Status},
    tree::{Directory, Entry, Found, Label, Scope, directory},
    view::{handed_out, waiting_secret},
};

/// The tree below `/mezame`.
static ROOT: Directory = Directory { entries: &ENTRIES, label: Label::Slash, keep: true };
static ENTRIES: [Entry; 1] = [directory("v1", 0, &plain::V1)];

/// How many bytes of body a POST may have.
pub(crate) fn body_limit(request: &Request<'_>) -> usize {
    let mut segments = request.segments();
    if segments.next() != Some("mezame") || segments.next() != Some("v1") {
        return 0;
    }
    match segments.next() {
        Some("report") => inbox::REPORT_MAX,
        Some("password") => inbox::PASSWORD_MAX,
        Some("secrets") => inbox::ACKNOWLEDGEMENT_MAX,
        Some("volume-keys") => volume_keys::REQUEST_MAX,
        Some("freeze") => mezame_model::freeze::Answer::LENGTH_MAX,
        _ => 0,
    }
}

/// The tree, for the tests.
#[cfg(test)]
pub(crate) fn root() -> &'static Directory {
    &ROOT
}

/// Answers a permitted request below `/mezame`.
pub(crate) fn answer(
    permit: Permit,
    request: &Request<'_>,
    body: &[u8],
    scope: Scope<'_>,
) -> Answer {
    if let Some(name) = volume_keys::asked(request) {
        return volume_keys::answer(name, permit, request, body, &scope);
    }
    if freeze::is_asked(request) {
        return freeze::answer(permit, request, body, &scope);
    }
    let Some(found) = ROOT.find(request.segments().skip(1), scope) else {
        return Answer::Reply(render::error(Status::NotFound, "not-found", "nothing is here"));
    };
    if !found.answers(request.method()) {
        let mut reply = render::error(
            Status::MethodNotAllowed,
            "method-not-allowed",
            format_args!("this path answers {}", found.allow()),
        );
        reply.allow = Some(found.allow());
        return Answer::Reply(reply);
    }
    if let Found::Inbox(inbox, scope) = found {
        return inbox::take(inbox, request, body, &scope);
    }
    if request.method() == Method::Get
        && request.segments().eq(["mezame", "v1", "document"])
        && let Some(answer) = watch::watch(request, &scope, || document::tag_now(&scope))
    {
        return answer;
    }
    let Some(mut value) = found.read() else {
        return Answer::Reply(Response::internal());
    };
    if matches!(found, Found::Directory(..)) {
        // As in all texts for shells, the last line ends too.
        value.end_last_line();
    }
    let mut reply = super::reply(permit, &scope, value);
    if reply.audit.is_some() {
        reply.no_store = true;
    }
    let Some(Audit::Secret(name)) = &reply.audit else { return Answer::Reply(reply) };
    match waiting_secret(&scope, name.as_str()) {
        Some((name, value)) => handed_out(&scope, name, value, reply),
        // It was found above.
        None => Answer::Reply(Response::internal()),
    }
}

#[cfg(test)]
mod tests;

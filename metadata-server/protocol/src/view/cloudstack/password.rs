//! CloudStack's one-time password, as its virtual router serves it on port 8080.
//!
//! ```text
//! GET /   DomU_Request: send_my_password   the password, or `saved_password` where there is none
//! GET /   DomU_Request: saved_password     `saved_password`, and the password is forgotten
//! ```
//!
//! The password is the instance's read-once secret of the name `password`, and is read and
//! acknowledged as in Mezame's own dialect. Asked for by cloud-init's CloudStack source and by
//! CloudStack's scripts (both with wget, which gives up at an error status), by cloudbase-init
//! (which fails at one), and by CloudStack's service for Windows (which looks at none). So where
//! there is no password the status is 200, and an error is worded so that nobody takes it for one.
//!
//! Never takes a password, as the router does from its own machine.
//!
//! Follows `passwd_server_ip.py` of CloudStack's system machine, and "Adding Password Management to
//! Templates" in its administration guide.

use bytes::Bytes;

use crate::{
    policy::Permit,
    request::{Method, Request},
    respond::Answer,
    response::{Audit, Response, Status},
    tree::{Body, Scope},
    view::{handed_out, method_not_allowed, received, reply, waiting_secret},
};

/// The secret that is the password.
const SECRET: &str = "password";
/// "There is none", and "it is forgotten".
const SAVED: &str = "saved_password";
/// Asked for something else.
const BAD_REQUEST: &str = "bad_request";

/// Answers a permitted request by the password port, whatever its path: the router looks at none.
pub(super) fn answer(permit: Permit, request: &Request<'_>, scope: &Scope<'_>) -> Answer {
    if request.method() != Method::Get {
        return Answer::Reply(method_not_allowed("GET"));
    }
    match request.headers().domu_request {
        Some(b"send_my_password") => send(permit, scope),
        Some(b"saved_password") => forget(permit, scope),
        _ => Answer::Reply(Response::text(Status::BadRequest, BAD_REQUEST)),
    }
}

fn send(permit: Permit, scope: &Scope<'_>) -> Answer {
    let Some((name, value)) = waiting_secret(scope, SECRET) else {
        return Answer::Reply(saved(permit, scope));
    };
    let mut body = Body::text(value.expose());
    body.audit = Some(Audit::Secret(name.clone()));
    let mut reply = reply(permit, scope, body);
    // CloudStack's clients look at none.
    reply.etag = None;
    handed_out(scope, name, value, reply)
}

/// Said again, it changes nothing and is answered the same: the first answer may have been lost.
fn forget(permit: Permit, scope: &Scope<'_>) -> Answer {
    let reply = saved(permit, scope);
    match waiting_secret(scope, SECRET) {
        Some((name, value)) => Answer::Event { kind: received(scope, name, value), reply },
        None => Answer::Reply(reply),
    }
}

fn saved(permit: Permit, scope: &Scope<'_>) -> Response {
    let mut reply = reply(permit, scope, Body::fixed(SAVED));
    reply.etag = None;
    reply.no_store = true;
    reply
}

/// An error without its text: CloudStack's service for Windows makes whatever it is sent the
/// administrator's password, unless that is `saved_password`.
pub(crate) fn worded(mut reply: Response) -> Response {
    let is_error = reply.status.code() >= 400;
    if is_error && !reply.body.is_empty() && reply.body != BAD_REQUEST {
        reply.body = Bytes::from_static(SAVED.as_bytes());
        reply.content_length = reply.body.len();
    }
    reply
}

#[cfg(test)]
mod tests;

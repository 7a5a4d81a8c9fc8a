//! From a request and a guest's record to an answer: the crate's one entrance.

use std::collections::BTreeSet;

use mezame_model::{Generation, Guest, PortId, SecretName, report::GuestEventKind};

use crate::{
    identity_document::Signer,
    request::Request,
    response::Response,
    token::{Randomness, TokenKeys, UnixTime},
};

/// What the shell knows at the moment of a request, besides the guest's record.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The keys of session tokens, expanded once for a snapshot's site.
    pub keys: &'a TokenKeys,
    /// Signs instance-identity documents; made once for a snapshot's site.
    pub signer: &'a Signer,
    /// The wall clock.
    pub now: UnixTime,
    /// Random bytes for tokens.
    pub random: &'a dyn Randomness,
    /// The port that the request came through; one of the guest's.
    pub port: &'a PortId,
    /// The snapshot that the guest's record comes from.
    pub generation: Generation,
    /// When the guest's record last changed, if the shell knows; sent as `Last-Modified`.
    pub modified: Option<UnixTime>,
    /// The guest's secrets that it has acknowledged, and that are never handed out again.
    pub acknowledged: &'a BTreeSet<SecretName>,
    /// Whether a long-poll has waited long enough. False at the first call for a request.
    pub watch_over: bool,
}

/// What the shell is to do.
#[derive(Debug)]
pub enum Answer {
    /// Send it.
    Reply(Response),
    /// Wait until the guest's record changes or `timeout_s` has passed since the request came,
    /// then call [`respond`] again with the new record, and with `watch_over` if the time is over.
    /// May come again, where the change was not one that the guest can see.
    Watch {
        /// The state that the guest has.
        etag: u64,
        /// How long it wants to wait, in seconds; at most 300.
        timeout_s: u32,
    },
    /// Keep the event durably, then send the reply; [`Response::not_kept`] if it can't be kept.
    Event {
        /// What the guest did.
        kind: GuestEventKind,
        /// What it is told once the event is kept.
        reply: Response,
    },
    /// Write the audit line, then send the reply.
    Secret {
        /// Which read-once secret goes out.
        name: SecretName,
        /// Holds the secret.
        reply: Response,
    },
}

/// How many bytes of body the shell may read for this request. A longer one is answered with
/// [`Response::body_too_large`] before anything of it is read.
pub fn body_limit(_request: &Request<'_>) -> usize {
    0
}

/// Answers a request of a guest.
pub fn respond(
    _request: &Request<'_>,
    _body: &[u8],
    _guest: &Guest,
    _context: &Context<'_>,
) -> Answer {
    Answer::Reply(Response::not_ready(1))
}

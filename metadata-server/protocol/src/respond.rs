//! From a request and a guest's record to an answer: the crate's one entrance.
//!
//! Pure: the same arguments give the same answer, but for the bytes of a token's nonce, and for
//! the signer's count of what a guest has had signed lately. What must be done outside (waiting,
//! keeping, auditing) is said in the [`Answer`] and never done here.

use bytes::Bytes;
use mezame_model::{
    Dialect, Generation, Guest, PortId, SecretDigest, SecretName,
    freeze::{self, Order},
    report::GuestEventKind,
};

use crate::{
    etag,
    gate::Gate,
    identity_document::Signer,
    policy,
    release::{Claim, Start},
    request::{Method, Request},
    response::{self, Response, Status},
    spent::Spent,
    token::{Randomness, TokenKeys, TokenTtl, UnixTime},
    tree::Scope,
    view,
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
    /// The port that the request came through. A guest that doesn't have it is not answered for.
    pub port: &'a PortId,
    /// The snapshot that the guest's record comes from.
    pub generation: Generation,
    /// When the guest's record last changed, if the shell knows; sent as `Last-Modified`.
    pub modified: Option<UnixTime>,
    /// The values of the guest's secrets that it has acknowledged, and that are never handed out
    /// again.
    pub acknowledged: &'a Spent,
    /// The start of the machine behind the port.
    pub start: Start,
    /// What the guest's agent is asked to do now.
    pub order: Option<Order>,
    /// Whether a long-poll has waited long enough. False at the first call for a request.
    pub watch_over: bool,
    /// The state that this request's first [`Answer::Watch`] named, for a guest that does not say
    /// what it has. None at the first call for a request.
    pub watched: Option<u64>,
}

/// What the shell is to do.
#[derive(Debug)]
pub enum Answer {
    /// Send it, with an audit line first where it has one.
    Reply(Response),
    /// Wait until the guest's record changes or `timeout_s` has passed since the request came,
    /// then call [`respond`] again with the new record, with `watched`, and with `watch_over` if
    /// the time is over. May come again, where the change was not one that the guest can see.
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
        /// With which value.
        digest: SecretDigest,
        /// Holds the secret.
        reply: Response,
    },
    /// Under a lock that is this key's: settle the claim with what was released of the key, keep
    /// the event, note what is released now; then write the audit line and send the sealed key, or
    /// the refusal.
    VolumeKey(Box<Claim>),
    /// The guest's agent says what has become of an order; it is told [`Response::obeyed`].
    Obeyed(Box<freeze::Answer>),
}

/// How many bytes of body the shell may read for this request. A longer one is answered with
/// [`Response::body_too_large`] before anything of it is read.
pub fn body_limit(request: &Request<'_>) -> usize {
    if request.gate() == Gate::Password {
        return 0;
    }
    match request.method() {
        Method::Post => view::mezame::body_limit(request).max(view::openstack::body_limit(request)),
        // Some clients send an empty form along when they ask for a token. It is ignored.
        Method::Put => view::gce::body_limit(request).max(1024),
        Method::Get | Method::Head | Method::Delete | Method::Other => 0,
    }
}

/// The dialect that a request's path belongs to, whether or not a guest is answered in it; for
/// counting. Of rivals' paths the first one's: CloudStack's are counted as EC2's, but by the
/// password port.
pub fn dialect_of(request: &Request<'_>) -> Option<Dialect> {
    view::owners(request).next()
}

/// Answers a request of a guest.
pub fn respond(request: &Request<'_>, body: &[u8], guest: &Guest, context: &Context<'_>) -> Answer {
    // The shell has looked the guest up by the port. Should the two ever not belong together, as
    // when a port has just changed hands, nobody is answered.
    if !guest.ports.iter().any(|entry| entry.port.id == *context.port) {
        return Answer::Reply(Response::unknown_port());
    }
    let answer = route(request, body, guest, context);
    match (answer, request.method()) {
        (Answer::Reply(reply), method) => {
            let reply = conditional(reply, request);
            Answer::Reply(if method == Method::Head { reply.without_body() } else { reply })
        }
        // A look at the length hands nothing out.
        (Answer::Secret { reply, .. }, Method::Head) => Answer::Reply(reply.without_body()),
        (answer, _) => answer,
    }
}

/// Finds who answers: the token endpoint, the list of roots, or a dialect's view.
fn route(request: &Request<'_>, body: &[u8], guest: &Guest, context: &Context<'_>) -> Answer {
    let mut segments = request.segments();
    let root = segments.next();
    let dialect = view::chosen(request, &guest.instance.dialects);
    let is_for_metadata = request.gate() == Gate::Metadata;
    if is_for_metadata && root == Some("latest") && segments.eq(["api", "token"]) {
        return Answer::Reply(token(request, guest, context));
    }
    // An unknown tree is 404 before anything else is asked for: clients try several dialects in
    // turn, and anything else makes some of them wait. The password port has no list of roots.
    if dialect.is_none() && (root.is_some() || !is_for_metadata) {
        // A denial has the form of the tree that is asked for.
        let meant = dialect_of(request);
        return Answer::Reply(match policy::enter(request, guest, meant) {
            Ok(()) => view::not_found(),
            Err(denial) => denial.response(meant),
        });
    }
    let permit = match policy::admit(request, guest, context, dialect) {
        Ok(permit) => permit,
        Err(denial) => return Answer::Reply(denial.response(dialect)),
    };
    let scope = Scope::new(guest, context);
    match dialect {
        Some(dialect) => view::answer(dialect, permit, request, body, scope),
        None => Answer::Reply(view::roots(permit, request, &scope)),
    }
}

/// The token endpoint: `PUT /latest/api/token`, for every dialect of the guest.
fn token(request: &Request<'_>, guest: &Guest, context: &Context<'_>) -> Response {
    if let Err(denial) = policy::enter(request, guest, None) {
        return denial.response(None);
    }
    if request.method() != Method::Put {
        return view::method_not_allowed("PUT");
    }
    let Some(ttl) = request.headers().token_ttl.and_then(TokenTtl::parse) else {
        return Response::text(
            Status::BadRequest,
            "X-aws-ec2-metadata-token-ttl-seconds must be 1 to 21600\n",
        );
    };
    let Some(token) = context.keys.seal(&guest.instance.id, ttl, context.now, context.random)
    else {
        return Response::internal();
    };
    let mut response = Response::new(Status::Ok, response::TEXT, Bytes::from(token));
    response.token_ttl = Some(ttl.seconds());
    response.hop_limit = Some(guest.instance.hop_limit);
    response.no_store = true;
    response
}

/// Turns a reply into 304 where the guest has its content already.
fn conditional(mut reply: Response, request: &Request<'_>) -> Response {
    let has_it = match (reply.etag, request.headers().if_none_match) {
        (Some(tag), Some(header)) if reply.status == Status::Ok => etag::matches(header, tag),
        _ => false,
    };
    if has_it {
        reply.status = Status::NotModified;
        reply.content_type = "";
        reply.content_length = 0;
        reply = reply.without_body();
    }
    reply
}

#[cfg(test)]
mod tests;

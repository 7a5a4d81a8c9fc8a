//! One request: limits, then the protocol, then what its answer asks for.

mod release;
mod watch;

use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Request, Response,
    body::{Body, Incoming},
    header::TRANSFER_ENCODING,
    http::request::Parts,
};
use mezame_model::{Dialect, GuestEvent, SecretDigest, SecretName, report::GuestEventKind};
use mezame_protocol::{
    Answer, Audit, Context, NoRandomness, Randomness, Refusal, Response as Reply, Version,
    body_limit, dialect_of, respond,
};
use ring::rand::{SecureRandom, SystemRandom};

use self::watch::Wait;
use super::{
    Serving, Stage,
    connection::{Connection, Phase},
    reply,
};
use crate::{
    audit,
    clock::{unix_milliseconds, unix_time},
    identity::{Record, Standing},
    ledger::{LedgerError, outbox::Outbox},
    limits::Exhausted,
    metrics::refusal::Reason,
};

/// How long a guest may take to send a body.
const BODY_TIME: Duration = Duration::from_secs(30);
/// What a guest is told whose record has not come, in seconds. Short: the record is expected.
const NOT_READY: u32 = 1;
/// What a guest is told whose event could not be kept, in seconds.
const NOT_KEPT: u32 = 5;

/// Answers one request. Never fails: what goes wrong is a reply too.
pub(super) async fn answer(
    serving: &Arc<Serving>,
    connection: &Arc<Connection>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let began = Instant::now();
    connection.begin(serving.clock.now());
    let (parts, body) = request.into_parts();
    let mut exchange = Exchange { serving, connection, began, dialect: None, watched: false };
    let made = connection.gate().worded(exchange.reply_to(&parts, body).await);
    connection.leave_with(made.hop_limit.map(u8::from));
    serving.metrics.replied(exchange.dialect, made.status.code());
    if !exchange.watched {
        serving.metrics.took(began.elapsed());
    }
    if made.token_ttl.is_some() && made.hop_limit.is_some() {
        serving.metrics.tokens.inc();
    }
    connection.enter(Phase::Reply, serving.clock.now());
    Ok(reply::of(&made, serving.stage() != Stage::Open))
}

struct Exchange<'a> {
    serving: &'a Arc<Serving>,
    connection: &'a Arc<Connection>,
    began: Instant,
    dialect: Option<Dialect>,
    watched: bool,
}

impl Exchange<'_> {
    async fn reply_to(&mut self, parts: &Parts, body: Incoming) -> Reply {
        let serving = self.serving;
        let now = serving.clock.nanoseconds(self.began);
        if let Err(exhausted) = self.connection.attachment().requests.take(serving.rate, now) {
            serving.metrics.refused(Reason::RequestsOfPort);
            return too_many(exhausted);
        }
        let target = target_of(parts);
        // Hyper takes the Content-Length away that stood beside a Transfer-Encoding. The protocol
        // is to know of it: such a message is likely an attempt at smuggling (RFC 9112, 6.3).
        let hidden = parts.headers.contains_key(TRANSFER_ENCODING)
            && self.connection.head_named(b"content-length");
        let headers = parts
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes()))
            .chain(hidden.then_some(("content-length", &b"0"[..])));
        let request = match mezame_protocol::Request::parse(
            version_of(parts),
            parts.method.as_str(),
            &target,
            headers,
        ) {
            Ok(request) => request.by(self.connection.gate()),
            Err(refusal) => {
                serving.metrics.refused(if hidden { Reason::Smuggling } else { Reason::Malformed });
                return refusal.response();
            }
        };
        self.dialect = dialect_of(&request);
        let limit = body_limit(&request);
        let body = match self.body_of(body, request.content_length(), limit).await {
            Ok(body) => body,
            Err(reply) => return *reply,
        };
        self.exchange(&request, &body).await
    }

    /// Reads the body, within the limits of length and time.
    async fn body_of(
        &self,
        body: Incoming,
        announced: u64,
        limit: usize,
    ) -> Result<Bytes, Box<Reply>> {
        if body.is_end_stream() {
            return Ok(Bytes::new());
        }
        if announced > limit as u64 {
            return Err(Box::new(Reply::body_too_large()));
        }
        let collected = tokio::time::timeout(BODY_TIME, Limited::new(body, limit).collect()).await;
        match collected {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
                Err(Box::new(Reply::body_too_large()))
            }
            // It broke off; nobody reads this reply.
            Ok(Err(_)) => Err(Box::new(Refusal::Malformed.response())),
            Err(_) => {
                self.serving.metrics.refused(Reason::SlowBody);
                Err(Box::new(Reply::too_slow()))
            }
        }
    }

    /// Asks the protocol, and does what it says until there is a reply.
    async fn exchange(&mut self, request: &mezame_protocol::Request<'_>, body: &[u8]) -> Reply {
        let attachment = self.connection.attachment();
        let record = match attachment.standing() {
            Standing::Serving(record) => record,
            other => return self.without_record(&other).await,
        };
        match self.respond(request, body, &record, Wait::default()) {
            Answer::Reply(reply) => self.audited(&record, reply),
            Answer::Event { kind, reply } => self.keep(&record, kind, reply).await,
            Answer::Secret { name, digest, reply } => {
                self.hand_out(&record, &name, digest, reply).await
            }
            Answer::VolumeKey(claim) => self.release(&record, claim).await,
            Answer::Obeyed(answer) => Reply::obeyed(attachment.orders.answered(*answer)),
            Answer::Watch { etag, timeout_s } => self.watch(request, body, etag, timeout_s).await,
        }
    }

    fn respond(
        &self,
        request: &mezame_protocol::Request<'_>,
        body: &[u8],
        record: &Record,
        wait: Wait,
    ) -> Answer {
        let context = Context {
            keys: &record.keys.tokens,
            signer: &record.keys.signer,
            now: unix_time(),
            random: &System,
            port: &self.connection.attachment().port,
            generation: record.generation,
            modified: Some(record.modified),
            acknowledged: &record.acknowledged,
            start: self.connection.attachment().start(),
            order: self.connection.attachment().orders.now(),
            watch_over: wait.is_over,
            watched: wait.watched,
        };
        respond(request, body, &record.guest, &context)
    }

    async fn without_record(&self, standing: &Standing) -> Reply {
        if matches!(standing, Standing::Over) {
            // Whoever asked is not the one who has the port now: not a byte more.
            self.connection.reset();
            std::future::pending::<()>().await;
        }
        Reply::not_ready(NOT_READY)
    }

    /// Keeps what the guest did, then replies.
    async fn keep(&self, record: &Record, kind: GuestEventKind, reply: Reply) -> Reply {
        let now = self.serving.clock.nanoseconds(Instant::now());
        let events = &self.connection.attachment().events;
        if let Err(exhausted) = events.take_many(self.serving.event_rate, cost_of(&kind), now) {
            self.serving.metrics.refused(Reason::EventsOfPort);
            return too_many(exhausted);
        }
        let serving = Arc::clone(self.serving);
        let (port, instance) =
            (self.connection.attachment().port.clone(), record.guest.instance.id.clone());
        let (attachment, generation) =
            (Arc::clone(self.connection.attachment()), record.generation);
        let kept = tokio::task::spawn_blocking(move || {
            let key = Outbox::new_key()?;
            let spends = matches!(kind, GuestEventKind::SecretAcknowledged(_));
            let at_ms = unix_milliseconds();
            audit::withheld(&port, &instance, &kind);
            serving.outbox.keep(GuestEvent { port, instance, at_ms, key, kind }, generation)?;
            if spends {
                respend(&serving, &attachment);
            }
            Ok::<_, LedgerError>(())
        });
        match kept.await {
            Ok(Ok(())) => reply,
            Ok(Err(error)) => self.not_kept(&error),
            Err(_) => Reply::internal(),
        }
    }

    fn not_kept(&self, error: &LedgerError) -> Reply {
        // Where the control plane is away, the guest goes on all the same: nothing of ours fails.
        if matches!(error, LedgerError::TooMany { .. }) {
            self.serving.metrics.refused(Reason::OutboxOfPort);
            tracing::debug!(error = crate::chain(error), "a guest's event was not kept");
        } else {
            self.serving.metrics.refused(Reason::NotKept);
            tracing::error!(
                port = %self.connection.attachment().port,
                error = crate::chain(error),
                "a guest's event was not kept"
            );
        }
        Reply::not_kept(NOT_KEPT)
    }

    /// Hands a read-once secret out, unless another process has seen it acknowledged.
    async fn hand_out(
        &self,
        record: &Record,
        name: &SecretName,
        digest: SecretDigest,
        reply: Reply,
    ) -> Reply {
        let serving = Arc::clone(self.serving);
        let (instance, secret) = (record.guest.instance.id.clone(), name.clone());
        let spent = tokio::task::spawn_blocking(move || {
            serving.outbox.is_spent(&instance, &secret, digest)
        });
        match spent.await {
            Ok(false) => {
                self.note(record, &Audit::Secret(name.clone()));
                reply
            }
            // The next attempt sees the acknowledgement.
            Ok(true) => {
                respend(self.serving, self.connection.attachment());
                Reply::not_ready(NOT_READY)
            }
            Err(_) => Reply::internal(),
        }
    }

    fn audited(&self, record: &Record, reply: Reply) -> Reply {
        if let Some(order) = reply.order {
            self.connection.attachment().orders.told(order);
        }
        if let Some(audit) = &reply.audit {
            self.note(record, audit);
        }
        reply
    }

    fn note(&self, record: &Record, audit: &Audit) {
        self.serving.metrics.secrets.inc();
        audit::handed_out(&self.connection.attachment().port, &record.guest.instance.id, audit);
    }
}

/// How many of a port's events one counts for. What is kept with the guest's record makes a
/// snapshot, and so costs every hypervisor something.
fn cost_of(kind: &GuestEventKind) -> u32 {
    match kind {
        GuestEventKind::GuestAttribute(_) => 4,
        GuestEventKind::Report(_)
        | GuestEventKind::Password(_)
        | GuestEventKind::NovaPassword(_)
        | GuestEventKind::SecretAcknowledged(_)
        | GuestEventKind::VolumeKey(_) => 1,
    }
}

/// Tells the guest how long to wait.
fn too_many(exhausted: Exhausted) -> Reply {
    let seconds = exhausted.wait.div_ceil(1_000_000_000);
    Reply::too_many_requests(u32::try_from(seconds).unwrap_or(u32::MAX).max(1))
}

/// Serves the record anew with what is spent by now.
fn respend(serving: &Serving, attachment: &crate::identity::Attachment) {
    attachment.amend(|record| {
        let acknowledged = serving.outbox.spent(&record.guest.instance.id);
        (acknowledged != record.acknowledged).then(|| Record {
            guest: record.guest.clone(),
            keys: Arc::clone(&record.keys),
            acknowledged,
            generation: record.generation,
            modified: unix_time(),
        })
    });
}

/// The system's random numbers.
struct System;

impl Randomness for System {
    fn fill(&self, out: &mut [u8]) -> Result<(), NoRandomness> {
        SystemRandom::new().fill(out).map_err(|_| NoRandomness)
    }
}

fn version_of(parts: &Parts) -> Version {
    if parts.version == hyper::Version::HTTP_10 { Version::Http10 } else { Version::Http11 }
}

/// The request target as it came.
fn target_of(parts: &Parts) -> std::borrow::Cow<'_, [u8]> {
    match parts.uri.path_and_query() {
        Some(path) if parts.uri.scheme().is_none() && parts.uri.authority().is_none() => {
            std::borrow::Cow::Borrowed(path.as_str().as_bytes())
        }
        _ => std::borrow::Cow::Owned(parts.uri.to_string().into_bytes()),
    }
}

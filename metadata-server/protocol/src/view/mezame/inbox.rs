//! What a guest may send: reports, sealed passwords, acknowledgements.
//!
//! Each is parsed, checked against this guest's record, and becomes an event that the shell keeps
//! before the guest is told "204". What fails is answered with a stable word and kept nowhere.

use bytes::Bytes;
use mezame_model::{
    Password, Report, SecretName, SecretString,
    report::{GuestEventKind, NovaPassword, SealedPassword},
};
use serde::de::DeserializeOwned;

use crate::{
    etag, render,
    request::Request,
    respond::Answer,
    response::{Response, Status},
    spent::digest_of,
    tree::{Inbox, Scope},
    view::{received, waiting_secret},
};

/// The longest report, in bytes.
pub(super) const REPORT_MAX: usize = 256 << 10;
/// The longest sealed password with what is around it, in bytes.
pub(super) const PASSWORD_MAX: usize = 32 << 10;
/// An acknowledgement says all in its path; a client may send an empty object along.
pub(super) const ACKNOWLEDGEMENT_MAX: usize = 1 << 10;
/// The longest sealed text, in bytes.
const SEALED_MAX: usize = 8 << 10;
/// What a key of 1,024 bits encrypts, in characters of base64.
const NOVA_MIN: usize = 172;

/// Why what a guest sent is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Rejection {
    #[error("the body is {0}, not application/json")]
    MediaType(String),
    #[error("the body is not what this path takes, at line {line}, column {column}")]
    Form { line: usize, column: usize },
    #[error("the body is longer than {0} bytes")]
    TooLong(usize),
    #[error("the report is for another instance than this one")]
    OtherInstance,
    #[error("no password of this user is to be made in the guest")]
    NotAsked,
    #[error("the recipient is none of the user's keys; read the document again")]
    OtherRecipient,
    #[error("the secret has another value by now; read it again")]
    OtherValue,
    #[error("the password is not sealed (an armoured age file is wanted)")]
    NotSealed,
}

impl Rejection {
    pub(super) fn response(&self) -> Response {
        let (status, code) = match self {
            Self::MediaType(_) => (Status::UnsupportedMediaType, "media-type"),
            Self::Form { .. } => (Status::BadRequest, "bad-body"),
            Self::TooLong(_) => (Status::ContentTooLarge, "too-long"),
            Self::OtherInstance => (Status::Conflict, "other-instance"),
            Self::NotAsked => (Status::Conflict, "not-asked"),
            Self::OtherRecipient => (Status::Conflict, "other-recipient"),
            Self::OtherValue => (Status::PreconditionFailed, "other-value"),
            Self::NotSealed => (Status::BadRequest, "not-sealed"),
        };
        render::error(status, code, self)
    }
}

/// Takes what was sent.
pub(super) fn take(inbox: Inbox, request: &Request<'_>, body: &[u8], scope: &Scope<'_>) -> Answer {
    let event = match inbox {
        Inbox::Report => report(request, body, scope),
        Inbox::Password => password(request, body, scope),
        Inbox::SecretAcknowledgement => return acknowledgement(request, scope),
    };
    match event {
        Ok(kind) => Answer::Event { kind, reply: taken() },
        Err(rejection) => Answer::Reply(rejection.response()),
    }
}

fn report(
    request: &Request<'_>,
    body: &[u8],
    scope: &Scope<'_>,
) -> Result<GuestEventKind, Rejection> {
    let report: Report = parse(request, body, REPORT_MAX)?;
    // A report that was long on its way must not be filed under the next tenant of the port.
    if report.instance_id != scope.guest.instance.id {
        return Err(Rejection::OtherInstance);
    }
    Ok(GuestEventKind::Report(report))
}

fn password(
    request: &Request<'_>,
    body: &[u8],
    scope: &Scope<'_>,
) -> Result<GuestEventKind, Rejection> {
    let sealed: SealedPassword = parse(request, body, PASSWORD_MAX)?;
    if sealed.sealed.len() > SEALED_MAX {
        return Err(Rejection::TooLong(SEALED_MAX));
    }
    let instance = &scope.guest.instance;
    let user = instance
        .users
        .iter()
        .find(|user| user.name == sealed.user && matches!(user.password, Some(Password::Generate)));
    let user = user.ok_or(Rejection::NotAsked)?;
    let mut keys = user.ssh_keys.iter().chain(&instance.ssh_keys);
    if !keys.any(|key| same_key(key, &sealed.recipient)) {
        return Err(Rejection::OtherRecipient);
    }
    // A guest that sends the password itself must learn so, and it must not be kept.
    let text = sealed.sealed.trim();
    let armoured = text.starts_with("-----BEGIN AGE ENCRYPTED FILE-----")
        && text.ends_with("-----END AGE ENCRYPTED FILE-----");
    if !armoured {
        return Err(Rejection::NotSealed);
    }
    match &sealed.nova {
        Some(nova) if nova.len() > NovaPassword::LENGTH_MAX => {
            Err(Rejection::TooLong(NovaPassword::LENGTH_MAX))
        }
        Some(nova) if !is_ciphertext(nova) => Err(Rejection::NotSealed),
        _ => Ok(GuestEventKind::Password(sealed)),
    }
}

/// Whether a text has the form of what an RSA key encrypts: a password itself is shorter.
fn is_ciphertext(nova: &str) -> bool {
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte);
    nova.len() >= NOVA_MIN && nova.bytes().all(is_base64)
}

/// Said again, it changes nothing and is answered the same: the first answer may have been lost.
/// Where the guest says which value it has read and another one waits, it is to read that.
fn acknowledgement(request: &Request<'_>, scope: &Scope<'_>) -> Answer {
    let Some((name, value)) = waiting_secret(scope, scope.name()) else {
        return Answer::Reply(taken());
    };
    match request.headers().if_match {
        Some(header) if !etag::matches_strongly(header, tag_of(scope, name, value)) => {
            Answer::Reply(Rejection::OtherValue.response())
        }
        _ => Answer::Event { kind: received(scope, name, value), reply: taken() },
    }
}

/// The tag of a secret's value. Made under a key of the site, so that nobody can try guesses at a
/// short value with it; the guest is told the value along with it, but others may see headers.
pub(super) fn tag_of(scope: &Scope<'_>, name: &SecretName, value: &SecretString) -> u64 {
    scope.context.keys.tag_of(&digest_of(&scope.guest.instance.id, name, value))
}

/// Whether two `authorized_keys` lines hold the same key: type and base64, whatever the options
/// and comments.
fn same_key(one: &str, other: &str) -> bool {
    fn base64(line: &str) -> Option<&str> {
        line.split_ascii_whitespace().find(|word| word.starts_with("AAAA"))
    }
    base64(one).is_some_and(|key| base64(other) == Some(key))
}

/// Parses a body of JSON.
pub(super) fn parse<T: DeserializeOwned>(
    request: &Request<'_>,
    body: &[u8],
    most: usize,
) -> Result<T, Rejection> {
    if let Some(content_type) = request.headers().content_type {
        let media_type = content_type.split(|byte| *byte == b';').next().unwrap_or_default();
        if !media_type.trim_ascii().eq_ignore_ascii_case(b"application/json") {
            let shown = String::from_utf8_lossy(media_type).chars().take(80).collect();
            return Err(Rejection::MediaType(shown));
        }
    }
    if body.len() > most {
        return Err(Rejection::TooLong(most));
    }
    // The parser's own message may quote the body, which may hold what nobody should read.
    serde_json::from_slice(body)
        .map_err(|error| Rejection::Form { line: error.line(), column: error.column() })
}

/// 204.
fn taken() -> Response {
    Response::new(Status::NoContent, "", Bytes::new())
}

//! Azure's instance metadata service.
//!
//! Asked for by cloud-init's Azure source, afterburn, Azure's SDKs and scripts. JSON, of which a
//! path selects a part, in the schema of the `api-version` that the request must name. A request
//! must have `Metadata: true`, and none that was relayed is answered.
//!
//! Not here: the WireServer at 168.63.129.16 and the provisioning disk, without which Azure's own
//! agent and afterburn's keys don't work; managed identities, of which a guest has none and is
//! told so at once; load balancers and reprovisioning data, which are 404.
//!
//! Follows "Azure Instance Metadata Service", "Scheduled Events" and "How to use managed
//! identities" in Azure's documentation, and RFC 6749 (section 5.2) for the last one's error.

mod attested;
mod compute;
mod instance;
mod network;
mod version;

use std::collections::BTreeSet;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::{
    identity_document::ChosenError,
    policy::Permit,
    render,
    request::{Method, Request},
    response::{self, Response, Status},
    tree::{Body, Scope},
};

/// Why a request is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Fault {
    /// `Metadata: true` is missing.
    #[error("Bad request. Required metadata header not specified")]
    Header,
    /// No `api-version`, or none that the path has.
    #[error(
        "Bad request. api-version is invalid or was not specified in the request. For more \
         information refer to aka.ms/azureimds"
    )]
    Version,
    /// A parameter came twice.
    #[error("Bad request. A query parameter is specified twice")]
    Doubled,
    /// A format that the path has not.
    #[error("Bad request. The format is not supported for this path")]
    Format,
    /// A nonce that is none.
    #[error("Bad request. nonce must be 1 to 32 letters, digits and hyphens")]
    Nonce,
    /// No identity is assigned to the guest, as OAuth says it.
    #[error("Identity not found")]
    Identity,
    /// Nothing is there.
    #[error("Not found")]
    NotFound,
    /// The path is there, and is only read.
    #[error("Method not allowed")]
    Method,
    /// Too many nonces in a short time.
    #[error("Too many requests")]
    Busy {
        /// In seconds.
        retry_after: u32,
    },
    /// The processor erred.
    #[error("Internal error")]
    Signing,
}

impl From<ChosenError> for Fault {
    fn from(error: ChosenError) -> Self {
        match error {
            ChosenError::TooMany { retry_after } => Self::Busy { retry_after },
            ChosenError::Signing => Self::Signing,
        }
    }
}

impl Fault {
    fn status(self) -> Status {
        match self {
            Self::NotFound => Status::NotFound,
            Self::Method => Status::MethodNotAllowed,
            Self::Busy { .. } => Status::TooManyRequests,
            Self::Signing => Status::InternalServerError,
            _ => Status::BadRequest,
        }
    }

    fn response(self) -> Response {
        let json = |value: Value| {
            Response::new(self.status(), response::JSON, Bytes::from(value.to_string()))
        };
        let mut response = match self {
            Self::Identity => {
                json(json!({ "error": "invalid_request", "error_description": self.to_string() }))
            }
            Self::Version => {
                json(json!({ "error": self.to_string(), "newest-versions": version::newest() }))
            }
            _ => render::azure_error(self.status(), self),
        };
        match self {
            Self::Method => response.allow = Some("GET, HEAD"),
            // Azure sends none, and its clients know what one is.
            Self::Busy { retry_after } => response.retry_after = Some(retry_after),
            _ => {}
        }
        response
    }
}

/// Answers a permitted request below one of Azure's paths.
pub(crate) fn answer(permit: Permit, request: &Request<'_>, scope: Scope<'_>) -> Response {
    match read(request, &scope) {
        Ok(body) => super::reply(permit, &scope, body),
        Err(fault) => fault.response(),
    }
}

/// Checks what holds for every path, and finds the one that is asked for.
fn read(request: &Request<'_>, scope: &Scope<'_>) -> Result<Body, Fault> {
    if !request.headers().metadata.is_some_and(|it| it.eq_ignore_ascii_case(b"true")) {
        return Err(Fault::Header);
    }
    let mut segments = request.segments().skip(1);
    let endpoint = segments.next().unwrap_or_default();
    let rest: Vec<&str> = segments.collect();
    let read: fn(&Request<'_>, &Scope<'_>, &[&str]) -> Result<Body, Fault> =
        match (endpoint, &rest[..]) {
            ("instance", _) => instance::read,
            ("attested", ["document"]) => attested::read,
            ("identity", ["oauth2", "token"]) => |_, _, _| Err(Fault::Identity),
            ("scheduledevents", []) => scheduled_events,
            ("versions", []) => {
                |_, _, _| Ok(json_body(&json!({ "apiVersions": version::ALL[..] })))
            }
            _ => return Err(Fault::NotFound),
        };
    if !matches!(request.method(), Method::Get | Method::Head) {
        return Err(Fault::Method);
    }
    if has_doubled_parameter(request) {
        return Err(Fault::Doubled);
    }
    read(request, scope, &rest)
}

/// Nothing is ever scheduled here; agents that ask want the empty list and not 404.
fn scheduled_events(request: &Request<'_>, _: &Scope<'_>, _: &[&str]) -> Result<Body, Fault> {
    version::of_events(request)?;
    Ok(json_body(&json!({ "DocumentIncarnation": 1, "Events": [] })))
}

/// Whether two parameters have one name, which Azure refuses.
fn has_doubled_parameter(request: &Request<'_>) -> bool {
    let target = request.target();
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let mut seen = BTreeSet::new();
    let mut names = query.split('&').filter_map(|pair| pair.split('=').next());
    names.any(|name| !name.is_empty() && !seen.insert(name))
}

fn json_body(value: &Value) -> Body {
    Body::of(response::JSON, Bytes::from(value.to_string()))
}

#[cfg(test)]
mod tests;

//! Whether a guest's request may be answered: a permit or a denial.
//!
//! A view wants a [`Permit`], and only this file makes one, so no path is served around the
//! check. The policy is the instance's own: tokens required, optional, or the endpoint off. It
//! holds for every dialect alike: a tree without tokens beside one that requires them would undo
//! the requirement (a forged server-side request needs only one open door).
//!
//! Never looks at a path beyond its dialect, and never at a header to learn who asks.

use mezame_model::{Dialect, Guest, TokenPolicy};

use crate::{
    gate::Gate,
    render,
    request::{Method, Request},
    respond::Context,
    response::{Response, Status},
};

/// The request may be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Permit {
    /// What the token has left, in seconds; None where none was needed and none was sent.
    token_ttl: Option<u32>,
}

impl Permit {
    /// What the token has left, in seconds.
    pub(crate) fn token_ttl(self) -> Option<u32> {
        self.token_ttl
    }
}

/// Why it may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Denial {
    /// The endpoint is off for the instance.
    #[error("metadata is disabled for this instance")]
    Off,
    /// A token is required.
    #[error("a session token is required")]
    TokenMissing,
    /// There is a token, but it is not one of this instance, or its time is over.
    #[error("the session token is not valid")]
    TokenInvalid,
    /// A proxy says that it relays for somebody else.
    #[error("relayed requests are refused")]
    Relayed,
    /// A page in a browser wants to change something.
    #[error("requests from web pages are refused")]
    WebPage,
}

impl Denial {
    /// A stable word for programs.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::TokenMissing => "token-required",
            Self::TokenInvalid => "token-invalid",
            Self::Relayed => "relayed",
            Self::WebPage => "web-page",
        }
    }

    /// The status.
    fn status(self) -> Status {
        match self {
            Self::TokenMissing | Self::TokenInvalid => Status::Unauthorized,
            Self::Off | Self::Relayed | Self::WebPage => Status::Forbidden,
        }
    }

    /// What the guest is told, in the form of its dialect.
    pub(crate) fn response(self, dialect: Option<Dialect>) -> Response {
        let mut response = match dialect {
            Some(Dialect::Mezame) => render::error(self.status(), self.code(), self),
            // To Azure a relayed request is a malformed one.
            Some(Dialect::Azure) if self == Self::Relayed => {
                render::azure_error(Status::BadRequest, "Bad request. Relayed requests are refused")
            }
            Some(Dialect::Azure) => render::azure_error(self.status(), self),
            _ => Response::text(
                self.status(),
                match self {
                    Self::Off => "metadata is disabled for this instance\n",
                    Self::TokenMissing => "a session token is required\n",
                    Self::TokenInvalid => "the session token is not valid\n",
                    Self::Relayed => "relayed requests are refused\n",
                    Self::WebPage => "requests from web pages are refused\n",
                },
            ),
        };
        // Google's clients believe no reply without it, not even a refusal.
        response.flavor = dialect == Some(Dialect::Gce);
        response
    }
}

/// Whether the endpoint is on at all, and the request comes from where it may: what holds for the
/// request for a token too.
pub(crate) fn enter(
    request: &Request<'_>,
    guest: &Guest,
    dialect: Option<Dialect>,
) -> Result<(), Denial> {
    if guest.instance.tokens == TokenPolicy::Off {
        return Err(Denial::Off);
    }
    let headers = request.headers();
    // By the password port a GET is enough to have a password forgotten.
    let writes =
        request.gate() == Gate::Password || !matches!(request.method(), Method::Get | Method::Head);
    // No client of ours sits behind a proxy. EC2's first version, and so its clients, let a
    // relayed GET through; it is answered as what it is, a request of this guest.
    // Google's and Azure's clients are refused.
    let is_strict = matches!(dialect, Some(Dialect::Mezame | Dialect::Gce | Dialect::Azure));
    if headers.relayed && (writes || is_strict) {
        return Err(Denial::Relayed);
    }
    if headers.origin && writes {
        return Err(Denial::WebPage);
    }
    Ok(())
}

/// Whether the request may read the instance's trees.
pub(crate) fn admit(
    request: &Request<'_>,
    guest: &Guest,
    context: &Context<'_>,
    dialect: Option<Dialect>,
) -> Result<Permit, Denial> {
    enter(request, guest, dialect)?;
    match (request.headers().token, guest.instance.tokens) {
        (Some(token), _) => context
            .keys
            .open(token, &guest.instance.id, context.now)
            .map(|left| Permit { token_ttl: Some(left) })
            .ok_or(Denial::TokenInvalid),
        (None, TokenPolicy::Optional) => Ok(Permit { token_ttl: None }),
        (None, TokenPolicy::Required) => Err(Denial::TokenMissing),
        // `enter` has refused it already; a change there must not open this door.
        (None, TokenPolicy::Off) => Err(Denial::Off),
    }
}

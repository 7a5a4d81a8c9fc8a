//! `instance/service-accounts/default/`: a signed statement of who the instance is.
//!
//! `default/` is no account: it opens nothing (`scopes` is empty, `token` is 404), and no listing
//! leads to it, so that a program which looks for accounts finds none. It is answered because
//! google-auth reads its e-mail address before it asks for `default/identity`.
//!
//! A JSON Web Token for the audience that the guest names, signed with the site's key. Whoever is
//! that audience checks it with the site's certificate or with `project/identity-keys`, the key as
//! a JSON Web Key Set. Only the instance is stated: the subject is its number, and no e-mail
//! address is claimed, since nobody has verified one.
//!
//! A token is the same for five minutes, and an instance gets so many in that time
//! ([`Signer::chosen_signature`]): a guest that asks in a loop must not occupy a CPU.
//!
//! Follows "Verify the identity of VMs" in Google's documentation, RFC 7519 (JWT), RFC 7515
//! (compact form), RFC 7518 (RS256) and RFC 7517 (JWK).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use serde_json::json;

use super::{project_number, zone};
use crate::{
    identity_document::{ChosenError, Signer},
    policy::Permit,
    request::Request,
    response::{Response, Status},
    tree::{Body, Directory, Entry, Scope, kept, leaf},
};

/// How long a token is good for, from the beginning of the window that it was made in, in seconds.
const LIFETIME: u64 = 3600;

/// Where [`ACCOUNT`] is.
pub(super) const ACCOUNT_PATH: [&str; 5] =
    ["computeMetadata", "v1", "instance", "service-accounts", "default"];

/// What lies beside the tokens.
pub(super) static ACCOUNT: Directory = kept(&ENTRIES);
static ENTRIES: [Entry; 3] = [
    leaf("aliases", 0, |_| Body::fixed("default")),
    leaf("email", 0, |it| {
        let instance = &it.guest.instance;
        let domain = &it.guest.site.domain;
        Body::text(format!("{}@{}.{domain}", instance.name, instance.project))
    }),
    leaf("scopes", 0, |_| Body::fixed("")),
];

/// Whether the request is for the account or something in it.
pub(super) fn is_of_account(request: &Request<'_>) -> bool {
    request.segments().take(ACCOUNT_PATH.len()).eq(ACCOUNT_PATH)
}

/// Whether the request is for a token.
pub(super) fn is_asked_for(request: &Request<'_>) -> bool {
    let path = ACCOUNT_PATH.into_iter().chain(["identity"]);
    request.segments().eq(path) && !request.path().ends_with('/')
}

/// The token.
pub(super) fn reply(permit: Permit, request: &Request<'_>, scope: &Scope<'_>) -> Response {
    let bad = |text| Response::text(Status::BadRequest, text);
    let audience = request.parameter("audience").and_then(decode).filter(|it| !it.is_empty());
    let Some(audience) = audience else {
        return bad("non-empty audience parameter required\n");
    };
    let is_full = match request.parameter("format") {
        None => false,
        Some(format) if format.eq_ignore_ascii_case("standard") => false,
        Some(format) if format.eq_ignore_ascii_case("full") => true,
        Some(_) => return bad("format must be standard or full\n"),
    };
    match token(scope, &audience, is_full) {
        Ok(token) => {
            let body = Body::of(super::TEXT, Bytes::from(token));
            let mut reply = crate::view::reply(permit, scope, body);
            reply.no_store = true;
            reply
        }
        Err(ChosenError::TooMany { retry_after }) => Response::too_many_requests(retry_after),
        Err(ChosenError::Signing) => Response::internal(),
    }
}

/// Header, claims and signature, in the compact form.
fn token(scope: &Scope<'_>, audience: &str, is_full: bool) -> Result<String, ChosenError> {
    let (instance, signer) = (&scope.guest.instance, scope.context.signer);
    let number = instance.id.number().to_string();
    let window = Signer::chosen_window(scope.context.now);
    let mut claims = json!({
        "iss": format!("https://{}", scope.guest.site.domain),
        "aud": audience,
        "sub": number,
        "azp": number,
        "iat": window.0,
        "exp": window.0 + LIFETIME,
    });
    if is_full {
        claims["google"] = json!({
            "compute_engine": {
                "instance_creation_timestamp": instance.launched_at,
                "instance_id": number,
                "instance_name": instance.name.as_str(),
                "project_id": instance.project.as_str(),
                "project_number": project_number(scope),
                "zone": zone(scope),
            },
        });
    }
    let header = json!({ "alg": "RS256", "kid": signer.key_id(), "typ": "JWT" });
    let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&header), part(&claims));
    let signature = signer.chosen_signature(&instance.id, scope.context.now, signed.as_bytes())?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// The site's public key as a JSON Web Key Set.
pub(super) fn keys(signer: &Signer) -> String {
    let (modulus, exponent) = signer.public_numbers().unwrap_or_default();
    let key = json!({
        "kty": "RSA",
        "use": "sig",
        "alg": "RS256",
        "kid": signer.key_id(),
        "n": URL_SAFE_NO_PAD.encode(modulus),
        "e": URL_SAFE_NO_PAD.encode(exponent),
    });
    json!({ "keys": [key] }).to_string()
}

/// A parameter's value: `%XX` is a byte and `+` a space, as forms send them. None where an escape
/// is broken or the bytes are not UTF-8.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        bytes.push(match byte {
            b'%' => {
                let (digits, after) = after.split_at_checked(2)?;
                rest = after;
                let value = |digit: u8| char::from(digit).to_digit(16);
                (value(digits[0])? << 4 | value(digits[1])?) as u8
            }
            b'+' => b' ',
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

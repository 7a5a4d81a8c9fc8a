//! `POST /mezame/v1/volume-keys/NAME`: a guest's initramfs asks for the key of its volume.
//!
//! ```text
//! {"public_key": BASE64, "boot_nonce": TEXT}
//!  ─► {"instance_id", "port_id", "volume", "encapsulated_key", "keys": [{"version", "sealed"}]}
//! ```
//! A session token is needed whatever the instance's policy, since nothing but a program that knows
//! what it asks for can get one. What is decided here is what the record alone decides; whether the
//! key was given out before, the shell finds out ([`crate::release`]). Each request that has the
//! right form is audited, whatever becomes of it.

use mezame_model::{VolumeKey, VolumeName, Withheld, volume_key::KeyState};

use super::inbox;
use crate::{
    policy::{Denial, Permit},
    release::{Asker, Claim},
    render,
    request::{Method, Request},
    respond::Answer,
    response::{Response, Status},
    tree::Scope,
};

/// The longest request, in bytes.
pub(super) const REQUEST_MAX: usize = 1 << 10;

/// The key's name in the path, if the path is one of a key.
pub(super) fn asked<'r>(request: &'r Request<'_>) -> Option<&'r str> {
    let mut segments = request.segments();
    let is_ours = ["mezame", "v1", "volume-keys"].into_iter().all(|it| segments.next() == Some(it));
    let name = segments.next()?;
    (is_ours && segments.next().is_none() && !request.path().ends_with('/')).then_some(name)
}

/// Answers a permitted request for a key.
pub(super) fn answer(
    name: &str,
    permit: Permit,
    request: &Request<'_>,
    body: &[u8],
    scope: &Scope<'_>,
) -> Answer {
    if request.method() != Method::Post {
        let detail = "this path answers POST";
        let mut reply = render::error(Status::MethodNotAllowed, "method-not-allowed", detail);
        reply.allow = Some("POST");
        return Answer::Reply(reply);
    }
    if permit.token_ttl().is_none() {
        let denial = Denial::TokenMissing;
        return Answer::Reply(denial.response(Some(mezame_model::Dialect::Mezame)));
    }
    let Ok(name) = VolumeName::parse(name) else {
        return Answer::Reply(render::error(Status::NotFound, "not-found", "nothing is here"));
    };
    let asker = match asker(name, request, body, scope) {
        Ok(asker) => asker,
        Err(reply) => return Answer::Reply(*reply),
    };
    match entitled(&asker, scope) {
        Ok(key) => Answer::VolumeKey(Box::new(Claim::new(asker, key, scope.context.generation))),
        Err(why) => {
            let (kind, reply) = asker.refused(why);
            Answer::Event { kind, reply }
        }
    }
}

fn asker(
    name: VolumeName,
    request: &Request<'_>,
    body: &[u8],
    scope: &Scope<'_>,
) -> Result<Asker, Box<Response>> {
    let asked = inbox::parse(request, body, REQUEST_MAX)
        .map_err(|rejection| Box::new(rejection.response()))?;
    let (guest, context) = (scope.guest, scope.context);
    Asker::new(asked, (&guest.instance.id, context.port), name, context.start)
        .map_err(|error| Box::new(error.response()))
}

/// The key, if the record lets this guest have it now.
fn entitled<'a>(asker: &Asker, scope: &Scope<'a>) -> Result<&'a VolumeKey, Withheld> {
    let (guest, now) = (scope.guest, scope.context.now);
    // Another port has starts of its own: by a card that is plugged in later, a guest that runs
    // could ask again.
    if guest.primary().port.id != asker.port {
        return Err(Withheld::OtherPort);
    }
    let key = guest.instance.volume_keys.get(&asker.volume).ok_or(Withheld::NoSuchKey)?;
    if key.state == KeyState::Revoked {
        return Err(Withheld::Revoked);
    }
    if key.not_after.is_some_and(|until| now.0 > until) {
        return Err(Withheld::DeadlineOver);
    }
    if key.window_seconds.is_some_and(|window| asker.start.age_s > u64::from(window)) {
        return Err(Withheld::WindowOver);
    }
    Ok(key)
}

#[cfg(test)]
mod tests;

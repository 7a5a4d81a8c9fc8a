//! `password`: where a guest leaves the password that it has made, encrypted to its owner's key.
//!
//! ```text
//!  (nothing) ── POST ──► set ── POST ──► 409
//!   GET: ""              GET: what was posted
//! ```
//!
//! What is posted is opaque here: base64 of an RSA ciphertext, by nova's custom. It is checked for
//! its form, kept by whoever keeps events, and readable by the guest and by its operator. Between
//! the POST and the record's next state a second one is taken, and the first that was kept stays.
//!
//! Follows "Metadata service" in nova's user guide; its limit is four pieces of 255 characters.

use mezame_model::{
    SecretString,
    report::{GuestEventKind, NovaPassword},
};

use crate::{
    respond::Answer,
    response::{Response, Status},
    tree::{Body, Scope},
};

/// How many bytes a body may have before it is not even read. More than is taken, so that a guest
/// is told what is wrong in nova's way.
pub(super) const BODY_MAX: usize = 4 << 10;

/// The leaf: empty until it is set, never 404.
pub(super) fn read(scope: &Scope<'_>) -> Body {
    let password = scope.guest.instance.nova_password.as_ref();
    Body::text(password.map_or("", |password| password.expose()))
}

/// Takes a password, once.
pub(super) fn take(body: &[u8], scope: &Scope<'_>) -> Answer {
    if scope.guest.instance.nova_password.is_some() {
        return refuse(Status::Conflict, "the password is set already\n");
    }
    match std::str::from_utf8(body).map(str::trim) {
        Ok("") => refuse(Status::BadRequest, "the password is empty\n"),
        Ok(text) if text.len() > NovaPassword::LENGTH_MAX => {
            refuse(Status::BadRequest, "the password is longer than 1020 characters\n")
        }
        Ok(text) if text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) => Answer::Event {
            kind: GuestEventKind::NovaPassword(NovaPassword {
                ciphertext: SecretString::new(text.to_owned()),
            }),
            reply: Response::text(Status::Ok, ""),
        },
        _ => refuse(Status::BadRequest, "the password has characters other than ASCII's\n"),
    }
}

fn refuse(status: Status, text: &'static str) -> Answer {
    Answer::Reply(Response::text(status, text))
}

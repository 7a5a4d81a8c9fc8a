//! Request bytes to reply bytes, without a shell.
//!
//! For fuzzing and for measuring what the crate costs: the way of a request through every step,
//! with httparse in the place of hyper. The service itself doesn't use it, and what needs a shell
//! (waiting, keeping, auditing) is answered as if the shell had done it at once.
//!
//! Follows RFC 9112.

use mezame_model::Guest;

use crate::{
    request::{Refusal, Request, Version},
    respond::{Answer, Context, body_limit, respond},
    response::Response,
};

/// The most header fields that a head may have.
pub const FIELDS_MAX: usize = 64;

/// What became of some bytes.
#[expect(clippy::large_enum_variant, reason = "a request is not worth an allocation")]
#[derive(Debug)]
pub enum Served {
    /// A reply was written, and so many bytes of the input were the request.
    Reply {
        /// How many bytes of the input the request took.
        consumed: usize,
        /// What was replied.
        response: Response,
    },
    /// The input ends before the request does.
    Partial,
}

/// Reads one request from `input` and writes its reply to the end of `out`.
pub fn serve_bytes(
    input: &[u8],
    guest: &Guest,
    context: &Context<'_>,
    out: &mut Vec<u8>,
) -> Served {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut head = httparse::Request::new(&mut fields);
    let done = |consumed, response: Response, out: &mut Vec<u8>| {
        write(&response, out);
        Served::Reply { consumed, response }
    };
    let length = match head.parse(input) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Served::Partial,
        Err(httparse::Error::TooManyHeaders) => {
            return done(input.len(), Response::head_too_large(), out);
        }
        Err(_) => return done(input.len(), Refusal::Malformed.response(), out),
    };
    let version = if head.version == Some(0) { Version::Http10 } else { Version::Http11 };
    let request = Request::parse(
        version,
        head.method.unwrap_or_default(),
        head.path.unwrap_or_default().as_bytes(),
        head.headers.iter().map(|field| (field.name, field.value)),
    );
    // A refusal to HEAD has no body either (RFC 9110, section 9.3.2).
    let to_head = head.method == Some("HEAD");
    let refused = |response: Response| {
        if to_head { response.without_body() } else { response }
    };
    let request = match request {
        Ok(request) => request,
        Err(refusal) => return done(length, refused(refusal.response()), out),
    };
    if request.content_length() > body_limit(&request) as u64 {
        return done(length, refused(Response::body_too_large()), out);
    }
    let end = length + request.content_length() as usize;
    let Some(body) = input.get(length..end) else {
        return Served::Partial;
    };
    let response = match respond(&request, body, guest, context) {
        Answer::Reply(reply) | Answer::Event { reply, .. } | Answer::Secret { reply, .. } => reply,
        // Nobody keeps here what was given out, so nothing is.
        Answer::VolumeKey(_) => Response::not_kept(1),
        // Nor gives anybody orders here.
        Answer::Obeyed(_) => Response::obeyed(false),
        Answer::Watch { .. } => {
            match respond(&request, body, guest, &Context { watch_over: true, ..*context }) {
                Answer::Reply(reply) => reply,
                _ => Response::internal(),
            }
        }
    };
    done(end, response, out)
}

/// Writes a reply to the end of `out`.
pub fn write(response: &Response, out: &mut Vec<u8>) {
    out.extend_from_slice(b"HTTP/1.1 ");
    let code = response.status.code();
    out.extend([code / 100, code / 10 % 10, code % 10].map(|digit| b'0' + digit as u8));
    out.push(b' ');
    out.extend_from_slice(response.status.reason().as_bytes());
    out.extend_from_slice(b"\r\n");
    response.for_each_header(|name, value| {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    });
    if response.close {
        out.extend_from_slice(b"connection: close\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(&response.body);
}

#[cfg(test)]
mod tests;

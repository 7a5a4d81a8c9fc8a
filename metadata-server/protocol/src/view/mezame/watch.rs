//! Waiting for a change of what a path has: `?watch=ETAG&timeout=S`.

use bytes::Bytes;

use crate::{
    etag, render,
    request::Request,
    respond::Answer,
    response::{Response, Status},
    tree::Scope,
};

/// How long a watch lasts if it does not say, in seconds.
const TIMEOUT: u32 = 60;
/// How long a watch may last, in seconds.
const TIMEOUT_MAX: u32 = 300;

/// What a request with `watch` is answered without the content: nothing yet, "unchanged", or what is
/// wrong with it. None where the content is to be sent. `tag` is that of the content as it is now.
pub(super) fn watch(
    request: &Request<'_>,
    scope: &Scope<'_>,
    tag: impl FnOnce() -> u64,
) -> Option<Answer> {
    let timeout_s = match request.parameter("timeout").map(parse_timeout) {
        None => TIMEOUT,
        Some(Some(seconds)) => seconds,
        Some(None) => {
            let detail = format!("timeout is a number of seconds, at most {TIMEOUT_MAX}");
            let reply = render::error(Status::BadRequest, "bad-timeout", detail);
            return Some(Answer::Reply(reply));
        }
    };
    // Another tag than one of ours, such as NONE, differs from any.
    let known = request.parameter("watch").and_then(etag::parse)?;
    if tag() != known {
        return None;
    }
    if scope.context.watch_over || timeout_s == 0 {
        let mut reply = Response::new(Status::NotModified, "", Bytes::new());
        reply.etag = Some(known);
        return Some(Answer::Reply(reply));
    }
    Some(Answer::Watch { etag: known, timeout_s })
}

/// Digits, within the limit.
fn parse_timeout(text: &str) -> Option<u32> {
    let digits = (1..=3).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().filter(|seconds| *seconds <= TIMEOUT_MAX)
}

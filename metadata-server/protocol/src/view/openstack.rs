//! OpenStack nova's metadata service.

use crate::{policy::Permit, request::Request, respond::Answer, tree::Scope};

/// How many bytes of body a request may have.
pub(crate) fn body_limit(_request: &Request<'_>) -> usize {
    0
}

/// Answers a permitted request.
pub(crate) fn answer(
    _permit: Permit,
    _request: &Request<'_>,
    _body: &[u8],
    _scope: Scope<'_>,
) -> Answer {
    Answer::Reply(super::not_found())
}

//! DigitalOcean's droplet metadata.

use crate::{policy::Permit, request::Request, response::Response, tree::Scope};

/// Answers a permitted request.
pub(crate) fn answer(_permit: Permit, _request: &Request<'_>, _scope: Scope<'_>) -> Response {
    super::not_found()
}

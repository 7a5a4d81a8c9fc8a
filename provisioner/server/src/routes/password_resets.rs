//! The call by which an operator has a guest make another password. It answers what became of it;
//! the password comes from the guest later, sealed.

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use mezame_model::api::NewPasswordReset;

use super::{Shared, changes::body, json, names::Names, problem::Failure};

/// The longest body.
const BODY_BYTES: usize = 1 << 10;

pub(super) async fn reset(
    State(api): Shared,
    names: Names,
    request: Request,
) -> Result<Response, Failure> {
    let (project, name) = names.instance()?;
    let user = names.user()?;
    let (parts, content) = request.into_parts();
    let wanted = "{} or {\"again\": true}";
    let new: NewPasswordReset = body(&parts.headers, content, BODY_BYTES, wanted).await?;
    Ok(json(StatusCode::OK, &api.control.reset_password(project, name, user, new.again).await?))
}

//! Calls about the keys of an instance's encrypted volumes. What comes in holds a key; no answer
//! does.

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use mezame_model::api::{NewVersion, NewVolumeKey, Revocation};

use super::{Shared, changes::body, json, names::Names, problem::Failure};
use crate::{control::ControlError, volume_keys::Action};

/// The longest body: a key of 512 bytes in base64, and what is around it.
const BODY_BYTES: usize = 8 << 10;

pub(super) async fn list(State(api): Shared, names: Names) -> Result<Response, Failure> {
    let (project, name) = names.instance()?;
    Ok(json(StatusCode::OK, &api.control.volume_keys(&project, &name)?))
}

pub(super) async fn requests(State(api): Shared, names: Names) -> Result<Response, Failure> {
    let (project, name) = names.instance()?;
    Ok(json(StatusCode::OK, &api.control.key_requests(&project, &name).await?))
}

pub(super) async fn create(
    State(api): Shared,
    names: Names,
    request: Request,
) -> Result<Response, Failure> {
    let (project, name) = names.instance()?;
    let (parts, content) = request.into_parts();
    let wanted = "{\"name\": NAME, \"key\": BASE64, …}";
    let new: NewVolumeKey = body(&parts.headers, content, BODY_BYTES, wanted).await?;
    let volume = new.name.clone();
    let action = Action::Create(new);
    let shown = api.control.change_volume_key(project, name, volume, action).await?;
    Ok(json(StatusCode::CREATED, &shown.ok_or(ControlError::NotFound)?))
}

pub(super) async fn rotate(
    api: Shared,
    names: Names,
    request: Request,
) -> Result<Response, Failure> {
    let (parts, content) = request.into_parts();
    let wanted = "{\"key\": BASE64}";
    let NewVersion { key } = body(&parts.headers, content, BODY_BYTES, wanted).await?;
    change(api, names, Action::Rotate(key)).await
}

pub(super) async fn revoke(
    api: Shared,
    names: Names,
    request: Request,
) -> Result<Response, Failure> {
    let (parts, content) = request.into_parts();
    let wanted = "{} or {\"version\": NUMBER}";
    let Revocation { version } = body(&parts.headers, content, BODY_BYTES, wanted).await?;
    change(api, names, Action::Revoke(version)).await
}

pub(super) async fn restore(api: Shared, names: Names) -> Result<Response, Failure> {
    change(api, names, Action::Restore).await
}

pub(super) async fn destroy(State(api): Shared, names: Names) -> Result<Response, Failure> {
    let (project, name) = names.instance()?;
    let volume = names.volume()?;
    api.control.change_volume_key(project, name, volume, Action::Destroy).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn change(State(api): Shared, names: Names, action: Action) -> Result<Response, Failure> {
    let (project, name) = names.instance()?;
    let volume = names.volume()?;
    let shown = api.control.change_volume_key(project, name, volume, action).await?;
    Ok(json(StatusCode::OK, &shown.ok_or(ControlError::NotFound)?))
}

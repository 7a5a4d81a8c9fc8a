//! Calls about a project's volumes, and about pools.
//!
//! What QEMU is started with holds an encrypted volume's key: it wants a writer's rights, and leaves a
//! line in the audit trail.

use axum::{
    Extension,
    body::HttpBody,
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use mezame_images::volume::VolumeId;
use mezame_model::{
    ProjectName,
    api::volumes::{Hydrate, Monitor, NewPool, NewVolume, ResizeVolume, VolumeLimits},
};
use serde::de::DeserializeOwned;

use super::{
    Api, Shared, changes::body, flushes, images::project_of, json, names::Names, problem::Failure,
};
use crate::access::Caller;

/// The longest body of what is asked for.
pub(super) const BODY_BYTES: usize = 64 << 10;

pub(super) async fn asked<T: DeserializeOwned + Send + 'static>(
    request: Request,
    wanted: &'static str,
) -> Result<T, Failure> {
    let (parts, content) = request.into_parts();
    body(&parts.headers, content, BODY_BYTES, wanted).await
}

/// A volume that the project has, as a call's path names it. Who names another's is told the same as
/// where there is none, also while something is done with that.
pub(super) fn volume_of(api: &Api, names: &Names) -> Result<(ProjectName, VolumeId), Failure> {
    let (project, id) = (project_of(api, names)?, names.volume_id()?);
    api.control.volume(&project, &id)?;
    Ok((project, id))
}

pub(super) async fn pools(State(api): Shared) -> Result<Response, Failure> {
    Ok(json(StatusCode::OK, &api.volumes().await?.pools().await?))
}

pub(super) async fn make_pool(
    State(api): Shared,
    names: Names,
    request: Request,
) -> Result<Response, Failure> {
    let volumes = api.volumes().await?;
    let new: Option<NewPool> = if request.body().is_end_stream() {
        None
    } else {
        asked(request, "{\"take_over\": [DISK, …]}, or nothing").await?
    };
    let new = new.unwrap_or_default();
    let (pool, is_new) = volumes.make_pool(names.pool().to_owned(), new.take_over).await?;
    Ok(json(if is_new { StatusCode::CREATED } else { StatusCode::OK }, &pool))
}

pub(super) async fn masters(State(api): Shared) -> Result<Response, Failure> {
    Ok(json(StatusCode::OK, &api.volumes().await?.masters().await?))
}

pub(super) async fn remove_master(State(api): Shared, names: Names) -> Result<Response, Failure> {
    api.volumes().await?.remove_master(names.master().to_owned()).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(super) async fn list(State(api): Shared, names: Names) -> Result<Response, Failure> {
    let project = project_of(&api, &names)?;
    let volumes = api.volumes().await?;
    let all = volumes.list(&project)?;
    Ok(json(StatusCode::OK, &volumes.at_work(&project, all).await))
}

pub(super) async fn create(
    State(api): Shared,
    names: Names,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Failure> {
    let volumes = api.volumes().await?;
    let new: NewVolume = asked(request, "{\"id\": VOLUME, \"image\": IMAGE, …}").await?;
    let project = project_of(&api, &names)?;
    let job = volumes.create(&project, &caller.name, new).await?;
    Ok(json(StatusCode::ACCEPTED, &job))
}

pub(super) async fn show(State(api): Shared, names: Names) -> Result<Response, Failure> {
    let (project, id) = (project_of(&api, &names)?, names.volume_id()?);
    let volumes = api.volumes().await?;
    let one = volumes.at_work(&project, vec![volumes.show(&project, &id)?]).await.pop();
    Ok(json(StatusCode::OK, &one.ok_or(Failure::NoSuchPath)?))
}

pub(super) async fn erase(State(api): Shared, names: Names) -> Result<Response, Failure> {
    let (project, id) = volume_of(&api, &names)?;
    Ok(json(StatusCode::OK, &api.volumes().await?.delete(&project, &id).await?))
}

pub(super) async fn open(
    State(api): Shared,
    names: Names,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Failure> {
    let qmp = flushes::monitor(request).await?;
    let (project, id) = volume_of(&api, &names)?;
    let start = api.volumes().await?.open(&project, &id, qmp).await?;
    if !start.secrets.is_empty() {
        tracing::info!(
            target: "audit", caller = %caller.name, %project, volume = %id, what = "volume-key",
            "secret handed out"
        );
    }
    Ok(json(StatusCode::OK, &start))
}

pub(super) async fn limit(
    State(api): Shared,
    names: Names,
    request: Request,
) -> Result<Response, Failure> {
    let volumes = api.volumes().await?;
    let wanted: VolumeLimits = asked(request, "{\"limits\": {…}, \"qmp\": PATH}").await?;
    let (project, id) = volume_of(&api, &names)?;
    Ok(json(StatusCode::OK, &volumes.set_limits(&project, &id, wanted).await?))
}

pub(super) async fn resize(
    State(api): Shared,
    names: Names,
    request: Request,
) -> Result<Response, Failure> {
    let volumes = api.volumes().await?;
    let wanted: ResizeVolume = asked(request, "{\"size\": BYTES}").await?;
    let (project, id) = volume_of(&api, &names)?;
    Ok(json(StatusCode::ACCEPTED, &volumes.resize(&project, &id, wanted).await?))
}

pub(super) async fn rotate_key(
    State(api): Shared,
    names: Names,
    request: Request,
) -> Result<Response, Failure> {
    let volumes = api.volumes().await?;
    let Monitor { qmp } = asked(request, "{} or {\"qmp\": PATH}").await?;
    let (project, id) = volume_of(&api, &names)?;
    let job = volumes.rotate_key(&project, &id, qmp).await?;
    Ok(json(StatusCode::ACCEPTED, &job))
}

pub(super) async fn hydrate(
    State(api): Shared,
    names: Names,
    request: Request,
) -> Result<Response, Failure> {
    let volumes = api.volumes().await?;
    let wanted: Hydrate = asked(request, "{\"qmp\": PATH, \"speed\": BYTES}").await?;
    let (project, id) = volume_of(&api, &names)?;
    Ok(json(StatusCode::ACCEPTED, &volumes.hydrate(&project, &id, wanted).await?))
}

pub(super) async fn pause(
    api: Shared,
    names: Names,
    request: Request,
) -> Result<Response, Failure> {
    pace(api, names, request, true).await
}

pub(super) async fn resume(
    api: Shared,
    names: Names,
    request: Request,
) -> Result<Response, Failure> {
    pace(api, names, request, false).await
}

async fn pace(
    State(api): Shared,
    names: Names,
    request: Request,
    is_paused: bool,
) -> Result<Response, Failure> {
    let volumes = api.volumes().await?;
    let Monitor { qmp } = asked(request, "{\"qmp\": PATH}").await?;
    let (project, id) = volume_of(&api, &names)?;
    volumes.pace(&project, &id, qmp, is_paused).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

//! Calls about how running guests' volumes are flushed.

use std::path::PathBuf;

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use http_body_util::BodyExt;
use mezame_model::api::volumes::Monitor;

use super::{
    Shared, json,
    names::Names,
    problem::Failure,
    volumes::{BODY_BYTES, asked, volume_of},
};

const WANTED: &str = "{\"qmp\": PATH}";

/// The monitor that a body names, which may be left out, or be empty.
pub(super) async fn monitor(request: Request) -> Result<Option<PathBuf>, Failure> {
    let (parts, content) = request.into_parts();
    let limited = http_body_util::Limited::new(content, BODY_BYTES);
    let too_long = |_| Failure::TooLong { limit: BODY_BYTES };
    let bytes = limited.collect().await.map_err(too_long)?.to_bytes();
    if bytes.is_empty() {
        return Ok(None);
    }
    let request = Request::from_parts(parts, bytes.into());
    let monitor: Option<Monitor> = asked(request, WANTED).await?;
    Ok(monitor.and_then(|monitor| monitor.qmp))
}

pub(super) async fn begin(
    State(api): Shared,
    names: Names,
    request: Request,
) -> Result<Response, Failure> {
    let volumes = api.volumes().await?;
    let Monitor { qmp } = asked(request, WANTED).await?;
    let (project, id) = volume_of(&api, &names)?;
    Ok(json(StatusCode::OK, &volumes.flush(&project, &id, qmp).await?))
}

pub(super) async fn end(State(api): Shared, names: Names) -> Result<Response, Failure> {
    let (project, id) = volume_of(&api, &names)?;
    Ok(json(StatusCode::OK, &api.volumes().await?.flush_no_more(&project, &id).await?))
}

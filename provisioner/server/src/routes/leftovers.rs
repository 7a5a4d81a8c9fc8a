//! Calls about old contents of volumes, for whoever cares for the pools.

use axum::{extract::State, http::StatusCode, response::Response};

use super::{Shared, json, names::Names, problem::Failure};

pub(super) async fn list(State(api): Shared) -> Result<Response, Failure> {
    Ok(json(StatusCode::OK, &api.volumes().await?.leftovers().await?))
}

pub(super) async fn remove(State(api): Shared, names: Names) -> Result<Response, Failure> {
    let deleted = api.volumes().await?.delete_leftover(names.pool(), names.file()).await?;
    Ok(json(StatusCode::OK, &deleted))
}

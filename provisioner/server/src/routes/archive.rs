//! Calls about the image archive as a whole, for whoever cares for it.

use std::collections::HashMap;

use axum::{
    extract::{Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};

use super::{Shared, images::page, json, names::Names, problem::Failure};

pub(super) async fn status(State(api): Shared) -> Result<Response, Failure> {
    Ok(json(StatusCode::OK, &api.images().await?.status().await?))
}

pub(super) async fn create(State(api): Shared) -> Result<Response, Failure> {
    let images = api.images().await?;
    images.create().await?;
    Ok(json(StatusCode::CREATED, &images.status().await?))
}

pub(super) async fn collect(State(api): Shared) -> Result<Response, Failure> {
    Ok(json(StatusCode::ACCEPTED, &api.images().await?.begin_collect().await?))
}

pub(super) async fn verify(State(api): Shared) -> Result<Response, Failure> {
    Ok(json(StatusCode::ACCEPTED, &api.images().await?.begin_scrub().await?))
}

pub(super) async fn images(
    State(api): Shared,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Response, Failure> {
    page(&api, None, query, "/v1/archive/images").await
}

pub(super) async fn forget(State(api): Shared, names: Names) -> Result<Response, Failure> {
    let image = names.image()?;
    api.images().await?.ask(move |archive, _| Ok(archive.forget(image)?)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(super) async fn quarantined(State(api): Shared) -> Result<Response, Failure> {
    let packs = api.images().await?.ask(|archive, _| Ok(archive.quarantined()?)).await?;
    let packs: Vec<String> = packs.iter().map(|pack| short(pack.as_str()).to_owned()).collect();
    Ok(json(StatusCode::OK, &packs))
}

pub(super) async fn quarantine(State(api): Shared, names: Names) -> Result<Response, Failure> {
    let pack = names.pack()?;
    api.images().await?.ask(move |archive, _| Ok(archive.quarantine(&pack)?)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(super) async fn release(State(api): Shared, names: Names) -> Result<Response, Failure> {
    let pack = names.pack()?;
    api.images().await?.ask(move |archive, _| Ok(archive.release(&pack)?)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// A pack's name without the folder that all packs are in.
fn short(name: &str) -> &str {
    name.strip_prefix("packs/").unwrap_or(name)
}

//! Calls about backups: points in time of a project's volumes.

use axum::{
    Extension,
    extract::{Query, Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use mezame_images::volume::VolumeId;
use mezame_model::api::volumes::{NewBackup, PruneBackups};

use super::{
    Shared,
    changes::dry_run_of,
    images::project_of,
    json,
    names::Names,
    paging::{self, MOST_ITEMS, Parameters, limit_of},
    problem::Failure,
    volumes::asked,
};
use crate::{access::Caller, images::prune, volumes::backups::BackupPlace};

/// All backups, or `limit` of them after the place `after`; a further page is in the `Link` header.
pub(super) async fn list(
    State(api): Shared,
    names: Names,
    Query(mut query): Query<Parameters>,
) -> Result<Response, Failure> {
    let project = project_of(&api, &names)?;
    let limit = limit_of(&query)?.unwrap_or(MOST_ITEMS);
    let wanted = "what the Link header of the page before names";
    let after = query
        .get("after")
        .map(|text| BackupPlace::parse(text).ok_or(Failure::Parameter { name: "after", wanted }));
    let volume = query.remove("volume");
    // What is no volume's id has no backups, and so no further page.
    let of = volume.as_deref().and_then(|volume| VolumeId::parse(volume).ok());
    let volumes = api.volumes().await?;
    let (found, more) = volumes.some_backups(&project, volume, after.transpose()?, limit).await?;
    let mut response = json(StatusCode::OK, &found);
    if let (true, Some(last)) = (more, found.last()) {
        let of = of.map_or_else(String::new, |volume| format!("?volume={volume}"));
        let at = format!("/v1/projects/{project}/backups{of}");
        paging::link(&mut response, &at, limit, &BackupPlace::of(last).to_string());
    }
    Ok(response)
}

pub(super) async fn back_up(
    State(api): Shared,
    names: Names,
    request: Request,
) -> Result<Response, Failure> {
    let wanted = "{\"volumes\": [VOLUME, …], \"qmp\": PATH, \"full\": false, \"freeze\": {…}}";
    let volumes = api.volumes().await?;
    let new: NewBackup = asked(request, wanted).await?;
    let project = project_of(&api, &names)?;
    Ok(json(StatusCode::ACCEPTED, &volumes.back_up(&project, new, None).await?))
}

pub(super) async fn show(State(api): Shared, names: Names) -> Result<Response, Failure> {
    let (project, id) = (project_of(&api, &names)?, names.image()?);
    Ok(json(StatusCode::OK, &api.volumes().await?.backup(&project, id).await?))
}

pub(super) async fn remove(State(api): Shared, names: Names) -> Result<Response, Failure> {
    let (project, id) = (project_of(&api, &names)?, names.image()?);
    api.volumes().await?.delete_backup(&project, id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Deletes those of a volume that are not kept; only tells which with `dry_run`.
pub(super) async fn prune(
    State(api): Shared,
    names: Names,
    Query(query): Query<Parameters>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Failure> {
    let dry_run = dry_run_of(&query)?;
    let images = api.images().await?;
    let project = project_of(&api, &names)?;
    let wanted = "{\"volume\": VOLUME, \"keep\": {\"last\": NUMBER, …}}";
    let wanted: PruneBackups = asked(request, wanted).await?;
    let by = (!dry_run).then_some(caller.name);
    let done = images
        .ask(move |archive, keys| prune::prune(archive, keys, &project, &wanted, by.as_deref()));
    Ok(json(StatusCode::OK, &done.await?))
}

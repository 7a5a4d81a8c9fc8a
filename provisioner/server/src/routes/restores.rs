//! Calls that make a volume of what is in the archive, and an image of what a volume holds.

use axum::{
    Extension,
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use mezame_model::api::volumes::{Capture, RestoreVolume};

use super::{
    Shared, json,
    names::Names,
    problem::Failure,
    volumes::{asked, volume_of},
};
use crate::access::Caller;

pub(super) async fn restore(
    State(api): Shared,
    names: Names,
    request: Request,
) -> Result<Response, Failure> {
    let volumes = api.volumes().await?;
    let wanted = "{\"image\": IMAGE, \"way\": \"beside\" or \"over\", \"keep_old\": false}";
    let wanted: RestoreVolume = asked(request, wanted).await?;
    let (project, id) = volume_of(&api, &names)?;
    Ok(json(StatusCode::ACCEPTED, &volumes.restore(&project, &id, wanted).await?))
}

pub(super) async fn give_up(State(api): Shared, names: Names) -> Result<Response, Failure> {
    let (project, id) = volume_of(&api, &names)?;
    api.volumes().await?.give_up_restore(&project, &id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(super) async fn capture(
    State(api): Shared,
    names: Names,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Failure> {
    let volumes = api.volumes().await?;
    let wanted = "{\"name\": NAME, \"sealed\": false, \"qmp\": PATH, \"freeze\": {…}}";
    let wanted: Capture = asked(request, wanted).await?;
    let (project, id) = volume_of(&api, &names)?;
    let job = volumes.capture(&project, &id, &caller.name, wanted).await?;
    Ok(json(StatusCode::ACCEPTED, &job))
}

//! Calls about schedules of backups.

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use mezame_model::api::schedules::Schedule;

use super::{
    Api, Shared, images::project_of, json, names::Names, precondition, problem::Failure,
    volumes::asked,
};
use crate::control::Precondition;

pub(super) async fn list(State(api): Shared, names: Names) -> Result<Response, Failure> {
    let project = project_of(&api, &names)?;
    Ok(json(StatusCode::OK, &api.schedules()?.list(&project)?))
}

pub(super) async fn show(State(api): Shared, names: Names) -> Result<Response, Failure> {
    let project = project_of(&api, &names)?;
    Ok(json(StatusCode::OK, &api.schedules()?.show(&project, names.schedule())?))
}

pub(super) async fn put(
    State(api): Shared,
    names: Names,
    request: Request,
) -> Result<Response, Failure> {
    let schedules = api.schedules()?;
    let wanted = "{\"volumes\": [VOLUME, …], \"qmp\": PATH, \"when\": \"02:30\", \"keep\": {…}}";
    let precondition = precondition::of_write(request.headers())?;
    if matches!(precondition, Precondition::At(_)) {
        return Err(Failure::Header { name: "If-Match", wanted: "'*': a schedule has no ETag" });
    }
    let spec: Schedule = asked(request, wanted).await?;
    let project = project_of(&api, &names)?;
    let put = schedules.put(&project, names.schedule(), spec, precondition).await?;
    Ok(json(StatusCode::OK, &put))
}

pub(super) async fn pause(State(api): Shared, names: Names) -> Result<Response, Failure> {
    pace(&api, &names, true).await
}

pub(super) async fn resume(State(api): Shared, names: Names) -> Result<Response, Failure> {
    pace(&api, &names, false).await
}

async fn pace(api: &Api, names: &Names, paused: bool) -> Result<Response, Failure> {
    let project = project_of(api, names)?;
    Ok(json(StatusCode::OK, &api.schedules()?.pause(&project, names.schedule(), paused).await?))
}

pub(super) async fn remove(State(api): Shared, names: Names) -> Result<Response, Failure> {
    let project = project_of(&api, &names)?;
    api.schedules()?.delete(&project, names.schedule()).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

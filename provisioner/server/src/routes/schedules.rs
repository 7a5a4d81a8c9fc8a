//! Calls about schedules of backups.

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use mezame_model::api::schedules::Schedule;

use super::{
    Api, Shared, images::project_of, json, names::Names, problem::Failure, volumes::asked,
};

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
    let spec: Schedule = asked(request, wanted).await?;
    let project = project_of(&api, &names)?;
    Ok(json(StatusCode::OK, &schedules.put(&project, names.schedule(), spec).await?))
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

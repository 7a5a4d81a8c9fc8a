//! Calls about long work: jobs are looked at and ended, and the file of an import comes in.

use std::time::Duration;

use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use http_body_util::BodyExt;
use mezame_model::api::jobs::JobState;

use super::{Shared, images::project_of, json, names::Names, problem::Failure};
use crate::{
    images::{ImagesError, SITE},
    jobs::JobsError,
};

/// How long a sender may send nothing.
const STALLED: Duration = Duration::from_secs(60);

/// Takes a file as it comes. The import then goes on without its sender.
pub(super) async fn upload(
    State(api): Shared,
    names: Names,
    request: Request,
) -> Result<Response, Failure> {
    let project = project_of(&api, &names)?;
    let sending = api.images().await?.begin_upload(&project, names.job())?;
    let mut body = request.into_body();
    let job = loop {
        // What was begun ends where this does not go on: the job has then failed.
        let next =
            tokio::time::timeout(STALLED, body.frame()).await.map_err(|_| Failure::Broken)?;
        match next {
            None => break sending.finish().await?,
            Some(Err(_)) => return Err(Failure::Broken),
            Some(Ok(frame)) => {
                let Ok(bytes) = frame.into_data() else { continue };
                if !sending.send(bytes).await {
                    break sending.refused().await?;
                }
            }
        }
    };
    match job.state {
        JobState::Failed if job.faults.iter().all(|fault| fault.path == SITE) => {
            Err(ImagesError::Site(job.faults).into())
        }
        JobState::Failed => Err(ImagesError::Faults(job.faults).into()),
        // Nobody will go on with the file that was sent.
        JobState::Cancelled | JobState::Interrupted => {
            Err(JobsError::NotAwaiting { state: job.state.as_str() }.into())
        }
        _ => Ok(json(StatusCode::ACCEPTED, &job)),
    }
}

pub(super) async fn list(State(api): Shared, names: Names) -> Result<Response, Failure> {
    let project = project_of(&api, &names)?;
    Ok(json(StatusCode::OK, &api.images().await?.jobs(Some(&project))))
}

pub(super) async fn show(State(api): Shared, names: Names) -> Result<Response, Failure> {
    let project = project_of(&api, &names)?;
    Ok(json(StatusCode::OK, &api.images().await?.job(Some(&project), names.job())?))
}

pub(super) async fn cancel(State(api): Shared, names: Names) -> Result<Response, Failure> {
    let project = project_of(&api, &names)?;
    Ok(json(StatusCode::OK, &api.images().await?.cancel(Some(&project), names.job())?))
}

pub(super) async fn list_all(State(api): Shared) -> Result<Response, Failure> {
    Ok(json(StatusCode::OK, &api.images().await?.jobs(None)))
}

pub(super) async fn show_any(State(api): Shared, names: Names) -> Result<Response, Failure> {
    Ok(json(StatusCode::OK, &api.images().await?.job(None, names.job())?))
}

pub(super) async fn cancel_any(State(api): Shared, names: Names) -> Result<Response, Failure> {
    Ok(json(StatusCode::OK, &api.images().await?.cancel(None, names.job())?))
}

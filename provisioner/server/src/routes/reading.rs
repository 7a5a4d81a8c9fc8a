//! Calls that read.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use mezame_model::{
    ProjectName,
    api::{Kind, List},
};
use serde_json::json;

use super::{
    Api, Shared, json as answer,
    names::Names,
    paging::{self, Parameters, limit_of},
    precondition,
    problem::Failure,
};
use crate::{
    access::{Caller, Role},
    control::ControlError,
    resource::{self, Page},
};

pub(super) async fn projects(
    State(api): Shared,
    Query(query): Query<Parameters>,
) -> Result<Response, Failure> {
    page(api, Kind::Project, None, query, "/v1/projects".into()).await
}

pub(super) async fn list(
    kind: Kind,
    State(api): Shared,
    names: Names,
    Query(query): Query<Parameters>,
) -> Result<Response, Failure> {
    let project = names.project()?;
    let at = format!("/v1/projects/{project}/{}", kind.plural());
    page(api, kind, Some(project), query, at).await
}

/// All items, or `limit` of them after the name `after`; a further page is in the `Link` header
/// (RFC 8288).
async fn page(
    api: Arc<Api>,
    kind: Kind,
    project: Option<ProjectName>,
    query: Parameters,
    at: String,
) -> Result<Response, Failure> {
    let limit = limit_of(&query)?;
    // All of 100,000 items take a second, which no other connection shall wait for: neither for
    // this thread nor for the state.
    let work = tokio::task::spawn_blocking(move || -> Result<Response, Failure> {
        let after = query.get("after").map(String::as_str);
        let most = limit.unwrap_or(usize::MAX);
        let page = Page::take(&api.control.state(), kind, project.as_ref(), after, most)
            .ok_or(ControlError::NotFound)?;
        let list = List { items: page.resources(), generation: page.generation };
        let mut response = answer(StatusCode::OK, &list);
        let last = list.items.last().and_then(|item| item.spec["name"].as_str());
        if let (true, Some(limit), Some(last)) = (page.more, limit, last) {
            paging::link(&mut response, &at, limit, last);
        }
        Ok(response)
    });
    work.await.map_err(|_| ControlError::Ending)?
}

pub(super) async fn project(
    api: Shared,
    names: Names,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    one(Kind::Project, api, names, headers).await
}

pub(super) async fn one(
    kind: Kind,
    State(api): Shared,
    names: Names,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let target = names.target(kind)?;
    let shown = resource::one(&api.control.state(), kind, &target.project, &target.name)
        .ok_or(ControlError::NotFound)?;
    let revision = shown.resource.revision;
    // A status that changed since is news, though the revision is the same.
    let known = shown.fresh <= revision && precondition::is_known(&headers, revision);
    let response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        answer(StatusCode::OK, &shown.resource)
    };
    Ok(precondition::tagged(response, revision))
}

pub(super) async fn reports(State(api): Shared, names: Names) -> Result<Response, Failure> {
    let (project, name) = names.instance()?;
    Ok(answer(StatusCode::OK, &api.control.reports(&project, &name).await?))
}

pub(super) async fn passwords(State(api): Shared, names: Names) -> Result<Response, Failure> {
    let (project, name) = names.instance()?;
    Ok(answer(StatusCode::OK, &api.control.passwords(&project, &name).await?))
}

pub(super) async fn certificate(State(api): Shared) -> Response {
    let pem = api.control.state().site.certificate_pem();
    ([(header::CONTENT_TYPE, "application/x-pem-file")], pem).into_response()
}

pub(super) async fn version(State(api): Shared) -> Response {
    let generation = api.control.state().generation;
    let version = json!({
        "name": "mezame-provisioner",
        "version": env!("CARGO_PKG_VERSION"),
        "api": "v1",
        "generation": generation,
    });
    answer(StatusCode::OK, &version)
}

pub(super) async fn health() -> Response {
    answer(StatusCode::OK, &json!({ "status": "ok" }))
}

pub(super) async fn whoami(Extension(caller): Extension<Caller>) -> Response {
    let role = match caller.role {
        Role::Read => "read",
        Role::Write => "write",
    };
    answer(StatusCode::OK, &json!({ "name": caller.name, "role": role }))
}

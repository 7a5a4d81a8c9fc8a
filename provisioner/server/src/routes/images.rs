//! Calls about a project's images.
//!
//! What an image holds is what its guest's disk held, secrets included. So reading one out wants a
//! writer's rights, though it changes nothing, and leaves a line in the audit trail.

use axum::{
    Extension,
    body::Body,
    extract::{Query, Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use mezame_model::{
    ProjectName,
    api::{Fault, images::NewImage},
};

use super::{
    Api, Shared,
    changes::body,
    json,
    names::Names,
    paging::{self, MOST_ITEMS, Parameters, limit_of},
    problem::Failure,
};
use crate::{
    access::{Caller, Role},
    control::ControlError,
    images::view,
};

/// The longest body of what is asked for: labels, a signature and keys.
const BODY_BYTES: usize = 256 << 10;

/// A project that is there.
pub(super) fn project_of(api: &Api, names: &Names) -> Result<ProjectName, Failure> {
    let project = names.project()?;
    let is_there = api.control.state().tenant(&project).is_some();
    if is_there { Ok(project) } else { Err(ControlError::NotFound.into()) }
}

pub(super) async fn list(
    State(api): Shared,
    names: Names,
    Query(query): Query<Parameters>,
) -> Result<Response, Failure> {
    let project = project_of(&api, &names)?;
    let at = format!("/v1/projects/{project}/images");
    page(&api, Some(project), query, &at).await
}

/// All images, or `limit` of them after the id `after`; a further page is in the `Link` header.
pub(super) async fn page(
    api: &Api,
    project: Option<ProjectName>,
    query: Parameters,
    at: &str,
) -> Result<Response, Failure> {
    let limit = limit_of(&query)?.unwrap_or(MOST_ITEMS);
    let after = query.get("after").cloned();
    let images = api.images().await?;
    let seen = images.ask(move |archive, keys| {
        view::page(archive, keys, project.as_ref(), after.as_deref(), limit)
    });
    let (list, more) = seen.await?;
    let mut response = json(StatusCode::OK, &list);
    if let (true, Some(last)) = (more, list.items.last()) {
        paging::link(&mut response, at, limit, &last.id);
    }
    Ok(response)
}

pub(super) async fn show(State(api): Shared, names: Names) -> Result<Response, Failure> {
    let (project, image) = (project_of(&api, &names)?, names.image()?);
    let images = api.images().await?;
    let seen = images.ask(move |archive, keys| view::one(archive, keys, &project, image));
    Ok(json(StatusCode::OK, &seen.await?))
}

pub(super) async fn import(
    State(api): Shared,
    names: Names,
    request: Request,
) -> Result<Response, Failure> {
    let images = api.images().await?;
    let (parts, content) = request.into_parts();
    let wanted = "{\"name\": NAME, \"format\": \"raw\", \"qcow2\", \"vmdk\" or \"vhdx\", …}";
    let new: NewImage = body(&parts.headers, content, BODY_BYTES, wanted).await?;
    let _held = images.projects.lock().await;
    let project = project_of(&api, &names)?;
    Ok(json(StatusCode::CREATED, &images.begin_import(&project, new).await?))
}

pub(super) async fn verify(State(api): Shared, names: Names) -> Result<Response, Failure> {
    let images = api.images().await?;
    let _held = images.projects.lock().await;
    let (project, image) = (project_of(&api, &names)?, names.image()?);
    Ok(json(StatusCode::ACCEPTED, &images.begin_verify(&project, image).await?))
}

pub(super) async fn remove(State(api): Shared, names: Names) -> Result<Response, Failure> {
    let (project, image) = (project_of(&api, &names)?, names.image()?);
    let images = api.images().await?;
    let done = images.ask(move |archive, keys| {
        Ok(archive.delete(&view::look(archive, keys, &project, image)?)?)
    });
    done.await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(super) async fn share(State(api): Shared, names: Names) -> Result<Response, Failure> {
    let with = names.with()?;
    // One that comes to be later would see it without anybody having meant that.
    if api.control.state().tenant(&with).is_none() {
        return Err(ControlError::Faults(vec![Fault {
            document: 0,
            path: "with".into(),
            message: format!("there is no project '{with}'"),
            mend: "share it with a project that is there".into(),
        }])
        .into());
    }
    set_share(&api, &names, Some(with), true).await
}

pub(super) async fn unshare(State(api): Shared, names: Names) -> Result<Response, Failure> {
    let with = names.with()?;
    set_share(&api, &names, Some(with), false).await
}

pub(super) async fn share_with_all(State(api): Shared, names: Names) -> Result<Response, Failure> {
    set_share(&api, &names, None, true).await
}

pub(super) async fn unshare_with_all(
    State(api): Shared,
    names: Names,
) -> Result<Response, Failure> {
    set_share(&api, &names, None, false).await
}

async fn set_share(
    api: &Api,
    names: &Names,
    with: Option<ProjectName>,
    is_shared: bool,
) -> Result<Response, Failure> {
    let (project, image) = (project_of(api, names)?, names.image()?);
    let images = api.images().await?;
    let done = images.ask(move |archive, keys| {
        let image = view::look(archive, keys, &project, image)?;
        if is_shared {
            archive.share(&image, with.as_ref())?;
        } else {
            archive.unshare(&image, with.as_ref())?;
        }
        Ok(())
    });
    done.await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(super) async fn export(
    State(api): Shared,
    Extension(caller): Extension<Caller>,
    method: Method,
    names: Names,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let (project, image) = (project_of(&api, &names)?, names.image()?);
    if caller.role != Role::Write {
        tracing::warn!(
            caller = %caller.name, %project, %image,
            "refused: an image holds secrets, and the caller may only read"
        );
        return Err(Failure::Forbidden);
    }
    let images = api.images().await?;
    let download = images.prepare_download(&project, image).await?;
    let (size, tag) = (download.size(), format!("\"{}\"", download.content()));
    let from = first_byte(&headers, &tag).filter(|from| *from > 0);
    if from.is_some_and(|from| from >= size) {
        return Err(Failure::Range { size });
    }
    let start = from.unwrap_or(0);
    let body = if method == Method::HEAD {
        Body::empty()
    } else {
        tracing::info!(
            target: "audit", caller = %caller.name, %project, %image, what = "image", from = start,
            "secret handed out"
        );
        let parts = images.download(download, start)?;
        let next = |mut parts: crate::images::download::Parts| async {
            parts.recv().await.map(|part| (part, parts))
        };
        Body::from_stream(futures_util::stream::unfold(parts, next))
    };
    let status = if from.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    let mut response = Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/octet-stream")
        .header(header::CONTENT_LENGTH, size - start)
        .header(header::ACCEPT_RANGES, "bytes")
        .header(header::ETAG, tag)
        .header(header::CONTENT_DISPOSITION, format!("attachment; filename=\"{image}.raw\""));
    if from.is_some() {
        let range = format!("bytes {start}-{}/{size}", size - 1);
        response = response.header(header::CONTENT_RANGE, range);
    }
    response.body(body).map_err(|_| Failure::Internal)
}

/// Where the caller wants an image from: `Range: bytes=N-`. Other ranges are answered with all of
/// it, as RFC 9110, section 14.2, allows; so is one of another image (`If-Range`).
fn first_byte(headers: &HeaderMap, tag: &str) -> Option<u64> {
    if headers.get(header::IF_RANGE).is_some_and(|given| given.as_bytes() != tag.as_bytes()) {
        return None;
    }
    let range = headers.get(header::RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
}

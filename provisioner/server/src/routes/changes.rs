//! Calls that change something.

use std::{collections::HashMap, sync::Arc};

use axum::{
    body::{Body, to_bytes},
    extract::{Query, Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use mezame_model::api::{Apply, Device, Fault, Kind};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{PUT_BYTES, Shared, json, names::Names, precondition, problem::Failure};
use crate::control::{ControlError, Target};

/// Bodies longer than this are parsed on a thread of their own, since a long one takes a second.
const PARSED_AT_ONCE: usize = 256 << 10;

/// Reads a JSON body of at most `limit` bytes.
pub(super) async fn body<T: DeserializeOwned + Send + 'static>(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
    wanted: &'static str,
) -> Result<T, Failure> {
    if let Some(kind) = headers.get(header::CONTENT_TYPE) {
        let kind = kind.to_str().unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if kind != "application/json" {
            return Err(Failure::MediaType);
        }
    }
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    if declared.and_then(|length| length.parse().ok()).is_some_and(|length: usize| length > limit) {
        return Err(Failure::TooLong { limit });
    }
    let bytes = to_bytes(body, limit).await.map_err(|error| {
        use std::error::Error;
        match error.source() {
            Some(source) if source.is::<http_body_util::LengthLimitError>() => {
                Failure::TooLong { limit }
            }
            _ => Failure::Broken,
        }
    })?;
    // serde_json's text may quote the body, which may hold secrets: only the place is told.
    let is_long = bytes.len() > PARSED_AT_ONCE;
    let parse = move || {
        serde_json::from_slice(&bytes).map_err(|error| match error.classify() {
            serde_json::error::Category::Data => Failure::Form { wanted },
            _ => Failure::NotJson { line: error.line(), column: error.column() },
        })
    };
    if !is_long {
        return parse();
    }
    tokio::task::spawn_blocking(parse).await.map_err(|_| ControlError::Ending)?
}

/// Whether it is only to be said what would be done.
pub(super) fn dry_run_of(query: &HashMap<String, String>) -> Result<bool, Failure> {
    match query.get("dry_run").map(String::as_str) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(Failure::Parameter { name: "dry_run", wanted: "true or false" }),
    }
}

pub(super) async fn apply(
    State(api): Shared,
    Query(query): Query<HashMap<String, String>>,
    request: Request,
) -> Result<Response, Failure> {
    let dry_run = dry_run_of(&query)?;
    let (parts, content) = request.into_parts();
    let wanted = "{\"documents\": […]}";
    let Apply { documents } = body(&parts.headers, content, api.apply_bytes, wanted).await?;
    Ok(json(StatusCode::OK, &api.control.apply(documents, dry_run).await?))
}

pub(super) async fn put_project(
    api: Shared,
    names: Names,
    request: Request,
) -> Result<Response, Failure> {
    put(Kind::Project, api, names, request).await
}

pub(super) async fn put(
    kind: Kind,
    State(api): Shared,
    names: Names,
    request: Request,
) -> Result<Response, Failure> {
    let target = names.target(kind)?;
    let (parts, content) = request.into_parts();
    let precondition = precondition::of_write(&parts.headers)?;
    let document = body(&parts.headers, content, PUT_BYTES, "a set of fields").await?;
    let document = named(&target, document)?;
    let (resource, created) = api.control.put(target, document, precondition).await?;
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    Ok(precondition::tagged(json(status, &resource), resource.revision))
}

/// The document with the kind, project and name of its path. One that says otherwise is at fault:
/// it would be stored in another place than it was put.
fn named(target: &Target, document: Value) -> Result<Value, Failure> {
    let Value::Object(mut fields) = document else {
        return Err(Failure::Form { wanted: "a set of fields" });
    };
    let mut faults = Vec::new();
    let mut set = |field: &str, value: &str| match fields.get(field) {
        Some(given) if given != value => faults.push(Fault {
            document: 0,
            path: field.into(),
            message: format!("the path says '{value}'"),
            mend: format!("leave '{field}' out, or PUT to another path"),
        }),
        _ => {
            fields.insert(field.into(), value.into());
        }
    };
    set("kind", target.kind.as_str());
    set("name", &target.name);
    if target.kind != Kind::Project {
        set("project", target.project.as_str());
    }
    if faults.is_empty() {
        Ok(Value::Object(fields))
    } else {
        Err(ControlError::Faults(faults).into())
    }
}

pub(super) async fn delete_project(
    api: Shared,
    names: Names,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let project = names.project()?;
    if api.images.is_none() {
        if api.control.state().tenant(&project).is_some()
            && api.control.may_have_images(&project, false)
        {
            return Err(ControlError::InUse(vec![unseen()]).into());
        }
        return delete(Kind::Project, api, names, headers).await;
    }
    let images = api.images().await?;
    // A later project of this name would have the images.
    let _held = images.projects.lock().await;
    if api.control.state().tenant(&project).is_some() {
        let faults = images.in_the_way(&project).await?;
        if !faults.is_empty() {
            return Err(ControlError::InUse(faults).into());
        }
    }
    let control = Arc::clone(&api.control);
    let deleted = delete(Kind::Project, api, names, headers).await?;
    images.table().forget_deleted(&control);
    Ok(deleted)
}

/// The settings name no archive, and there was one.
fn unseen() -> Fault {
    Fault {
        document: 0,
        path: String::new(),
        message: "it may have images in an archive that the settings no longer name".into(),
        mend: "set 'images' again, and delete them; where that archive is given up for good, name \
               another place and make one there with 'mezame image archive create'"
            .into(),
    }
}

pub(super) async fn delete(
    kind: Kind,
    State(api): Shared,
    names: Names,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let target = names.target(kind)?;
    api.control.delete(target, precondition::of_write(&headers)?).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(super) async fn attach(
    State(api): Shared,
    names: Names,
    request: Request,
) -> Result<Response, Failure> {
    let target = names.target(Kind::Port)?;
    let (parts, content) = request.into_parts();
    let precondition = precondition::of_write(&parts.headers)?;
    let Device { device } = body(&parts.headers, content, 4096, "{\"device\": \"NAME\"}").await?;
    let resource = api.control.set_device(target, Some(device.into()), precondition).await?;
    Ok(precondition::tagged(json(StatusCode::OK, &resource), resource.revision))
}

pub(super) async fn detach(
    State(api): Shared,
    names: Names,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let target = names.target(Kind::Port)?;
    let precondition = precondition::of_write(&headers)?;
    let resource = api.control.set_device(target, None, precondition).await?;
    Ok(precondition::tagged(json(StatusCode::OK, &resource), resource.revision))
}

pub(super) async fn rotate_sealing(State(api): Shared) -> Result<Response, Failure> {
    api.control.rotate_sealing_key().await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(super) async fn rotate_tokens(State(api): Shared) -> Result<Response, Failure> {
    api.control.rotate_token_key().await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

//! The call that hands out an instance's disk.
//!
//! The one answer that carries what is `"(sealed)"` elsewhere: user-data and vendor-data lie on
//! the disk as the guest reads them. So it wants a writer's rights, though it changes nothing, and
//! leaves a line in the audit trail.

use std::{collections::HashMap, sync::Arc};

use axum::{
    Extension,
    body::Bytes,
    extract::{Query, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use mezame_protocol::disk::DiskFormat;

use super::{Shared, names::Names, problem::Failure};
use crate::{
    access::{Caller, Role},
    control::ControlError,
    disk::Disk,
};

pub(super) async fn read(
    State(api): Shared,
    Extension(caller): Extension<Caller>,
    method: Method,
    names: Names,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let (project, name) = names.instance()?;
    if caller.role != Role::Write {
        tracing::warn!(
            caller = %caller.name, %project, instance = %name,
            "refused: a disk holds secrets, and the caller may only read"
        );
        return Err(Failure::Forbidden);
    }
    let format: DiskFormat = query
        .get("format")
        .and_then(|text| text.parse().ok())
        .ok_or(Failure::Parameter { name: "format", wanted: "'config-2' or 'cidata'" })?;
    let (snapshot, instance) = {
        let state = api.control.state();
        let held = state.instance(&project, &name).ok_or(ControlError::NotFound)?;
        (Arc::clone(state.snapshot()), Arc::clone(&held.record.instance))
    };
    let id = instance.id.clone();
    // The largest takes tenths of a second, which no other connection shall wait for.
    let made = tokio::task::spawn_blocking(move || Disk::make(&snapshot, &instance, format));
    let disk = made.await.map_err(|_| ControlError::Ending)?.map_err(Failure::Disk)?;
    let tag = format!("\"{}\"", disk.digest);
    let response = if is_known(&headers, &tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        // A look at the length hands nothing out.
        if method != Method::HEAD {
            tracing::info!(
                target: "audit", caller = %caller.name, instance = %id, what = "disk", %format,
                "secret handed out"
            );
        }
        let file = format!("attachment; filename=\"{name}-{format}.img\"");
        let head = [
            (header::CONTENT_TYPE, "application/octet-stream"),
            (header::CONTENT_DISPOSITION, file.as_str()),
        ];
        (head, Bytes::from(disk.image)).into_response()
    };
    Ok(tagged(response, &tag))
}

/// Whether the caller has the image already (RFC 9110, section 13.1.2).
fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|one| one.trim().trim_start_matches("W/"))
        .any(|one| one == tag || one == "*")
}

fn tagged(mut response: Response, tag: &str) -> Response {
    // Digits and quotes are good in any header.
    if let Ok(tag) = HeaderValue::from_str(tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

//! The API's description (OpenAPI 3.1), made of the table of routes.
//!
//! Paths, methods and operations come from [`super::routes`], so none is missing; parameters,
//! bodies and answers are looked up by operation. utoipa's types hold the result, so its form is
//! checked when it is made. `provisioner/server/openapi.json` is a copy that a test compares.

mod schemas;

use std::sync::OnceLock;

use axum::{
    http::header,
    response::{IntoResponse, Response},
};
use mezame_protocol::disk::DiskFormat;
use serde_json::{Map, Value, json};
use utoipa::openapi::OpenApi;

use super::{Route, problem::Failure, routes};

/// Serves the description.
pub(super) async fn serve() -> Response {
    match text() {
        Some(text) => ([(header::CONTENT_TYPE, "application/json")], text.as_str()).into_response(),
        None => Failure::Internal.into_response(),
    }
}

/// The description as text, made once.
fn text() -> Option<&'static String> {
    static TEXT: OnceLock<Option<String>> = OnceLock::new();
    TEXT.get_or_init(|| make().ok()).as_ref()
}

fn make() -> Result<String, serde_json::Error> {
    let document: OpenApi = serde_json::from_value(describe())?;
    Ok(document.to_pretty_json()? + "\n")
}

fn describe() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in routes() {
        let item = paths.entry(route.path).or_insert_with(|| json!({}));
        item[route.method.as_str().to_ascii_lowercase()] = operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Mezame provisioner",
            "version": env!("CARGO_PKG_VERSION"),
            "description":
                "What operators want their guests to be. Over a unix socket (peer credentials) \
                 and over TLS (bearer tokens). Secrets are taken in and, but for read-disk, \
                 export-image and what is read of an image's disk, never \
                 shown: they stand as \"(sealed)\", and a document that holds \"(sealed)\" keeps \
                 what is stored.",
            "license": { "name": "MIT OR Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "schemas": schemas::all(),
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer" },
            },
        },
        "security": [{ "token": [] }],
    })
}

fn operation(route: &Route) -> Value {
    let mut operation = json!({
        "operationId": route.operation,
        "summary": route.summary,
        "parameters": parameters(route),
        "responses": responses(route),
    });
    if let Some(schema) = body(route.operation) {
        operation["requestBody"] = json!({
            // A pool is made, and a volume opened, without anything being said, too.
            "required": !matches!(route.operation, "create-pool" | "open-volume"),
            "content": { "application/json": { "schema": schemas::named(schema) } },
        });
    }
    if route.operation == "upload-image" {
        let file = json!({ "type": "string", "format": "binary" });
        operation["requestBody"] = json!({
            "required": true,
            "content": { "application/octet-stream": { "schema": file } },
        });
    }
    operation
}

/// What a call does, which its name begins with.
fn verb(route: &Route) -> &str {
    route.operation.split('-').next().unwrap_or_default()
}

fn parameters(route: &Route) -> Vec<Value> {
    let names = route.path.split(['{', '}']).skip(1).step_by(2);
    let in_path = |name| {
        json!({
            "name": name,
            "in": "path",
            "required": true,
            "schema": { "$ref": "#/components/schemas/Name" },
        })
    };
    let mut parameters: Vec<Value> = names.map(in_path).collect();
    match verb(route) {
        "write" | "set" => parameters.extend([header("If-Match"), header("If-None-Match")]),
        "delete" | "attach" | "detach" => parameters.push(header("If-Match")),
        "read" => {
            if route.operation == "read-disk" {
                parameters.push(json!({
                    "name": "format",
                    "in": "query",
                    "required": true,
                    "description": "OpenStack's config drive, or cloud-init's NoCloud seed",
                    "schema": { "type": "string", "enum": DiskFormat::ALL.map(DiskFormat::as_str) },
                }));
            }
            parameters.push(header("If-None-Match"));
        }
        "list"
            if !matches!(
                route.operation,
                "list-reports"
                    | "list-passwords"
                    | "list-volume-keys"
                    | "list-key-requests"
                    | "list-jobs"
                    | "list-all-jobs"
                    | "list-quarantine"
                    | "list-pools"
                    | "list-volumes"
                    | "list-backups"
                    | "list-schedules"
            ) =>
        {
            parameters.extend([
                query("limit", "At most so many items; a further page is in the Link header"),
                query("after", "Only items whose name is greater"),
            ]);
        }
        "list" if route.operation == "list-backups" => {
            parameters.extend([
                query("volume", "Only backups of this volume"),
                query("limit", "At most so many items; a further page is in the Link header"),
                query("after", "Only items after this place, as the Link header has it"),
            ]);
        }
        "apply" | "prune" => {
            parameters.push(query("dry_run", "'true': say what would be done, do nothing"));
        }
        "look" | "copy" if route.operation != "look-at-partitions" => {
            parameters.extend([
                query("path", "Where on the disk, its bytes percent-encoded; '/' without"),
                query("partition", "Of which partition; of the only one that can be read without"),
            ]);
            if verb(route) == "look" {
                parameters.extend([
                    query("limit", "At most so many names, 10,000 at most"),
                    query("after", "Only names whose bytes come after these"),
                ]);
            }
        }
        "export" => parameters.push(json!({
            "name": "Range",
            "in": "header",
            "required": false,
            "description": "bytes=N-: from the byte N on; other ranges are answered with all of it",
            "schema": { "type": "string" },
        })),
        "watch" => {
            parameters.push(query("after", "Only events after this generation; else from now on"));
        }
        _ => {}
    }
    parameters
}

fn responses(route: &Route) -> Value {
    let (status, content) = answer(route.operation);
    let mut success = json!({ "description": route.summary });
    if let Some((kind, schema)) = content {
        success["content"] = json!({ kind: { "schema": schema } });
    }
    let mut responses = json!({
        status: success,
        "default": {
            "description": "A failure (RFC 9457)",
            "content": {
                "application/problem+json": { "schema": schemas::named("Problem") },
            },
        },
    });
    match verb(route) {
        "export" => {
            responses["206"] = json!({ "description": "The image from the place that was named" });
        }
        "write" => responses["201"] = responses["200"].clone(),
        "read" => {
            responses["304"] = json!({ "description": "The caller has this revision" });
        }
        _ => {}
    }
    responses
}

fn header(name: &str) -> Value {
    let description = match name {
        "If-Match" => "Only if the resource has this ETag ('*': any)",
        _ => "In a write '*': only if it is not there. In a read: not if it has this ETag",
    };
    json!({
        "name": name,
        "in": "header",
        "required": false,
        "description": description,
        "schema": { "type": "string" },
    })
}

fn query(name: &str, description: &str) -> Value {
    json!({
        "name": name,
        "in": "query",
        "required": false,
        "description": description,
        "schema": { "type": "string" },
    })
}

/// The schema of a call's body.
fn body(operation: &str) -> Option<&'static str> {
    Some(match operation {
        "write-project" => "Project",
        "write-network" => "Network",
        "write-port" => "Port",
        "write-instance" => "Instance",
        "apply" => "Apply",
        "attach-device" => "Device",
        "reset-password" => "NewPasswordReset",
        "create-volume-key" => "NewVolumeKey",
        "rotate-volume-key" => "NewVersion",
        "revoke-volume-key" => "Revocation",
        "import-image" => "NewImage",
        _ => return schemas::volumes::body(operation),
    })
}

/// The status of a call that goes well, and what it answers.
fn answer(operation: &str) -> (&'static str, Option<(&'static str, Value)>) {
    const JSON: &str = "application/json";
    let list_of = |name| json!({ "type": "array", "items": schemas::named(name) });
    if let Some(answer) = image_answer(operation) {
        return answer;
    }
    if let Some((status, schema)) = schemas::volumes::answer(operation) {
        return (status, schema.map(|schema| (JSON, schema)));
    }
    let content = match operation {
        "list-reports" => (JSON, list_of("StoredReport")),
        "list-passwords" => (JSON, list_of("StoredPassword")),
        "reset-password" => (JSON, schemas::named("PasswordReset")),
        "list-volume-keys" => (JSON, list_of("VolumeKey")),
        "list-key-requests" => (JSON, list_of("StoredKeyRequest")),
        "create-volume-key" => return ("201", Some((JSON, schemas::named("VolumeKey")))),
        "rotate-volume-key" | "revoke-volume-key" | "restore-volume-key" => {
            (JSON, schemas::named("VolumeKey"))
        }
        "destroy-volume-key" => return ("204", None),
        "apply" => (JSON, schemas::named("Applied")),
        "read-disk" => {
            ("application/octet-stream", json!({ "type": "string", "format": "binary" }))
        }
        "watch" => ("application/x-ndjson", schemas::named("Event")),
        "identity-certificate" => ("application/x-pem-file", json!({ "type": "string" })),
        "openapi" | "version" | "health" | "whoami" => (JSON, json!({ "type": "object" })),
        _ if operation.starts_with("delete-") || operation.starts_with("rotate-") => {
            return ("204", None);
        }
        _ if operation.starts_with("list-") => (JSON, schemas::named("List")),
        _ => (JSON, schemas::named("Resource")),
    };
    ("200", Some(content))
}

/// The same of a call about images; None of any other.
fn image_answer(operation: &str) -> Option<(&'static str, Option<(&'static str, Value)>)> {
    const JSON: &str = "application/json";
    let list_of = |items: Value| json!({ "type": "array", "items": items });
    let (status, schema) = match operation {
        "list-images" | "list-archive-images" => ("200", schemas::named("ImageList")),
        "show-image" => ("200", schemas::named("Image")),
        "import-image" => ("201", schemas::named("Job")),
        "upload-image" | "verify-image" | "collect-garbage" | "verify-archive" => {
            ("202", schemas::named("Job"))
        }
        "list-jobs" | "list-all-jobs" => ("200", list_of(schemas::named("Job"))),
        "show-job" | "cancel-job" | "show-any-job" | "cancel-any-job" => {
            ("200", schemas::named("Job"))
        }
        "show-archive" => ("200", schemas::named("ArchiveStatus")),
        "create-archive" => ("201", schemas::named("ArchiveStatus")),
        "list-quarantine" => ("200", list_of(json!({ "type": "string" }))),
        "look-at-partitions" => ("200", schemas::named("ImageDisk")),
        "look-into-image" => ("200", schemas::named("ImageFiles")),
        "copy-image-tar" => {
            let file = json!({ "type": "string", "format": "binary" });
            return Some(("200", Some(("application/x-tar", file))));
        }
        "export-image" | "copy-image-file" => {
            let file = json!({ "type": "string", "format": "binary" });
            return Some(("200", Some(("application/octet-stream", file))));
        }
        "remove-image"
        | "share-image"
        | "unshare-image"
        | "share-image-with-all"
        | "unshare-image-with-all"
        | "forget-image"
        | "quarantine-pack"
        | "release-pack" => {
            return Some(("204", None));
        }
        _ => return None,
    };
    Some((status, Some((JSON, schema))))
}

#[cfg(test)]
mod tests;

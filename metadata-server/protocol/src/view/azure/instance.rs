//! `/metadata/instance`: the whole of it, or the part that the path selects.
//!
//! A path's segments are the keys and indices of the JSON. What is selected is JSON if it has
//! parts itself, and text if it has none: `format` says which is wanted, and the other one is
//! refused. A part with parts of its own is a listing in text.

use bytes::Bytes;
use serde_json::{Map, Value};

use super::{
    Fault, compute, json_body, network,
    version::{self, Version},
};
use crate::{
    request::Request,
    response,
    tree::{Body, Scope, families::place},
};

/// The version in which it came.
const SINCE: &str = "2017-03-01";

/// In which form an answer is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Json,
    Text,
}

impl Format {
    fn of(request: &Request<'_>) -> Result<Self, Fault> {
        match request.parameter("format") {
            None | Some("json") => Ok(Self::Json),
            Some("text") => Ok(Self::Text),
            Some(_) => Err(Fault::Format),
        }
    }
}

/// Reads what the segments select.
pub(super) fn read(
    request: &Request<'_>,
    scope: &Scope<'_>,
    segments: &[&str],
) -> Result<Body, Fault> {
    let version = version::of(request, SINCE)?;
    let format = Format::of(request)?;
    let value = select(scope, version, segments).ok_or(Fault::NotFound)?;
    match (format, value) {
        (Format::Json, value @ (Value::Object(_) | Value::Array(_))) => Ok(json_body(&value)),
        (Format::Json, _) => Err(Fault::Format),
        (Format::Text, value) => Ok(text(value)),
    }
}

/// The part that the segments select; only what it needs is made, since user-data may be long.
fn select(scope: &Scope<'_>, version: Version, segments: &[&str]) -> Option<Value> {
    let guest = scope.guest;
    match segments {
        [] => {
            let mut whole = Map::new();
            whole.insert("compute".to_owned(), compute::document(guest, version));
            whole.insert("network".to_owned(), network::document(guest));
            Some(whole.into())
        }
        ["compute"] => Some(compute::document(guest, version)),
        ["compute", field, rest @ ..] => walk(compute::field(guest, version, field)?, rest),
        ["network", rest @ ..] => walk(network::document(guest), rest),
        _ => None,
    }
}

/// Follows keys and indices.
fn walk(mut value: Value, segments: &[&str]) -> Option<Value> {
    for segment in segments {
        value = match &mut value {
            Value::Object(fields) => fields.remove(*segment)?,
            Value::Array(items) => {
                let at = place(segment).filter(|at| *at < items.len())?;
                items.swap_remove(at)
            }
            _ => return None,
        };
    }
    Some(value)
}

/// A leaf's text, or a listing.
fn text(value: Value) -> Body {
    let line = |name: &dyn std::fmt::Display, value: &Value| {
        let slash = if value.is_object() || value.is_array() { "/" } else { "" };
        format!("{name}{slash}")
    };
    match value {
        Value::Object(fields) => Body::lines(fields.iter().map(|(name, it)| line(name, it))),
        Value::Array(items) => Body::lines(items.iter().enumerate().map(|(at, it)| line(&at, it))),
        Value::String(text) => Body::of(response::TEXT, Bytes::from(text)),
        // Azure's schema has texts alone.
        other => Body::text(other.to_string()),
    }
}

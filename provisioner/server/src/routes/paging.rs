//! Long lists in pages: how many items a caller wants, and where the next ones are.
//!
//! It knows nothing of what is listed.

use std::collections::HashMap;

use axum::{
    http::{HeaderValue, header},
    response::Response,
};

use super::problem::Failure;

/// Most items of a page; a greater `limit` is cut to it.
pub(super) const MOST_ITEMS: usize = 10_000;

/// What a query says, by name.
pub(super) type Parameters = HashMap<String, String>;

/// The page's length that is wanted; None where nothing is said.
pub(super) fn limit_of(query: &Parameters) -> Result<Option<usize>, Failure> {
    match query.get("limit").map(|text| text.parse::<usize>()) {
        None => Ok(None),
        Some(Ok(limit)) if limit > 0 => Ok(Some(limit.min(MOST_ITEMS))),
        Some(_) => Err(Failure::Parameter { name: "limit", wanted: "a number from 1" }),
    }
}

/// Says where the next page is (RFC 8288): the same call, after this item.
pub(super) fn link(response: &mut Response, at: &str, limit: usize, after: &str) {
    let sign = if at.contains('?') { '&' } else { '?' };
    let link = format!("<{at}{sign}limit={limit}&after={after}>; rel=\"next\"");
    if let Ok(link) = HeaderValue::from_str(&link) {
        response.headers_mut().insert(header::LINK, link);
    }
}

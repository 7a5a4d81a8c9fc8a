//! Entity tags and the headers that compare them (RFC 9110, sections 8.8.3 and 13.1).
//!
//! A resource's tag is its revision in quotes. Revisions are compared strongly: a weak tag in
//! `If-Match` matches nothing.

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::Response,
};
use mezame_model::Generation;

use super::problem::Failure;
use crate::control::Precondition;

/// A response about a resource of this revision.
pub(super) fn tagged(mut response: Response, revision: Generation) -> Response {
    response.headers_mut().insert(header::ETAG, etag(revision));
    response
}

/// A revision as an entity tag.
fn etag(revision: Generation) -> HeaderValue {
    let text = format!("\"{revision}\"");
    // Digits and quotes are good in any header.
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("\"0\""))
}

/// What a write's headers ask for.
pub(super) fn of_write(headers: &HeaderMap) -> Result<Precondition, Failure> {
    let matches = tags(headers, &header::IF_MATCH, "If-Match")?;
    let none = tags(headers, &header::IF_NONE_MATCH, "If-None-Match")?;
    match (matches, none) {
        (None, None) => Ok(Precondition::Any),
        (Some(Tags::Any), None) => Ok(Precondition::Exists),
        (Some(Tags::These(revisions)), None) => Ok(Precondition::At(revisions)),
        (None, Some(Tags::Any)) => Ok(Precondition::Absent),
        (None, Some(Tags::These(_))) => {
            Err(Failure::Header { name: "If-None-Match", wanted: "'*' in a write" })
        }
        (Some(_), Some(_)) => {
            Err(Failure::Header { name: "If-Match", wanted: "without If-None-Match beside it" })
        }
    }
}

/// Whether a reader has this revision already.
pub(super) fn is_known(headers: &HeaderMap, revision: Generation) -> bool {
    match tags(headers, &header::IF_NONE_MATCH, "If-None-Match") {
        Ok(Some(Tags::Any)) => true,
        Ok(Some(Tags::These(known))) => known.contains(&revision),
        // A header that can't be read is no reason to refuse a reader.
        Ok(None) | Err(_) => false,
    }
}

enum Tags {
    Any,
    These(Vec<Generation>),
}

fn tags(
    headers: &HeaderMap,
    header: &HeaderName,
    name: &'static str,
) -> Result<Option<Tags>, Failure> {
    let wanted = "'*', or entity tags in quotes, as the ETag header has them";
    let bad = || Failure::Header { name, wanted };
    let mut revisions = Vec::new();
    let mut given = false;
    for value in headers.get_all(header) {
        given = true;
        let text = value.to_str().map_err(|_| bad())?;
        if text.trim() == "*" {
            return Ok(Some(Tags::Any));
        }
        for tag in text.split(',') {
            let tag = tag.trim();
            let (weak, tag) = match tag.strip_prefix("W/") {
                Some(tag) => (true, tag),
                None => (false, tag),
            };
            let tag = tag.strip_prefix('"').and_then(|t| t.strip_suffix('"')).ok_or_else(bad)?;
            // A tag of another form is no fault: it matches no revision of ours.
            if let (false, Ok(revision)) = (weak, tag.parse()) {
                revisions.push(Generation(revision));
            }
        }
    }
    Ok(given.then_some(Tags::These(revisions)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_writes_precondition_is_read_in_all_its_forms() {
        for (pairs, expected) in [
            (vec![], Precondition::Any),
            (vec![(header::IF_MATCH, "*")], Precondition::Exists),
            (vec![(header::IF_NONE_MATCH, "*")], Precondition::Absent),
            (vec![(header::IF_MATCH, "\"7\"")], Precondition::At(vec![Generation(7)])),
            (
                vec![(header::IF_MATCH, "\"7\", \"9\"")],
                Precondition::At(vec![Generation(7), Generation(9)]),
            ),
            // Weak and foreign tags match nothing, which is not the same as no precondition.
            (vec![(header::IF_MATCH, "W/\"7\"")], Precondition::At(vec![])),
            (vec![(header::IF_MATCH, "\"abc\"")], Precondition::At(vec![])),
        ] {
            assert_eq!(of_write(&headers(&pairs)).unwrap(), expected, "{pairs:?}");
        }
    }

    #[test]
    fn a_precondition_that_can_not_be_read_is_refused_and_not_ignored() {
        for pairs in [
            vec![(header::IF_MATCH, "7")],
            vec![(header::IF_MATCH, "")],
            vec![(header::IF_NONE_MATCH, "\"7\"")],
            vec![(header::IF_MATCH, "*"), (header::IF_NONE_MATCH, "*")],
        ] {
            assert!(of_write(&headers(&pairs)).is_err(), "{pairs:?}");
        }
    }
}

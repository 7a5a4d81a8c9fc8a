//! Google Compute Engine's metadata server.
//!
//! Asked for by cloud-init, google-guest-agent, Google's SDKs and cloudbase-init's GCE service.
//! Every request names the flavor in a header, which a page or a forged server-side request can't,
//! and every reply names it, by which clients know that it is no stranger who answers. A directory
//! has a slash at its end and redirects without one; a leaf has none.
//!
//! Not here: access tokens (no roles), OS Login, `v1beta1` and `0.1`, the clock's real drift.
//!
//! Follows "About VM metadata", "View and query VM metadata", "Predefined metadata keys" and "Set
//! and query guest attributes" in Google's Compute Engine documentation.

mod attributes;
mod guest_attributes;
mod identity;
mod instance;
mod json;
mod network_interfaces;
mod project;
mod query;

use bytes::Bytes;
use mezame_model::GuestAttribute;

use self::query::{Alt, Known, Query};
use crate::{
    identity_document,
    policy::Permit,
    request::{Method, Request},
    respond::Answer,
    response::{JSON, Response, Status},
    tree::{Body, Directory, Entry, Found, Scope, directory, kept},
};

/// What Google labels its texts.
const TEXT: &str = "application/text";

/// The tree below `/computeMetadata`.
static ROOT: Directory = kept(&ENTRIES);
static ENTRIES: [Entry; 1] = [directory("v1", 0, &V1)];

static V1: Directory = kept(&V1_ENTRIES);
static V1_ENTRIES: [Entry; 2] =
    [directory("instance", 0, &instance::INSTANCE), directory("project", 0, &project::PROJECT)];

/// How many bytes of body a PUT may have.
pub(crate) fn body_limit(request: &Request<'_>) -> usize {
    if guest_attributes::path(request).is_some() { GuestAttribute::VALUE_MAX } else { 0 }
}

/// Answers a permitted request below `/computeMetadata`.
pub(crate) fn answer(
    permit: Permit,
    request: &Request<'_>,
    body: &[u8],
    scope: Scope<'_>,
) -> Answer {
    let names_flavor =
        request.headers().flavor.is_some_and(|flavor| flavor.eq_ignore_ascii_case(b"Google"));
    let mut answer = if names_flavor {
        find(permit, request, body, scope)
    } else {
        let text = "the header \"Metadata-Flavor: Google\" is missing\n";
        Answer::Reply(Response::text(Status::Forbidden, text))
    };
    if let Answer::Reply(reply) | Answer::Event { reply, .. } | Answer::Secret { reply, .. } =
        &mut answer
    {
        reply.flavor = true;
        reply.bare_etag = true;
    }
    answer
}

/// Finds what the path leads to: an identity token, a guest attribute to write, or the tree.
fn find(permit: Permit, request: &Request<'_>, body: &[u8], scope: Scope<'_>) -> Answer {
    let reads = matches!(request.method(), Method::Get | Method::Head);
    if identity::is_asked_for(request) {
        let reply = if reads {
            identity::reply(permit, request, &scope)
        } else {
            super::method_not_allowed("GET, HEAD")
        };
        return Answer::Reply(reply);
    }
    if !reads && let Some(path) = guest_attributes::path(request) {
        return guest_attributes::write(request.method(), path, body, &scope);
    }
    let found = if identity::is_of_account(request) {
        identity::ACCOUNT.find(request.segments().skip(identity::ACCOUNT_PATH.len()), scope)
    } else {
        ROOT.find(request.segments().skip(1), scope)
    };
    let Some(found) = found else {
        return Answer::Reply(super::not_found());
    };
    let has_slash = request.path().ends_with('/');
    match &found {
        Found::Leaf(..) if has_slash => Answer::Reply(super::not_found()),
        _ if !reads => Answer::Reply(super::method_not_allowed(found.allow())),
        Found::Directory(..) if !has_slash => Answer::Reply(moved(request)),
        _ => read(permit, request, &found, &scope),
    }
}

/// Reads what was found, or waits until it is another than the guest knows.
fn read(permit: Permit, request: &Request<'_>, found: &Found<'_>, scope: &Scope<'_>) -> Answer {
    let query = match Query::parse(request) {
        Ok(query) => query,
        Err(error) => return Answer::Reply(error.response()),
    };
    // The last segment is the entry's name: of a leaf or a directory by that name, or by its place.
    let name = request.segments().last().unwrap_or_default();
    let Some(body) = body(found, name, &query) else {
        return Answer::Reply(Response::internal());
    };
    let reply = super::reply(permit, scope, body);
    if request.method() == Method::Get
        && let Some(tag) = reply.etag
        && let Some(timeout_s) = waits(&query, tag, scope.context.watched)
        && !scope.context.watch_over
    {
        return Answer::Watch { etag: tag, timeout_s };
    }
    Answer::Reply(reply)
}

/// How long a request waits while what it asks for has this tag, if it does.
///
/// Without `last_etag` the guest has what was there when its request came: `watched`, once it waits.
fn waits(query: &Query, tag: u64, watched: Option<u64>) -> Option<u32> {
    let wait = query.wait.as_ref()?;
    let is_new = match wait.known {
        Known::Nothing => true,
        Known::Unsaid => watched.is_some_and(|watched| watched != tag),
        Known::Tag(known) => known != tag,
    };
    (!is_new && wait.timeout_s > 0).then_some(wait.timeout_s)
}

/// What is sent of a leaf or a directory.
fn body(found: &Found<'_>, name: &str, query: &Query) -> Option<Body> {
    let as_json = |value: &serde_json::Value| Body::of(JSON, Bytes::from(value.to_string()));
    let as_text = |text: Bytes| Body::of(TEXT, text);
    Some(match (found, query.alt) {
        (Found::Leaf(leaf, scope), Some(Alt::Json)) => as_json(&json::of_leaf(leaf, name, scope)),
        (Found::Leaf(leaf, scope), Some(Alt::Text)) => as_text((leaf.read)(scope).bytes),
        (Found::Leaf(leaf, scope), None) => {
            let body = (leaf.read)(scope);
            if body.content_type == JSON { body } else { as_text(body.bytes) }
        }
        (Found::Directory(directory, scope), Some(Alt::Text)) if query.recursive => {
            as_text(Bytes::from(json::lines(directory, *scope)))
        }
        (Found::Directory(directory, scope), _) if query.recursive => {
            as_json(&json::of_directory(directory, name, *scope))
        }
        (Found::Directory(directory, scope), Some(Alt::Json)) => {
            as_json(&directory.listing(scope).lines().collect())
        }
        (Found::Directory(directory, scope), _) => {
            let mut listing = as_text(Bytes::from(directory.listing(scope)));
            listing.end_last_line();
            listing
        }
        (Found::Inbox(..), _) => return None,
    })
}

/// Where the directory is: the same with a slash at its end.
fn moved(request: &Request<'_>) -> Response {
    let target = request.target();
    let location = match target.split_once('?') {
        Some((path, query)) => format!("{path}/?{query}"),
        None => format!("{target}/"),
    };
    let mut response = Response::text(Status::MovedPermanently, "a directory ends in a slash\n");
    response.location = Some(location.into());
    response
}

/// The number that stands for the guest's project, as Google's projects have one besides the name.
fn project_number(scope: &Scope<'_>) -> u64 {
    // Twelve decimal digits.
    identity_document::account_id(&scope.guest.instance.project).parse().unwrap_or_default()
}

/// The zone's name as Google's have: the region's, a hyphen, a letter.
fn zone(scope: &Scope<'_>) -> String {
    format!("{}-{}", scope.guest.site.region, scope.guest.instance.zone)
}

#[cfg(test)]
mod tests;

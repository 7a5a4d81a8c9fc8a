//! Hetzner Cloud's server metadata: one YAML document, its parts as leaves, and the user-data.
//!
//! Asked for by cloud-init's Hetzner source (`metadata/instance-id` first, to see whether anybody
//! is there, then `metadata` and `userdata`), afterburn, ignition and Hetzner's own scripts.
//! `metadata` is a document and a directory at once, which no tree of ours is: so there are two,
//! one that ends at the document and one that begins there.
//!
//! Not here: placement groups, backups, and whatever else a guest is not told by Hetzner either.
//!
//! Follows "Server Metadata" in Hetzner's Cloud API documentation.

mod metadata;

use bytes::Bytes;

use crate::{
    policy::Permit,
    request::{Method, Request},
    response::{self, Response, Status},
    tree::{Body, Directory, Entry, Scope, directory, folder, leaf},
};

/// How many segments the path of the document has.
const DOCUMENT_DEPTH: usize = 3;

/// Answers a permitted request below `/hetzner`.
pub(crate) fn answer(permit: Permit, request: &Request<'_>, scope: Scope<'_>) -> Response {
    let is_below = request.segments().count() > DOCUMENT_DEPTH;
    let tree = if is_below { &BELOW } else { &ROOT };
    let reply = super::read(tree, permit, request, scope, 1);
    let is_user_data = request.segments().eq(["hetzner", "v1", "userdata"]);
    let reads = matches!(request.method(), Method::Get | Method::Head);
    if is_user_data && reads && reply.status == Status::Ok && reply.content_length == 0 {
        return nothing(permit, &scope);
    }
    reply
}

/// What lies at `/hetzner`, with the document.
static ROOT: Directory = folder(&ROOT_ENTRIES);
static ROOT_ENTRIES: [Entry; 1] = [directory("v1", 0, &V1)];
static V1: Directory = folder(&V1_ENTRIES);
static V1_ENTRIES: [Entry; 2] = [
    leaf("metadata", 0, |it| yaml(metadata::document(it.guest))),
    leaf("userdata", 0, |it| Body::data(it.guest.instance.user_data.as_ref())),
];

/// The same with the document's parts.
static BELOW: Directory = folder(&BELOW_ENTRIES);
static BELOW_ENTRIES: [Entry; 1] = [directory("v1", 0, &V1_BELOW)];
static V1_BELOW: Directory = folder(&V1_BELOW_ENTRIES);
static V1_BELOW_ENTRIES: [Entry; 1] = [directory("metadata", 0, &metadata::PARTS)];

fn yaml(text: String) -> Body {
    Body::of(response::YAML, Bytes::from(text))
}

/// There is no user-data: 204, as Hetzner says it.
fn nothing(permit: Permit, scope: &Scope<'_>) -> Response {
    let mut reply = Response::new(Status::NoContent, "", Bytes::new());
    reply.last_modified = scope.context.modified;
    reply.token_ttl = permit.token_ttl();
    reply
}

#[cfg(test)]
mod tests;

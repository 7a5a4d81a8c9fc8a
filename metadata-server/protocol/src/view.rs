//! Dialects: the same record in the paths and forms that each kind of client asks for.
//!
//! To add one: a file with its tree and its `answer`, its first segments in [`ROOTS`], a line in
//! [`answer`] and a golden tree in the tests. Views never import each other; what two of them say
//! alike lies in `render`, `tree` or the model.

pub(crate) mod ec2;
pub(crate) mod mezame;
pub(crate) mod nocloud;

use mezame_model::Dialect;

use crate::{
    etag,
    policy::Permit,
    request::{Method, Request},
    respond::Answer,
    response::{Response, Status},
    tree::{Body, Directory, Scope},
};

/// The first segments of each dialect's paths. No segment belongs to two dialects.
pub(crate) const ROOTS: [(Dialect, &[&str]); 3] = [
    (Dialect::Ec2, &ec2::VERSIONS),
    (Dialect::Nocloud, &["nocloud"]),
    (Dialect::Mezame, &["mezame"]),
];

/// The dialect that a path's first segment belongs to.
pub(crate) fn dialect_of(segment: &str) -> Option<Dialect> {
    ROOTS.iter().find(|(_, roots)| roots.contains(&segment)).map(|(dialect, _)| *dialect)
}

/// Answers a permitted request in its dialect.
pub(crate) fn answer(
    dialect: Dialect,
    permit: Permit,
    request: &Request<'_>,
    body: &[u8],
    scope: Scope<'_>,
) -> Answer {
    match dialect {
        Dialect::Ec2 => Answer::Reply(ec2::answer(permit, request, scope)),
        Dialect::Nocloud => Answer::Reply(nocloud::answer(permit, request, scope)),
        Dialect::Mezame => mezame::answer(permit, request, body, scope),
    }
}

/// What `GET /` lists: the first segments of the dialects that the guest is answered in.
pub(crate) fn roots(permit: Permit, request: &Request<'_>, scope: &Scope<'_>) -> Response {
    if !matches!(request.method(), Method::Get | Method::Head) {
        return method_not_allowed("GET, HEAD");
    }
    let dialects = &scope.guest.instance.dialects;
    let mut lines = Vec::new();
    for (dialect, roots) in ROOTS {
        if dialects.contains(&dialect) {
            // EC2 lists its versions bare, and clients of EC2 read this list.
            let slash = if dialect == Dialect::Ec2 { "" } else { "/" };
            lines.extend(roots.iter().map(|root| format!("{root}{slash}")));
        }
    }
    reply(permit, scope, Body::lines(lines))
}

/// Reads a directory or a leaf of a tree, in a dialect whose errors are plain text.
fn read(
    tree: &'static Directory,
    permit: Permit,
    request: &Request<'_>,
    scope: Scope<'_>,
    skip: usize,
) -> Response {
    let Some(found) = tree.find(request.segments().skip(skip), scope) else {
        return not_found();
    };
    if !found.answers(request.method()) {
        return method_not_allowed(found.allow());
    }
    match found.read() {
        Some(body) => reply(permit, &scope, body),
        None => not_found(),
    }
}

/// A value with the headers that all readable things have.
fn reply(permit: Permit, scope: &Scope<'_>, body: Body) -> Response {
    let mut response = Response::new(Status::Ok, body.content_type, body.bytes);
    response.etag = Some(body.etag.unwrap_or_else(|| etag::of(&response.body)));
    response.last_modified = scope.context.modified;
    response.token_ttl = permit.token_ttl();
    response.audit = body.audit;
    response
}

/// Nothing is there: 404, at once.
pub(crate) fn not_found() -> Response {
    Response::text(Status::NotFound, "not found\n")
}

/// The path is there, and does not take the method.
pub(crate) fn method_not_allowed(methods: &'static str) -> Response {
    let mut response = Response::text(Status::MethodNotAllowed, "method not allowed\n");
    response.allow = Some(methods);
    response
}

#[cfg(test)]
mod tests;

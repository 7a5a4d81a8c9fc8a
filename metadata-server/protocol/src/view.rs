//! Dialects: the same record in the paths and forms that each kind of client asks for.
//!
//! To add one: its name in the model's `Dialect`; a file with its tree and its `answer`; its paths
//! in [`ROOTS`]; a line in [`answer`]; a golden tree in the tests; a row in the guests'
//! documentation. Views never import each other; what two of them say alike lies in `render`,
//! `tree` or the model.

pub(crate) mod azure;
pub(crate) mod cloudstack;
pub(crate) mod digitalocean;
pub(crate) mod ec2;
pub(crate) mod gce;
pub(crate) mod hetzner;
pub(crate) mod mezame;
pub(crate) mod nocloud;
pub(crate) mod openstack;
pub(crate) mod vultr;

use std::collections::BTreeSet;

use mezame_model::{Acknowledgement, Dialect, SecretName, SecretString, report::GuestEventKind};

use crate::{
    etag,
    gate::Gate,
    policy::Permit,
    request::{Method, Request},
    respond::Answer,
    response::{Response, Status},
    spent::digest_of,
    tree::{Body, Directory, Scope},
};

/// The paths of each dialect: the first segment, or the first two where two dialects share the
/// first. None is the beginning of another's, but for those of rivals
/// ([`Dialect::RIVALS`]), of which a guest has one.
pub(crate) const ROOTS: [(Dialect, &[&str]); 10] = [
    (Dialect::Ec2, &ec2::VERSIONS),
    (Dialect::Openstack, &["openstack"]),
    (Dialect::Gce, &["computeMetadata"]),
    (
        Dialect::Azure,
        &[
            "metadata/instance",
            "metadata/attested",
            "metadata/scheduledevents",
            "metadata/versions",
            "metadata/identity",
        ],
    ),
    (Dialect::Digitalocean, &["metadata/v1", "metadata/v1.json"]),
    (Dialect::Hetzner, &["hetzner"]),
    (Dialect::Vultr, &["v1", "v1.json", "user-data"]),
    (Dialect::Cloudstack, &["latest"]),
    (Dialect::Nocloud, &["nocloud"]),
    (Dialect::Mezame, &["mezame"]),
];

/// Which dialects' paths a guest is answered on. OpenStack's clients crawl EC2's tree as well, and
/// wait five seconds where it is missing, so whoever has the one has the other.
pub(crate) fn answers(dialects: &BTreeSet<Dialect>, dialect: Dialect) -> bool {
    dialects.contains(&dialect)
        || (dialect == Dialect::Ec2 && dialects.contains(&Dialect::Openstack))
}

/// The dialect that a path belongs to for a guest that is answered in these.
pub(crate) fn chosen(request: &Request<'_>, dialects: &BTreeSet<Dialect>) -> Option<Dialect> {
    owners(request).find(|dialect| answers(dialects, *dialect))
}

/// The dialects that a path may belong to; several only where they are rivals. By the password
/// port every path is CloudStack's.
pub(crate) fn owners(request: &Request<'_>) -> impl Iterator<Item = Dialect> {
    let mut segments = request.segments();
    let (first, second) = (segments.next().unwrap_or_default(), segments.next());
    let is_owner = move |root: &&str| match root.split_once('/') {
        Some((root, below)) => root == first && second == Some(below),
        None => *root == first,
    };
    let owns = move |(dialect, roots): &&(Dialect, &[&str])| match request.gate() {
        Gate::Metadata => roots.iter().any(is_owner),
        Gate::Password => *dialect == Dialect::Cloudstack,
    };
    ROOTS.iter().filter(owns).map(|(dialect, _)| *dialect)
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
        Dialect::Openstack => openstack::answer(permit, request, body, scope),
        Dialect::Gce => gce::answer(permit, request, body, scope),
        Dialect::Azure => Answer::Reply(azure::answer(permit, request, scope)),
        Dialect::Digitalocean => Answer::Reply(digitalocean::answer(permit, request, scope)),
        Dialect::Hetzner => Answer::Reply(hetzner::answer(permit, request, scope)),
        Dialect::Vultr => Answer::Reply(vultr::answer(permit, request, scope)),
        Dialect::Cloudstack => cloudstack::answer(permit, request, scope),
        Dialect::Nocloud => Answer::Reply(nocloud::answer(permit, request, scope)),
        Dialect::Mezame => mezame::answer(permit, request, body, scope),
    }
}

/// What `GET /` lists: the paths of the dialects that the guest is answered in.
pub(crate) fn roots(permit: Permit, request: &Request<'_>, scope: &Scope<'_>) -> Response {
    if !matches!(request.method(), Method::Get | Method::Head) {
        return method_not_allowed("GET, HEAD");
    }
    let dialects = &scope.guest.instance.dialects;
    let mut lines: Vec<String> = Vec::new();
    for (dialect, roots) in ROOTS.into_iter().filter(|(it, _)| answers(dialects, *it)) {
        // EC2 lists its versions bare, and clients of EC2 read this list.
        let slash = if dialect == Dialect::Ec2 { "" } else { "/" };
        for root in roots {
            // A file, and no directory.
            let slash = if root.ends_with(".json") { "" } else { slash };
            lines.push(format!("{root}{slash}"));
        }
    }
    let mut response = reply(permit, scope, Body::lines(lines));
    // By this header Google's clients know on whose cloud they are.
    response.flavor = dialects.contains(&Dialect::Gce);
    response
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

/// The read-once secret of this name, if it still waits.
fn waiting_secret<'a>(scope: &Scope<'a>, name: &str) -> Option<(&'a SecretName, &'a SecretString)> {
    waiting_secrets(scope).find(|(known, _)| known.as_str() == name)
}

/// The read-once secrets whose values still wait to be read.
fn waiting_secrets<'a>(
    scope: &Scope<'a>,
) -> impl Iterator<Item = (&'a SecretName, &'a SecretString)> + use<'a> {
    let (instance, spent) = (&*scope.guest.instance, scope.context.acknowledged);
    let secrets = instance.secrets.iter();
    secrets.filter(|(name, value)| !spent.covers(name, || digest_of(&instance.id, name, value)))
}

/// Sends a secret.
fn handed_out(
    scope: &Scope<'_>,
    name: &SecretName,
    value: &SecretString,
    mut reply: Response,
) -> Answer {
    reply.no_store = true;
    let digest = digest_of(&scope.guest.instance.id, name, value);
    Answer::Secret { name: name.clone(), digest, reply }
}

/// That the guest has received this value of a secret.
fn received(scope: &Scope<'_>, name: &SecretName, value: &SecretString) -> GuestEventKind {
    let digest = digest_of(&scope.guest.instance.id, name, value);
    GuestEventKind::SecretAcknowledged(Acknowledgement { name: name.clone(), digest: Some(digest) })
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
pub(crate) mod tests;

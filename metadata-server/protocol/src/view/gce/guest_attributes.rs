//! `instance/guest-attributes/NAMESPACE/KEY`: values that the guest itself keeps here.
//!
//! ```text
//! PUT    …/NAMESPACE/KEY   200; the body is the value, at most 32 KiB of UTF-8
//! DELETE …/NAMESPACE/KEY   200, or 404 where the record has none
//! GET    …/[NAMESPACE/[KEY]]
//! ```
//!
//! A write is kept here before it is answered, and is read only once the control plane has it. So
//! a DELETE is passed on even where the record has nothing to remove: a PUT may be on its way.
//!
//! Follows "Set and query guest attributes".

use mezame_model::{GuestAttribute, GuestAttributeError, report::GuestEventKind};

use crate::{
    request::{Method, Request},
    respond::Answer,
    response::{Response, Status},
    tree::{
        Body, Directory, Entry, Family, Item, Leaf, Node, Scope, family, is_plain_segment, kept,
    },
};

/// What `NAMESPACE/KEY` answers.
pub(super) const METHODS: &str = "GET, HEAD, PUT, DELETE";

/// The directory of namespaces.
pub(super) static GUEST_ATTRIBUTES: Directory = kept(&ENTRIES);

static ENTRIES: [Entry; 1] = [family(
    0,
    Family {
        members: |scope, each| {
            let mut before = "";
            for (namespace, _) in attributes(scope) {
                // Sorted by path, so those of one namespace follow each other.
                if namespace != before {
                    each(namespace);
                    before = namespace;
                }
            }
        },
        choose: |scope, segment| {
            let (namespace, _) = attributes(&scope).find(|(namespace, _)| *namespace == segment)?;
            Some(Scope { item: Item::Name(namespace), ..scope })
        },
    },
    Node::Directory(&NAMESPACE),
)];

static NAMESPACE: Directory = kept(&NAMESPACE_ENTRIES);
static NAMESPACE_ENTRIES: [Entry; 1] = [family(
    0,
    Family {
        members: |scope, each| {
            let own = attributes(scope).filter(|(namespace, _)| *namespace == scope.name());
            own.for_each(|(_, key)| each(key));
        },
        choose: |scope, segment| {
            let path = format!("{}/{segment}", scope.name());
            let (path, _) = scope.guest.instance.guest_attributes.get_key_value(&path)?;
            split(path).map(|_| Scope { item: Item::Name(path), ..scope })
        },
    },
    Node::Leaf(Leaf {
        exists: |_| true,
        read: |it| {
            let value = it.guest.instance.guest_attributes.get(it.name());
            Body::text(value.unwrap_or_default())
        },
        below: None,
    }),
)];

/// Namespace and key of each attribute, sorted by both together.
fn attributes<'a>(scope: &Scope<'a>) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
    scope.guest.instance.guest_attributes.keys().filter_map(split)
}

/// Namespace and key, if both may be path segments.
fn split(path: &str) -> Option<(&str, &str)> {
    let (namespace, key) = path.split_once('/')?;
    (is_plain_segment(namespace) && is_plain_segment(key)).then_some((namespace, key))
}

/// The segments of a request for an attribute: namespace and key, whatever they may be.
pub(super) fn path<'r>(request: &'r Request<'_>) -> Option<(&'r str, &'r str)> {
    let mut segments = request.segments();
    let is_ours = ["computeMetadata", "v1", "instance", "guest-attributes"]
        .into_iter()
        .all(|name| segments.next() == Some(name));
    let (namespace, key) = (segments.next()?, segments.next()?);
    let ends = segments.next().is_none() && !request.path().ends_with('/');
    (is_ours && ends).then_some((namespace, key))
}

/// Takes a value, or takes it away.
pub(super) fn write(
    method: Method,
    (namespace, key): (&str, &str),
    body: &[u8],
    scope: &Scope<'_>,
) -> Answer {
    let refused = |status, text| Answer::Reply(Response::text(status, text));
    let path = format!("{namespace}/{key}");
    let change = |value: Option<&str>| GuestAttribute {
        path: path.as_str().into(),
        value: value.map(Box::from),
    };
    let attributes = &scope.guest.instance.guest_attributes;
    let is_name = |name: &str| name.len() <= GuestAttribute::NAME_MAX && is_plain_segment(name);
    let done = || Response::new(Status::Ok, super::TEXT, bytes::Bytes::new());
    match method {
        Method::Put | Method::Delete if !is_name(namespace) || !is_name(key) => refused(
            Status::BadRequest,
            "namespace and key are at most 128 of A-Z a-z 0-9 + - = . , _ : @\n",
        ),
        Method::Put if body.len() > GuestAttribute::VALUE_MAX => {
            Answer::Reply(Response::body_too_large())
        }
        Method::Put => {
            let Ok(value) = std::str::from_utf8(body) else {
                return refused(Status::BadRequest, "the value is not UTF-8\n");
            };
            let change = change(Some(value));
            match attributes.with(&change) {
                Ok(_) => {
                    Answer::Event { kind: GuestEventKind::GuestAttribute(change), reply: done() }
                }
                Err(GuestAttributeError::Full) => refused(
                    Status::BadRequest,
                    "no room: at most 256 attributes, and 64 KiB of all together\n",
                ),
                Err(GuestAttributeError::Malformed) => {
                    refused(Status::BadRequest, "malformed attribute\n")
                }
            }
        }
        Method::Delete => {
            let is_there = attributes.get(&path).is_some();
            let reply = if is_there { done() } else { crate::view::not_found() };
            Answer::Event { kind: GuestEventKind::GuestAttribute(change(None)), reply }
        }
        _ => Answer::Reply(crate::view::method_not_allowed(METHODS)),
    }
}

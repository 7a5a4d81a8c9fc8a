//! DigitalOcean's droplet metadata: one JSON document, and the same as a tree of text.
//!
//! Asked for by cloud-init's DigitalOcean source and afterburn (the JSON alone), by doctl's
//! helpers and by scripts (the tree). The user-data of the JSON is text: data that is not UTF-8 is
//! left out of it, never mangled, and served as it is by the tree.
//!
//! Not here: `auth_key`, which is a secret of DigitalOcean's own agents; `reserved_ip` and an
//! active `floating_ip`, since a floating address is the network's business and not the guest's.
//!
//! Follows "Droplet Metadata API Reference" in DigitalOcean's documentation.

mod interfaces;

use bytes::Bytes;
use mezame_model::Guest;
use serde_json::{Map, Value, json};

use crate::{
    policy::Permit,
    request::Request,
    response::{self, Response},
    tree::{Body, Directory, Entry, Label, Scope, directory, folder, leaf, leaf_if},
};

/// The longest tag that DigitalOcean knows, in characters.
const TAG_MAX: usize = 255;

/// Answers a permitted request below `/metadata`.
pub(crate) fn answer(permit: Permit, request: &Request<'_>, scope: Scope<'_>) -> Response {
    super::read(&ROOT, permit, request, scope, 1)
}

/// What lies at `/metadata`, which is never asked for itself.
static ROOT: Directory = Directory { entries: &ROOT_ENTRIES, label: Label::Slash, keep: true };
static ROOT_ENTRIES: [Entry; 2] = [
    directory("v1", 0, &V1),
    leaf("v1.json", 0, |it| {
        Body::of(response::JSON, Bytes::from(Value::Object(document(it.guest)).to_string()))
    }),
];

static V1: Directory = folder(&V1_ENTRIES);
/// In the order in which DigitalOcean lists them.
static V1_ENTRIES: [Entry; 11] = [
    leaf("id", 0, |it| Body::text(it.guest.instance.id.number().to_string())),
    leaf("hostname", 0, |it| Body::text(it.guest.fqdn())),
    leaf_if(
        "user-data",
        0,
        |it| it.guest.instance.user_data.is_some(),
        |it| Body::data(it.guest.instance.user_data.as_ref()),
    ),
    leaf_if(
        "vendor-data",
        0,
        |it| it.guest.instance.vendor_data.is_some(),
        |it| Body::data(it.guest.instance.vendor_data.as_ref()),
    ),
    leaf("public-keys", 0, |it| Body::lines(&it.guest.instance.ssh_keys)),
    leaf("region", 0, |it| Body::text(&it.guest.site.region)),
    directory("interfaces", 0, &interfaces::INTERFACES),
    directory("dns", 0, &DNS),
    directory("floating_ip", 0, &FLOATING_IP),
    leaf("tags", 0, |it| Body::lines(tags(it.guest))),
    directory("features", 0, &FEATURES),
];

static DNS: Directory = folder(&DNS_ENTRIES);
static DNS_ENTRIES: [Entry; 1] =
    [leaf("nameservers", 0, |it| Body::lines(it.guest.primary().resolvers(true)))];

static FLOATING_IP: Directory = folder(&FLOATING_IP_ENTRIES);
static FLOATING_IP_ENTRIES: [Entry; 1] = [directory("ipv4", 0, &FLOATING_IPV4)];
static FLOATING_IPV4: Directory = folder(&FLOATING_IPV4_ENTRIES);
static FLOATING_IPV4_ENTRIES: [Entry; 1] = [leaf("active", 0, |_| Body::fixed("false"))];

static FEATURES: Directory = folder(&FEATURES_ENTRIES);
static FEATURES_ENTRIES: [Entry; 1] = [leaf("dhcp_enabled", 0, |_| Body::fixed("false"))];

/// The whole of it.
fn document(guest: &Guest) -> Map<String, Value> {
    let instance = &guest.instance;
    let fields = json!({
        "droplet_id": instance.id.number(),
        "hostname": guest.fqdn(),
        "public_keys": instance.ssh_keys,
        "region": guest.site.region,
        "interfaces": interfaces::document(guest),
        "dns": { "nameservers": guest.primary().resolvers(true) },
        "floating_ip": { "ipv4": { "active": false } },
        "tags": tags(guest).collect::<Vec<_>>(),
        "features": { "dhcp_enabled": false },
    });
    let mut fields = match fields {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    for (name, data) in [("user_data", &instance.user_data), ("vendor_data", &instance.vendor_data)]
    {
        if let Some(text) = data.as_ref().and_then(|data| std::str::from_utf8(data.bytes()).ok()) {
            fields.insert(name.to_owned(), text.into());
        }
    }
    fields
}

/// The tenant's labels as `KEY:VALUE`, as far as DigitalOcean's tags may have their characters.
fn tags(guest: &Guest) -> impl Iterator<Item = String> {
    guest.instance.tags.iter().filter_map(|(key, value)| {
        let tag = if value.is_empty() { key.to_owned() } else { format!("{key}:{value}") };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b":-_".contains(&byte);
        ((1..=TAG_MAX).contains(&tag.len()) && tag.bytes().all(plain)).then_some(tag)
    })
}

#[cfg(test)]
mod tests;

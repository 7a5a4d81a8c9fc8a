//! Vultr's instance metadata: one JSON document, the same as a tree of text, and the user-data.
//!
//! Asked for by cloud-init's Vultr source (`/` first, to see whether anybody is there, then
//! `/v1.json` with a header that is the same for everybody and proves nothing, so it is not
//! looked at), afterburn (the tree) and ignition (`/user-data/user-data`).
//!
//! Not here: `bgp`, start-up scripts and root passwords. Nor `cloud_interfaces`, in which newer
//! clients would take a whole network configuration: cloud-init as Debian 12 has it fails on it.
//!
//! Follows "Metadata API" in Vultr's documentation.

mod interfaces;

use bytes::Bytes;
use mezame_model::{Guest, UserData, smbios};
use serde_json::{Value, json};

use crate::{
    policy::Permit,
    request::Request,
    response::{self, Response},
    tree::{Body, Directory, Entry, Label, Scope, directory, folder, leaf, leaf_if},
};

/// Answers a permitted request below `/v1`, `/v1.json` or `/user-data`.
pub(crate) fn answer(permit: Permit, request: &Request<'_>, scope: Scope<'_>) -> Response {
    super::read(&ROOT, permit, request, scope, 0)
}

static ROOT: Directory = folder(&ROOT_ENTRIES);
static ROOT_ENTRIES: [Entry; 3] = [
    directory("v1", 0, &V1),
    leaf("v1.json", 0, |it| Body::of(response::JSON, Bytes::from(document(it.guest).to_string()))),
    directory("user-data", 0, &USER_DATA),
];

static V1: Directory = folder(&V1_ENTRIES);
static V1_ENTRIES: [Entry; 6] = [
    leaf("hostname", 0, |it| Body::text(it.guest.fqdn())),
    leaf("instance-v2-id", 0, |it| Body::text(smbios::uuid(&it.guest.instance.id))),
    leaf("instanceid", 0, |it| Body::text(it.guest.instance.id.as_str())),
    directory("interfaces", 0, &interfaces::INTERFACES),
    leaf("public-keys", 0, |it| Body::lines(&it.guest.instance.ssh_keys)),
    directory("region", 0, &REGION),
];

static REGION: Directory = folder(&REGION_ENTRIES);
static REGION_ENTRIES: [Entry; 1] = [leaf("regioncode", 0, |it| Body::text(&it.guest.site.region))];

/// There even without user-data, since `/` lists it for every guest.
static USER_DATA: Directory =
    Directory { entries: &USER_DATA_ENTRIES, label: Label::Slash, keep: true };
static USER_DATA_ENTRIES: [Entry; 1] = [leaf_if(
    "user-data",
    0,
    |it| it.guest.instance.user_data.is_some(),
    |it| Body::data(it.guest.instance.user_data.as_ref()),
)];

/// The whole of it. cloud-init fails where one of these fields is missing, so all are there,
/// empty where there is nothing to say.
fn document(guest: &Guest) -> Value {
    let instance = &guest.instance;
    json!({
        "hostname": guest.fqdn(),
        "instance-v2-id": smbios::uuid(&instance.id),
        "instanceid": instance.id,
        "interfaces": interfaces::document(guest),
        "public-keys": instance.ssh_keys,
        "region": { "regioncode": guest.site.region },
        "user-data": text(instance.user_data.as_ref()),
        "vendor-data": text(instance.vendor_data.as_ref()),
    })
}

/// The data as text; empty where it is none, since JSON can't hold it and half of it is worse.
fn text(data: Option<&UserData>) -> &str {
    data.and_then(|data| std::str::from_utf8(data.bytes()).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests;

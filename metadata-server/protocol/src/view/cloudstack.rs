//! Apache CloudStack's metadata, as its virtual router serves it.
//!
//! Asked for by cloud-init's CloudStack source, which crawls `meta-data/`, by cloudbase-init and
//! by afterburn. The paths are EC2's and the contents are not: keys are plain lines and no
//! directory, and there are `service-offering` and `availability-zone`. So an instance has the one
//! or the other.
//!
//! Not here: the one-time password on port 8080, which needs a listener of its own; the name of
//! the hypervisor, which is nothing for a tenant.
//!
//! Follows "Accessing VM Metadata" and "User-Data and Meta-Data" in CloudStack's administration
//! guide.

use std::net::Ipv4Addr;

use mezame_model::smbios;

use crate::{
    address::{ipv4_of, is_public},
    policy::Permit,
    request::Request,
    response::{self, Response},
    tree::{Body, Directory, Entry, Label, Scope, directory, leaf, leaf_if},
};

/// Answers a permitted request below `/latest`.
pub(crate) fn answer(permit: Permit, request: &Request<'_>, scope: Scope<'_>) -> Response {
    super::read(&ROOT, permit, request, scope, 1)
}

static ROOT: Directory = folder(&ROOT_ENTRIES);
static ROOT_ENTRIES: [Entry; 2] = [
    directory("meta-data", 0, &META_DATA),
    leaf_if("user-data", 0, |it| it.guest.instance.user_data.is_some(), user_data),
];

static META_DATA: Directory = folder(&META_DATA_ENTRIES);
static META_DATA_ENTRIES: [Entry; 10] = [
    leaf("availability-zone", 0, |it| Body::text(it.guest.zone())),
    leaf("cloud-identifier", 0, |it| Body::text(format!("CloudStack-{}", it.guest.site.domain))),
    leaf("instance-id", 0, |it| Body::text(it.guest.instance.id.as_str())),
    leaf("local-hostname", 0, |it| Body::text(it.guest.fqdn())),
    leaf_if("local-ipv4", 0, |it| local_ipv4(it).is_some(), |it| text(local_ipv4(it))),
    leaf_if("public-hostname", 0, |it| public_ipv4(it).is_some(), |it| Body::text(it.guest.fqdn())),
    leaf_if("public-ipv4", 0, |it| public_ipv4(it).is_some(), |it| text(public_ipv4(it))),
    leaf("public-keys", 0, |it| {
        let mut lines = Body::lines(&it.guest.instance.ssh_keys);
        // Boot scripts append it to authorized_keys as it comes.
        lines.end_last_line();
        lines
    }),
    leaf("service-offering", 0, |it| Body::text(&it.guest.instance.instance_type)),
    leaf("vm-id", 0, |it| Body::text(smbios::uuid(&it.guest.instance.id))),
];

/// A directory that is there if anything in it is.
const fn folder(entries: &'static [Entry]) -> Directory {
    Directory { entries, label: Label::Slash, keep: false }
}

/// The tenant's bytes, as they are.
fn user_data(scope: &Scope<'_>) -> Body {
    let bytes = scope.guest.instance.user_data.as_ref().map(|data| data.bytes().clone());
    Body::of(response::BYTES, bytes.unwrap_or_default())
}

fn local_ipv4(scope: &Scope<'_>) -> Option<Ipv4Addr> {
    ipv4_of(scope.guest.primary()).next()
}

fn public_ipv4(scope: &Scope<'_>) -> Option<Ipv4Addr> {
    ipv4_of(scope.guest.primary()).find(|address| is_public(*address))
}

fn text(address: Option<Ipv4Addr>) -> Body {
    Body::text(address.map(|address| address.to_string()).unwrap_or_default())
}

#[cfg(test)]
mod tests;

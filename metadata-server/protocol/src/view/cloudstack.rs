//! Apache CloudStack's metadata, as its virtual router serves it.
//!
//! Asked for by cloud-init's CloudStack source, which crawls `meta-data/`, by cloudbase-init and
//! by afterburn. The paths are EC2's and the contents are not: keys are plain lines and no
//! directory, and there are `service-offering` and `availability-zone`. So an instance has the one
//! or the other.
//!
//! The one-time password on port 8080 is in `password`. Not here: the name of the hypervisor, which
//! is nothing for a tenant.
//!
//! Follows "Accessing VM Metadata" and "User-Data and Meta-Data" in CloudStack's administration
//! guide.

pub(crate) mod password;

use mezame_model::smbios;

use crate::{
    address::{ipv4_of, public_ipv4},
    gate::Gate,
    policy::Permit,
    request::Request,
    respond::Answer,
    tree::{Body, Directory, Entry, Scope, directory, folder, leaf, leaf_if},
};

/// Answers a permitted request below `/latest`, or by the password port.
pub(crate) fn answer(permit: Permit, request: &Request<'_>, scope: Scope<'_>) -> Answer {
    match request.gate() {
        Gate::Metadata => Answer::Reply(super::read(&ROOT, permit, request, scope, 1)),
        Gate::Password => password::answer(permit, request, &scope),
    }
}

static ROOT: Directory = folder(&ROOT_ENTRIES);
static ROOT_ENTRIES: [Entry; 2] = [
    directory("meta-data", 0, &META_DATA),
    leaf_if(
        "user-data",
        0,
        |it| it.guest.instance.user_data.is_some(),
        |it| Body::data(it.guest.instance.user_data.as_ref()),
    ),
];

static META_DATA: Directory = folder(&META_DATA_ENTRIES);
static META_DATA_ENTRIES: [Entry; 10] = [
    leaf("availability-zone", 0, |it| Body::text(it.guest.zone())),
    leaf("cloud-identifier", 0, |it| Body::text(format!("CloudStack-{}", it.guest.site.domain))),
    leaf("instance-id", 0, |it| Body::text(it.guest.instance.id.as_str())),
    leaf("local-hostname", 0, |it| Body::text(it.guest.fqdn())),
    leaf_if(
        "local-ipv4",
        0,
        |it| ipv4_of(it.guest.primary()).next().is_some(),
        |it| Body::optional(ipv4_of(it.guest.primary()).next()),
    ),
    leaf_if(
        "public-hostname",
        0,
        |it| public_ipv4(it.guest.primary()).is_some(),
        |it| Body::text(it.guest.fqdn()),
    ),
    leaf_if(
        "public-ipv4",
        0,
        |it| public_ipv4(it.guest.primary()).is_some(),
        |it| Body::optional(public_ipv4(it.guest.primary())),
    ),
    leaf("public-keys", 0, |it| {
        let mut lines = Body::lines(&it.guest.instance.ssh_keys);
        // Boot scripts append it to authorized_keys as it comes.
        lines.end_last_line();
        lines
    }),
    leaf("service-offering", 0, |it| Body::text(&it.guest.instance.instance_type)),
    leaf("vm-id", 0, |it| Body::text(smbios::uuid(&it.guest.instance.id))),
];

#[cfg(test)]
mod tests;

//! cloud-init's NoCloud seed over HTTP.
//!
//! For images whose cloud-init is told `ds=nocloud;s=http://169.254.169.254/nocloud/`, by SMBIOS
//! serial or kernel command line. The source knows no tokens, so an instance that requires them
//! is refused here too. All four files are always there, empty where there is nothing to say:
//! cloud-init takes a missing `user-data` for a broken seed.
//!
//! Follows "NoCloud" and "Networking config Version 1" in cloud-init's documentation.

use bytes::Bytes;
use mezame_model::Guest;

use crate::{
    network_config::{FamilyMark, network_config},
    policy::Permit,
    render::{yaml_lines, yaml_scalar},
    request::Request,
    response::{self, Response},
    tree::{Body, Directory, Entry, Label, Scope, leaf},
};

/// The tree, for the tests.
#[cfg(test)]
pub(crate) fn root() -> &'static Directory {
    &ROOT
}

/// Answers a permitted request below `/nocloud`.
pub(crate) fn answer(permit: Permit, request: &Request<'_>, scope: Scope<'_>) -> Response {
    super::read(&ROOT, permit, request, scope, 1)
}

/// All of its files, for a disk: the same names without the folder.
pub(crate) fn files(scope: Scope<'_>, each: &mut dyn FnMut(String, Body)) {
    ROOT.leaves(scope, "", each);
}

static ROOT: Directory = Directory { entries: &ENTRIES, label: Label::Slash, keep: true };

static ENTRIES: [Entry; 4] = [
    leaf("meta-data", 0, |it| yaml(meta_data(it.guest))),
    leaf("network-config", 0, |it| yaml(network_config(it.guest, FamilyMark::Absent))),
    leaf("user-data", 0, |it| Body::data(it.guest.instance.user_data.as_ref())),
    leaf("vendor-data", 0, |it| Body::data(it.guest.instance.vendor_data.as_ref())),
];

fn yaml(text: String) -> Body {
    Body::of(response::YAML, Bytes::from(text))
}

/// The instance's id, name and keys.
fn meta_data(guest: &Guest) -> String {
    let instance = &guest.instance;
    let mut out = format!(
        "instance-id: {}\nlocal-hostname: {}\n",
        yaml_scalar(instance.id.as_str()),
        yaml_scalar(&guest.fqdn()),
    );
    if !instance.ssh_keys.is_empty() {
        out.push_str("public-keys:\n");
        yaml_lines(&mut out, "  - ", instance.ssh_keys.iter());
    }
    out
}

#[cfg(test)]
mod tests;

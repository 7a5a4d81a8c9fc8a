//! cloud-init's NoCloud seed over HTTP.
//!
//! For images whose cloud-init is told `ds=nocloud;s=http://169.254.169.254/nocloud/`, by SMBIOS
//! serial or kernel command line. The source knows no tokens, so an instance that requires them
//! is refused here too. All four files are always there, empty where there is nothing to say:
//! cloud-init takes a missing `user-data` for a broken seed.
//!
//! Follows "NoCloud" and "Networking config Version 2" in cloud-init's documentation.

use std::{fmt::Write, net::IpAddr};

use bytes::Bytes;
use mezame_model::{Guest, GuestPort, UserData};

use crate::{
    policy::Permit,
    render::yaml_scalar,
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

static ROOT: Directory = Directory { entries: &ENTRIES, label: Label::Slash, keep: true };

static ENTRIES: [Entry; 4] = [
    leaf("meta-data", 0, |it| yaml(meta_data(it.guest))),
    leaf("network-config", 0, |it| yaml(network_config(it.guest))),
    leaf("user-data", 0, |it| bytes(it.guest.instance.user_data.as_ref())),
    leaf("vendor-data", 0, |it| bytes(it.guest.instance.vendor_data.as_ref())),
];

fn yaml(text: String) -> Body {
    Body::of(response::YAML, Bytes::from(text))
}

fn bytes(data: Option<&UserData>) -> Body {
    Body::of(response::BYTES, data.map(|data| data.bytes().clone()).unwrap_or_default())
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
        lines(&mut out, "  - ", instance.ssh_keys.iter());
    }
    out
}

/// Every port, matched by its MAC address.
fn network_config(guest: &Guest) -> String {
    let mut out = String::from("version: 2\nethernets:\n");
    for (at, entry) in guest.ports.iter().enumerate() {
        // Writing to a String does not fail.
        let _ = write!(
            out,
            "  port{at}:\n    match:\n      macaddress: {}\n    dhcp4: false\n    dhcp6: false\n    \
             mtu: {}\n",
            yaml_scalar(&entry.port.mac.to_string()),
            entry.network.mtu,
        );
        list(&mut out, "addresses", addresses(entry));
        let routes = routes(entry, at == 0);
        if !routes.is_empty() {
            out.push_str("    routes:\n");
            routes.iter().for_each(|route| out.push_str(route));
        }
        let domain = entry.network.domain.as_ref();
        if !entry.network.dns.is_empty() || domain.is_some() {
            out.push_str("    nameservers:\n");
            nested(&mut out, "addresses", entry.network.dns.iter());
            nested(&mut out, "search", domain.iter());
        }
    }
    out
}

/// The port's addresses with the prefix length of their subnet.
fn addresses(entry: &GuestPort) -> impl Iterator<Item = String> {
    entry.port.addresses.iter().map(|address| {
        let subnet = entry.network.subnet_of(*address);
        let prefix = subnet.map_or(if address.is_ipv4() { 32 } else { 128 }, |it| it.cidr.prefix());
        format!("{address}/{prefix}")
    })
}

/// Default routes on the first port, one of each family; and a way to the metadata service where
/// no IPv4 router would be asked for one.
fn routes(entry: &GuestPort, primary: bool) -> Vec<String> {
    let gateway =
        |v4: bool| {
            entry.port.addresses.iter().filter(|address| address.is_ipv4() == v4).find_map(
                |address| entry.network.subnet_of(*address).and_then(|subnet| subnet.gateway),
            )
        };
    let route = |to: &str, via: Option<IpAddr>| match via {
        Some(via) => format!(
            "      - to: {}\n        via: {}\n",
            yaml_scalar(to),
            yaml_scalar(&via.to_string())
        ),
        None => format!("      - to: {}\n        scope: link\n", yaml_scalar(to)),
    };
    if !primary {
        return Vec::new();
    }
    let mut routes = Vec::new();
    match gateway(true) {
        Some(via) => routes.push(route("0.0.0.0/0", Some(via))),
        None => routes.push(route("169.254.169.254/32", None)),
    }
    if let Some(via) = gateway(false) {
        routes.push(route("::/0", Some(via)));
    }
    routes
}

/// A list below a port, left out where it is empty.
fn list(out: &mut String, name: &str, items: impl Iterator<Item = impl ToString>) {
    section(out, name, "    ", items);
}

/// A list one level deeper.
fn nested(out: &mut String, name: &str, items: impl Iterator<Item = impl ToString>) {
    section(out, name, "      ", items);
}

fn section(out: &mut String, name: &str, indent: &str, items: impl Iterator<Item = impl ToString>) {
    let mut items = items.peekable();
    if items.peek().is_some() {
        // Writing to a String does not fail.
        let _ = writeln!(out, "{indent}{name}:");
        lines(out, &format!("{indent}  - "), items);
    }
}

fn lines(out: &mut String, before: &str, items: impl Iterator<Item = impl ToString>) {
    for item in items {
        let _ = writeln!(out, "{before}{}", yaml_scalar(&item.to_string()));
    }
}

#[cfg(test)]
mod tests;

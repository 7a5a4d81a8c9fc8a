//! A guest's network as cloud-init's configuration in version 1 has it.
//!
//! Here, since more than one cloud hands it out: NoCloud as a file, Hetzner inside of its
//! metadata. Says what the record says and nothing of what the guest has configured; of the ports
//! only the first has default routes.
//!
//! Follows "Networking config Version 1" in cloud-init's documentation.

use std::{fmt::Write, net::IpAddr};

use ipnetwork::IpNetwork;
use mezame_model::{Guest, GuestPort, LinkLocal, Route, Subnet};

use crate::render::{yaml_lines, yaml_scalar};

/// Whether a subnet says of which family it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FamilyMark {
    /// No: its address says so.
    Absent,
    /// `ipv4: true` or `ipv6: true`, as Hetzner has it and afterburn looks for it.
    Present,
}

/// Every port, matched by its MAC address, in version 1 of the format.
///
/// Not version 2: where netplan is absent, cloud-init makes of that one's route to `::/0` one to
/// `::/64`, and fails on a route without a gateway; its `gateway4` brings a warning into the log.
/// In version 1 a subnet has a gateway, with every renderer and in every release.
pub(crate) fn network_config(guest: &Guest, mark: FamilyMark) -> String {
    let mut out = String::from("version: 1\nconfig:\n");
    for (at, entry) in guest.ports.iter().enumerate() {
        let mac = yaml_scalar(&entry.port.mac.to_string());
        // Writing to a String does not fail, here and below.
        let _ = write!(
            out,
            "  - type: physical\n    name: eth{at}\n    mac_address: {mac}\n    mtu: {}\n",
            entry.network.mtu,
        );
        let (subnets, resolvers) = (subnets(entry, at == 0), entry.resolvers(at == 0));
        if !subnets.is_empty() {
            out.push_str("    subnets:\n");
        }
        for (at, Own { address, gateway, routes }) in subnets.iter().enumerate() {
            let family = if address.is_ipv4() { "ipv4" } else { "ipv6" };
            let address = yaml_scalar(&address.to_string());
            let _ = write!(out, "      - type: static\n        address: {address}\n");
            if mark == FamilyMark::Present {
                let _ = writeln!(out, "        {family}: true");
            }
            if let Some(gateway) = gateway {
                let _ = writeln!(out, "        gateway: {}", yaml_scalar(&gateway.to_string()));
            }
            if !routes.is_empty() {
                out.push_str("        routes:\n");
            }
            for route in *routes {
                let network = yaml_scalar(&route.destination.to_string());
                let gateway = yaml_scalar(&route.via.to_string());
                let _ =
                    write!(out, "          - network: {network}\n            gateway: {gateway}\n");
            }
            // Resolvers belong to the interface, but are written with one of its subnets.
            if at == 0 {
                list(&mut out, "dns_nameservers", resolvers.iter());
                list(&mut out, "dns_search", entry.network.domain.iter());
            }
        }
    }
    out
}

/// One of a port's addresses, and what belongs to the subnet that it is in: told once, with the
/// first address of that subnet.
pub(crate) struct Own<'g> {
    /// With its subnet's prefix length.
    pub(crate) address: IpNetwork,
    /// The default router.
    pub(crate) gateway: Option<IpAddr>,
    /// Further routes.
    pub(crate) routes: &'g [Route],
}

/// The port's addresses; on the first port, the one in whose subnet a router is names it. Where
/// that is no IPv4 router, with an address that makes the service on-link: nothing else would take a
/// frame for it to the tap. An address and not a route, since a route without a gateway makes some
/// of cloud-init's renderers fail.
pub(crate) fn subnets(entry: &GuestPort, primary: bool) -> Vec<Own<'_>> {
    let mut gateways: Vec<_> = entry.gateways().filter(|_| primary).collect();
    let alone = primary && !gateways.iter().any(IpAddr::is_ipv4);
    let mut told: Vec<&Subnet> = Vec::new();
    let mut subnets: Vec<_> = entry
        .addresses()
        .map(|address| {
            let Some(subnet) = entry.network.subnet_of(address.ip()) else {
                return Own { address, gateway: None, routes: &[] };
            };
            // By the record and not by the prefix: the router may be link-local.
            let at = gateways.iter().position(|gateway| subnet.gateway == Some(*gateway));
            let gateway = at.map(|at| gateways.remove(at));
            let first = !told.contains(&subnet);
            told.push(subnet);
            Own { address, gateway, routes: if first { &subnet.routes } else { &[] } }
        })
        .collect();
    if alone {
        let address = LinkLocal::of(&entry.port.id).into();
        subnets.push(Own { address, gateway: None, routes: &[] });
    }
    subnets
}

/// A list in a subnet, left out where it is empty.
fn list(out: &mut String, name: &str, items: impl Iterator<Item = impl ToString>) {
    let mut items = items.peekable();
    if items.peek().is_some() {
        let _ = writeln!(out, "        {name}:");
        yaml_lines(out, "          - ", items);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mezame_model::Dialect;

    use super::*;
    use crate::fixture::World;

    /// The guest whose network names no resolver, on one port with these addresses.
    fn without_resolvers(addresses: &[&str]) -> String {
        let world = World::new();
        let mut guest = world.bare_in(Dialect::Nocloud, addresses);
        Arc::make_mut(&mut guest.ports[0].network).dns.clear();
        network_config(&guest, FamilyMark::Absent)
    }

    #[test]
    fn without_resolvers_of_the_networks_own_the_platforms_are_told_by_each_family_with_a_router() {
        let both = without_resolvers(&["192.168.0.10", "2001:db8:1::10"]);
        let wanted =
            "dns_nameservers:\n          - \"169.254.169.253\"\n          - \"fd00:ec2::253\"\n";
        assert!(both.contains(wanted), "{both}");
        let v4 = without_resolvers(&["192.168.0.10"]);
        assert!(v4.contains("169.254.169.253") && !v4.contains("fd00:ec2::253"), "{v4}");
        let v6 = without_resolvers(&["2001:db8:1::10"]);
        assert!(!v6.contains("169.254.169.253") && v6.contains("fd00:ec2::253"), "{v6}");
    }

    #[test]
    fn without_any_router_the_platforms_resolver_is_told_by_the_address_that_is_on_its_link() {
        let own = without_resolvers(&["10.1.0.10"]);
        assert!(own.contains("169.254.169.253") && own.contains("/16\""), "{own}");
    }

    #[test]
    fn a_further_port_is_told_no_resolver_of_the_platforms() {
        let world = World::new();
        let mut guest = world.web_in(Dialect::Nocloud);
        for entry in &mut guest.ports {
            Arc::make_mut(&mut entry.network).dns.clear();
        }
        let text = network_config(&guest, FamilyMark::Absent);
        assert_eq!(text.matches("dns_nameservers").count(), 1, "{text}");
    }
}

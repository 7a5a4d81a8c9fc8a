//! A guest's network as cloud-init's configuration in version 1 has it.
//!
//! Here, since more than one cloud hands it out: NoCloud as a file, Hetzner inside of its
//! metadata. Says what the record says and nothing of what the guest has configured; of the ports
//! only the first has default routes.
//!
//! Follows "Networking config Version 1" in cloud-init's documentation.

use std::{fmt::Write, net::IpAddr};

use ipnetwork::IpNetwork;
use mezame_model::{
    BondMode, BondName, Guest, GuestPort, LinkLocal, MacAddress, Route, Subnet, bond::MIIMON_MS,
};

use crate::render::{yaml_lines, yaml_scalar};

/// Whether a subnet says of which family it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FamilyMark {
    /// No: its address says so.
    Absent,
    /// `ipv4: true` or `ipv6: true`, as Hetzner has it and afterburn looks for it.
    Present,
}

/// Every port, matched by its MAC address, in version 1 of the format; then the bond that ports are
/// the cards of, and the networks behind tags.
///
/// Not version 2: where netplan is absent, cloud-init makes of that one's route to `::/0` one to
/// `::/64`, and fails on a route without a gateway; its `gateway4` brings a warning into the log.
/// In version 1 a subnet has a gateway, with every renderer and in every release.
pub(crate) fn network_config(guest: &Guest, mark: FamilyMark) -> String {
    let mut out = String::from("version: 1\nconfig:\n");
    for wanted in guest.interfaces() {
        let entry = &wanted.entry;
        let mut name = String::new();
        for (place, mac) in &wanted.cards {
            name = format!("eth{place}");
            let mac = yaml_scalar(&mac.to_string());
            // Writing to a String does not fail, here and below.
            let _ = write!(
                out,
                "  - type: physical\n    name: {name}\n    mac_address: {mac}\n    mtu: {}\n",
                entry.network.mtu,
            );
        }
        if let Some(bond) = &wanted.bond {
            bond_of(&mut out, bond, &wanted.cards, entry.network.mtu);
            name = bond.to_string();
        }
        let primary = wanted.is_primary();
        subnets_of(&mut out, entry, &entry.resolvers(primary), primary, mark);
        for vlan in &entry.vlans {
            let (id, mtu) = (vlan.id, vlan.entry.network.mtu.min(entry.network.mtu));
            let _ = write!(
                out,
                "  - type: vlan\n    name: {name}.{id}\n    vlan_link: {name}\n    vlan_id: {id}\n    \
                 mtu: {mtu}\n"
            );
            subnets_of(&mut out, &vlan.entry, &vlan.resolvers(), false, mark);
        }
    }
    out
}

/// Cards that are one device. The one in use shows its own MAC, since no other may leave by its
/// tap.
fn bond_of(out: &mut String, bond: &BondName, cards: &[(usize, MacAddress)], mtu: u16) {
    let _ = write!(out, "  - type: bond\n    name: {bond}\n    bond_interfaces:\n");
    yaml_lines(out, "      - ", cards.iter().map(|(place, _)| format!("eth{place}")));
    let _ = write!(
        out,
        "    params:\n      bond-mode: {}\n      bond-miimon: {MIIMON_MS}\n      \
         bond-fail-over-mac: active\n    mtu: {mtu}\n",
        BondMode::ActiveBackup
    );
}

/// The addresses of an interface, with what belongs to their subnets.
fn subnets_of(
    out: &mut String,
    entry: &GuestPort,
    resolvers: &[IpAddr],
    primary: bool,
    mark: FamilyMark,
) {
    let subnets = subnets(entry, primary);
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
            let _ = write!(out, "          - network: {network}\n            gateway: {gateway}\n");
        }
        // Resolvers belong to the interface, but are written with one of its subnets.
        if at == 0 {
            list(out, "dns_nameservers", resolvers.iter());
            list(out, "dns_search", entry.network.domain.iter());
        }
    }
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
/// that is no IPv4 router, with an address that makes the service on-link: nothing else would take
/// a frame for it to the tap. An address and not a route, since a route without a gateway makes
/// some of cloud-init's renderers fail.
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

    #[test]
    fn a_network_behind_a_tag_is_a_device_on_the_card_without_a_router() {
        let world = World::new();
        let text = network_config(&world.trunked_in(Dialect::Nocloud), FamilyMark::Absent);
        let (card, vlan) = text.split_once("  - type: vlan\n").unwrap();
        assert!(card.contains("name: eth0") && card.contains("gateway: "), "{text}");
        let head = "    name: eth0.100\n    vlan_link: eth0\n    vlan_id: 100\n    mtu: 1450\n";
        assert!(vlan.starts_with(head), "the card's MTU is the greatest:\n{text}");
        assert!(vlan.contains("address: \"10.1.0.10/20\""), "{text}");
        assert!(!vlan.contains("gateway") && !text.contains("eth1"), "{text}");
    }

    #[test]
    fn a_network_behind_a_tag_names_no_resolver_of_the_platforms() {
        let guest = World::new().trunked_with_resolvers_in(Dialect::Nocloud);
        let text = network_config(&guest, FamilyMark::Absent);
        let (_, vlan) = text.split_once("  - type: vlan\n").unwrap();
        assert!(vlan.contains("dns_nameservers:\n          - \"10.1.0.2\"\n"), "{text}");
        assert!(!vlan.contains("::253") && !vlan.contains("169.254.169.253"), "{text}");
    }

    #[test]
    fn a_bond_stands_after_its_cards_and_has_the_addresses_of_all() {
        let world = World::new();
        let text = network_config(&world.bonded_in(Dialect::Nocloud), FamilyMark::Absent);
        let (cards, bond) = text.split_once("  - type: bond\n").unwrap();
        assert_eq!(cards.matches("type: physical").count(), 2, "{text}");
        assert!(!cards.contains("subnets"), "{text}");
        for line in [
            "name: bond0",
            "- \"eth0\"",
            "- \"eth1\"",
            "bond-mode: active-backup",
            "bond-fail-over-mac: active",
            "address: \"192.168.0.10/24\"",
            "address: \"192.168.0.11/24\"",
            "gateway: \"192.168.0.1\"",
        ] {
            assert!(bond.contains(line), "{line}: {text}");
        }
    }
}

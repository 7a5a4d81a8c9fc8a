//! What a port's guest may do, out of its record and its network's. Pure.

use std::net::IpAddr;

use ipnetwork::{IpNetwork, Ipv6Network};
use mezame_ebpf_loader::{Answers, PortRules, PortSlot, Rate};
use mezame_model::{Ipv6Mode, Network, Port};

/// The rules of a port that holds a slot, and that may use the addresses of its instance's other
/// ports in its network as well: of a bond the guest has all of them on whichever card is in use,
/// also while it has yet to learn that it is to have none. Without its network's record, nothing is
/// known of what is answered to it, so its requests to its link pass.
pub(super) fn rules_of(
    port: &Port,
    network: Option<&Network>,
    siblings: &[IpAddr],
    slot: PortSlot,
    generation: u32,
) -> PortRules {
    let own = port.addresses.iter().copied();
    let siblings = siblings.iter().copied().map(IpNetwork::from);
    let ranges = port.allowed.iter().copied().chain(siblings);
    PortRules {
        slot,
        generation,
        mac: port.mac.0,
        addresses: own
            .clone()
            .filter_map(|address| match address {
                IpAddr::V4(v4) => Some(v4),
                IpAddr::V6(_) => None,
            })
            .collect(),
        allowed: ranges
            .clone()
            .filter_map(|range| match range {
                IpNetwork::V4(v4) => Some(v4),
                IpNetwork::V6(_) => None,
            })
            .collect(),
        allowed6: own
            .map(IpNetwork::from)
            .chain(ranges)
            .chain(made_by_guests(network))
            .filter_map(|range| match range {
                IpNetwork::V6(v6) => Some(v6),
                IpNetwork::V4(_) => None,
            })
            .collect(),
        dhcp_server: port.dhcp_server,
        answers: network.map(answers_of).unwrap_or_default(),
        rate: Rate {
            frames_per_second: port.rate_limit.frames_per_second,
            burst: port.rate_limit.burst,
        },
    }
}

/// The prefixes in which guests make themselves addresses that nobody knows beforehand. Whoever
/// uses one is its own port still.
fn made_by_guests(network: Option<&Network>) -> impl Iterator<Item = IpNetwork> {
    network
        .filter(|network| network.dhcp.ipv6.is_autonomous())
        .into_iter()
        .flat_map(ipv6_prefixes)
        .map(IpNetwork::V6)
}

/// What a network's guests are answered that ask everyone on their link. Of IPv6 only where the
/// network has any: elsewhere a tenant may have a router of its own.
fn answers_of(network: &Network) -> Answers {
    let has_ipv6 = ipv6_prefixes(network).next().is_some();
    let mode = network.dhcp.ipv6;
    Answers {
        dhcp4: network.dhcp.ipv4,
        dhcp6: has_ipv6 && matches!(mode, Ipv6Mode::Managed | Ipv6Mode::Other),
        router: has_ipv6 && mode != Ipv6Mode::Off,
    }
}

fn ipv6_prefixes(network: &Network) -> impl Iterator<Item = Ipv6Network> {
    network.subnets.iter().filter_map(|subnet| match subnet.cidr {
        IpNetwork::V6(range) => Some(range),
        IpNetwork::V4(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn dual(mode: Ipv6Mode) -> (Port, Network) {
        let mut port = fixture::port(1);
        port.addresses.retain(IpAddr::is_ipv4);
        port.addresses.push("2001:db8::5".parse().unwrap());
        let mut network = Network::clone(&fixture::world().networks[0]);
        network.subnets.retain(|subnet| subnet.cidr.is_ipv4());
        let cidr = "2001:db8::/64".parse().unwrap();
        network.subnets.push(mezame_model::Subnet { cidr, gateway: None, routes: Vec::new() });
        network.dhcp.ipv6 = mode;
        (port, network)
    }

    fn rules(port: &Port, network: &Network) -> PortRules {
        rules_of(port, Some(network), &[], PortSlot::new(1).unwrap(), 1)
    }

    #[test]
    fn a_network_answers_by_its_mode() {
        let answers = |mode| {
            let (port, network) = dual(mode);
            let answers = rules(&port, &network).answers;
            (answers.dhcp4, answers.dhcp6, answers.router)
        };
        assert_eq!(answers(Ipv6Mode::Managed), (true, true, true));
        assert_eq!(answers(Ipv6Mode::Other), (true, true, true));
        assert_eq!(answers(Ipv6Mode::Stateless), (true, false, true));
        assert_eq!(answers(Ipv6Mode::Off), (true, false, false));
    }

    #[test]
    fn a_network_without_ipv6_leaves_its_guests_solicitations_to_the_tenant() {
        let mut network = Network::clone(&fixture::world().networks[0]);
        network.subnets.retain(|subnet| subnet.cidr.is_ipv4());
        network.dhcp.ipv4 = false;
        assert_eq!(rules(&fixture::port(1), &network).answers, Answers::default());
    }

    #[test]
    fn addresses_that_guests_make_are_allowed_where_they_may_make_any() {
        let allowed = |mode| {
            let (mut port, network) = dual(mode);
            port.allowed = vec!["2001:db8:7::/48".parse().unwrap()];
            let rules = rules(&port, &network).allowed6;
            rules.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(allowed(Ipv6Mode::Managed), ["2001:db8::5/128", "2001:db8:7::/48"]);
        let made = ["2001:db8::5/128", "2001:db8:7::/48", "2001:db8::/64"];
        assert_eq!(allowed(Ipv6Mode::Stateless), made);
    }

    #[test]
    fn a_port_may_use_the_addresses_of_its_instances_others_in_its_network() {
        let (port, network) = dual(Ipv6Mode::Managed);
        let siblings = ["192.168.0.11", "2001:db8::6"].map(|it| it.parse().unwrap());
        let slot = PortSlot::new(1).unwrap();
        let rules = rules_of(&port, Some(&network), &siblings, slot, 1);
        assert_eq!(rules.allowed.last().unwrap().to_string(), "192.168.0.11/32");
        let allowed6: Vec<_> = rules.allowed6.iter().map(ToString::to_string).collect();
        assert_eq!(allowed6, ["2001:db8::5/128", "2001:db8::6/128"]);
    }
}

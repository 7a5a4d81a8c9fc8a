//! In which order devices and addresses of the service are tried. No I/O.
//!
//! ```text
//!   first round:  each device by the family that is likelier there
//!   second round: each device by the other family
//! ```
//! Without devices that lead nowhere by themselves: VLANs, and the cards of a bond. Two rounds, and
//! not both families of one device in a row: a guest with several cards and IPv4 finds its service
//! in the first round, without having waited for IPv6 on the cards before it.

use std::net::IpAddr;

use crate::{
    endpoint::{Endpoint, LINK_V4, LINK_V6},
    facts::Link,
};

/// One thing to try: a device, and the address that is asked through it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Its name.
    pub device: String,
    /// On this link.
    pub endpoint: Endpoint,
}

/// All that is to be tried, in this order. An endpoint that was named is tried alone.
pub fn attempts(links: &[Link], named: Option<Endpoint>) -> Vec<Attempt> {
    let mut links: Vec<&Link> = links.iter().filter(|link| link.leads_out()).collect();
    links.sort_by_key(|link| (rank(link), link.index));
    let attempt = |link: &&Link, endpoint| Attempt { device: link.name.clone(), endpoint };
    if let Some(endpoint) = named {
        return links.iter().map(|link| attempt(link, endpoint)).collect();
    }
    let rounds = [0, 1].into_iter();
    rounds
        .flat_map(|round| links.iter().map(move |link| attempt(link, addresses(link)[round])))
        .collect()
}

/// Devices with an address go first: they are in use.
fn rank(link: &Link) -> u8 {
    match (has_v4(link), has_v6(link)) {
        (true, _) => 0,
        (false, true) => 1,
        (false, false) => 2,
    }
}

/// IPv6 first where the network is one of IPv6 alone: IPv4 would cost an address that has to be
/// claimed, for a service that may not answer there.
fn addresses(link: &Link) -> [Endpoint; 2] {
    let (v4, v6) = (Endpoint::from(IpAddr::from(LINK_V4)), Endpoint::from(IpAddr::from(LINK_V6)));
    if has_v6(link) && !has_v4(link) { [v6, v4] } else { [v4, v6] }
}

fn has_v4(link: &Link) -> bool {
    link.addresses.iter().any(|it| it.is_ipv4())
}

/// An address that somebody gave it. A link-local one says nothing: the kernel makes it on any
/// device that is up.
fn has_v6(link: &Link) -> bool {
    link.addresses.iter().any(|it| match it.ip() {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => !address.is_unicast_link_local(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, addresses: &[&str]) -> Link {
        Link {
            name: format!("eth{index}"),
            index,
            mac: mezame_model::MacAddress([2, 0, 0, 0, 0, 1]),
            up: true,
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            kind: crate::facts::LinkKind::Card,
            bond: None,
        }
    }

    fn order(links: &[Link]) -> Vec<String> {
        attempts(links, None)
            .into_iter()
            .map(|it| {
                let family = if it.endpoint.address.is_ipv4() { "4" } else { "6" };
                format!("{}/{family}", it.device)
            })
            .collect()
    }

    #[test]
    fn the_usual_guest_is_asked_by_ipv4_on_each_device_before_any_waits_for_ipv6() {
        assert_eq!(order(&[link(1, &[])]), ["eth1/4", "eth1/6"]);
        let both = [link(1, &["fe80::1/64"]), link(2, &["10.0.0.1/24", "2001:db8::1/64"])];
        assert_eq!(order(&both), ["eth2/4", "eth1/4", "eth2/6", "eth1/6"]);
    }

    #[test]
    fn a_device_with_addresses_of_ipv6_alone_is_asked_by_ipv6_first() {
        assert_eq!(order(&[link(1, &["2001:db8::1/64", "fe80::1/64"])]), ["eth1/6", "eth1/4"]);
        assert_eq!(order(&[link(1, &["fd00::1/64"])]), ["eth1/6", "eth1/4"]);
        let several = [link(1, &[]), link(2, &["fd00::1/64"]), link(3, &["10.0.0.1/24"])];
        let wanted = ["eth3/4", "eth2/6", "eth1/4", "eth3/6", "eth2/4", "eth1/6"];
        assert_eq!(order(&several), wanted);
    }

    #[test]
    fn a_link_local_address_tells_nothing_of_the_network() {
        assert_eq!(order(&[link(1, &["fe80::1/64"])]), ["eth1/4", "eth1/6"]);
    }

    #[test]
    fn an_endpoint_that_was_named_is_the_only_one() {
        let named: Endpoint = "http://[fd00:ec2::254]:8080".parse().unwrap();
        let list = attempts(&[link(1, &[]), link(2, &["10.0.0.1/24"])], Some(named));
        let devices: Vec<&str> = list.iter().map(|it| it.device.as_str()).collect();
        assert_eq!(devices, ["eth2", "eth1"]);
        assert!(list.iter().all(|it| it.endpoint == named));
        assert!(attempts(&[], None).is_empty());
    }

    #[test]
    fn neither_vlans_nor_cards_of_a_bond_are_tried() {
        use crate::facts::LinkKind;
        let named = |index, kind, bond| Link { kind, bond, ..link(index, &["10.0.0.1/24"]) };
        let links = [
            named(1, LinkKind::Card, Some(3)),
            named(2, LinkKind::Card, None),
            named(3, LinkKind::Bond { backup: true }, None),
            named(4, LinkKind::Vlan { card: 2, id: 7 }, None),
        ];
        let tried = attempts(&links, Some(Endpoint::from(IpAddr::from(LINK_V4))));
        let tried: Vec<&str> = tried.iter().map(|attempt| &*attempt.device).collect();
        assert_eq!(tried, [&*links[1].name, &*links[2].name]);
    }
}

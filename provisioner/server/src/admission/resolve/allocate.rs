//! The next free address of a subnet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;
use mezame_model::Subnet;

use crate::admission::service_address::{reserved_in, unusable};

/// The first free address after `last`, going round the subnet once. `taken` is how many
/// addresses may be taken: the search looks at no more than there can be obstacles.
pub(super) fn next_free(
    subnet: &Subnet,
    last: Option<IpAddr>,
    taken: usize,
    is_taken: impl Fn(&IpAddr) -> bool,
) -> Option<IpAddr> {
    let first = number(subnet.cidr.network());
    let size = match subnet.cidr {
        IpNetwork::V4(range) => 1_u128 << (32 - range.prefix()),
        // A /0 has 2^128 addresses, one more than fits: nobody looks at all of them.
        IpNetwork::V6(range) => 1_u128.checked_shl(u32::from(128 - range.prefix())).unwrap_or(!0),
    };
    let start = last
        .filter(|last| subnet.cidr.contains(*last))
        .map_or(0, |last| number(last).wrapping_sub(first).wrapping_add(1));
    // Besides the taken ones: the subnet's two ends, its gateway, and unusable ones.
    let most = (taken as u128).saturating_add(8).min(size);
    (0..most)
        .map(|step| first.wrapping_add(start.wrapping_add(step) % size))
        .map(|number| address(subnet.cidr.is_ipv6(), number))
        .find(|address| {
            subnet.gateway != Some(*address)
                && reserved_in(&subnet.cidr, *address).is_none()
                && unusable(*address).is_none()
                && !is_taken(address)
        })
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn address(ipv6: bool, number: u128) -> IpAddr {
    if ipv6 {
        Ipv6Addr::from_bits(number).into()
    } else {
        // The subnet has 32 bits, so the rest is zero.
        Ipv4Addr::from_bits(u32::try_from(number & 0xffff_ffff).unwrap_or(0)).into()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn subnet(cidr: &str, gateway: Option<&str>) -> Subnet {
        let gateway = gateway.map(|text| text.parse().unwrap());
        Subnet { cidr: cidr.parse().unwrap(), gateway, routes: Vec::new() }
    }

    #[test]
    fn a_subnet_gives_each_of_its_addresses_once_and_then_none() {
        for (cidr, gateway, expected) in [
            ("10.0.0.0/29", Some("10.0.0.1"), 5),
            ("10.0.0.0/31", None, 2),
            ("10.0.0.7/32", None, 1),
            ("2001:db8::/125", Some("2001:db8::1"), 6),
        ] {
            let subnet = subnet(cidr, gateway);
            let mut taken = BTreeSet::new();
            let mut last = None;
            while let Some(address) =
                next_free(&subnet, last, taken.len(), |address| taken.contains(address))
            {
                assert!(subnet.cidr.contains(address) && subnet.gateway != Some(address));
                assert!(taken.insert(address), "{address} twice");
                last = Some(address);
            }
            assert_eq!(taken.len(), expected, "{cidr}");
        }
    }

    #[test]
    fn an_address_that_was_given_back_rests_until_the_others_were_used() {
        let subnet = subnet("10.0.0.0/29", None);
        let last = Some("10.0.0.3".parse().unwrap());
        let next = next_free(&subnet, last, 0, |_| false);
        assert_eq!(next, Some("10.0.0.4".parse().unwrap()));
        let last = Some("10.0.0.6".parse().unwrap());
        let next = next_free(&subnet, last, 0, |_| false);
        assert_eq!(next, Some("10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn the_widest_subnets_are_searched_in_no_time() {
        for cidr in ["::/0", "2000::/3", "0.0.0.0/0", "10.0.0.0/8"] {
            let subnet = subnet(cidr, None);
            assert!(next_free(&subnet, None, 3, |_| false).is_some(), "{cidr}");
        }
    }
}

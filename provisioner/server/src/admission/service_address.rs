//! The addresses that are the platform's own, and in no tenant's network.
//!
//! A guest that could use one as its source address, or a network that had one inside, would
//! answer for a link-local service.

use std::net::{IpAddr, Ipv4Addr};

use ipnetwork::IpNetwork;
use mezame_model::service_address;

/// The service address in a range, if one is.
pub(super) fn service_address_in(range: &IpNetwork) -> Option<IpAddr> {
    service_address::ALL.into_iter().find(|address| range.contains(*address))
}

/// Why an address can't be a port's, whatever network it is in.
pub(super) fn unusable(address: IpAddr) -> Option<&'static str> {
    let (loopback, multicast, unspecified) =
        (address.is_loopback(), address.is_multicast(), address.is_unspecified());
    if service_address::ALL.contains(&address) {
        Some("this is a link-local service's own address")
    } else if loopback {
        Some("this is a loopback address")
    } else if multicast || address == IpAddr::V4(Ipv4Addr::BROADCAST) {
        Some("this is a group's address, not one machine's")
    } else if unspecified {
        Some("this is the unspecified address")
    } else {
        None
    }
}

/// Why an address can't be a port's in this subnet, if it can't.
pub(super) fn reserved_in(subnet: &IpNetwork, address: IpAddr) -> Option<&'static str> {
    match subnet {
        // With 31 bits both addresses are usable (RFC 3021).
        IpNetwork::V4(range) if range.prefix() <= 30 => {
            if IpAddr::V4(range.network()) == address {
                Some("this is the subnet's own address")
            } else if IpAddr::V4(range.broadcast()) == address {
                Some("this is the subnet's broadcast address")
            } else {
                None
            }
        }
        // The subnet-router anycast address (RFC 4291, section 2.6.1).
        IpNetwork::V6(range) if range.prefix() < 127 && IpAddr::V6(range.network()) == address => {
            Some("this is the subnet's router anycast address")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_searched_for_every_service_address() {
        for (range, inside) in [
            ("169.254.169.254/32", true),
            ("169.254.169.123/32", true),
            ("fd00:ec2::250/128", true),
            ("0.0.0.0/0", true),
            ("169.254.0.0/16", true),
            ("169.254.0.0/17", false),
            ("fd00::/8", true),
            ("fe80::/10", true),
            ("10.0.0.0/8", false),
        ] {
            let range: IpNetwork = range.parse().unwrap();
            assert_eq!(service_address_in(&range).is_some(), inside, "{range}");
        }
    }

    #[test]
    fn a_subnets_ends_belong_to_nobody_unless_it_has_only_two() {
        let subnet: IpNetwork = "10.0.0.0/24".parse().unwrap();
        assert!(reserved_in(&subnet, "10.0.0.0".parse().unwrap()).is_some());
        assert!(reserved_in(&subnet, "10.0.0.255".parse().unwrap()).is_some());
        assert!(reserved_in(&subnet, "10.0.0.1".parse().unwrap()).is_none());
        let pair: IpNetwork = "10.0.0.0/31".parse().unwrap();
        assert!(reserved_in(&pair, "10.0.0.0".parse().unwrap()).is_none());
    }
}

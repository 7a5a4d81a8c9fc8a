//! What several dialects say of a guest's addresses.
//!
//! Reads the record alone: whether an address is one that the Internet could route to, and which
//! of a port's are of a family. Never asks where a request came from.

use std::net::{IpAddr, Ipv4Addr};

use mezame_model::GuestPort;

/// The port's own IPv4 addresses.
pub(crate) fn ipv4_of(entry: &GuestPort) -> impl Iterator<Item = Ipv4Addr> {
    entry.port.addresses.iter().filter_map(|address| match address {
        IpAddr::V4(address) => Some(*address),
        IpAddr::V6(_) => None,
    })
}

/// The port's own IPv6 addresses.
pub(crate) fn ipv6_of(entry: &GuestPort) -> impl Iterator<Item = IpAddr> {
    entry.port.addresses.iter().copied().filter(IpAddr::is_ipv6)
}

/// The port's first IPv4 address that the Internet could route to.
pub(crate) fn public_ipv4(entry: &GuestPort) -> Option<Ipv4Addr> {
    ipv4_of(entry).find(|address| is_public(*address))
}

/// Whether the Internet could route to the address (RFC 6890, without the blocks that are only
/// for documentation).
pub(crate) fn is_public(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    let shared = a == 100 && (64..128).contains(&b);
    let benchmark = a == 198 && (b == 18 || b == 19);
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
        || a == 0
        || a >= 240
        || shared
        || benchmark)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_no_router_of_the_internet_takes_is_not_public() {
        for text in ["203.0.113.7", "8.8.8.8", "100.128.0.1", "172.32.0.1"] {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
        for text in [
            "10.0.0.1",
            "192.168.0.10",
            "100.64.0.1",
            "198.18.0.1",
            "169.254.1.1",
            "127.0.0.1",
            "224.0.0.1",
            "0.0.0.0",
            "255.255.255.255",
        ] {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
    }
}

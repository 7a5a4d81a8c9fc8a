//! The IPv4 address of a port that has none of its own: link-local, so that the services at
//! 169.254.169.0/24 are on its link.
//!
//! Told by DHCP and by network configuration alike. It means nothing beyond the guest's own link
//! and is in no record.

use std::net::Ipv4Addr;

use ipnetwork::{IpNetwork, Ipv4Network};

use crate::PortId;

/// A port's link-local address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkLocal(Ipv4Addr);

impl LinkLocal {
    /// Made of the port's id, so that it stays the same: 169.254.1.0 to 169.254.254.255 (RFC 3927,
    /// section 2.1) without the services' own /24. Two guests of a network may get the same one:
    /// the services tell them apart by their ports, and nobody else has a use for it.
    pub fn of(port: &PortId) -> Self {
        let sum = port
            .as_str()
            .bytes()
            .fold(0u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
        let third = match (sum >> 8) % 253 + 1 {
            169 => 254,
            other => other as u8,
        };
        Self(Ipv4Addr::new(169, 254, third, sum as u8))
    }
}

impl From<LinkLocal> for Ipv4Network {
    /// With the prefix length that puts all link-local addresses on the link.
    fn from(LinkLocal(address): LinkLocal) -> Self {
        Self::new(address, 16).unwrap_or_else(|_| Self::from(address))
    }
}

impl From<LinkLocal> for IpNetwork {
    fn from(address: LinkLocal) -> Self {
        Self::V4(address.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn a_link_local_address_is_one_that_a_host_may_have(digits in "[0-9a-f]{17}") {
            let id = PortId::parse(&format!("eni-{digits}")).unwrap();
            let LinkLocal(address) = LinkLocal::of(&id);
            let [a, b, c, _] = address.octets();
            proptest::prop_assert!((a, b) == (169, 254) && (1..=254).contains(&c) && c != 169);
            proptest::prop_assert_eq!(address, LinkLocal::of(&id).0);
        }
    }
}

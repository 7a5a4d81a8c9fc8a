//! The addresses of the services that every guest finds on its link, whatever network it is in.
//!
//! They are Amazon's, which images know best ("Link-local addresses" and "IPv6-only subnets" in the
//! EC2 user guide), OpenStack's link-local one for metadata (nova's `metadata_proxy`), and one beside
//! them that no cloud was found to use, for tang. No tenant's port or range may have one: a guest that
//! did would answer for the platform.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Metadata, and the server identifier of DHCP.
pub const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
/// Metadata by IPv6.
pub const METADATA6: Ipv6Addr = unique(0x254);
/// Metadata by IPv6 for a guest that has a link-local address alone; DHCPv6 and router
/// advertisements come from it too.
pub const METADATA_LINK: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe);
/// Names.
pub const DNS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 253);
/// Names by IPv6.
pub const DNS6: Ipv6Addr = unique(0x253);
/// Time.
pub const NTP: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 123);
/// Time by IPv6.
pub const NTP6: Ipv6Addr = unique(0x123);
/// Licence activation.
pub const KMS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 250);
/// Licence activation by IPv6.
pub const KMS6: Ipv6Addr = unique(0x250);
/// Help with opening encrypted volumes.
pub const TANG: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 252);
/// The same by IPv6.
pub const TANG6: Ipv6Addr = unique(0x252);

/// All of them.
pub const ALL: [IpAddr; 11] = [
    IpAddr::V4(METADATA),
    IpAddr::V6(METADATA6),
    IpAddr::V6(METADATA_LINK),
    IpAddr::V4(DNS),
    IpAddr::V6(DNS6),
    IpAddr::V4(NTP),
    IpAddr::V6(NTP6),
    IpAddr::V4(KMS),
    IpAddr::V6(KMS6),
    IpAddr::V4(TANG),
    IpAddr::V6(TANG6),
];

/// fd00:ec2::/64 with these last 16 bits.
const fn unique(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, last)
}

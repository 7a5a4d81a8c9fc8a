//! The addresses that the platform's services have on every guest's link.
//!
//! Those that guests know from EC2: its user guides for instance metadata, the Route 53 resolver,
//! the Amazon Time Sync Service and Windows activation. A guest reaches them without a router.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Instance metadata; also what DHCPv4 answers as.
pub const METADATA_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// Instance metadata over IPv6.
pub const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

/// The resolver.
pub const RESOLVER_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 253);

/// The resolver over IPv6.
pub const RESOLVER_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x253);

/// The time server.
pub const TIME_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 123);

/// The time server over IPv6.
pub const TIME_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x123);

/// Windows activation.
pub const ACTIVATION_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 250);

/// Windows activation over IPv6.
pub const ACTIVATION_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x250);

/// What DHCPv6 answers and router advertisements come from: OpenStack's link-local metadata address.
pub const LINK_LOCAL_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe);

/// The services that DHCPv4 tells an on-link route to.
pub(crate) const ON_LINK_V4: [Ipv4Addr; 4] = [METADATA_V4, RESOLVER_V4, TIME_V4, ACTIVATION_V4];

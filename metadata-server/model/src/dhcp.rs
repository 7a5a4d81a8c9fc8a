//! How guests of a network get their addresses, and what else they are told with them.
//!
//! Here are the settings alone. Nothing in them is an address of a guest: those are its port's, and
//! no lease is ever kept, since the port's record is the lease.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

/// What answers a network's guests that ask for an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Dhcp {
    /// Whether DHCPv4 is answered out of the ports' records. Where it is not, such frames pass
    /// into the tenant's network, to a server of its own.
    #[serde(default = "yes")]
    pub ipv4: bool,
    /// How guests come to IPv6 addresses.
    #[serde(default)]
    pub ipv6: Ipv6Mode,
    /// How long an address is leased for, in seconds: 20 to 4,294,967,294.
    #[serde(default = "day")]
    pub lease_seconds: u32,
}

fn yes() -> bool {
    true
}

fn day() -> u32 {
    86_400
}

impl Default for Dhcp {
    fn default() -> Self {
        Self { ipv4: yes(), ipv6: Ipv6Mode::default(), lease_seconds: day() }
    }
}

/// How guests come to IPv6 addresses: the flags of the router advertisements that they get
/// (RFC 4861, section 4.2), and whether DHCPv6 is answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ipv6Mode {
    /// Addresses and the rest by DHCPv6 (flags M and O; prefixes without A).
    #[default]
    Managed,
    /// Addresses by autoconfiguration (RFC 4862), the rest by DHCPv6 (flag O; prefixes with A).
    Other,
    /// Both by router advertisements alone (neither M nor O; prefixes with A); no DHCPv6.
    Stateless,
    /// Router solicitations and DHCPv6 pass into the tenant's network.
    Off,
}

impl Ipv6Mode {
    /// Whether guests make addresses of the network's prefixes themselves.
    pub fn is_autonomous(self) -> bool {
        matches!(self, Self::Other | Self::Stateless)
    }
}

/// A route that guests of a subnet are told besides the default one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Where to; its host bits are zero.
    pub destination: IpNetwork,
    /// The router, on the subnet's link.
    pub via: IpAddr,
}

/// What a port's guest boots from the network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// The server that the file is fetched from (DHCPv4 `siaddr`, option 66).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<IpAddr>,
    /// The file (DHCPv4 `file`, option 67), at most 127 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<Box<str>>,
    /// What is booted by HTTP (UEFI, option 67 to an `HTTPClient`) and by DHCPv6 (RFC 5970,
    /// option 59), at most 255 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<Box<str>>,
}

/// Where the link-local services send on what they don't answer themselves. The hypervisor, not the
/// guest, must reach these addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forward {
    /// Resolvers; without any, those of the network's own that are no link-local services.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<std::net::SocketAddr>,
    /// Time servers; without any, there is no such service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ntp: Vec<std::net::SocketAddr>,
    /// Licence activation hosts (KMS); without any, there is no such service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kms: Vec<std::net::SocketAddr>,
    /// tang servers, which help guests to open encrypted volumes; without any, there is no such
    /// service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tang: Vec<std::net::SocketAddr>,
}

impl Forward {
    /// Whether nothing is named.
    pub fn is_empty(&self) -> bool {
        let Self { dns, ntp, kms, tang } = self;
        [dns, ntp, kms, tang].into_iter().all(Vec::is_empty)
    }
}

//! What the loader is told: plain values, checked where they are used.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnetwork::{Ipv4Network, Ipv6Network};
use mezame_ebpf_common::PortSlot;

/// The veth between the taps' network namespace and the metadata namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uplink {
    /// The end beside the taps.
    pub host_ifindex: u32,
    /// The MAC of that end.
    pub host_mac: [u8; 6],
    /// The MAC of the end in the metadata namespace.
    pub peer_mac: [u8; 6],
}

/// The protocols that a service can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// RFC 9293.
    Tcp,
    /// RFC 768.
    Udp,
    /// RFC 4443, and of it router solicitations alone: IPv6, without a port.
    Icmp6,
}

impl Protocol {
    /// As in the IP header.
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Icmp6 => 58,
        }
    }
}

/// One service that guests reach by a link-local address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Service {
    /// The address that guests use; ARP and neighbour solicitations are answered for it, and what
    /// is answered comes from it.
    pub address: IpAddr,
    /// A broadcast or multicast address by which guests reach it too.
    pub group: Option<IpAddr>,
    /// Its protocol.
    pub protocol: Protocol,
    /// The port that guests use; 0 for [`Protocol::Icmp6`].
    pub port: u16,
    /// What listens in the metadata namespace, of the address's family. No two services have the
    /// same, since the way back could not tell them apart.
    pub target: SocketAddr,
}

/// How many frames to the services a port may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Frames a second, sustained; at least 1.
    pub frames_per_second: u32,
    /// Frames at once; at least 1.
    pub burst: u32,
}

/// Which requests to everyone on the link go to a service; the others pass into the tenant's
/// network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Answers {
    /// DHCPv4's.
    pub dhcp4: bool,
    /// DHCPv6's.
    pub dhcp6: bool,
    /// Router solicitations.
    pub router: bool,
}

/// What a port's guest may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortRules {
    /// The middle of its identities.
    pub slot: PortSlot,
    /// Differs for each tenancy of a slot or a device.
    pub generation: u32,
    /// The only source MAC of its frames.
    pub mac: [u8; 6],
    /// Its own addresses.
    pub addresses: Vec<Ipv4Addr>,
    /// Further addresses that it may use; 169.254.0.0/16 is always allowed, the service addresses
    /// never are.
    pub allowed: Vec<Ipv4Network>,
    /// The IPv6 addresses that it may use, its own among them; fe80::/64 is always allowed.
    pub allowed6: Vec<Ipv6Network>,
    /// Whether it may answer DHCP requests of others and advertise itself as a router.
    pub dhcp_server: bool,
    /// Which of what it asks its whole link is answered by a service.
    pub answers: Answers,
    /// The limit of its frames to the services.
    pub rate: Rate,
}

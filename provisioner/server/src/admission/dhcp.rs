//! Reading a network's `dhcp` and `forward`.

use std::net::{IpAddr, SocketAddr};

use mezame_model::{Dhcp, Forward, Ipv6Mode, Subnet};

use super::{
    form::{Node, Object},
    instance::one_of,
};

/// The fields of `dhcp`.
pub(crate) const FIELDS: &[&str] = &["ipv4", "ipv6", "lease_seconds"];

/// The fields of `forward`.
pub(crate) const FORWARD_FIELDS: &[&str] = &["dns", "ntp", "kms", "tang"];

/// The words of `dhcp.ipv6`.
pub(crate) const MODES: [(&str, Ipv6Mode); 4] = [
    ("managed", Ipv6Mode::Managed),
    ("other", Ipv6Mode::Other),
    ("stateless", Ipv6Mode::Stateless),
    ("off", Ipv6Mode::Off),
];

/// The shortest lease, in seconds: dhcpcd takes no shorter one, and udhcpc none below 16.
const LEAST_LEASE: u64 = 20;

/// Most servers of a kind that a service forwards to.
const MOST_UPSTREAMS: usize = 8;

/// Reads `dhcp`: its fields, or `off` for none of it.
pub(super) fn read(node: &Node<'_>, subnets: &[Subnet]) -> Option<Dhcp> {
    // YAML 1.1 reads a bare `off` as false.
    if *node.value == false || node.value.is_string() {
        one_of(node, &[("off", ())])?;
        return Some(Dhcp { ipv4: false, ipv6: Ipv6Mode::Off, ..Dhcp::default() });
    }
    let object = Object::open(node, FIELDS)?;
    let default = Dhcp::default();
    let ipv4 = object.field("ipv4", |n| n.boolean()).or(|| default.ipv4);
    let ipv6 = object.field("ipv6", |n| read_mode(n, subnets)).or(|| default.ipv6);
    let lease = object
        .field("lease_seconds", |n| n.integer(LEAST_LEASE, u64::from(u32::MAX) - 1))
        .or(|| u64::from(default.lease_seconds));
    Some(Dhcp { ipv4: ipv4?, ipv6: ipv6?, lease_seconds: u32::try_from(lease?).ok()? })
}

fn read_mode(node: &Node<'_>, subnets: &[Subnet]) -> Option<Ipv6Mode> {
    let mode = one_of(node, &MODES)?;
    let odd = subnets.iter().find(|it| it.cidr.is_ipv6() && it.cidr.prefix() != 64);
    match odd {
        Some(odd) if mode.is_autonomous() => node.fault(
            format!("guests make addresses in a /64 only (RFC 4862), and {} is none", odd.cidr),
            "give every IPv6 subnet 64 bits, or say 'managed'",
        ),
        _ => Some(mode),
    }
}

/// Reads `forward`.
pub(super) fn read_forward(node: &Node<'_>) -> Option<Forward> {
    let object = Object::open(node, FORWARD_FIELDS)?;
    let upstreams = |name: &str, port: u16| {
        object.field(name, |n| n.list(MOST_UPSTREAMS, |n| read_upstream(n, port))).or(Vec::new)
    };
    let (dns, ntp) = (upstreams("dns", 53), upstreams("ntp", 123));
    let (kms, tang) = (upstreams("kms", 1688), upstreams("tang", 80));
    Some(Forward { dns: dns?, ntp: ntp?, kms: kms?, tang: tang? })
}

/// An address with or without a port.
fn read_upstream(node: &Node<'_>, port: u16) -> Option<SocketAddr> {
    let mend =
        format!("give an address, such as 192.0.2.53, 192.0.2.53:{port} or [2001:db8::53]:{port}");
    let text = node.text(64)?;
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = match bare.parse::<IpAddr>() {
        Ok(address) => SocketAddr::new(address, port),
        Err(_) => match text.parse::<SocketAddr>() {
            Ok(address) => address,
            Err(_) => {
                return node.fault(format!("{text:?} is no address with or without a port"), mend);
            }
        },
    };
    if address.port() == 0 {
        return node.fault("no server is at port 0", mend);
    }
    match unreachable(address.ip()) {
        Some(why) => node.fault(why, mend),
        None => Some(address),
    }
}

/// Why nothing can be forwarded to an address, if it can't.
fn unreachable(address: IpAddr) -> Option<&'static str> {
    match address.to_canonical() {
        address if address.is_unspecified() || address.is_multicast() => {
            Some("this is no one machine's address")
        }
        IpAddr::V4(it) if it.is_broadcast() => Some("this is no one machine's address"),
        // A service that forwarded to itself, or to its neighbour, would never come to an end.
        IpAddr::V4(it) if it.is_link_local() => Some(SERVICES_OWN),
        IpAddr::V6(it) if it.segments()[..2] == [0xfd00, 0xec2] => Some(SERVICES_OWN),
        IpAddr::V6(it) if it.is_unicast_link_local() => {
            Some("a link-local address is none that the hypervisor could reach")
        }
        _ => None,
    }
}

const SERVICES_OWN: &str = "this is one of the link-local services' own addresses";

//! Reading a `kind: Network` document.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use mezame_model::{Dhcp, Forward, NetworkName, ProjectName, Subnet, Vni, id};

use super::{
    dhcp,
    form::{Node, Object},
    subnet,
};

/// The fields of the document.
pub(crate) const FIELDS: &[&str] = &[
    "kind", "project", "name", "vni", "mtu", "subnets", "dns", "domain", "ntp", "dhcp", "forward",
];

/// What fits into VXLAN on a plain Ethernet of 1500 bytes.
pub(crate) const DEFAULT_MTU: u16 = 1450;

/// A network as its document has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NetworkForm {
    pub(crate) project: ProjectName,
    pub(crate) name: NetworkName,
    pub(crate) vni: Vni,
    pub(crate) mtu: u16,
    pub(crate) subnets: Vec<Subnet>,
    pub(crate) dns: Vec<IpAddr>,
    pub(crate) domain: Option<Box<str>>,
    pub(crate) ntp: Vec<IpAddr>,
    pub(crate) dhcp: Dhcp,
    pub(crate) forward: Forward,
}

/// Reads the fields, noting every fault.
pub(super) fn read(node: &Node<'_>) -> Option<NetworkForm> {
    let object = Object::open(node, FIELDS)?;
    let project = object.required("project", super::PROJECT_MEND, |n| n.parsed(super::NAME_MEND));
    let name = object.required("name", "give the network a name", |n| n.parsed(super::NAME_MEND));
    let vni = object.required("vni", "give a VXLAN network identifier that is free", read_vni);
    let mtu = object.field("mtu", |n| n.integer(576, 9216)).or(|| u64::from(DEFAULT_MTU));
    let subnets = object.required("subnets", "give at least one, such as [{cidr: 10.0.0.0/24}]", {
        |n| subnet::read_all(n, mtu)
    });
    let dns = object.field("dns", |n| n.list(16, |n| read_server(n, "resolver"))).or(Vec::new);
    let domain = object.field("domain", read_domain).optional();
    let ntp = object.field("ntp", |n| n.list(16, |n| read_server(n, "time server"))).or(Vec::new);
    let dhcp = object
        .field("dhcp", |n| dhcp::read(n, subnets.as_deref().unwrap_or_default()))
        .or(Dhcp::default);
    let forward = object.field("forward", dhcp::read_forward).or(Forward::default);
    Some(NetworkForm {
        project: project?,
        name: name?,
        vni: vni?,
        mtu: u16::try_from(mtu?).ok()?,
        subnets: subnets?,
        dns: dns?,
        domain: domain?,
        ntp: ntp?,
        dhcp: dhcp?,
        forward: forward?,
    })
}

fn read_vni(node: &Node<'_>) -> Option<Vni> {
    let number = node.integer(1, 0x00ff_ffff)?;
    u32::try_from(number).ok().and_then(|number| Vni::try_from(number).ok())
}

/// A range in its canonical form: no host bits.
pub(super) fn read_range(node: &Node<'_>) -> Option<IpNetwork> {
    let text = node.text(64)?;
    let Ok(range) = text.parse::<IpNetwork>() else {
        return node.fault(
            format!("{text:?} is no address range"),
            "give one such as 10.0.0.0/24 or 2001:db8::/64",
        );
    };
    if range.network() != range.ip() {
        let canonical = format!("{}/{}", range.network(), range.prefix());
        return node.fault(
            format!("{text} has host bits set"),
            format!("write {canonical}, or a longer prefix"),
        );
    }
    Some(range)
}

/// A server that guests are told of. It may be one of the platform's own, at a link-local address,
/// so only what can be no machine is refused.
fn read_server(node: &Node<'_>, role: &str) -> Option<IpAddr> {
    let address: IpAddr = node.parsed(ADDRESS_MEND)?;
    if address.is_unspecified() || address.is_multicast() {
        return node.fault(format!("this can't be a {role}'s address"), ADDRESS_MEND);
    }
    Some(address)
}

fn read_domain(node: &Node<'_>) -> Option<Box<str>> {
    let text = node.text(253)?;
    if !id::is_hostname(text) {
        return node.fault(format!("{text:?} is no domain name"), id::HOSTNAME_RULE);
    }
    Some(text.to_ascii_lowercase().into())
}

/// How to mend a text that is no address.
pub(super) const ADDRESS_MEND: &str = "give an IPv4 or IPv6 address, such as 10.0.0.5";

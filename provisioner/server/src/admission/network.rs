//! Reading a `kind: Network` document.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use mezame_model::{NetworkName, ProjectName, Subnet, Vni, id};

use super::{
    form::{Node, Object},
    service_address::{reserved_in, service_address_in, unusable},
};

/// The fields of the document.
pub(crate) const FIELDS: &[&str] =
    &["kind", "project", "name", "vni", "mtu", "subnets", "dns", "domain"];

/// The fields of each of its subnets.
pub(crate) const SUBNET_FIELDS: &[&str] = &["cidr", "gateway"];

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
}

/// Reads the fields, noting every fault.
pub(super) fn read(node: &Node<'_>) -> Option<NetworkForm> {
    let object = Object::open(node, FIELDS)?;
    let project = object.required("project", super::PROJECT_MEND, |n| n.parsed(super::NAME_MEND));
    let name = object.required("name", "give the network a name", |n| n.parsed(super::NAME_MEND));
    let vni = object.required("vni", "give a VXLAN network identifier that is free", read_vni);
    let mtu = object.field("mtu", |n| n.integer(576, 9216)).or(|| u64::from(DEFAULT_MTU));
    let subnets = object.required("subnets", "give at least one, such as [{cidr: 10.0.0.0/24}]", {
        |n| read_subnets(n, mtu)
    });
    let dns = object.field("dns", |n| n.list(16, read_resolver)).or(Vec::new);
    let domain = object.field("domain", read_domain).optional();
    Some(NetworkForm {
        project: project?,
        name: name?,
        vni: vni?,
        mtu: u16::try_from(mtu?).ok()?,
        subnets: subnets?,
        dns: dns?,
        domain: domain?,
    })
}

fn read_vni(node: &Node<'_>) -> Option<Vni> {
    let number = node.integer(1, 0x00ff_ffff)?;
    u32::try_from(number).ok().and_then(|number| Vni::try_from(number).ok())
}

fn read_subnets(node: &Node<'_>, mtu: Option<u64>) -> Option<Vec<Subnet>> {
    let subnets = node.list(64, read_subnet)?;
    if subnets.is_empty() {
        return node
            .fault("a network needs at least one subnet", "add one, such as {cidr: 10.0.0.0/24}");
    }
    let mut good = true;
    for (at, subnet) in subnets.iter().enumerate() {
        let overlaps = |other: &Subnet| {
            other.cidr.contains(subnet.cidr.network()) || subnet.cidr.contains(other.cidr.network())
        };
        if let Some(first) = subnets[..at].iter().position(overlaps) {
            let path = super::form::Path::Item(node.path, at);
            Node { path: &path, ..*node }.fault::<()>(
                format!("{} overlaps subnets[{first}], {}", subnet.cidr, subnets[first].cidr),
                "give each address to one subnet only",
            );
            good = false;
        }
    }
    if mtu.is_some_and(|mtu| mtu < 1280) && subnets.iter().any(|s| s.cidr.is_ipv6()) {
        node.fault::<()>(
            "IPv6 needs an MTU of at least 1280 (RFC 8200, section 5)",
            "raise the network's mtu, or leave out its IPv6 subnets",
        );
        good = false;
    }
    good.then_some(subnets)
}

fn read_subnet(node: &Node<'_>) -> Option<Subnet> {
    let object = Object::open(node, SUBNET_FIELDS)?;
    let cidr = object.required("cidr", "give the range, such as 10.0.0.0/24", read_range);
    let cidr = cidr.and_then(|cidr| {
        let Some(service) = service_address_in(&cidr) else { return Some(cidr) };
        object.fault_at(
            "cidr",
            &format!("the range contains {service}, which is a link-local service's"),
            "choose a range without it",
        );
        None
    });
    let gateway = object
        .field("gateway", |n| {
            let gateway: IpAddr = n.parsed(ADDRESS_MEND)?;
            let Some(cidr) = cidr else { return Some(gateway) };
            if !cidr.contains(gateway) {
                return n.fault(
                    format!("the gateway {gateway} is outside the subnet {cidr}"),
                    format!("give an address in {cidr}"),
                );
            }
            if let Some(why) = unusable(gateway).or_else(|| reserved_in(&cidr, gateway)) {
                return n.fault(why, format!("give another address in {cidr}"));
            }
            Some(gateway)
        })
        .optional();
    Some(Subnet { cidr: cidr?, gateway: gateway?, routes: Vec::new() })
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

fn read_resolver(node: &Node<'_>) -> Option<IpAddr> {
    let address: IpAddr = node.parsed(ADDRESS_MEND)?;
    // A resolver at the service address may come to be, so only what can be no machine is refused.
    if address.is_unspecified() || address.is_multicast() {
        return node.fault("this can't be a resolver's address", ADDRESS_MEND);
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

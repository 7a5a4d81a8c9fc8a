//! Reading a `kind: Port` document.
//!
//! What may be left out and is then made (MAC, addresses, device) is kept when the document is
//! applied again without it: None means "as it is, or made".

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use mezame_model::{
    BondName, Boot, DeviceName, MacAddress, NetworkName, PortName, ProjectName, RateLimit,
};

use super::{
    boot,
    form::{Node, Object, Path},
    network::{ADDRESS_MEND, read_range},
    service_address::{service_address_in, unusable},
    vlan::{self, VlanForm},
};

/// The fields of the document.
pub(crate) const FIELDS: &[&str] = &[
    "kind",
    "project",
    "name",
    "network",
    "mac",
    "addresses",
    "allowed",
    "vlans",
    "bond",
    "device",
    "dhcp_server",
    "rate_limit",
    "boot",
];

/// The fields of `rate_limit`.
pub(crate) const RATE_LIMIT_FIELDS: &[&str] = &["frames_per_second", "burst"];

/// Most addresses, and most allowed ranges, of a port.
const MOST_ADDRESSES: usize = 256;

/// A port as its document has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PortForm {
    pub(crate) project: ProjectName,
    pub(crate) name: PortName,
    pub(crate) network: NetworkName,
    pub(crate) mac: Option<MacAddress>,
    pub(crate) addresses: Option<Vec<IpAddr>>,
    pub(crate) allowed: Vec<IpNetwork>,
    pub(crate) vlans: Vec<VlanForm>,
    pub(crate) bond: Option<BondName>,
    pub(crate) device: Option<DeviceName>,
    pub(crate) dhcp_server: bool,
    pub(crate) rate_limit: RateLimit,
    pub(crate) boot: Option<Boot>,
}

/// Reads the fields, noting every fault.
pub(super) fn read(node: &Node<'_>) -> Option<PortForm> {
    let object = Object::open(node, FIELDS)?;
    let project = object.required("project", super::PROJECT_MEND, |n| n.parsed(super::NAME_MEND));
    let name = object.required("name", "give the port a name", |n| n.parsed(super::NAME_MEND));
    let network = object.required("network", "name the network that the port is in", |n| {
        n.parsed(super::NAME_MEND)
    });
    let mac = object
        .field("mac", |n| n.parsed("give one such as 52:54:00:12:34:56, or leave the field out"))
        .optional();
    let addresses = object.field("addresses", read_addresses).optional();
    let allowed = object.field("allowed", |n| n.list(MOST_ADDRESSES, read_allowed)).or(Vec::new);
    let vlans = object.field("vlans", vlan::read_all).or(Vec::new);
    let bond = object
        .field("bond", |n| n.parsed("name the device in the guest, such as bond0"))
        .optional();
    if matches!((&vlans, &bond), (Some(vlans), Some(Some(_))) if !vlans.is_empty()) {
        object.fault_at(
            "vlans",
            "a card of a bond has no VLANs",
            "put them on a port without a bond, or leave the bond out",
        );
    }
    let device = object
        .field("device", |n| n.parsed("give a tap's name, or leave the field out"))
        .optional();
    let dhcp_server = object.field("dhcp_server", |n| n.boolean()).or(|| false);
    let rate_limit = object.field("rate_limit", read_rate_limit).or(RateLimit::default);
    // One that names nothing is none.
    let boot = object.field("boot", boot::read).optional();
    let boot = boot.map(|boot| boot.filter(|boot| *boot != Boot::default()));
    Some(PortForm {
        project: project?,
        name: name?,
        network: network?,
        mac: mac?,
        addresses: addresses?,
        allowed: allowed?,
        vlans: vlans?,
        bond: bond?,
        device: device?,
        dhcp_server: dhcp_server?,
        rate_limit: rate_limit?,
        boot: boot?,
    })
}

/// The addresses that a port has in one network.
pub(super) fn read_addresses(node: &Node<'_>) -> Option<Vec<IpAddr>> {
    let addresses = node.list(MOST_ADDRESSES, |n| {
        let address: IpAddr = n.parsed(ADDRESS_MEND)?;
        match unusable(address) {
            Some(why) => n.fault(why, "give an address of the network's subnets"),
            None => Some(address),
        }
    })?;
    if addresses.is_empty() {
        return node.fault(
            "a port needs an address",
            "give one of its network's, or leave the field out and one is chosen",
        );
    }
    let mut good = true;
    for (at, address) in addresses.iter().enumerate() {
        if addresses[..at].contains(address) {
            let path = Path::Item(node.path, at);
            Node { path: &path, ..*node }
                .fault::<()>(format!("{address} is there twice"), "remove one");
            good = false;
        }
    }
    good.then_some(addresses)
}

/// A range, or a single address, that the guest may send from.
fn read_allowed(node: &Node<'_>) -> Option<IpNetwork> {
    let range = read_range(node)?;
    if let Some(service) = service_address_in(&range) {
        return node.fault(
            format!("the range contains {service}, which is a link-local service's"),
            "give ranges without it; several may stand side by side",
        );
    }
    if range.network().is_multicast() || (range.prefix() > 0 && range.network().is_loopback()) {
        return node.fault("no frame may come from this range", "give unicast addresses");
    }
    Some(range)
}

fn read_rate_limit(node: &Node<'_>) -> Option<RateLimit> {
    let object = Object::open(node, RATE_LIMIT_FIELDS)?;
    let most = u64::from(u32::MAX);
    let least = RateLimit::default();
    let rate = object
        .field("frames_per_second", |n| n.integer(1, most))
        .or(|| u64::from(least.frames_per_second));
    let burst = object.field("burst", |n| n.integer(1, most)).or(|| u64::from(least.burst));
    Some(RateLimit {
        frames_per_second: u32::try_from(rate?).ok()?,
        burst: u32::try_from(burst?).ok()?,
    })
}

//! Reading a port's `vlans`: further networks on its card, each behind a tag.

use std::net::IpAddr;

use mezame_model::{NetworkName, VlanId};

use super::{
    form::{Node, Object, Path},
    port::read_addresses,
};

/// The fields of each.
pub(crate) const FIELDS: &[&str] = &["id", "network", "addresses"];

/// Most VLANs of a port.
const MOST_VLANS: usize = 16;

/// A VLAN as its port's document has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VlanForm {
    pub(crate) id: VlanId,
    pub(crate) network: NetworkName,
    /// None: as they are, or made.
    pub(crate) addresses: Option<Vec<IpAddr>>,
}

/// Reads them all, noting every fault.
pub(super) fn read_all(node: &Node<'_>) -> Option<Vec<VlanForm>> {
    let vlans = node.list(MOST_VLANS, read)?;
    let mut good = true;
    for (at, vlan) in vlans.iter().enumerate() {
        if let Some(first) = vlans[..at].iter().position(|other| other.id == vlan.id) {
            let item = Path::Item(node.path, at);
            let path = Path::Field(&item, "id");
            Node { path: &path, ..*node }.fault::<()>(
                format!("vlans[{first}] has the tag {} too", vlan.id),
                "give each its own, from 1 to 4094",
            );
            good = false;
        }
    }
    good.then_some(vlans)
}

fn read(node: &Node<'_>) -> Option<VlanForm> {
    let object = Object::open(node, FIELDS)?;
    let id = object.required("id", "give the number in the tag, from 1 to 4094", |n| {
        n.integer(1, u64::from(VlanId::MAX))
    });
    let network = object
        .required("network", "name the network that the VLAN is", |n| n.parsed(super::NAME_MEND));
    let addresses = object.field("addresses", read_addresses).optional();
    let id = u16::try_from(id?).ok().and_then(|id| VlanId::try_from(id).ok());
    Some(VlanForm { id: id?, network: network?, addresses: addresses? })
}

//! `meta-data/network/interfaces/macs/`: each port of the guest by its MAC address.
//!
//! cloud-init configures secondary addresses from here. Two ports of one guest never have the
//! same MAC; ports of other guests are not in scope at all.

use ipnetwork::IpNetwork;

use super::{V2009, V2016, identity, meta_data::digits};
use crate::{
    address::{ipv4_of, ipv6_of, is_public},
    tree::{
        Body, Directory, Entry, Node, Scope, directory, families::ports_by_mac, family, folder,
        leaf, leaf_if,
    },
};

/// The directory above `macs/`.
pub(super) static INTERFACES: Directory = folder(&INTERFACES_ENTRIES);
static INTERFACES_ENTRIES: [Entry; 1] = [directory("macs", V2009, &MACS)];

static MACS: Directory = folder(&MACS_ENTRIES);
static MACS_ENTRIES: [Entry; 1] = [family(V2009, ports_by_mac(), Node::Directory(&MAC))];

static MAC: Directory = folder(&MAC_ENTRIES);
/// Sorted, as EC2 lists them.
static MAC_ENTRIES: [Entry; 17] = [
    leaf("device-number", V2009, |it| Body::text(it.index().to_string())),
    leaf("interface-id", V2016, |it| Body::text(it.port().port.id.as_str())),
    leaf_if(
        "ipv6s",
        V2016,
        |it| ipv6_of(it.port()).next().is_some(),
        |it| Body::lines(ipv6_of(it.port())),
    ),
    leaf("local-hostname", V2009, |it| Body::text(it.guest.fqdn())),
    leaf_if(
        "local-ipv4s",
        V2009,
        |it| ipv4_of(it.port()).next().is_some(),
        |it| Body::lines(ipv4_of(it.port())),
    ),
    leaf("mac", V2009, |it| Body::text(it.port().port.mac.to_string())),
    leaf("owner-id", V2009, |it| Body::text(identity::account_id(&it.guest.instance.project))),
    leaf_if(
        "public-ipv4s",
        V2009,
        |it| ipv4_of(it.port()).any(is_public),
        |it| Body::lines(ipv4_of(it.port()).filter(|address| is_public(*address))),
    ),
    // Of the one group that there is, named after its network: clients take a port without any for
    // one of EC2-Classic, or for an error.
    leaf("security-group-ids", V2016, |it| Body::text(format!("sg-{}", network(it)))),
    leaf("security-groups", V2009, |_| Body::fixed("default")),
    leaf("subnet-id", V2009, |it| Body::text(format!("subnet-{}", network(it)))),
    leaf_if(
        "subnet-ipv4-cidr-block",
        V2009,
        |it| own_block(it).is_some(),
        |it| Body::optional(own_block(it)),
    ),
    leaf_if("subnet-ipv6-cidr-blocks", V2016, has_ipv6_block, |it| {
        Body::lines(blocks(it).filter(IpNetwork::is_ipv6))
    }),
    leaf("vpc-id", V2009, |it| Body::text(format!("vpc-{}", network(it)))),
    leaf_if("vpc-ipv4-cidr-block", V2009, has_ipv4_block, |it| {
        Body::optional(blocks(it).find(IpNetwork::is_ipv4))
    }),
    leaf_if("vpc-ipv4-cidr-blocks", V2016, has_ipv4_block, |it| {
        Body::lines(blocks(it).filter(IpNetwork::is_ipv4))
    }),
    leaf_if("vpc-ipv6-cidr-blocks", V2016, has_ipv6_block, |it| {
        Body::lines(blocks(it).filter(IpNetwork::is_ipv6))
    }),
];

/// The digits of the network's id.
fn network<'a>(scope: &Scope<'a>) -> &'a str {
    digits(scope.port().network.id.as_str())
}

/// The ranges of the port's network.
fn blocks<'a>(scope: &Scope<'a>) -> impl Iterator<Item = IpNetwork> + use<'a> {
    scope.port().network.subnets.iter().map(|subnet| subnet.cidr)
}

/// The range that the port's first IPv4 address lies in.
fn own_block(scope: &Scope<'_>) -> Option<IpNetwork> {
    let address = ipv4_of(scope.port()).next()?;
    scope.port().network.subnet_of(address.into()).map(|subnet| subnet.cidr)
}

fn has_ipv4_block(scope: &Scope<'_>) -> bool {
    blocks(scope).any(|block| block.is_ipv4())
}

fn has_ipv6_block(scope: &Scope<'_>) -> bool {
    blocks(scope).any(|block| block.is_ipv6())
}

//! `instance/network-interfaces/N/`: each port of the guest, by its place.
//!
//! google-guest-agent makes `ip-aliases` and `forwarded-ips` local addresses of the guest. So the
//! former holds a port's further IPv4 addresses, which are the guest's own, and the latter nothing:
//! what a port may send from besides (a routed range, say) need not be an address of this guest.

use std::net::{IpAddr, Ipv4Addr};

use ipnetwork::IpNetwork;

use super::project_number;
use crate::{
    address::{ipv4_of, ipv6_of, public_ipv4},
    tree::{
        Body, Directory, Entry, Family, Item, Leaf, Node, Scope, directory,
        families::{place, ports_by_place},
        family, kept, leaf, leaf_if,
    },
};

/// The directory.
pub(super) static NETWORK_INTERFACES: Directory = kept(&ENTRIES);

static ENTRIES: [Entry; 1] = [family(0, ports_by_place(), Node::Directory(&INTERFACE))];

static INTERFACE: Directory = kept(&INTERFACE_ENTRIES);
static INTERFACE_ENTRIES: [Entry; 12] = [
    directory("access-configs", 0, &ACCESS_CONFIGS),
    leaf("dns-servers", 0, |it| Body::lines(it.port().resolvers(it.index() == 0))),
    directory("forwarded-ips", 0, &EMPTY),
    leaf_if("gateway", 0, |it| gateway(it).is_some(), |it| Body::optional(gateway(it))),
    leaf_if(
        "ip",
        0,
        |it| ipv4_of(it.port()).next().is_some(),
        |it| Body::optional(ipv4_of(it.port()).next()),
    ),
    directory("ip-aliases", 0, &IP_ALIASES),
    leaf_if(
        "ipv6s",
        0,
        |it| ipv6_of(it.port()).next().is_some(),
        |it| Body::lines(ipv6_of(it.port())),
    ),
    leaf("mac", 0, |it| Body::text(it.port().port.mac.to_string())),
    leaf("mtu", 0, |it| Body::text(it.port().network.mtu.to_string())),
    leaf("network", 0, |it| {
        Body::text(format!("projects/{}/networks/{}", project_number(it), it.port().network.name))
    }),
    leaf_if("subnetmask", 0, |it| mask(it).is_some(), |it| Body::optional(mask(it))),
    directory("target-instance-ips", 0, &EMPTY),
];

static EMPTY: Directory = kept(&[]);

/// One configuration, with an empty address where the port has no public one, as Google has it.
static ACCESS_CONFIGS: Directory = kept(&ACCESS_CONFIGS_ENTRIES);
static ACCESS_CONFIGS_ENTRIES: [Entry; 1] = [directory("0", 0, &ACCESS_CONFIG)];
static ACCESS_CONFIG: Directory = kept(&ACCESS_CONFIG_ENTRIES);
static ACCESS_CONFIG_ENTRIES: [Entry; 2] = [
    leaf("external-ip", 0, |it| Body::optional(public_ipv4(it.port()))),
    leaf("type", 0, |_| Body::fixed("ONE_TO_ONE_NAT")),
];

static IP_ALIASES: Directory = kept(&IP_ALIASES_ENTRIES);
static IP_ALIASES_ENTRIES: [Entry; 1] = [family(
    0,
    Family {
        members: |scope, each| {
            (0..further(scope).count()).for_each(|at| each(&at.to_string()));
        },
        choose: |scope, segment| {
            let at = place(segment).filter(|at| *at < further(&scope).count())?;
            // A scope holds one place, so this one counts the other ports' as well.
            let Item::Port(port) = scope.item else { return None };
            let before = (0..port).map(|port| Scope { item: Item::Port(port), ..scope });
            let before: usize = before.map(|port| further(&port).count()).sum();
            Some(Scope { item: Item::Index(before + at), ..scope })
        },
    },
    Node::Leaf(Leaf {
        exists: |_| true,
        read: |it| {
            let ports = (0..it.guest.ports.len()).map(|at| Scope { item: Item::Port(at), ..*it });
            let address = ports.flat_map(|port| further(&port)).nth(it.index());
            Body::optional(address.map(|address| format!("{address}/32")))
        },
        below: None,
    }),
)];

/// The port's IPv4 addresses but the first.
fn further<'a>(scope: &Scope<'a>) -> impl Iterator<Item = Ipv4Addr> + use<'a> {
    ipv4_of(scope.port()).skip(1)
}

fn gateway(scope: &Scope<'_>) -> Option<IpAddr> {
    scope.port().gateways().find(IpAddr::is_ipv4)
}

/// The mask of the subnet that the first IPv4 address lies in; a host's own outside of any.
fn mask(scope: &Scope<'_>) -> Option<IpAddr> {
    scope.port().addresses().find(IpNetwork::is_ipv4).map(|own| own.mask())
}

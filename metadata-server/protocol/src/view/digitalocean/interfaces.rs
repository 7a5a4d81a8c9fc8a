//! The ports as public and private interfaces.
//!
//! Public is what has a default route: the first port, where one of its subnets has a router. All
//! others are private. An interface has places for one address of each family, and for one more of
//! each that is no way out, its *anchor*: what has no router, or is the second of its family.
//!
//! Two things are as the clients want them rather than as they would be simplest. A kind of which
//! there is no interface is absent and not an empty list, since cloud-init takes the first of each
//! kind that is there. And every address names a gateway, since afterburn reads no interface
//! without; `0.0.0.0` and `::` are what routing calls none.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;
use mezame_model::{Guest, GuestPort, LinkLocal};
use serde_json::{Map, Value, json};

use crate::tree::{
    Body, Directory, Entry, Family, Item, Node, Scope, directory, families, family, folder, leaf,
    leaf_if,
};

/// The directory.
pub(super) static INTERFACES: Directory = folder(&INTERFACES_ENTRIES);
static INTERFACES_ENTRIES: [Entry; 2] =
    [directory("public", 0, &PUBLIC), directory("private", 0, &PRIVATE)];

static PUBLIC: Directory = folder(&PUBLIC_ENTRIES);
static PUBLIC_ENTRIES: [Entry; 1] = [family(0, ports_of(Kind::Public), INTERFACE_NODE)];
static PRIVATE: Directory = folder(&PRIVATE_ENTRIES);
static PRIVATE_ENTRIES: [Entry; 1] = [family(0, ports_of(Kind::Private), INTERFACE_NODE)];

const INTERFACE_NODE: Node = Node::Directory(&INTERFACE);
static INTERFACE: Directory = folder(&INTERFACE_ENTRIES);
static INTERFACE_ENTRIES: [Entry; 6] = [
    leaf("mac", 0, |it| Body::text(it.port().port.mac.to_string())),
    leaf("type", 0, |it| Body::fixed(Kind::of(it.guest, it.index()).as_str())),
    directory("ipv4", 0, &IPV4),
    directory("anchor_ipv4", 0, &ANCHOR_IPV4),
    directory("ipv6", 0, &IPV6),
    directory("anchor_ipv6", 0, &ANCHOR_IPV6),
];

static IPV4: Directory = folder(&IPV4_ENTRIES);
static IPV4_ENTRIES: [Entry; 3] = place::<0>();
static ANCHOR_IPV4: Directory = folder(&ANCHOR_IPV4_ENTRIES);
static ANCHOR_IPV4_ENTRIES: [Entry; 3] = place::<1>();
static IPV6: Directory = folder(&IPV6_ENTRIES);
static IPV6_ENTRIES: [Entry; 3] = place::<2>();
static ANCHOR_IPV6: Directory = folder(&ANCHOR_IPV6_ENTRIES);
static ANCHOR_IPV6_ENTRIES: [Entry; 3] = place::<3>();

/// The names of an interface's places, in the order of [`places`].
const PLACES: [&str; 4] = ["ipv4", "anchor_ipv4", "ipv6", "anchor_ipv6"];

/// What is in the place with this number.
const fn place<const AT: usize>() -> [Entry; 3] {
    fn at<const AT: usize>(scope: &Scope<'_>) -> Option<Address> {
        places(scope.guest, scope.index())[AT]
    }
    let is_there = |scope: &Scope<'_>| at::<AT>(scope).is_some();
    [
        leaf_if("address", 0, is_there, |it| {
            Body::optional(at::<AT>(it).map(|own| own.network.ip()))
        }),
        if AT < 2 {
            leaf_if("netmask", 0, is_there, |it| {
                Body::optional(at::<AT>(it).map(|own| own.network.mask()))
            })
        } else {
            leaf_if("cidr", 0, is_there, |it| {
                Body::optional(at::<AT>(it).map(|own| own.network.prefix()))
            })
        },
        leaf_if("gateway", 0, is_there, |it| Body::optional(at::<AT>(it).map(|own| own.gateway()))),
    ]
}

/// The two kinds of interfaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Has the default routes.
    Public,
    /// Has none.
    Private,
}

impl Kind {
    /// The kind of the guest's port with this place.
    fn of(guest: &Guest, at: usize) -> Self {
        let is_public = at == 0 && guest.primary().gateways().next().is_some();
        if is_public { Self::Public } else { Self::Private }
    }

    /// The places of the guest's ports that are of this kind.
    fn ports(self, guest: &Guest) -> impl Iterator<Item = usize> {
        (0..guest.ports.len()).filter(move |at| Self::of(guest, *at) == self)
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Private => "private",
        }
    }
}

/// A kind's interfaces, counted from 0.
const fn ports_of(kind: Kind) -> Family {
    match kind {
        Kind::Public => Family {
            members: |scope, each| number(scope, Kind::Public, each),
            choose: |scope, segment| chosen(scope, Kind::Public, segment),
        },
        Kind::Private => Family {
            members: |scope, each| number(scope, Kind::Private, each),
            choose: |scope, segment| chosen(scope, Kind::Private, segment),
        },
    }
}

fn number(scope: &Scope<'_>, kind: Kind, each: &mut dyn FnMut(&str)) {
    for (at, _) in kind.ports(scope.guest).enumerate() {
        each(&at.to_string());
    }
}

fn chosen<'a>(scope: Scope<'a>, kind: Kind, segment: &str) -> Option<Scope<'a>> {
    let at = kind.ports(scope.guest).nth(families::place(segment)?)?;
    Some(Scope { item: Item::Port(at), ..scope })
}

/// One of an interface's addresses.
#[derive(Debug, Clone, Copy)]
struct Address {
    /// The address with the prefix length of its subnet.
    network: IpNetwork,
    /// The subnet's router.
    router: Option<IpAddr>,
}

impl Address {
    /// The router, or the address that stands for none.
    fn gateway(&self) -> IpAddr {
        self.router.unwrap_or(match self.network {
            IpNetwork::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpNetwork::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        })
    }

    fn document(&self) -> Value {
        let mut fields = json!({ "ip_address": self.network.ip(), "gateway": self.gateway() });
        match self.network {
            IpNetwork::V4(network) => fields["netmask"] = network.mask().to_string().into(),
            IpNetwork::V6(network) => fields["cidr"] = network.prefix().into(),
        }
        fields
    }
}

/// What is in each place of the guest's port with this place.
fn places(guest: &Guest, at: usize) -> [Option<Address>; 4] {
    let Some(entry) = guest.ports.get(at) else { return [None; 4] };
    let kind = Kind::of(guest, at);
    let [ipv4, mut anchor_ipv4] = family_of(entry, kind, true);
    let [ipv6, anchor_ipv6] = family_of(entry, kind, false);
    // Nothing else would take a frame for the service to the tap.
    if at == 0 && anchor_ipv4.is_none() && !entry.gateways().any(|it| it.is_ipv4()) {
        let network = LinkLocal::of(&entry.port.id).into();
        anchor_ipv4 = Some(Address { network, router: None });
    }
    [ipv4, anchor_ipv4, ipv6, anchor_ipv6]
}

/// A family's address and its anchor.
fn family_of(entry: &GuestPort, kind: Kind, v4: bool) -> [Option<Address>; 2] {
    let router = |network: &IpNetwork| entry.network.subnet_of(network.ip())?.gateway;
    let mut own: Vec<_> = entry
        .addresses()
        .filter(|network| network.is_ipv4() == v4)
        .map(|network| Address { network, router: router(&network) })
        .collect();
    let main = match kind {
        Kind::Public => own.iter().position(|address| address.router.is_some()),
        Kind::Private => (!own.is_empty()).then_some(0),
    };
    let main = main.map(|at| own.remove(at));
    [main, own.first().copied()]
}

/// All interfaces, by their kinds.
pub(super) fn document(guest: &Guest) -> Map<String, Value> {
    let mut kinds = Map::new();
    for kind in [Kind::Public, Kind::Private] {
        let all: Vec<_> = kind.ports(guest).map(|at| interface(guest, at)).collect();
        if !all.is_empty() {
            kinds.insert(kind.as_str().to_owned(), all.into());
        }
    }
    kinds
}

fn interface(guest: &Guest, at: usize) -> Value {
    let mut fields = Map::new();
    fields.insert("mac".to_owned(), guest.ports[at].port.mac.to_string().into());
    fields.insert("type".to_owned(), Kind::of(guest, at).as_str().into());
    for (name, address) in PLACES.iter().zip(places(guest, at)) {
        if let Some(address) = address {
            fields.insert((*name).to_owned(), address.document());
        }
    }
    fields.into()
}

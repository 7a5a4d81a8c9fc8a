//! What `netsh` is told, so that an adapter becomes what the document says, and so that it becomes
//! again what it was. Pure.
//!
//! netsh keeps what it sets, so the same words serve for now and for the next boot (Microsoft,
//! "netsh interface ipv4", "netsh interface ipv6"). Each command is a list of words: nothing goes
//! through a shell.
//!
//! Addresses of IPv4 are set all at once, and so are what the document says. Of IPv6 addresses, and
//! of routes and routers of either family, only those are taken away that the agent has set before
//! ([`Ours`]): what DHCP, router advertisements and people have set is not the agent's.

mod restore;

use std::net::{IpAddr, Ipv4Addr};

use ipnetwork::{IpNetwork, Ipv4Network};
use mezame_model::document::Interface;
use serde::{Deserialize, Serialize};

pub use self::restore::restore;

/// A destination and the router to it.
pub type Way = (IpNetwork, IpAddr);

/// An adapter as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Now {
    /// In bytes.
    pub mtu: u32,
    /// With their prefix lengths.
    pub addresses: Vec<IpNetwork>,
    /// Those of them that somebody has set, and nothing on the network has told.
    pub manual: Vec<IpNetwork>,
    /// Default routers.
    pub gateways: Vec<IpAddr>,
    /// Routes through routers, default routes excepted.
    pub routes: Vec<Way>,
    /// Resolvers.
    pub dns: Vec<IpAddr>,
    /// Whether the addresses of IPv4 are DHCP's.
    pub dhcp: bool,
    /// Whether the resolvers were set by somebody, of each family: IPv4, IPv6.
    pub fixed_dns: [bool; 2],
    /// Whether it has IPv6 at all.
    pub has_v6: bool,
}

/// What the agent has set on an adapter and may take away again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ours {
    /// Of both families.
    pub addresses: Vec<IpNetwork>,
    /// Default routers.
    pub gateways: Vec<IpAddr>,
    /// Routes through routers.
    pub routes: Vec<Way>,
}

impl Ours {
    /// What a document's interface has the agent set.
    pub fn of(wanted: &Interface) -> Self {
        Self {
            addresses: wanted.addresses.clone(),
            gateways: wanted.gateways.clone(),
            routes: ways(wanted),
        }
    }

    /// This and that: before a change it is not known how far it comes.
    pub fn and(&self, other: &Self) -> Self {
        fn both<T: Clone + PartialEq>(one: &[T], two: &[T]) -> Vec<T> {
            let new = two.iter().filter(|it| !one.contains(it));
            one.iter().chain(new).cloned().collect()
        }
        Self {
            addresses: both(&self.addresses, &other.addresses),
            gateways: both(&self.gateways, &other.gateways),
            routes: both(&self.routes, &other.routes),
        }
    }
}

fn ways(wanted: &Interface) -> Vec<Way> {
    wanted.routes.iter().map(|route| (route.destination, route.via)).collect()
}

/// The commands for an adapter; none where it is so already.
pub fn commands(device: &str, wanted: &Interface, ours: &Ours, now: &Now) -> Vec<Vec<String>> {
    let mut out = Vec::new();
    if now.mtu != u32::from(wanted.mtu) {
        mtu(device, u32::from(wanted.mtu), now.has_v6, &mut out);
    }
    let wanted_ways = ways(wanted);
    let old = |way: &&Way| ours.routes.contains(way) && !wanted_ways.contains(way);
    for way in now.routes.iter().filter(old).filter(|way| usable(way.1, now)) {
        out.push(route("delete", device, way));
    }
    ipv4(device, wanted, ours, now, &mut out);
    if now.has_v6 {
        ipv6(device, wanted, ours, now, &mut out);
    }
    // Behind the addresses: their routers are reached by them.
    let missing = |way: &&Way| !now.routes.contains(way);
    for way in wanted_ways.iter().filter(missing).filter(|way| usable(way.1, now)) {
        out.push(route("add", device, way));
    }
    for is_v4 in [true, false] {
        let wanted = of_family(&wanted.dns, is_v4);
        let is_so = wanted == of_family(&now.dns, is_v4);
        if !wanted.is_empty() && !is_so && (is_v4 || now.has_v6) {
            dns(device, is_v4, &wanted, &mut out);
        }
    }
    out
}

/// Whether a document wants IPv6 of an adapter.
pub fn wants_v6(wanted: &Interface) -> bool {
    wanted.addresses.iter().any(IpNetwork::is_ipv6)
}

fn usable(address: IpAddr, now: &Now) -> bool {
    address.is_ipv4() || now.has_v6
}

fn of_family(list: &[IpAddr], is_v4: bool) -> Vec<IpAddr> {
    list.iter().copied().filter(|address| address.is_ipv4() == is_v4).collect()
}

/// The shortest MTU that IPv6 has (RFC 8200, section 5).
const MIN_V6: u32 = 1280;

fn mtu(device: &str, bytes: u32, has_v6: bool, out: &mut Vec<Vec<String>>) {
    let mtu = format!("mtu={bytes}");
    for family in ["ipv4", "ipv6"] {
        if family == "ipv4" || (has_v6 && bytes >= MIN_V6) {
            let words = ["interface", family, "set", "subinterface", device, &mtu];
            out.push(command(&[&words[..], &["store=persistent"]].concat()));
        }
    }
}

fn dns(device: &str, is_v4: bool, servers: &[IpAddr], out: &mut Vec<Vec<String>>) {
    let name = format!("name={device}");
    let family = if is_v4 { "ipv4" } else { "ipv6" };
    for (at, server) in servers.iter().enumerate() {
        let address = format!("address={server}");
        let index = format!("index={}", at + 1);
        let first = ["interface", family, "set", "dnsservers", &name, "source=static", &address];
        let other = ["interface", family, "add", "dnsservers", &name, &address, &index];
        let words = if at == 0 { &first } else { &other };
        out.push(command(&[&words[..], &["validate=no"]].concat()));
    }
}

fn route(verb: &str, device: &str, (to, via): &Way) -> Vec<String> {
    let family = if via.is_ipv4() { "ipv4" } else { "ipv6" };
    let to = format!("{}/{}", to.network(), to.prefix());
    let (interface, hop) = (format!("interface={device}"), format!("nexthop={via}"));
    command(&["interface", family, verb, "route", &to, &interface, &hop])
}

fn v4_of(list: &[IpNetwork]) -> Vec<Ipv4Network> {
    let v4 = |network: &IpNetwork| match network {
        // One that Windows has given itself (RFC 3927) goes by itself.
        IpNetwork::V4(v4) if !v4.ip().is_link_local() => Some(*v4),
        _ => None,
    };
    list.iter().filter_map(v4).collect()
}

fn ipv4(device: &str, wanted: &Interface, ours: &Ours, now: &Now, out: &mut Vec<Vec<String>>) {
    let router = |list: &[IpAddr]| list.iter().find(|address| address.is_ipv4()).copied();
    let addresses = v4_of(&wanted.addresses);
    let gateway = router(&wanted.gateways);
    let there = router(&now.gateways);
    let mut have = v4_of(&now.addresses);
    if addresses.is_empty() {
        // Those that the agent has set go; DHCP's stay.
        let known = v4_of(&ours.addresses);
        if !now.dhcp && !have.is_empty() && have.iter().all(|it| known.contains(it)) {
            out.push(by_dhcp(device));
        }
        return;
    }
    have.sort();
    let mut sorted = addresses.clone();
    sorted.sort();
    let is_routed = match gateway {
        Some(_) => gateway == there,
        None => there.is_none_or(|router| !ours.gateways.contains(&router)),
    };
    if sorted != have || !is_routed {
        set_v4(device, &addresses, gateway, out);
    }
}

fn by_dhcp(device: &str) -> Vec<String> {
    let name = format!("name={device}");
    command(&["interface", "ipv4", "set", "address", &name, "source=dhcp"])
}

/// Sets all addresses of IPv4, and the router or none.
fn set_v4(
    device: &str,
    addresses: &[Ipv4Network],
    gateway: Option<IpAddr>,
    out: &mut Vec<Vec<String>>,
) {
    let Some((first, others)) = addresses.split_first() else { return };
    let name = format!("name={device}");
    let words = |network: &Ipv4Network| {
        let mask: Ipv4Addr = network.mask();
        [format!("address={}", network.ip()), format!("mask={mask}")]
    };
    // `set` takes away the addresses and the router that are there.
    let [address, mask] = words(first);
    let mut set = command(&["interface", "ipv4", "set", "address", &name, "source=static"]);
    set.extend([address, mask]);
    let gateway = gateway.map_or_else(|| "none".to_owned(), |gateway| gateway.to_string());
    set.push(format!("gateway={gateway}"));
    out.push(set);
    for network in others {
        let [address, mask] = words(network);
        out.push(command(&["interface", "ipv4", "add", "address", &name, &address, &mask]));
    }
}

fn ipv6(device: &str, wanted: &Interface, ours: &Ours, now: &Now, out: &mut Vec<Vec<String>>) {
    let v6 = |network: &&IpNetwork| network.is_ipv6();
    let router = |address: &&IpAddr| address.is_ipv6();
    for router in now.gateways.iter().filter(router) {
        if ours.gateways.contains(router) && !wanted.gateways.contains(router) {
            out.push(default_v6("delete", device, *router));
        }
    }
    for network in now.addresses.iter().filter(v6) {
        if ours.addresses.contains(network) && !wanted.addresses.contains(network) {
            out.push(address_v6("delete", device, *network));
        }
    }
    for network in wanted.addresses.iter().filter(v6) {
        if !now.addresses.contains(network) {
            out.push(address_v6("add", device, *network));
        }
    }
    for router in wanted.gateways.iter().filter(router) {
        if !now.gateways.contains(router) {
            out.push(default_v6("add", device, *router));
        }
    }
}

fn default_v6(verb: &str, device: &str, router: IpAddr) -> Vec<String> {
    let (interface, hop) = (format!("interface={device}"), format!("nexthop={router}"));
    command(&["interface", "ipv6", verb, "route", "::/0", &interface, &hop])
}

fn address_v6(verb: &str, device: &str, network: IpNetwork) -> Vec<String> {
    let interface = format!("interface={device}");
    let address = match verb {
        "delete" => format!("address={}", network.ip()),
        _ => format!("address={}/{}", network.ip(), network.prefix()),
    };
    command(&["interface", "ipv6", verb, "address", &interface, &address])
}

fn command(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[cfg(test)]
mod tests;

//! The network as it was before a change, so that it can be had back.
//!
//! ```text
//!   remember ──► written to /run ──► change ──► the service is asked ──► reached: forget
//!                      ▲                              │ not
//!                      └── the next run, after a kill ─┴──► put back, forget
//! ```
//! Devices' addresses, MTU and routes, the bonds and VLANs that a change may touch, and the agent's
//! own lists of what it has made and added. The files of the network service are not here: they are
//! written only after the service was reached. Nor is anything after a reboot, which finds those
//! files as they were: /run is empty then. A bond or VLAN that was there before stays, also one that
//! the agent has only taken over, as the network service makes them at each boot.

use std::collections::BTreeSet;

use base64::{Engine, engine::general_purpose::STANDARD};
use ipnetwork::IpNetwork;
use mezame_model::document::Interface;
use serde::{Deserialize, Serialize};

use super::{
    added_to,
    links::{
        self,
        made::{self, Made},
    },
};
use crate::{
    facts::Link,
    platform::{
        NetworkGuard, Result,
        linux::{
            netlink::{Netlink, RawAddress, RawRoute},
            tree::{Access, Tree},
        },
    },
};

const JOURNAL: &str = "/run/mezame-agent/network-before.json";

/// The network of some devices.
#[derive(Debug, Serialize, Deserialize)]
struct Before {
    devices: Vec<Device>,
    /// Path and content of the agent's lists.
    lists: Vec<(String, String)>,
    /// The agent's list of what it had made.
    made: Vec<Made>,
    /// The bonds and VLANs that were there, of ours and of those that were to be.
    there: Vec<Made>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Device {
    name: String,
    mtu: Option<u32>,
    /// As the kernel told them (rtnetlink(7)), in base64: with all that the agent knows nothing of,
    /// such as the lifetime of one that was leased.
    told: Vec<String>,
    /// Likewise.
    routes: Vec<String>,
}

/// Guards a change.
#[derive(Debug)]
pub(in crate::platform::linux) struct Guard<'a> {
    tree: &'a Tree,
    before: Before,
}

impl<'a> Guard<'a> {
    /// Remembers the network of these devices, and writes it down for the case of a kill.
    pub(in crate::platform::linux) fn new(
        tree: &'a Tree,
        interfaces: &[(&str, &Interface)],
    ) -> Result<Self> {
        if let Some(left) = Self::left_behind(tree)? {
            // What could not be put back then would be taken for what was before. If it still
            // can't be, a change may be what mends it.
            let _ = left.roll_back();
        }
        let mut netlink = Netlink::open()?;
        let links = netlink.links()?;
        let made = made::made(tree)?;
        let wanted = interfaces.iter().flat_map(|(name, it)| made::wanted_by(&links, name, it));
        let there = made::seen(&made, &links, &wanted.collect::<Vec<_>>());
        let mut before = Before { devices: Vec::new(), lists: Vec::new(), made, there };
        for name in concerned(&links, interfaces, &before.there) {
            // One that is yet to be made is taken away again.
            let Some(link) = links.iter().find(|link| link.name == *name) else { continue };
            before.devices.push(Device {
                name: name.to_owned(),
                mtu: netlink.sight(name)?.mtu,
                told: netlink
                    .raw_addresses(link.index)?
                    .iter()
                    .map(|it| STANDARD.encode(it.bytes()))
                    .collect(),
                routes: netlink
                    .raw_routes(link.index)?
                    .iter()
                    .map(|it| STANDARD.encode(it.bytes()))
                    .collect(),
            });
            for path in added_to(name) {
                before.lists.push((path.clone(), tree.text(&path)?));
            }
        }
        let json = serde_json::to_vec(&before).unwrap_or_default();
        tree.write(JOURNAL, &json, Access::root(0o600))?;
        Ok(Self { tree, before })
    }

    /// The guard of a run that was killed before it knew whether the service is still reached.
    pub(in crate::platform::linux) fn left_behind(tree: &'a Tree) -> Result<Option<Self>> {
        let Some(bytes) = tree.read(JOURNAL)? else { return Ok(None) };
        match serde_json::from_slice(&bytes) {
            Ok(before) => Ok(Some(Self { tree, before })),
            // Torn: it was killed while it wrote it, and has changed nothing.
            Err(_) => tree.remove(JOURNAL).map(|_| None),
        }
    }
}

impl NetworkGuard for Guard<'_> {
    fn keep(&self) -> Result<()> {
        self.tree.remove(JOURNAL).map(drop)
    }

    fn roll_back(&self) -> Result<()> {
        let mut netlink = Netlink::open()?;
        let mut result =
            links::restore(&mut netlink, self.tree, &self.before.made, &self.before.there);
        for device in &self.before.devices {
            // One device that is gone must not keep the others from coming back.
            result = result.and(put_back(&mut netlink, device));
        }
        for (path, text) in &self.before.lists {
            result =
                result.and(self.tree.write(path, text.as_bytes(), Access::root(0o600)).map(drop));
        }
        // What can't be put back now is tried again by the next run.
        result?;
        self.keep()
    }
}

/// The devices that a change of these interfaces may touch, each once: theirs, the cards of bonds,
/// and the bonds and VLANs that are there.
fn concerned<'a>(
    links: &'a [Link],
    interfaces: &'a [(&str, &Interface)],
    there: &'a [Made],
) -> BTreeSet<&'a str> {
    let bonds = interfaces.iter().filter_map(|(_, interface)| interface.bond.as_ref());
    let cards = bonds.flat_map(|bond| links::cards_of(links, bond)).map(|link| &*link.name);
    let named = interfaces.iter().map(|(device, _)| *device);
    named.chain(cards).chain(there.iter().map(|it| &*it.name)).collect()
}

fn put_back(netlink: &mut Netlink, device: &Device) -> Result<()> {
    let link = netlink.link(&device.name)?;
    let read = |text: &String| RawRoute::parse(&STANDARD.decode(text).ok()?);
    let routes: Vec<RawRoute> =
        device.routes.iter().filter_map(|it| Some(read(it)?.through(link.index))).collect();
    let read = |text: &String| RawAddress::parse(&STANDARD.decode(text).ok()?);
    let addresses: Vec<RawAddress> =
        device.told.iter().filter_map(|it| Some(read(it)?.on(link.index))).collect();
    let is_wanted = |own: &IpNetwork| addresses.iter().any(|it| it.network() == Some(*own));
    for route in netlink.raw_routes(link.index)? {
        if !routes.iter().any(|known| known.is_same(&route)) {
            netlink.remove_raw_route(&route)?;
        }
    }
    for address in link.addresses.iter().filter(|it| !is_wanted(it)) {
        netlink.remove_address(link.index, *address)?;
    }
    if let Some(mtu) = device.mtu {
        netlink.set_link(link.index, true, Some(mtu))?;
    }
    // With the first address of a subnet the kernel takes the later ones away, and with a device's
    // MTU below 1280 those of IPv6.
    let now = netlink.link(&device.name)?;
    let is_there = |it: &&RawAddress| it.network().is_some_and(|it| now.addresses.contains(&it));
    for address in addresses.iter().filter(|it| !is_there(it)) {
        netlink.add_raw_address(address)?;
    }
    let there = netlink.raw_routes(now.index)?;
    // Routes on the link first: the others' routers are reached by them.
    let (on_link, others): (Vec<_>, Vec<_>) =
        routes.into_iter().partition(|route| !route.has_gateway());
    for route in on_link.iter().chain(&others) {
        if !there.iter().any(|known| known.is_same(route)) {
            netlink.add_raw_route(route)?;
        }
    }
    Ok(())
}

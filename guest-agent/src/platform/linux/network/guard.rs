//! The network as it was before a change, so that it can be had back.
//!
//! ```text
//!   remember ──► written to /run ──► change ──► the service is asked ──► reached: forget
//!                      ▲                              │ not
//!                      └── the next run, after a kill ─┴──► put back, forget
//! ```
//! Devices' addresses, MTU and routes, the devices that the agent has made, and its own lists of
//! what it has added. The files of the network service are not here: they are written only after
//! the service was reached. Nor is anything after a reboot, which finds those files as they were:
//! /run is empty then.

use std::collections::BTreeSet;

use base64::{Engine, engine::general_purpose::STANDARD};
use ipnetwork::IpNetwork;
use mezame_model::document::Interface;
use serde::{Deserialize, Serialize};

use super::{
    ADDED, KINDS,
    links::{self, Made},
};
use crate::{
    facts::Link,
    platform::{
        NetworkGuard, Result,
        linux::{
            netlink::{Netlink, RawRoute},
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
    /// What the agent had made.
    #[serde(default)]
    made: Vec<Made>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Device {
    name: String,
    mtu: Option<u32>,
    addresses: Vec<IpNetwork>,
    /// As the kernel told them (rtnetlink(7)), in base64: with all that the agent knows nothing of.
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
        let mut netlink = Netlink::open()?;
        let there = netlink.links()?;
        let made = links::made(tree)?;
        let mut before = Before { devices: Vec::new(), lists: Vec::new(), made };
        for name in concerned(&there, interfaces, &before.made) {
            // One that is yet to be made is taken away again.
            let Some(link) = there.iter().find(|link| link.name == *name) else { continue };
            let link = link.clone();
            before.devices.push(Device {
                name: name.to_owned(),
                mtu: netlink.sight(name)?.mtu,
                addresses: link.addresses,
                routes: netlink.raw_routes(link.index)?.iter().map(encoded).collect(),
            });
            for kind in KINDS {
                let path = format!("{ADDED}/{name}.{kind}");
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
        let mut result = links::restore(&mut netlink, self.tree, &self.before.made);
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
/// and all that the agent has made.
fn concerned<'a>(
    there: &'a [Link],
    interfaces: &'a [(&str, &Interface)],
    made: &'a [Made],
) -> BTreeSet<&'a str> {
    let bonds = interfaces.iter().filter_map(|(_, interface)| interface.bond.as_ref());
    let cards = bonds.flat_map(|bond| links::cards_of(there, bond)).map(|link| &*link.name);
    let named = interfaces.iter().map(|(device, _)| *device);
    named.chain(cards).chain(made.iter().map(|it| &*it.name)).collect()
}

fn put_back(netlink: &mut Netlink, device: &Device) -> Result<()> {
    let link = netlink.link(&device.name)?;
    let wanted: Vec<RawRoute> =
        device.routes.iter().filter_map(|text| Some(decoded(text)?.through(link.index))).collect();
    for route in netlink.raw_routes(link.index)? {
        if !wanted.iter().any(|known| known.is_same(&route)) {
            netlink.remove_raw_route(&route)?;
        }
    }
    for address in link.addresses.iter().filter(|it| !device.addresses.contains(it)) {
        netlink.remove_address(link.index, *address)?;
    }
    if let Some(mtu) = device.mtu {
        netlink.set_link(link.index, true, Some(mtu))?;
    }
    // With the first address of a subnet the kernel takes the later ones away, and with a device's
    // MTU below 1280 those of IPv6.
    let now = netlink.link(&device.name)?;
    for address in device.addresses.iter().filter(|it| !now.addresses.contains(it)) {
        netlink.add_address(now.index, *address, false)?;
    }
    let there = netlink.raw_routes(now.index)?;
    // Routes on the link first: the others' routers are reached by them.
    let (on_link, others): (Vec<_>, Vec<_>) =
        wanted.into_iter().partition(|route| !route.has_gateway());
    for route in on_link.iter().chain(&others) {
        if !there.iter().any(|known| known.is_same(route)) {
            netlink.add_raw_route(route)?;
        }
    }
    Ok(())
}

fn encoded(route: &RawRoute) -> String {
    STANDARD.encode(route.bytes())
}

fn decoded(text: &str) -> Option<RawRoute> {
    RawRoute::parse(&STANDARD.decode(text).ok()?)
}

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

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use ipnetwork::IpNetwork;
use mezame_model::document::Interface;
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use super::{
    added_to,
    device::Device,
    is_link_local6,
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
            netlink::Netlink,
            tree::{Access, Tree},
        },
    },
};

const JOURNAL: &str = "/run/mezame-agent/network-before.json";

/// The network of some devices.
#[derive(Debug, Serialize, Deserialize)]
struct Before {
    /// When it was so, in seconds of a clock that goes on while the guest sleeps.
    #[serde(default)]
    at: Option<i64>,
    devices: Vec<Device>,
    /// Path and content of the agent's lists.
    lists: Vec<(String, String)>,
    /// The agent's list of what it had made.
    made: Vec<Made>,
    /// The bonds and VLANs that were there, of ours and of those that were to be.
    there: Vec<Made>,
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
        let at = Some(now());
        let mut before = Before { at, devices: Vec::new(), lists: Vec::new(), made, there };
        for name in concerned(&links, interfaces, &before.there) {
            // One that is yet to be made is taken away again.
            let Some(link) = links.iter().find(|link| link.name == *name) else { continue };
            before.devices.push(Device::look(&mut netlink, link)?);
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

    fn is_cut(&self, failed: &[(&str, &Interface)], good: &[&str]) -> Result<bool> {
        Ok(is_cut(&self.before.devices, &Netlink::open()?.links()?, failed, good))
    }

    fn roll_back(&self) -> Result<()> {
        let mut netlink = Netlink::open()?;
        let passed = self.before.at.map_or(0, |at| now().saturating_sub(at));
        let passed = u32::try_from(passed).unwrap_or(if passed < 0 { 0 } else { u32::MAX });
        let mut result =
            links::restore(&mut netlink, self.tree, &self.before.made, &self.before.there);
        for device in &self.before.devices {
            // One device that is gone must not keep the others from coming back.
            result = result.and(device.put_back(&mut netlink, passed));
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

/// Seconds since the guest's boot (clock_gettime(2), CLOCK_BOOTTIME): what is written down is of
/// this boot, and nobody sets this clock.
fn now() -> i64 {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or_default()
}

/// What [`NetworkGuard::is_cut`] says, of the devices before and now. Addresses that are made up on
/// the link come and go with the agent's own way to the service, and say nothing.
fn is_cut(before: &[Device], now: &[Link], failed: &[(&str, &Interface)], good: &[&str]) -> bool {
    let is_there = |address: &IpNetwork| now.iter().any(|it| it.addresses.contains(address));
    let is_lasting = |address: &IpNetwork| match address.ip() {
        IpAddr::V4(address) => !address.is_link_local(),
        address @ IpAddr::V6(_) => !is_link_local6(address),
    };
    let others = before.iter().filter(|device| !good.contains(&&*device.name));
    let is_bare = |(name, interface): &(&str, &Interface)| {
        let own = now.iter().filter(|link| link.name == *name).flat_map(|link| &link.addresses);
        !interface.addresses.is_empty() && !{ own }.any(|it| interface.addresses.contains(it))
    };
    others.flat_map(Device::networks).any(|it| is_lasting(&it) && !is_there(&it))
        && failed.iter().any(is_bare)
}

#[cfg(test)]
mod tests;

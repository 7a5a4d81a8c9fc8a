//! The document's interfaces, written down for the distribution's own network service.
//!
//! Which one is chosen by what is there: netplan, NetworkManager, systemd-networkd, ifupdown. An
//! image with none of them has its addresses set by the agent in each boot. Devices are matched by
//! MAC, so that a new order of the cards does no harm. The service is not restarted: the agent has
//! set the same addresses already, and a restart would cut connections. A card with a VLAN or in a
//! bond is matched as a card, too: the devices on it have the same MAC.

mod ifupdown;
mod netplan;
mod network_manager;
mod networkd;

use mezame_model::{MacAddress, document::Interface};

#[cfg(test)]
pub(super) use self::{
    ifupdown::ifupdown, netplan::netplan, network_manager::network_manager, networkd::networkd,
};
use super::{
    Linux,
    netlink::Netlink,
    network::{
        links::{self, vlans_of},
        resolver,
    },
    tree::Access,
};
use crate::{
    facts::LinkKind,
    platform::{Change, Platform, Result},
};

const NOTE: &str = "# Written by guest-agent; changes here are overwritten.\n";

/// The services that are known, in the order in which they are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    Netplan,
    NetworkManager,
    Networkd,
    Ifupdown,
}

pub(super) fn service(linux: &Linux) -> Option<Service> {
    let enabled = |unit: &str| {
        linux.tree.exists(&format!("/etc/systemd/system/multi-user.target.wants/{unit}"))
    };
    if linux.tool("netplan").is_some() && linux.tree.exists("/etc/netplan") {
        Some(Service::Netplan)
    } else if enabled("NetworkManager.service") {
        Some(Service::NetworkManager)
    } else if enabled("systemd-networkd.service") {
        Some(Service::Networkd)
    } else if linux.tool("ifup").is_some() && linux.tree.exists("/etc/network/interfaces") {
        Some(Service::Ifupdown)
    } else {
        None
    }
}

pub(super) fn write(linux: &Linux, interfaces: &[(String, Interface)]) -> Result<Change> {
    let mut change = resolver::write(&linux.tree, &with_vlans(interfaces))?;
    let files = match service(linux) {
        None => Vec::new(),
        Some(Service::Netplan) => {
            vec![file("/etc/netplan/60-mezame.yaml", netplan::netplan(interfaces), 0o600)]
        }
        Some(Service::NetworkManager) => network_manager::files(linux, interfaces)?,
        Some(Service::Networkd) => networkd::files(linux, interfaces)?,
        Some(Service::Ifupdown) => {
            let main = linux.tree.text("/etc/network/interfaces")?;
            let includes = main.lines().any(|line| {
                let mut words = line.split_whitespace();
                words.next().is_some_and(|word| word.starts_with("source"))
                    && words.next().is_some_and(|word| word.contains("interfaces.d"))
            });
            let text = format!("{main}\nsource /etc/network/interfaces.d/*\n");
            let main = (!includes).then(|| file("/etc/network/interfaces", text, 0o644));
            let own = ifupdown::ifupdown(interfaces, &named_cards(interfaces)?);
            main.into_iter()
                .chain([file("/etc/network/interfaces.d/60-mezame", own, 0o644)])
                .collect()
        }
    };
    for File { path, text, mode } in files {
        change = change.and(match text {
            Some(text) => linux.tree.write(&path, text.as_bytes(), Access::root(mode))?,
            None => linux.tree.remove(&path)?,
        });
    }
    links::forget(&linux.tree, interfaces, || linux.flush())?;
    Ok(change)
}

/// A file as it is to be; without text it is to be gone.
struct File {
    path: String,
    text: Option<String>,
    mode: u32,
}

fn file(path: impl Into<String>, text: String, mode: u32) -> File {
    File { path: path.into(), text: Some(text), mode }
}

/// Each device, its VLANs after it.
fn with_vlans(interfaces: &[(String, Interface)]) -> Vec<(String, Interface)> {
    let devices = interfaces.iter().flat_map(|(device, interface)| {
        std::iter::once((device.clone(), interface.clone())).chain(vlans_of(device, interface))
    });
    devices.collect()
}

/// The cards of bonds by their names, for a service that knows devices by nothing else.
fn named_cards(interfaces: &[(String, Interface)]) -> Result<Vec<(MacAddress, String)>> {
    if interfaces.iter().all(|(_, interface)| interface.bond.is_none()) {
        return Ok(Vec::new());
    }
    let links = Netlink::open()?.links()?;
    let cards = links.into_iter().filter(|link| link.kind == LinkKind::Card);
    Ok(cards.map(|link| (link.mac, link.name)).collect())
}

/// A MAC as a part of a file's name.
fn plain(mac: MacAddress) -> String {
    mac.to_string().replace(':', "")
}

#[cfg(test)]
mod tests;

//! systemd-networkd's files: a `.network` for each device, a `.netdev` for each that is to be made
//! (systemd.network(5), systemd.netdev(5)).

use std::fmt::Write;

use mezame_model::document::Interface;

use super::{File, NOTE, file, plain};
use crate::platform::{
    Result,
    linux::{
        Linux,
        netlink::MIIMON_MS,
        network::{is_on_link, links::vlans_of, routes_of},
    },
};

const DIRECTORY: &str = "/etc/systemd/network";
const PREFIX: &str = "10-mezame-";

/// All files, and those of devices that are no longer to be made or to be in a bond.
pub(super) fn files(linux: &Linux, interfaces: &[(String, Interface)]) -> Result<Vec<File>> {
    let texts: Vec<(String, String)> =
        interfaces.iter().flat_map(|(device, interface)| networkd(device, interface)).collect();
    let path = |name: &str| format!("{DIRECTORY}/{name}");
    let is_wanted = |name: &str| texts.iter().any(|(wanted, _)| wanted == name);
    let mut files = Vec::new();
    let mut remove = |name: &str| files.push(File { path: path(name), text: None, mode: 0 });
    for name in linux.tree.list(DIRECTORY) {
        let Some(own) = name.strip_prefix(PREFIX).filter(|_| !is_wanted(&name)) else { continue };
        if let Some(stem) = own.strip_suffix(".netdev") {
            remove(&name);
            remove(&format!("{PREFIX}{stem}.network"));
        } else if own.ends_with(".network") {
            let text = linux.tree.text(&path(&name))?;
            if text.starts_with(NOTE) && text.contains("\nBond=") {
                remove(&name);
            }
        }
    }
    files.extend(texts.into_iter().map(|(name, text)| file(path(&name), text, 0o644)));
    Ok(files)
}

/// The files of an interface, by name and text.
pub(in crate::platform::linux) fn networkd(
    device: &str,
    interface: &Interface,
) -> Vec<(String, String)> {
    let vlans = vlans_of(device, interface);
    let more: String = vlans.iter().map(|(name, _)| format!("VLAN={name}\n")).collect();
    let mut files = Vec::new();
    let mut put = |name: &str, kind: &str, text: String| {
        files.push((format!("{PREFIX}{name}.{kind}"), text));
    };
    match &interface.bond {
        None => {
            // What lies on a card has its MAC: only without VLANs does the MAC name one device.
            let only = if vlans.is_empty() { "" } else { "\nType=ether" };
            let matching = format!("MACAddress={}{only}", interface.mac);
            put(&plain(interface.mac), "network", network(&matching, &more, interface));
        }
        Some(bond) => {
            for mac in &bond.members {
                let text = format!(
                    "{NOTE}[Match]\nMACAddress={mac}\nType=ether\n\n[Link]\nMTUBytes={}\n\n\
                     [Network]\nBond={device}\n",
                    interface.mtu
                );
                put(&plain(*mac), "network", text);
            }
            let text = format!(
                "{NOTE}[NetDev]\nName={device}\nKind=bond\n\n[Bond]\nMode={}\n\
                 MIIMonitorSec={MIIMON_MS}ms\nFailOverMACPolicy=active\n",
                bond.mode
            );
            put(device, "netdev", text);
            put(device, "network", network(&format!("Name={device}"), &more, interface));
        }
    }
    for (vlan, (name, inner)) in interface.vlans.iter().zip(&vlans) {
        let text = format!("{NOTE}[NetDev]\nName={name}\nKind=vlan\n\n[VLAN]\nId={}\n", vlan.id);
        put(name, "netdev", text);
        put(name, "network", network(&format!("Name={name}"), "", inner));
    }
    files
}

/// A `.network` file: the devices that it is for, and what else the network section says.
fn network(matching: &str, more: &str, interface: &Interface) -> String {
    let mut out = format!(
        "{NOTE}[Match]\n{matching}\n\n[Link]\nMTUBytes={}\n\n[Network]\nDHCP=no\n{more}",
        interface.mtu
    );
    for address in &interface.addresses {
        let _ = writeln!(out, "Address={address}");
    }
    for server in &interface.dns {
        let _ = writeln!(out, "DNS={server}");
    }
    if let Some(domain) = &interface.domain {
        let _ = writeln!(out, "Domains={domain}");
    }
    for gateway in &interface.gateways {
        let _ = writeln!(out, "\n[Route]\nGateway={gateway}");
        if !is_on_link(interface, *gateway) {
            out.push_str("GatewayOnLink=yes\n");
        }
    }
    for (destination, via) in routes_of(interface) {
        let _ = writeln!(out, "\n[Route]\nDestination={destination}");
        match via {
            Some(via) => {
                let _ = writeln!(out, "Gateway={via}");
                if !is_on_link(interface, via) {
                    out.push_str("GatewayOnLink=yes\n");
                }
            }
            None => out.push_str("Scope=link\n"),
        }
    }
    out
}

//! NetworkManager's keyfiles: a profile for each card, bond and VLAN (nm-settings-keyfile(5)).

use std::{fmt::Write, net::IpAddr};

use ipnetwork::IpNetwork;
use mezame_model::document::Interface;

use super::{File, NOTE, file, plain};
use crate::platform::{
    Result,
    linux::{
        Linux,
        netlink::MIIMON_MS,
        network::{links::vlans_of, routes_of},
    },
};

const DIRECTORY: &str = "/etc/NetworkManager/system-connections";

/// What a profile says that is to go once it is no longer wanted: a device would be made of it, or
/// given to one that is not.
const MAKING: [&str; 3] = ["\ntype=vlan\n", "\ntype=bond\n", "\nslave-type=bond\n"];

/// All profiles, and those of devices that are no longer to be made or to be in a bond.
pub(super) fn files(linux: &Linux, interfaces: &[(String, Interface)]) -> Result<Vec<File>> {
    let path = |name: &str| format!("{DIRECTORY}/{name}.nmconnection");
    let profiles: Vec<(String, String)> =
        interfaces.iter().flat_map(|(device, it)| network_manager(device, it)).collect();
    let mut files = Vec::new();
    for name in linux.tree.list(DIRECTORY) {
        let Some(name) = name.strip_suffix(".nmconnection") else { continue };
        let known = profiles.iter().any(|(wanted, _)| wanted == name);
        if known || !name.starts_with("mezame-") {
            continue;
        }
        let text = linux.tree.text(&path(name))?;
        if text.starts_with(NOTE) && MAKING.iter().any(|it| text.contains(it)) {
            files.push(File { path: path(name), text: None, mode: 0 });
        }
    }
    files.extend(profiles.into_iter().map(|(name, text)| file(path(&name), text, 0o600)));
    Ok(files)
}

/// The profiles of an interface, by name and text.
pub(in crate::platform::linux) fn network_manager(
    device: &str,
    interface: &Interface,
) -> Vec<(String, String)> {
    let mut profiles = Vec::new();
    match &interface.bond {
        None => {
            let name = format!("mezame-{}", plain(interface.mac));
            let mut text = head(&name, "ethernet", Some(device), "");
            let mac = interface.mac.to_string().to_uppercase();
            let _ = write!(text, "\n[ethernet]\nmac-address={mac}\nmtu={}\n", interface.mtu);
            addresses(&mut text, interface);
            profiles.push((name, text));
        }
        Some(bond) => {
            for mac in &bond.members {
                let name = format!("mezame-{}", plain(*mac));
                let more = format!("master={device}\nslave-type=bond\n");
                let mut text = head(&name, "ethernet", None, &more);
                let mac = mac.to_string().to_uppercase();
                let _ = write!(text, "\n[ethernet]\nmac-address={mac}\nmtu={}\n", interface.mtu);
                profiles.push((name, text));
            }
            let name = format!("mezame-{device}");
            let mut text = head(&name, "bond", Some(device), "");
            let _ = write!(
                text,
                "\n[ethernet]\nmtu={}\n\n[bond]\nmode={}\nmiimon={MIIMON_MS}\nfail_over_mac=active\n",
                interface.mtu, bond.mode
            );
            addresses(&mut text, interface);
            profiles.push((name, text));
        }
    }
    for (vlan, (own, inner)) in interface.vlans.iter().zip(vlans_of(device, interface)) {
        let name = format!("mezame-{own}");
        let mut text = head(&name, "vlan", Some(&own), "");
        let _ = write!(
            text,
            "\n[ethernet]\nmtu={}\n\n[vlan]\nid={}\nparent={device}\n",
            inner.mtu, vlan.id
        );
        addresses(&mut text, &inner);
        profiles.push((name, text));
    }
    profiles
}

fn head(name: &str, kind: &str, device: Option<&str>, more: &str) -> String {
    let device = device.map(|device| format!("interface-name={device}\n")).unwrap_or_default();
    format!("{NOTE}[connection]\nid={name}\ntype={kind}\n{device}autoconnect=true\n{more}")
}

/// The sections of both families.
fn addresses(out: &mut String, interface: &Interface) {
    for (section, v4, empty) in [("ipv4", true, "disabled"), ("ipv6", false, "link-local")] {
        let own = |address: &IpAddr| address.is_ipv4() == v4;
        let addresses: Vec<&IpNetwork> =
            interface.addresses.iter().filter(|it| own(&it.ip())).collect();
        let method = if addresses.is_empty() { empty } else { "manual" };
        let _ = write!(out, "\n[{section}]\nmethod={method}\n");
        let gateway = interface.gateways.iter().find(|it| own(it));
        for (at, address) in addresses.iter().enumerate() {
            let _ = write!(out, "address{}={address}", at + 1);
            if let (0, Some(gateway)) = (at, gateway) {
                let _ = write!(out, ",{gateway}");
            }
            out.push('\n');
        }
        // Without an address in the section its routes would be refused.
        let routes = routes_of(interface).into_iter().filter(|(to, _)| to.is_ipv4() == v4);
        for (at, (destination, via)) in routes.filter(|_| !addresses.is_empty()).enumerate() {
            let via = via.map(|via| format!(",{via}")).unwrap_or_default();
            let _ = writeln!(out, "route{}={destination}{via}", at + 1);
        }
        let dns: Vec<&IpAddr> = interface.dns.iter().filter(|it| own(it)).collect();
        if !dns.is_empty() && !addresses.is_empty() {
            let _ = writeln!(out, "dns={};", joined(&dns, ";"));
        }
        if let (Some(domain), false) = (&interface.domain, addresses.is_empty()) {
            let _ = writeln!(out, "dns-search={domain};");
        }
    }
}

fn joined<T: ToString>(list: &[T], by: &str) -> String {
    list.iter().map(ToString::to_string).collect::<Vec<_>>().join(by)
}

//! The way back: what `netsh` is told so that an adapter becomes again what it was.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::{
    Now, Way, address_v6, by_dhcp, command, default_v6, dns, mtu, of_family, route, set_v4, usable,
    v4_of,
};

/// The commands that bring an adapter from what it is now to what it was before; none where it is
/// so. What the network itself tells (DHCP, router advertisements) comes back by itself.
pub fn restore(device: &str, before: &Now, now: &Now) -> Vec<Vec<String>> {
    let mut out = Vec::new();
    if now.mtu != before.mtu {
        mtu(device, before.mtu, now.has_v6, &mut out);
    }
    let new = |way: &&Way| !before.routes.contains(way) && usable(way.1, now);
    out.extend(now.routes.iter().filter(new).map(|way| route("delete", device, way)));
    let reset = restore_v4(device, before, now, &mut out);
    if now.has_v6 {
        restore_v6(device, before, now, &mut out);
    }
    // With the addresses of IPv4 their routes went.
    let gone = |way: &&Way| !now.routes.contains(way) || (reset && way.1.is_ipv4());
    let back = before.routes.iter().filter(gone).filter(|way| usable(way.1, now));
    out.extend(back.map(|way| route("add", device, way)));
    for (is_v4, was_fixed) in [(true, before.fixed_dns[0]), (false, before.fixed_dns[1])] {
        let (old, new) = (of_family(&before.dns, is_v4), of_family(&now.dns, is_v4));
        let is_fixed = now.fixed_dns[usize::from(!is_v4)];
        if (old == new && was_fixed == is_fixed) || !(is_v4 || now.has_v6) {
            continue;
        }
        if was_fixed && !old.is_empty() {
            dns(device, is_v4, &old, &mut out);
        } else if is_fixed {
            out.push(dns_by_dhcp(device, is_v4));
        }
    }
    out
}

/// Says whether the addresses were set anew.
fn restore_v4(device: &str, before: &Now, now: &Now, out: &mut Vec<Vec<String>>) -> bool {
    let router = |list: &[IpAddr]| list.iter().find(|address| address.is_ipv4()).copied();
    if before.dhcp {
        if !now.dhcp {
            out.push(by_dhcp(device));
        }
        return !now.dhcp;
    }
    let (mut was, mut is) = (v4_of(&before.addresses), v4_of(&now.addresses));
    was.sort();
    is.sort();
    if was == is && !now.dhcp && router(&before.gateways) == router(&now.gateways) {
        return false;
    }
    // In their old order: the first is the primary one.
    set_v4(device, &v4_of(&before.addresses), router(&before.gateways), out);
    true
}

fn restore_v6(device: &str, before: &Now, now: &Now, out: &mut Vec<Vec<String>>) {
    let v6 = |network: &&IpNetwork| network.is_ipv6() && !is_link_local(network);
    let router = |address: &&IpAddr| address.is_ipv6();
    let new = now.gateways.iter().filter(router).filter(|it| !before.gateways.contains(it));
    out.extend(new.map(|it| default_v6("delete", device, *it)));
    let new = now.manual.iter().filter(v6).filter(|it| !before.addresses.contains(it));
    out.extend(new.map(|it| address_v6("delete", device, *it)));
    let gone = before.manual.iter().filter(v6).filter(|it| !now.addresses.contains(it));
    out.extend(gone.map(|it| address_v6("add", device, *it)));
    let gone = before.gateways.iter().filter(router).filter(|it| !now.gateways.contains(it));
    out.extend(gone.map(|it| default_v6("add", device, *it)));
}

fn is_link_local(network: &IpNetwork) -> bool {
    matches!(network.ip(), IpAddr::V6(address) if address.is_unicast_link_local())
}

fn dns_by_dhcp(device: &str, is_v4: bool) -> Vec<String> {
    let family = if is_v4 { "ipv4" } else { "ipv6" };
    let name = format!("name={device}");
    command(&["interface", family, "set", "dnsservers", &name, "source=dhcp"])
}

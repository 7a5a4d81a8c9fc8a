//! What `netsh` is told, so that an adapter becomes what the document says. Pure.
//!
//! netsh keeps what it sets, so the same words serve for now and for the next boot (Microsoft,
//! "netsh interface"). Each command is a list of words: nothing goes through a shell.

use std::net::{IpAddr, Ipv4Addr};

use ipnetwork::{IpNetwork, Ipv4Network};
use mezame_model::document::Interface;

/// An adapter as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Now {
    /// In bytes.
    pub mtu: u32,
    /// With their prefix lengths.
    pub addresses: Vec<IpNetwork>,
    /// Default routers.
    pub gateways: Vec<IpAddr>,
    /// Resolvers.
    pub dns: Vec<IpAddr>,
}

/// The commands for an adapter; none where it is so already.
pub fn commands(device: &str, wanted: &Interface, now: &Now) -> Vec<Vec<String>> {
    let mut out = Vec::new();
    let name = format!("name={device}");
    if now.mtu != u32::from(wanted.mtu) {
        for family in ["ipv4", "ipv6"] {
            let mtu = format!("mtu={}", wanted.mtu);
            let words = ["interface", family, "set", "subinterface", device, &mtu];
            out.push(command(&[&words[..], &["store=persistent"]].concat()));
        }
    }
    ipv4(device, wanted, now, &mut out);
    ipv6(device, wanted, now, &mut out);
    for (family, is_v4) in [("ipv4", true), ("ipv6", false)] {
        let of_family = |list: &[IpAddr]| -> Vec<IpAddr> {
            list.iter().copied().filter(|address| address.is_ipv4() == is_v4).collect()
        };
        let dns = of_family(&wanted.dns);
        if dns.is_empty() || dns == of_family(&now.dns) {
            continue;
        }
        for (at, server) in dns.iter().enumerate() {
            let address = format!("address={server}");
            let index = format!("index={}", at + 1);
            let first =
                ["interface", family, "set", "dnsservers", &name, "source=static", &address];
            let other = ["interface", family, "add", "dnsservers", &name, &address, &index];
            let words = if at == 0 { &first } else { &other };
            out.push(command(&[&words[..], &["validate=no"]].concat()));
        }
    }
    out
}

fn ipv4(device: &str, wanted: &Interface, now: &Now, out: &mut Vec<Vec<String>>) {
    let of = |list: &[IpNetwork]| -> Vec<Ipv4Network> {
        let v4 = |network: &IpNetwork| match network {
            IpNetwork::V4(v4) => Some(*v4),
            IpNetwork::V6(_) => None,
        };
        list.iter().filter_map(v4).collect()
    };
    let router = |list: &[IpAddr]| list.iter().find(|address| address.is_ipv4()).copied();
    let addresses = of(&wanted.addresses);
    let gateway = router(&wanted.gateways);
    // One that Windows has given itself (RFC 3927) goes by itself.
    let mut have = of(&now.addresses);
    have.retain(|network| !network.ip().is_link_local());
    have.sort();
    let mut sorted = addresses.clone();
    sorted.sort();
    let Some((first, others)) = addresses.split_first() else { return };
    if sorted == have && (gateway.is_none() || gateway == router(&now.gateways)) {
        return;
    }
    let name = format!("name={device}");
    let words = |network: &Ipv4Network| {
        let mask: Ipv4Addr = network.mask();
        [format!("address={}", network.ip()), format!("mask={mask}")]
    };
    // `set` takes away the addresses and the router that are there.
    let [address, mask] = words(first);
    let mut set = command(&["interface", "ipv4", "set", "address", &name, "source=static"]);
    set.extend([address, mask]);
    set.extend(gateway.map(|gateway| format!("gateway={gateway}")));
    out.push(set);
    for network in others {
        let [address, mask] = words(network);
        out.push(command(&["interface", "ipv4", "add", "address", &name, &address, &mask]));
    }
}

fn ipv6(device: &str, wanted: &Interface, now: &Now, out: &mut Vec<Vec<String>>) {
    let interface = format!("interface={device}");
    let wanted_v6 = wanted.addresses.iter().filter(|network| network.is_ipv6());
    for network in wanted_v6.filter(|network| !now.addresses.contains(network)) {
        let address = format!("address={}/{}", network.ip(), network.prefix());
        out.push(command(&["interface", "ipv6", "add", "address", &interface, &address]));
    }
    let routers = wanted.gateways.iter().filter(|address| address.is_ipv6());
    for router in routers.filter(|router| !now.gateways.contains(router)) {
        let hop = format!("nexthop={router}");
        out.push(command(&["interface", "ipv6", "add", "route", "::/0", &interface, &hop]));
    }
}

fn command(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface() -> Interface {
        Interface {
            mac: "52:54:00:00:00:01".parse().unwrap(),
            mtu: 1450,
            addresses: ["192.168.0.10/24", "192.168.0.11/24", "2001:db8::10/64"]
                .map(|text| text.parse().unwrap())
                .into(),
            gateways: ["192.168.0.1", "fe80::1"].map(|text| text.parse().unwrap()).into(),
            dns: ["192.168.0.2", "192.168.0.3", "2001:db8::2"]
                .map(|text| text.parse().unwrap())
                .into(),
            domain: None,
            routes: Vec::new(),
            vlans: Vec::new(),
            bond: None,
        }
    }

    fn lines(commands: &[Vec<String>]) -> Vec<String> {
        commands.iter().map(|words| words.join("|")).collect()
    }

    #[test]
    fn a_fresh_adapter_is_told_everything_and_one_that_is_so_nothing() {
        let now =
            Now { mtu: 1500, addresses: vec!["169.254.3.4/16".parse().unwrap()], ..Now::default() };
        assert_eq!(
            lines(&commands("Ethernet 2", &interface(), &now)),
            [
                "interface|ipv4|set|subinterface|Ethernet 2|mtu=1450|store=persistent",
                "interface|ipv6|set|subinterface|Ethernet 2|mtu=1450|store=persistent",
                "interface|ipv4|set|address|name=Ethernet 2|source=static|address=192.168.0.10|\
                 mask=255.255.255.0|gateway=192.168.0.1",
                "interface|ipv4|add|address|name=Ethernet 2|address=192.168.0.11|\
                 mask=255.255.255.0",
                "interface|ipv6|add|address|interface=Ethernet 2|address=2001:db8::10/64",
                "interface|ipv6|add|route|::/0|interface=Ethernet 2|nexthop=fe80::1",
                "interface|ipv4|set|dnsservers|name=Ethernet 2|source=static|address=192.168.0.2|\
                 validate=no",
                "interface|ipv4|add|dnsservers|name=Ethernet 2|address=192.168.0.3|index=2|\
                 validate=no",
                "interface|ipv6|set|dnsservers|name=Ethernet 2|source=static|address=2001:db8::2|\
                 validate=no",
            ]
        );
        let wanted = interface();
        let mut done = Now {
            mtu: 1450,
            addresses: wanted.addresses.clone(),
            gateways: wanted.gateways.clone(),
            dns: wanted.dns.clone(),
        };
        assert!(commands("Ethernet 2", &wanted, &done).is_empty());
        // Windows may list its addresses in another order, and keeps its link-local ones.
        done.addresses.reverse();
        done.addresses.push("fe80::5054:ff:fe00:1/64".parse().unwrap());
        assert!(commands("Ethernet 2", &wanted, &done).is_empty());
    }

    #[test]
    fn a_document_without_ipv4_leaves_what_dhcp_has_given() {
        let wanted = Interface { addresses: Vec::new(), gateways: Vec::new(), ..interface() };
        let now = Now {
            mtu: 1450,
            addresses: vec!["10.0.0.7/24".parse().unwrap()],
            dns: wanted.dns.clone(),
            ..Now::default()
        };
        assert!(commands("e", &wanted, &now).is_empty());
    }
}

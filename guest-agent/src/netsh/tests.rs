//! What netsh is told, word by word.

use super::*;

const E: &str = "Ethernet 2";

fn interface() -> Interface {
    Interface {
        mac: "52:54:00:00:00:01".parse().unwrap(),
        mtu: 1450,
        addresses: nets(&["192.168.0.10/24", "192.168.0.11/24", "2001:db8::10/64"]),
        gateways: ips(&["192.168.0.1", "fe80::1"]),
        dns: ips(&["192.168.0.2", "192.168.0.3", "2001:db8::2"]),
        domain: None,
        routes: Vec::new(),
        vlans: Vec::new(),
        bond: None,
    }
}

fn nets(list: &[&str]) -> Vec<IpNetwork> {
    list.iter().map(|text| text.parse().unwrap()).collect()
}

fn ips(list: &[&str]) -> Vec<IpAddr> {
    list.iter().map(|text| text.parse().unwrap()).collect()
}

fn lines(commands: &[Vec<String>]) -> Vec<String> {
    commands.iter().map(|words| words.join("|")).collect()
}

/// An adapter that is what a document says, and was set so by the agent.
fn done(wanted: &Interface) -> Now {
    Now {
        mtu: u32::from(wanted.mtu),
        addresses: wanted.addresses.clone(),
        manual: wanted.addresses.clone(),
        gateways: wanted.gateways.clone(),
        routes: ways(wanted),
        dns: wanted.dns.clone(),
        dhcp: false,
        fixed_dns: [true, true],
        has_v6: true,
    }
}

fn fresh() -> Now {
    Now {
        mtu: 1500,
        addresses: nets(&["169.254.3.4/16"]),
        dhcp: true,
        has_v6: true,
        ..Now::default()
    }
}

#[test]
fn a_fresh_adapter_is_told_everything_and_one_that_is_so_nothing() {
    let mut wanted = interface();
    wanted.routes = serde_json::from_str(
        r#"[{"destination": "10.1.0.0/16", "via": "192.168.0.9"},
            {"destination": "2001:db8:1::/48", "via": "2001:db8::9"}]"#,
    )
    .unwrap();
    assert_eq!(
        lines(&commands(E, &wanted, &Ours::default(), &fresh())),
        [
            "interface|ipv4|set|subinterface|Ethernet 2|mtu=1450|store=persistent",
            "interface|ipv6|set|subinterface|Ethernet 2|mtu=1450|store=persistent",
            "interface|ipv4|set|address|name=Ethernet 2|source=static|address=192.168.0.10|\
             mask=255.255.255.0|gateway=192.168.0.1",
            "interface|ipv4|add|address|name=Ethernet 2|address=192.168.0.11|mask=255.255.255.0",
            "interface|ipv6|add|address|interface=Ethernet 2|address=2001:db8::10/64",
            "interface|ipv6|add|route|::/0|interface=Ethernet 2|nexthop=fe80::1",
            "interface|ipv4|add|route|10.1.0.0/16|interface=Ethernet 2|nexthop=192.168.0.9",
            "interface|ipv6|add|route|2001:db8:1::/48|interface=Ethernet 2|nexthop=2001:db8::9",
            "interface|ipv4|set|dnsservers|name=Ethernet 2|source=static|address=192.168.0.2|\
             validate=no",
            "interface|ipv4|add|dnsservers|name=Ethernet 2|address=192.168.0.3|index=2|\
             validate=no",
            "interface|ipv6|set|dnsservers|name=Ethernet 2|source=static|address=2001:db8::2|\
             validate=no",
        ]
    );
    let ours = Ours::of(&wanted);
    let mut now = done(&wanted);
    assert!(commands(E, &wanted, &ours, &now).is_empty());
    // Windows may list its addresses in another order, and keeps its link-local ones.
    now.addresses.reverse();
    now.addresses.push("fe80::5054:ff:fe00:1/64".parse().unwrap());
    assert!(commands(E, &wanted, &ours, &now).is_empty());
}

#[test]
fn what_the_record_no_longer_has_goes_and_what_others_have_set_stays() {
    let mut old = interface();
    old.routes =
        serde_json::from_str(r#"[{"destination": "10.1.0.0/16", "via": "192.168.0.9"}]"#).unwrap();
    let (ours, mut now) = (Ours::of(&old), done(&old));
    // Somebody's own, and what the network tells.
    now.addresses.extend(nets(&["2001:db8::99/64", "2001:db8::a:b/64"]));
    now.manual.extend(nets(&["2001:db8::99/64"]));
    now.gateways.extend(ips(&["fe80::2"]));
    now.routes.push(("10.9.0.0/16".parse().unwrap(), "192.168.0.7".parse().unwrap()));
    let mut wanted = interface();
    wanted.addresses = nets(&["192.168.0.10/24", "192.168.0.11/24", "2001:db8::20/64"]);
    wanted.gateways = ips(&["192.168.0.1", "fe80::3"]);
    assert_eq!(
        lines(&commands(E, &wanted, &ours, &now)),
        [
            "interface|ipv4|delete|route|10.1.0.0/16|interface=Ethernet 2|nexthop=192.168.0.9",
            "interface|ipv6|delete|route|::/0|interface=Ethernet 2|nexthop=fe80::1",
            "interface|ipv6|delete|address|interface=Ethernet 2|address=2001:db8::10",
            "interface|ipv6|add|address|interface=Ethernet 2|address=2001:db8::20/64",
            "interface|ipv6|add|route|::/0|interface=Ethernet 2|nexthop=fe80::3",
        ]
    );
    // Nothing of it was the agent's: nothing goes.
    let told = lines(&commands(E, &wanted, &Ours::default(), &now));
    assert!(told.iter().all(|line| !line.contains("delete")), "{told:?}");
}

#[test]
fn a_router_of_ipv4_goes_where_the_agent_has_set_it() {
    let wanted = Interface { gateways: ips(&["fe80::1"]), ..interface() };
    let now = done(&interface());
    let told = lines(&commands(E, &wanted, &Ours::of(&interface()), &now));
    assert!(told[0].ends_with("address=192.168.0.10|mask=255.255.255.0|gateway=none"), "{told:?}");
    assert!(commands(E, &wanted, &Ours::default(), &now).is_empty(), "it is somebody's own");
}

#[test]
fn a_document_without_ipv4_leaves_what_dhcp_has_given_and_takes_back_its_own() {
    let wanted = Interface { addresses: Vec::new(), gateways: Vec::new(), ..interface() };
    let mut now = Now { dhcp: true, ..done(&interface()) };
    now.addresses = nets(&["10.0.0.7/24"]);
    now.gateways = ips(&["10.0.0.1"]);
    assert!(commands(E, &wanted, &Ours::default(), &now).is_empty());
    let now = Now { gateways: Vec::new(), ..done(&interface()) };
    let ours = Ours::of(&interface());
    assert_eq!(
        lines(&commands(E, &wanted, &ours, &now)),
        [
            "interface|ipv4|set|address|name=Ethernet 2|source=dhcp",
            "interface|ipv6|delete|address|interface=Ethernet 2|address=2001:db8::10",
        ]
    );
    assert!(
        commands(E, &wanted, &Ours::default(), &now).is_empty(),
        "fixed addresses that somebody else has set stay"
    );
}

#[test]
fn an_adapter_without_ipv6_is_told_nothing_of_it() {
    let now = Now { has_v6: false, ..fresh() };
    let told = lines(&commands(E, &interface(), &Ours::of(&interface()), &now));
    assert!(told.len() > 3 && told.iter().all(|line| !line.contains("ipv6")), "{told:?}");
    let before = Now { has_v6: false, ..done(&interface()) };
    let told = lines(&restore(E, &before, &now));
    assert!(told.iter().all(|line| !line.contains("ipv6")), "{told:?}");
    assert!(wants_v6(&interface()));
    // Nor of an MTU that it can't have.
    let wanted = Interface { mtu: 1000, ..interface() };
    let told = lines(&commands(E, &wanted, &Ours::default(), &fresh()));
    assert!(told.iter().all(|line| !line.contains("mtu") || line.contains("ipv4")), "{told:?}");
}

#[test]
fn the_way_back_undoes_a_change_and_leaves_what_the_network_tells() {
    let before = Now {
        mtu: 1500,
        addresses: nets(&["10.0.0.7/24", "2001:db8::7/64", "fe80::7/64", "2001:db8::aa/64"]),
        manual: nets(&["2001:db8::7/64"]),
        gateways: ips(&["10.0.0.1", "fe80::9"]),
        routes: vec![("10.5.0.0/16".parse().unwrap(), "10.0.0.5".parse().unwrap())],
        dns: ips(&["10.0.0.2"]),
        dhcp: true,
        fixed_dns: [false, false],
        has_v6: true,
    };
    let mut now = done(&interface());
    now.addresses.extend(nets(&["fe80::7/64", "2001:db8::aa/64"]));
    assert_eq!(
        lines(&restore(E, &before, &now)),
        [
            "interface|ipv4|set|subinterface|Ethernet 2|mtu=1500|store=persistent",
            "interface|ipv6|set|subinterface|Ethernet 2|mtu=1500|store=persistent",
            "interface|ipv4|set|address|name=Ethernet 2|source=dhcp",
            "interface|ipv6|delete|route|::/0|interface=Ethernet 2|nexthop=fe80::1",
            "interface|ipv6|delete|address|interface=Ethernet 2|address=2001:db8::10",
            "interface|ipv6|add|address|interface=Ethernet 2|address=2001:db8::7/64",
            "interface|ipv6|add|route|::/0|interface=Ethernet 2|nexthop=fe80::9",
            "interface|ipv4|add|route|10.5.0.0/16|interface=Ethernet 2|nexthop=10.0.0.5",
            "interface|ipv4|set|dnsservers|name=Ethernet 2|source=dhcp",
            "interface|ipv6|set|dnsservers|name=Ethernet 2|source=dhcp",
        ]
    );
    assert!(restore(E, &before, &before).is_empty());
}

#[test]
fn fixed_addresses_come_back_in_their_old_order_with_router_and_resolvers() {
    let before = Now { dns: ips(&["192.168.0.2"]), ..done(&interface()) };
    let wanted = Interface {
        addresses: nets(&["10.7.0.1/24"]),
        gateways: ips(&["10.7.0.254"]),
        dns: ips(&["10.7.0.2"]),
        ..interface()
    };
    let now = Now { has_v6: true, ..done(&wanted) };
    let told = lines(&restore(E, &before, &now));
    assert_eq!(
        told[..2],
        [
            "interface|ipv4|set|address|name=Ethernet 2|source=static|address=192.168.0.10|\
             mask=255.255.255.0|gateway=192.168.0.1",
            "interface|ipv4|add|address|name=Ethernet 2|address=192.168.0.11|mask=255.255.255.0",
        ]
    );
    let dns = "interface|ipv4|set|dnsservers|name=Ethernet 2|source=static|address=192.168.0.2";
    assert!(told.iter().any(|line| line.starts_with(dns)), "{told:?}");
    // What the agent may take away is kept until it is known how far a change came.
    let both = Ours::of(&interface()).and(&Ours::of(&wanted));
    assert_eq!(both.addresses.len(), 4);
    assert_eq!(both.and(&both), both);
}

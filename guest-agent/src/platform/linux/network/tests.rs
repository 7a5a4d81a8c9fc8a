//! A network of IPv6 alone: set now, and written down for each service.

use ipnetwork::IpNetwork;

use super::*;
use crate::platform::linux::{link_local6::tests::with_devices, persist};

fn only_v6() -> Interface {
    Interface {
        mac: "52:54:00:00:00:01".parse().unwrap(),
        mtu: 1450,
        addresses: vec!["2001:db8::10/64".parse().unwrap()],
        gateways: vec!["fe80::1".parse().unwrap()],
        dns: vec!["2001:db8::53".parse().unwrap(), "fe80::53".parse().unwrap()],
        domain: None,
        routes: Vec::new(),
        vlans: Vec::new(),
        bond: None,
    }
}

fn resolv_conf(device: &str, interface: &Interface) -> String {
    resolver::text(&[(device.to_owned(), interface.clone())])
}

fn route(destination: &str, via: &str) -> mezame_model::Route {
    mezame_model::Route { destination: destination.parse().unwrap(), via: via.parse().unwrap() }
}

#[test]
fn a_link_local_gateway_is_set_with_its_device_and_taken_back_with_the_document() {
    with_devices(|_, [device, _]| {
        let root = tempfile::tempdir().unwrap();
        let tree = Tree::open(root.path()).unwrap();
        let mut interface = only_v6();
        assert_eq!(configure(&tree, device, &interface).unwrap(), Change::Changed);
        assert_eq!(configure(&tree, device, &interface).unwrap(), Change::Same);
        let mut netlink = Netlink::open().unwrap();
        let link = netlink.link(device).unwrap();
        assert!(link.addresses.contains(&interface.addresses[0]));
        let default: (IpNetwork, _) = ("::/0".parse().unwrap(), Some(interface.gateways[0]));
        let routes = netlink.routes(link.index).unwrap();
        assert!(routes.contains(&default), "{routes:?}");
        let extra: (IpNetwork, _) = (interface.gateways[0].into(), None);
        assert!(!routes.contains(&extra), "a route that nobody needs: {routes:?}");
        let text = resolv_conf(device, &interface);
        let wanted = format!("nameserver 2001:db8::53\nnameserver fe80::53%{device}\n");
        assert!(text.ends_with(&wanted), "{text}");
        interface.gateways.clear();
        assert_eq!(configure(&tree, device, &interface).unwrap(), Change::Changed);
        assert!(!netlink.routes(link.index).unwrap().contains(&default));
    });
}

#[test]
fn a_default_route_that_a_router_advertised_does_not_stand_in_for_the_documents() {
    with_devices(|linux, [device, _]| {
        let root = tempfile::tempdir().unwrap();
        let tree = Tree::open(root.path()).unwrap();
        let link: IpAddr = crate::endpoint::LINK_V6.into();
        crate::platform::Platform::open_path(linux, device, link).unwrap();
        let arguments = format!("-6 route add default via fe80::1 dev {device} proto ra");
        let made = std::process::Command::new("ip").args(arguments.split(' ')).status().unwrap();
        assert!(made.success(), "ip {arguments}");
        let mut netlink = Netlink::open().unwrap();
        let index = netlink.link(device).unwrap().index;
        let default = ("::/0".parse().unwrap(), Some("fe80::1".parse().unwrap()));
        assert!(!netlink.routes(index).unwrap().contains(&default));
        configure(&tree, device, &only_v6()).unwrap();
        assert!(netlink.routes(index).unwrap().contains(&default));
        assert_eq!(configure(&tree, device, &only_v6()).unwrap(), Change::Same);
    });
}

#[test]
fn a_gateway_of_ipv6_outside_the_subnets_is_reached_on_the_link() {
    with_devices(|_, [device, _]| {
        let root = tempfile::tempdir().unwrap();
        let tree = Tree::open(root.path()).unwrap();
        let gateways = vec!["2001:db8:1::1".parse().unwrap()];
        let interface = Interface { gateways, ..only_v6() };
        configure(&tree, device, &interface).unwrap();
        let mut netlink = Netlink::open().unwrap();
        let index = netlink.link(device).unwrap().index;
        let routes = netlink.routes(index).unwrap();
        assert!(routes.contains(&("2001:db8:1::1/128".parse().unwrap(), None)), "{routes:?}");
        assert!(routes.contains(&("::/0".parse().unwrap(), Some(interface.gateways[0]))));
    });
}

#[test]
fn each_network_service_is_told_of_a_network_of_ipv6_alone() {
    let interface = only_v6();
    let list = [("eth0".to_owned(), interface.clone())];
    let netplan = persist::netplan(&list);
    assert!(netplan.contains("addresses: [\"2001:db8::10/64\"]"), "{netplan}");
    assert!(netplan.contains("- to: default\n          via: \"fe80::1\"\n"), "{netplan}");
    assert!(netplan.contains("addresses: [\"2001:db8::53\", \"fe80::53\"]"), "{netplan}");
    let networkd = persist::networkd("eth0", &interface).remove(0).1;
    assert!(networkd.contains("Address=2001:db8::10/64\nDNS=2001:db8::53\n"), "{networkd}");
    assert!(networkd.ends_with("[Route]\nGateway=fe80::1\n"), "{networkd}");
    assert!(!netplan.contains("on-link") && !networkd.contains("OnLink"));
    let manager = persist::network_manager("eth0", &interface).remove(0).1;
    assert!(manager.contains("[ipv4]\nmethod=disabled\n"), "{manager}");
    let wanted = "[ipv6]\nmethod=manual\naddress1=2001:db8::10/64,fe80::1\n\
        dns=2001:db8::53;fe80::53;\n";
    assert!(manager.contains(wanted), "{manager}");
    let ifupdown = persist::ifupdown(&list, &[]);
    let wanted = "iface eth0 inet6 static\n    address 2001:db8::10/64\n    mtu 1450\n    \
        gateway fe80::1\n    dns-nameservers 2001:db8::53 fe80::53%eth0\n";
    assert!(ifupdown.contains(wanted) && !ifupdown.contains("inet static"), "{ifupdown}");
}

#[test]
fn further_routes_are_written_down_for_each_service() {
    let mut interface = only_v6();
    interface.addresses.push("10.0.0.9/24".parse().unwrap());
    interface.dns = vec!["169.254.169.253".parse().unwrap()];
    interface.routes = vec![route("10.20.0.0/16", "10.0.0.2"), route("2001:db8:9::/48", "fe80::2")];
    let list = [("eth0".to_owned(), interface.clone())];
    let netplan = persist::netplan(&list);
    assert!(netplan.contains("- to: \"10.20.0.0/16\"\n          via: \"10.0.0.2\"\n"), "{netplan}");
    let on_link = "- to: \"169.254.169.253/32\"\n          scope: link\n";
    assert!(netplan.contains(on_link), "{netplan}");
    let networkd = persist::networkd("eth0", &interface).remove(0).1;
    let wanted = "[Route]\nDestination=10.20.0.0/16\nGateway=10.0.0.2\n";
    assert!(networkd.contains(wanted), "{networkd}");
    assert!(networkd.ends_with("[Route]\nDestination=169.254.169.253/32\nScope=link\n"));
    let manager = persist::network_manager("eth0", &interface).remove(0).1;
    let wanted = "route1=10.20.0.0/16,10.0.0.2\nroute2=169.254.169.253/32\n";
    assert!(manager.contains(wanted), "{manager}");
    assert!(manager.contains("route1=2001:db8:9::/48,fe80::2\n"), "{manager}");
    let ifupdown = persist::ifupdown(&list, &[]);
    for line in [
        "up ip -4 route replace 10.20.0.0/16 via 10.0.0.2 dev eth0 onlink\n",
        "up ip -4 route replace 169.254.169.253/32 dev eth0\n",
        "up ip -6 route replace 2001:db8:9::/48 via fe80::2 dev eth0 onlink\n",
    ] {
        assert_eq!(ifupdown.matches(line).count(), 1, "{ifupdown}");
    }
    let bare = Interface { addresses: Vec::new(), routes: Vec::new(), ..interface };
    let text = persist::ifupdown(&[("eth0".to_owned(), bare)], &[]);
    assert!(text.contains("iface eth0 inet manual\n"), "{text}");
}

#[test]
fn ifupdown_names_each_gateway_once_with_an_address_of_its_family() {
    let mut interface = only_v6();
    interface.addresses.insert(0, "10.0.0.9/32".parse().unwrap());
    interface.addresses.push("2001:db8::11/64".parse().unwrap());
    interface.gateways.push("10.0.0.1".parse().unwrap());
    let text = persist::ifupdown(&[("eth0".to_owned(), interface)], &[]);
    assert_eq!(text.matches("gateway ").count(), 2, "{text}");
    assert!(text.contains("address 10.0.0.9/32\n    mtu 1450\n    gateway 10.0.0.1"), "{text}");
    assert!(text.contains("address 2001:db8::10/64\n    mtu 1450\n    gateway fe80::1"), "{text}");
}

#[test]
fn a_resolver_on_the_ipv4_link_is_named_only_where_a_packet_gets_there() {
    let service: IpAddr = "169.254.169.253".parse().unwrap();
    let mut interface = Interface { dns: vec![service], ..only_v6() };
    assert!(!resolv_conf("eth0", &interface).contains("nameserver"));
    interface.gateways.push("192.168.0.1".parse().unwrap());
    assert!(resolv_conf("eth0", &interface).ends_with("nameserver 169.254.169.253\n"));
    assert!(routes_of(&interface).is_empty(), "a router leads there");
    interface.gateways.clear();
    interface.addresses.push("169.254.7.7/16".parse().unwrap());
    assert!(resolv_conf("eth0", &interface).ends_with("nameserver 169.254.169.253\n"));
    assert!(routes_of(&interface).is_empty(), "it is on that address's link");
    interface.addresses[1] = "10.0.0.9/24".parse().unwrap();
    assert!(resolv_conf("eth0", &interface).ends_with("nameserver 169.254.169.253\n"));
    assert_eq!(routes_of(&interface), [(service.into(), None)]);
}

#[test]
fn a_vlan_leads_to_no_resolver_of_the_platforms() {
    let of = |text: &str| text.parse::<IpAddr>().unwrap();
    let dns = ["169.254.169.253", "169.254.7.7", "fd00:ec2::253", "10.1.0.2"];
    let vlan = serde_json::json!({"id": 7, "mtu": 1450, "addresses": ["10.1.0.10/20"], "dns": dns});
    let mut card = Interface { dns: vec![of(dns[0])], ..only_v6() };
    card.vlans.push(serde_json::from_value(vlan).unwrap());
    let [(name, given)] = &links::vlans_of("eth0", &card)[..] else { panic!("one VLAN") };
    assert_eq!(name, "eth0.7");
    assert_eq!(given.dns, [of("169.254.7.7"), of("10.1.0.2")]);
    // Its own link's are reached as before.
    assert_eq!(routes_of(given), [(of("169.254.7.7").into(), None)]);
}

#[test]
fn resolvers_of_several_cards_are_one_list_in_order_and_each_once() {
    let of = |dns: &[&str], domain: &str| Interface {
        dns: dns.iter().map(|it| it.parse().unwrap()).collect(),
        domain: Some(domain.into()),
        ..only_v6()
    };
    let list = [
        ("eth0".to_owned(), of(&["2001:db8::1", "fe80::1"], "one.example")),
        ("eth1".to_owned(), of(&[], "unheard.example")),
        ("eth2".to_owned(), of(&["2001:db8::1", "fe80::1", "2001:db8::2"], "two.example")),
    ];
    let text = resolver::text(&list);
    assert!(text.contains("search one.example two.example\n"), "{text}");
    let wanted = "nameserver 2001:db8::1\nnameserver fe80::1%eth0\nnameserver fe80::1%eth2\n";
    assert!(text.ends_with(wanted), "{text}");
}

#[test]
fn further_routes_are_set_with_their_routers_and_taken_back_with_the_document() {
    with_devices(|_, [device, _]| {
        let root = tempfile::tempdir().unwrap();
        let tree = Tree::open(root.path()).unwrap();
        let mut interface = only_v6();
        interface.addresses.push("10.0.0.9/24".parse().unwrap());
        interface.dns.push("169.254.169.253".parse().unwrap());
        interface.routes = vec![
            route("10.20.0.0/16", "10.0.0.2"),
            route("10.30.0.0/16", "10.9.9.9"),
            route("2001:db8:9::/48", "fe80::2"),
        ];
        assert_eq!(configure(&tree, device, &interface).unwrap(), Change::Changed);
        assert_eq!(configure(&tree, device, &interface).unwrap(), Change::Same);
        let mut netlink = Netlink::open().unwrap();
        let index = netlink.link(device).unwrap().index;
        let routes = netlink.routes(index).unwrap();
        for (to, via) in [
            ("10.20.0.0/16", Some("10.0.0.2")),
            ("10.30.0.0/16", Some("10.9.9.9")),
            ("10.9.9.9/32", None),
            ("2001:db8:9::/48", Some("fe80::2")),
            ("169.254.169.253/32", None),
        ] {
            let wanted = (to.parse().unwrap(), via.map(|it| it.parse().unwrap()));
            assert!(routes.contains(&wanted), "{to}: {routes:?}");
        }
        // By hand, and so not the agent's to take away.
        let by_hand = "route add 10.40.0.0/16 via 10.0.0.3";
        std::process::Command::new("ip").args(by_hand.split(' ')).status().unwrap();
        interface.routes.remove(0);
        assert_eq!(configure(&tree, device, &interface).unwrap(), Change::Changed);
        let routes = netlink.routes(index).unwrap();
        let gone = ("10.20.0.0/16".parse().unwrap(), Some("10.0.0.2".parse().unwrap()));
        let kept = ("10.40.0.0/16".parse().unwrap(), Some("10.0.0.3".parse().unwrap()));
        assert!(!routes.contains(&gone) && routes.contains(&kept), "{routes:?}");
    });
}

#[test]
fn what_was_before_a_change_comes_back_with_all_that_others_had_set() {
    with_devices(|_, [device, _]| {
        let ip = |arguments: &str| {
            let output = std::process::Command::new("ip").args(arguments.split(' ')).output();
            let output = output.unwrap();
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "ip {arguments}: {error}");
            String::from_utf8(output.stdout).unwrap()
        };
        let root = tempfile::tempdir().unwrap();
        let tree = Tree::open(root.path()).unwrap();
        ip(&format!("link set {device} up mtu 1480"));
        ip(&format!("address add 192.168.7.5/24 dev {device}"));
        let mut first = only_v6();
        (first.mtu, first.addresses[0]) = (1480, "10.0.0.9/24".parse().unwrap());
        first.gateways = vec!["10.0.0.1".parse().unwrap()];
        configure(&tree, device, &first).unwrap();
        ip(&format!(
            "route add 10.50.0.0/16 via 192.168.7.1 dev {device} metric 77 src 192.168.7.5"
        ));
        ip(&format!("route add 10.60.0.0/16 via 10.0.0.3 dev {device} mtu 1300"));
        let look = || format!("{}{}", ip("-4 route"), ip(&format!("-4 -o address show {device}")));
        let before = look();
        let guard = guard::Guard::new(&tree, &[(device, &only_v6())]).unwrap();
        let mut second = only_v6();
        (second.mtu, second.addresses[0]) = (1400, "10.1.0.9/24".parse().unwrap());
        second.gateways = vec!["10.1.0.1".parse().unwrap()];
        second.routes = vec![route("10.70.0.0/16", "10.1.0.2")];
        configure(&tree, device, &second).unwrap();
        assert_ne!(look(), before);
        // As the next run does, should this one be killed.
        drop(guard);
        let left = guard::Guard::left_behind(&tree).unwrap().unwrap();
        crate::platform::NetworkGuard::roll_back(&left).unwrap();
        assert_eq!(look(), before);
        let sight = Netlink::open().unwrap().sight(device).unwrap();
        assert_eq!(sight.mtu, Some(1480));
        assert!(guard::Guard::left_behind(&tree).unwrap().is_none());
        // What the agent has added is still known as its own.
        first.gateways.clear();
        configure(&tree, device, &first).unwrap();
        assert!(!ip("-4 route").contains("default"), "{}", ip("-4 route"));
    });
}

#[test]
fn a_leased_address_comes_back_with_its_scope_its_label_and_its_end() {
    with_devices(|_, [device, _]| {
        let ip = |arguments: &str| {
            let output = std::process::Command::new("ip").args(arguments.split(' ')).output();
            let output = output.unwrap();
            assert!(output.status.success(), "ip {arguments}: {output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        let root = tempfile::tempdir().unwrap();
        let tree = Tree::open(root.path()).unwrap();
        ip(&format!("link set {device} up"));
        for address in [
            format!("192.168.7.5/24 dev {device} valid_lft 3000 preferred_lft 2000 noprefixroute"),
            format!("192.168.8.5/24 dev {device} scope link label {device}:1"),
            format!("2001:db8:7::5/64 dev {device} valid_lft 3000 preferred_lft 0 nodad"),
        ] {
            ip(&format!("address add {address}"));
        }
        // A second may have passed.
        let look = || {
            let seconds = |word: &str| {
                let left = word.strip_suffix("sec").and_then(|it| it.parse::<u32>().ok());
                left.map_or(word.to_owned(), |it| format!("{}sec", it.div_ceil(100) * 100))
            };
            let shown = ip(&format!("address show dev {device}"));
            shown.split_whitespace().map(seconds).collect::<Vec<_>>().join(" ")
        };
        let before = look();
        for wanted in ["valid_lft 3000sec", "dynamic noprefixroute", "scope link mzv6a:1"] {
            assert!(before.contains(wanted), "{wanted}: {before}");
        }
        let guard = guard::Guard::new(&tree, &[(device, &only_v6())]).unwrap();
        // As a bond does with the addresses of its cards.
        ip(&format!("address flush dev {device} scope global"));
        ip(&format!("address flush dev {device} to 192.168.8.0/24"));
        assert_ne!(look(), before);
        crate::platform::NetworkGuard::roll_back(&guard).unwrap();
        assert_eq!(look(), before);
    });
}

#[test]
fn what_could_not_be_put_back_is_put_back_before_the_next_change_and_not_taken_for_what_was() {
    with_devices(|_, [device, _]| {
        let root = tempfile::tempdir().unwrap();
        let tree = Tree::open(root.path()).unwrap();
        let mut interface = only_v6();
        configure(&tree, device, &interface).unwrap();
        let has = |address: &str| {
            let link = Netlink::open().unwrap().link(device).unwrap();
            link.addresses.contains(&address.parse().unwrap())
        };
        drop(guard::Guard::new(&tree, &[(device, &interface)]).unwrap());
        interface.addresses = vec!["2001:db8:9::10/64".parse().unwrap()];
        configure(&tree, device, &interface).unwrap();
        assert!(!has("2001:db8::10/64"));
        let guard = guard::Guard::new(&tree, &[(device, &interface)]).unwrap();
        assert!(has("2001:db8::10/64") && !has("2001:db8:9::10/64"));
        configure(&tree, device, &interface).unwrap();
        crate::platform::NetworkGuard::roll_back(&guard).unwrap();
        assert!(has("2001:db8::10/64") && !has("2001:db8:9::10/64"));
    });
}

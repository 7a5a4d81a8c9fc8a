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
    }
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
        let text = tree.text("/etc/resolv.conf").unwrap();
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
    let networkd = persist::networkd(&interface);
    assert!(networkd.contains("Address=2001:db8::10/64\nDNS=2001:db8::53\n"), "{networkd}");
    assert!(networkd.ends_with("[Route]\nGateway=fe80::1\n"), "{networkd}");
    assert!(!netplan.contains("on-link") && !networkd.contains("OnLink"));
    let manager = persist::network_manager("mezame", "eth0", &interface);
    assert!(manager.contains("[ipv4]\nmethod=disabled\n"), "{manager}");
    let wanted = "[ipv6]\nmethod=manual\naddress1=2001:db8::10/64,fe80::1\n\
        dns=2001:db8::53;fe80::53;\n";
    assert!(manager.contains(wanted), "{manager}");
    let ifupdown = persist::ifupdown(&list);
    let wanted = "iface eth0 inet6 static\n    address 2001:db8::10/64\n    mtu 1450\n    \
        gateway fe80::1\n    dns-nameservers 2001:db8::53 fe80::53%eth0\n";
    assert!(ifupdown.contains(wanted) && !ifupdown.contains("inet static"), "{ifupdown}");
}

#[test]
fn ifupdown_names_each_gateway_once_with_an_address_of_its_family() {
    let mut interface = only_v6();
    interface.addresses.insert(0, "10.0.0.9/32".parse().unwrap());
    interface.addresses.push("2001:db8::11/64".parse().unwrap());
    interface.gateways.push("10.0.0.1".parse().unwrap());
    let text = persist::ifupdown(&[("eth0".to_owned(), interface)]);
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
    interface.gateways.clear();
    interface.addresses.push("169.254.7.7/16".parse().unwrap());
    assert!(resolv_conf("eth0", &interface).ends_with("nameserver 169.254.169.253\n"));
}

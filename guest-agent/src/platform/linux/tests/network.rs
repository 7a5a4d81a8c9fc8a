//! The network as it is written down for the image's own service, and link-local addresses.

use std::net::Ipv4Addr;

use super::*;

#[test]
fn a_link_local_router_is_written_down_once_for_each_service() {
    let interface = Interface {
        mac: "52:54:00:00:00:01".parse().unwrap(),
        mtu: 1450,
        addresses: vec!["fd00::10/64".parse().unwrap(), "fd00::11/64".parse().unwrap()],
        gateways: vec!["fe80::1".parse().unwrap()],
        dns: Vec::new(),
        domain: None,
        routes: Vec::new(),
        vlans: Vec::new(),
        bond: None,
    };
    let list = [("eth0".to_owned(), interface.clone())];
    let once = |text: String, line: &str| assert_eq!(text.matches(line).count(), 1, "{text}");
    once(persist::ifupdown(&list, &[]), "gateway fe80::1\n");
    once(persist::netplan(&list), "via: \"fe80::1\"\n");
    once(persist::networkd("eth0", &interface).remove(0).1, "Gateway=fe80::1\n");
    once(persist::network_manager("eth0", &interface).remove(0).1, ",fe80::1\n");
}

#[test]
fn the_network_is_written_down_for_the_service_that_is_there() {
    let interface = Interface {
        mac: "52:54:00:00:00:01".parse().unwrap(),
        mtu: 1450,
        addresses: vec!["192.168.0.10/24".parse().unwrap(), "fd00::10/64".parse().unwrap()],
        gateways: vec!["192.168.0.1".parse().unwrap()],
        dns: vec!["192.168.0.2".parse().unwrap()],
        domain: Some("example".into()),
        routes: Vec::new(),
        vlans: Vec::new(),
        bond: None,
    };
    let list = [("eth0".to_owned(), interface)];
    for (tools, file, wanted) in [
        (
            vec!["usr/sbin/netplan", "etc/netplan/"],
            "etc/netplan/60-mezame.yaml",
            "macaddress: \"52:54:00:00:00:01\"",
        ),
        (
            vec!["etc/systemd/system/multi-user.target.wants/systemd-networkd.service"],
            "etc/systemd/network/10-mezame-525400000001.network",
            "MACAddress=52:54:00:00:00:01",
        ),
        (
            vec!["etc/systemd/system/multi-user.target.wants/NetworkManager.service"],
            "etc/NetworkManager/system-connections/mezame-525400000001.nmconnection",
            "address1=192.168.0.10/24,192.168.0.1",
        ),
        (
            vec!["sbin/ifup", "etc/network/interfaces"],
            "etc/network/interfaces.d/60-mezame",
            "gateway 192.168.0.1",
        ),
    ] {
        let guest = guest();
        for tool in tools {
            let path = guest.path(tool);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            if tool.ends_with('/') {
                fs::create_dir_all(path).unwrap();
            } else {
                fs::write(path, "").unwrap();
            }
        }
        assert_eq!(guest.linux.persist_network(&list).unwrap(), Change::Changed);
        assert_eq!(guest.linux.persist_network(&list).unwrap(), Change::Same);
        let text = fs::read_to_string(guest.path(file)).unwrap();
        assert!(text.contains(wanted), "{file}: {text}");
    }
    // Without any service there are still the resolvers.
    let bare = guest();
    assert_eq!(bare.linux.persist_network(&list).unwrap(), Change::Changed);
    assert_eq!(bare.linux.persist_network(&list).unwrap(), Change::Same);
    let text = fs::read_to_string(bare.path("etc/resolv.conf")).unwrap();
    assert!(text.ends_with("search example\nnameserver 192.168.0.2\n"), "{text}");
}

#[test]
fn candidates_are_the_same_for_a_mac_and_never_reserved() {
    let mac: mezame_model::MacAddress = "52:54:00:00:00:01".parse().unwrap();
    let list: Vec<Ipv4Addr> = link_local::candidates(mac).take(200).collect();
    assert_eq!(list, link_local::candidates(mac).take(200).collect::<Vec<_>>());
    for address in list {
        let [a, b, c, _] = address.octets();
        assert!(a == 169 && b == 254 && (1..=254).contains(&c) && c != 169, "{address}");
    }
}

#[test]
fn a_conflict_is_somebody_elses_claim_or_probe_and_nothing_else() {
    let (mine, other) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let address = Ipv4Addr::new(169, 254, 7, 7);
    let probe = arp::request(other, Ipv4Addr::UNSPECIFIED, address);
    assert!(arp::conflicts(&probe, mine, address));
    assert!(!arp::conflicts(&probe, other, address), "our own, looped back");
    assert!(!arp::conflicts(&probe, mine, Ipv4Addr::new(169, 254, 7, 8)));
    assert!(!arp::conflicts(&probe[..20], mine, address));
    let mut reply = probe;
    reply[7] = 2;
    reply[14..18].copy_from_slice(&address.octets());
    assert!(arp::conflicts(&reply, mine, address));
}

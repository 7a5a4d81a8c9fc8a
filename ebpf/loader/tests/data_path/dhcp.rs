//! DHCP out of a guest: to the service, or into the tenant's network.

use std::net::{Ipv4Addr, Ipv6Addr};

use mezame_ebpf_loader::{Answers, Identity, Identity6, PortRules, SERVICE_MAC, Trial, Verdict};

use super::{
    frames::{Packet, Read, tagged},
    frames6::{Packet6, Read6},
    lab::{
        GUEST, GUEST_MAC, HOST_MAC, LINK_GUEST, LINK_SERVICE, LINK_TARGET, LOOPBACK, Lab, PEER_MAC,
        SERVICE, dual_rules, slot,
    },
};

const BROADCAST: Ipv4Addr = Ipv4Addr::BROADCAST;
const SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);

/// A client's message.
fn request(source: Ipv4Addr, destination: Ipv4Addr) -> Packet {
    let to_mac = if destination == BROADCAST { [0xff; 6] } else { SERVICE_MAC };
    Packet { to_mac, source, source_port: 68, ..Packet::udp(destination, 67) }
}

fn delivered(lab: &Lab, packet: &Packet) -> u8 {
    let frame = packet.bytes();
    let trial = lab.guest(&frame);
    assert_eq!(trial.action, Trial::REDIRECT, "{:?}", lab.nonzero());
    let (old, new) = (Read(&frame), Read(&trial.frame));
    assert_eq!((new.target_mac(), new.sender_mac()), (PEER_MAC, HOST_MAC));
    assert_eq!((new.destination(), new.ports()), (SERVICE, old.ports()));
    assert!(new.ip_checksum_is_right() && new.transport_checksum_is_right());
    assert_eq!(new.rest(), old.rest());
    let (of, n) = Identity::parse(new.source()).unwrap();
    assert_eq!(of, slot());
    n
}

fn returned(lab: &Lab, n: u8, guest: Ipv4Addr, mac: [u8; 6]) {
    let answer = Packet {
        to_mac: HOST_MAC,
        from_mac: PEER_MAC,
        source: SERVICE,
        destination: Identity::new(slot(), n).address(),
        source_port: 67,
        ..Packet::udp(GUEST, 68)
    };
    let trial = lab.reply(&answer.bytes());
    assert_eq!(trial.action, Trial::REDIRECT);
    let new = Read(&trial.frame);
    assert_eq!((new.target_mac(), new.sender_mac()), (mac, SERVICE_MAC));
    assert_eq!((new.source(), new.destination(), new.ports()), (SERVICE, guest, (67, 68)));
    assert!(new.ip_checksum_is_right() && new.transport_checksum_is_right());
}

#[test]
fn a_guest_without_an_address_asks_by_broadcast_and_is_answered_so() {
    let lab = Lab::dual();
    let n = delivered(&lab, &request(Ipv4Addr::UNSPECIFIED, BROADCAST));
    assert_eq!(n, Identity::UNSPECIFIED);
    returned(&lab, n, BROADCAST, [0xff; 6]);
    delivered(&lab, &Packet { no_checksum: true, ..request(Ipv4Addr::UNSPECIFIED, BROADCAST) });
}

#[test]
fn a_guest_with_its_address_renews_and_rebinds_as_itself() {
    let lab = Lab::dual();
    for destination in [SERVICE, BROADCAST] {
        let n = delivered(&lab, &request(GUEST, destination));
        assert_ne!(n, Identity::UNSPECIFIED);
        returned(&lab, n, GUEST, GUEST_MAC);
    }
}

#[test]
fn a_guest_with_an_address_that_is_not_its_own_any_more_is_heard_all_the_same() {
    let lab = Lab::dual();
    for destination in [SERVICE, BROADCAST] {
        let n = delivered(&lab, &request([172, 16, 0, 9].into(), destination));
        assert_eq!(n, Identity::UNSPECIFIED);
    }
}

#[test]
fn nothing_but_dhcp_is_answered_by_broadcast() {
    let mut lab = Lab::dual();
    lab.dropped(
        &Packet { source: Ipv4Addr::UNSPECIFIED, ..Packet::tcp() }.bytes(),
        Verdict::SpoofedSource,
    );
    lab.dropped(
        &Packet { source: Ipv4Addr::UNSPECIFIED, ..Packet::udp(SERVICE, 123) }.bytes(),
        Verdict::SpoofedSource,
    );
    let everyone = Packet {
        source: SERVICE,
        destination: Identity::new(slot(), Identity::UNSPECIFIED).address(),
        source_port: 80,
        ..Packet::tcp()
    };
    assert_eq!(lab.reply(&everyone.bytes()).action, Trial::DROP);
}

#[test]
fn a_request_that_lies_or_is_in_pieces_is_dropped() {
    let mut lab = Lab::dual();
    let good = request(Ipv4Addr::UNSPECIFIED, BROADCAST);
    lab.dropped(&Packet { from_mac: [2; 6], ..good.clone() }.bytes(), Verdict::WrongMac);
    lab.dropped(&Packet { fragment: 0x2000, ..good.clone() }.bytes(), Verdict::Fragment);
    lab.dropped(&Packet { options: vec![1; 4], ..good.clone() }.bytes(), Verdict::IpOptions);
    let unicast_mac = Packet { to_mac: SERVICE_MAC, ..good };
    lab.dropped(&unicast_mac.bytes(), Verdict::Malformed);
}

#[test]
fn a_network_that_opted_out_keeps_its_requests() {
    let mut lab = Lab::dual();
    lab.path.attach(LOOPBACK, &PortRules { answers: Answers::default(), ..dual_rules() }).unwrap();
    lab.passed(&request(Ipv4Addr::UNSPECIFIED, BROADCAST).bytes());
    lab.dropped(&request(GUEST, SERVICE).bytes(), Verdict::NoService);
    lab.passed(&request6(LINK_GUEST, SERVERS).bytes());
    lab.dropped(&request6(LINK_GUEST, LINK_SERVICE).bytes(), Verdict::NoService);
}

#[test]
fn what_is_not_asked_of_a_server_on_the_link_passes() {
    let lab = Lab::dual();
    let elsewhere = Ipv4Addr::new(192, 168, 0, 1);
    lab.passed(&request(GUEST, elsewhere).bytes());
    let broadcast = Packet { to_mac: [0xff; 6], ..Packet::udp(BROADCAST, 9) };
    lab.passed(&broadcast.bytes());
    lab.passed(&tagged(&request(Ipv4Addr::UNSPECIFIED, BROADCAST).bytes(), 0x8100, 3));
    lab.passed(&request6(LINK_GUEST, "ff05::1:3".parse().unwrap()).bytes());
    lab.passed(&tagged(&request6(LINK_GUEST, SERVERS).bytes(), 0x8100, 3));
}

/// A DHCPv6 client's message.
fn request6(source: Ipv6Addr, destination: Ipv6Addr) -> Packet6 {
    Packet6 { source, ..Packet6::udp(destination, (546, 547), &[1, 0, 0, 1]) }
}

#[test]
fn a_dhcpv6_request_goes_to_the_service_and_back() {
    let lab = Lab::dual();
    for destination in [SERVERS, LINK_SERVICE] {
        let frame = request6(LINK_GUEST, destination).bytes();
        let trial = lab.guest(&frame);
        assert_eq!(trial.action, Trial::REDIRECT);
        let new = Read6(&trial.frame);
        assert_eq!((new.destination(), new.ports()), (LINK_TARGET, (546, 547)));
        assert!(new.checksum_is_right());
        let identity = Identity6::parse(new.source()).unwrap();
        assert_eq!((identity.slot(), identity.prefix()), (slot(), Identity6::LINK_LOCAL));

        let answer = Packet6 {
            source: LINK_TARGET,
            ..Packet6::udp(identity.address(), (547, 546), &[2, 0, 0, 1])
        };
        let trial = lab.reply(&answer.bytes());
        assert_eq!(trial.action, Trial::REDIRECT);
        let new = Read6(&trial.frame);
        assert_eq!(new.macs(), (GUEST_MAC, SERVICE_MAC));
        assert_eq!((new.source(), new.destination()), (LINK_SERVICE, LINK_GUEST));
        assert!(new.checksum_is_right());
    }
}

#[test]
fn only_a_dhcpv6_server_speaks_as_one() {
    let mut lab = Lab::dual();
    let elsewhere: Ipv6Addr = "fe80::77".parse().unwrap();
    for ports in [(547, 546), (9, 546), (547, 9)] {
        let packet = Packet6::udp(elsewhere, ports, b"x");
        lab.dropped(&packet.bytes(), Verdict::DhcpServer);
        lab.dropped(&packet.extended(&[60]).bytes(), Verdict::DhcpServer);
    }
    lab.path.attach(LOOPBACK, &PortRules { dhcp_server: true, ..dual_rules() }).unwrap();
    lab.passed(&Packet6::udp(elsewhere, (547, 546), b"x").bytes());
}

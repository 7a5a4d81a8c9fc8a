//! Neighbour discovery out of a guest.

use std::net::Ipv6Addr;

use mezame_ebpf_loader::{Identity6, PortRules, SERVICE_MAC, Trial, Verdict};

use super::{
    frames::tagged,
    frames6::{Packet6, Read6},
    lab::{
        GUEST_MAC, GUEST6, HOST_MAC, LINK_GUEST, LINK_SERVICE, LINK_TARGET, LOOPBACK, Lab,
        PEER_MAC, SERVICE6, dual_rules, slot,
    },
};

const EVERYONE: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// ff02::1:ffXX:XXXX (RFC 4291, section 2.7.1).
fn solicited_node(target: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = target.octets();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]))
}

/// A guest asks who has an address.
fn solicitation(target: Ipv6Addr) -> Packet6 {
    let option = [&[1, 1], &GUEST_MAC[..]].concat();
    let rest = [&[0; 4][..], &target.octets(), &option].concat();
    Packet6::icmp(solicited_node(target), 135, &rest)
}

fn assert_answered(lab: &Lab, packet: &Packet6, target: Ipv6Addr) {
    let trial = lab.guest(&packet.bytes());
    assert_eq!(trial.action, Trial::REDIRECT, "{:?}", lab.nonzero());
    let answer = Read6(&trial.frame);
    let is_probe = packet.source.is_unspecified();
    let (to, to_mac, flags) = if is_probe {
        (EVERYONE, [0x33, 0x33, 0, 0, 0, 1], 0x20)
    } else {
        (packet.source, GUEST_MAC, 0x60)
    };
    assert_eq!(answer.macs(), (to_mac, SERVICE_MAC));
    assert_eq!((answer.source(), answer.destination()), (target, to));
    assert_eq!(trial.frame[12..22], [0x86, 0xdd, 0x60, 0, 0, 0, 0, 32, 58, 255]);
    assert!(answer.checksum_is_right());
    let upper = answer.upper();
    assert_eq!((upper[0], upper[1], &upper[4..8]), (136, 0, &[flags, 0, 0, 0][..]));
    assert_eq!(upper[8..24], target.octets());
    assert_eq!(upper[24..], [&[2, 1], &SERVICE_MAC[..]].concat());
}

#[test]
fn a_solicitation_for_a_service_address_is_answered() {
    let lab = Lab::dual();
    for target in [SERVICE6, LINK_SERVICE] {
        for source in [GUEST6, LINK_GUEST] {
            let packet = Packet6 { source, ..solicitation(target) };
            assert_answered(&lab, &packet, target);
            // Whether the neighbour is still there (RFC 4861, section 7.3.1): to it alone.
            let unicast = Packet6 { destination: target, to_mac: SERVICE_MAC, ..packet.clone() };
            assert_answered(&lab, &unicast, target);
            let mut without_option = packet;
            without_option.upper.truncate(24);
            assert_answered(&lab, &without_option, target);
        }
    }
    assert_eq!(lab.counted(Verdict::NeighbourAnswered), 12);
}

#[test]
fn a_long_solicitation_becomes_an_answer_of_the_right_length() {
    let lab = Lab::dual();
    let mut packet = solicitation(SERVICE6);
    // A nonce (RFC 3971), and one more.
    packet.upper.extend([14, 1, 1, 2, 3, 4, 5, 6, 14, 2, 1, 2, 3, 4, 5, 6, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_answered(&lab, &packet, SERVICE6);
}

#[test]
fn a_probe_for_a_service_address_is_answered_so_that_the_guest_does_not_take_it() {
    let lab = Lab::dual();
    let source = Ipv6Addr::UNSPECIFIED;
    let mut probe = Packet6 { source, ..solicitation(LINK_SERVICE) };
    probe.upper.truncate(24);
    assert_answered(&lab, &probe, LINK_SERVICE);
}

#[test]
fn a_solicitation_that_lies_is_dropped() {
    let mut lab = Lab::dual();
    let good = solicitation(SERVICE6);
    let spoofed = Packet6 { source: "2001:db8::99".parse().unwrap(), ..good.clone() };
    lab.dropped(&spoofed.bytes(), Verdict::SpoofedSource);
    let foreign = Packet6 { from_mac: [2; 6], ..good.clone() };
    lab.dropped(&foreign.bytes(), Verdict::WrongMac);
    let routed = Packet6 { hop_limit: 254, ..good.clone() };
    lab.dropped(&routed.bytes(), Verdict::Malformed);
    lab.dropped(&good.clone().extended(&[60]).bytes(), Verdict::ExtensionHeader);
    lab.dropped(&tagged(&good.bytes(), 0x8100, 5), Verdict::Tagged);
}

#[test]
fn a_claim_for_a_service_address_is_dropped_in_every_form() {
    let mut lab = Lab::dual();
    let elsewhere: Ipv6Addr = "2001:db8:0:1::77".parse().unwrap();
    for target in [SERVICE6, LINK_SERVICE] {
        let option = [&[2, 1], &GUEST_MAC[..]].concat();
        let rest = [&[0x20, 0, 0, 0][..], &target.octets(), &option].concat();
        for destination in [EVERYONE, elsewhere] {
            let claim = Packet6::icmp(destination, 136, &rest);
            let event = lab.dropped(&claim.bytes(), Verdict::NeighbourClaim);
            assert_eq!(event.destination, target, "what it claims");
            lab.dropped(&claim.clone().extended(&[0, 60]).bytes(), Verdict::NeighbourClaim);
            lab.dropped(&Packet6 { source: target, ..claim }.bytes(), Verdict::FromService);
        }
    }
    let own = [&[0x20, 0, 0, 0][..], &GUEST6.octets()].concat();
    lab.passed(&Packet6::icmp(EVERYONE, 136, &own).bytes());
    lab.passed(&solicitation(elsewhere).bytes());
}

#[test]
fn only_a_router_advertises_itself() {
    let mut lab = Lab::dual();
    let packet = Packet6 { source: LINK_GUEST, ..Packet6::icmp(EVERYONE, 134, &[0; 12]) };
    lab.dropped(&packet.bytes(), Verdict::RouterAdvertisement);
    lab.dropped(&packet.clone().extended(&[0, 60]).bytes(), Verdict::RouterAdvertisement);
    lab.dropped(&tagged(&packet.bytes(), 0x8100, 5), Verdict::RouterAdvertisement);
    // The first piece says what it is; without it, the others come to nothing.
    let mut first = packet.clone();
    first.extensions = vec![(44, vec![0, 0, 0, 1, 0, 0, 0, 7])];
    lab.dropped(&first.bytes(), Verdict::RouterAdvertisement);
    lab.path.attach(LOOPBACK, &PortRules { dhcp_server: true, ..dual_rules() }).unwrap();
    lab.passed(&packet.bytes());
}

#[test]
fn a_router_solicitation_goes_to_the_service_and_the_advertisement_comes_from_the_router() {
    let mut lab = Lab::dual();
    let option = [&[1, 1], &GUEST_MAC[..]].concat();
    let solicit = Packet6::icmp(ROUTERS, 133, &[&[0; 4][..], &option].concat());
    let cases = [
        (LINK_GUEST, Identity6::LINK_LOCAL, LINK_GUEST, GUEST_MAC),
        (Ipv6Addr::UNSPECIFIED, Identity6::EVERYONE, EVERYONE, [0x33, 0x33, 0, 0, 0, 1]),
    ];
    for (source, prefix, answered, mac) in cases {
        let frame = Packet6 { source, ..solicit.clone() }.bytes();
        let trial = lab.guest(&frame);
        assert_eq!(trial.action, Trial::REDIRECT);
        let new = Read6(&trial.frame);
        assert_eq!((new.macs(), new.destination()), ((PEER_MAC, HOST_MAC), LINK_TARGET));
        assert!(new.checksum_is_right());
        assert_eq!(new.rest(), Read6(&frame).rest());
        let identity = Identity6::parse(new.source()).unwrap();
        assert_eq!((identity.slot(), identity.prefix()), (slot(), prefix));

        let router = "fe80::1".parse().unwrap();
        let advertisement = Packet6 {
            source: router,
            destination: identity.address(),
            ..Packet6::icmp(EVERYONE, 134, &[64, 0xc0, 0x23, 0x28, 0, 0, 0, 0, 0, 0, 0, 0])
        };
        let trial = lab.reply(&advertisement.bytes());
        assert_eq!(trial.action, Trial::REDIRECT);
        let new = Read6(&trial.frame);
        assert_eq!(new.macs(), (mac, SERVICE_MAC));
        assert_eq!((new.source(), new.destination()), (router, answered));
        assert!(new.checksum_is_right());
    }
    lab.dropped(&Packet6 { hop_limit: 64, ..solicit.clone() }.bytes(), Verdict::Malformed);
    let mut rules = dual_rules();
    rules.answers.router = false;
    lab.path.attach(LOOPBACK, &rules).unwrap();
    lab.passed(&solicit.bytes());
}

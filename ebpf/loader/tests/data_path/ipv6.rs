//! IPv6 out of a guest, and back.

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

/// Runs a frame that must reach a target, and gives the identity that it comes from.
fn delivered(lab: &Lab, packet: &Packet6, target: Ipv6Addr, port: u16) -> Identity6 {
    let frame = packet.bytes();
    let trial = lab.guest(&frame);
    assert_eq!(trial.action, Trial::REDIRECT, "{:?}", lab.nonzero());
    let (old, new) = (Read6(&frame), Read6(&trial.frame));
    assert_eq!(new.macs(), (PEER_MAC, HOST_MAC));
    assert_eq!((new.destination(), new.ports()), (target, (old.ports().0, port)));
    assert!(old.checksum_is_right() && new.checksum_is_right());
    assert_eq!(new.rest(), old.rest());
    let identity = Identity6::parse(new.source()).unwrap();
    assert_eq!(identity.slot(), slot());
    assert_eq!(new.source().octets()[8..], packet.source.octets()[8..]);
    identity
}

/// A reply of a target to an identity.
fn reply(source: Ipv6Addr, port: u16, to: Identity6) -> Packet6 {
    let mut packet = Packet6 {
        to_mac: HOST_MAC,
        from_mac: PEER_MAC,
        source,
        destination: to.address(),
        ..Packet6::tcp()
    };
    packet.upper[..4].copy_from_slice(&[port.to_be_bytes(), 40000_u16.to_be_bytes()].concat());
    packet
}

fn returned(lab: &Lab, packet: &Packet6, service: Ipv6Addr, port: u16, guest: Ipv6Addr) {
    let frame = packet.bytes();
    let trial = lab.reply(&frame);
    assert_eq!(trial.action, Trial::REDIRECT);
    let (old, new) = (Read6(&frame), Read6(&trial.frame));
    assert_eq!(new.macs(), (GUEST_MAC, SERVICE_MAC));
    assert_eq!((new.source(), new.ports().0), (service, port));
    assert_eq!((new.destination(), new.ports().1), (guest, old.ports().1));
    assert!(new.checksum_is_right());
    assert_eq!(new.rest(), old.rest());
}

#[test]
fn a_request_and_its_reply_find_their_way_from_every_address_of_the_guest() {
    let lab = Lab::dual();
    let of_range = "2001:db8:7:1::abcd".parse().unwrap();
    for source in [GUEST6, LINK_GUEST, of_range, "fe80::1".parse().unwrap()] {
        let to_service = Packet6 { source, ..Packet6::tcp() };
        let identity = delivered(&lab, &to_service, SERVICE6, 80);
        returned(&lab, &reply(SERVICE6, 80, identity), SERVICE6, 80, source);
        let to_link = Packet6 { destination: LINK_SERVICE, ..to_service };
        assert_eq!(delivered(&lab, &to_link, LINK_TARGET, 8080), identity);
        returned(&lab, &reply(LINK_TARGET, 8080, identity), LINK_SERVICE, 80, source);
    }
    assert_eq!((lab.counted(Verdict::Delivered), lab.counted(Verdict::Returned)), (8, 8));
}

#[test]
fn prefixes_are_told_apart_and_the_one_used_least_lately_makes_room() {
    let lab = Lab::dual();
    let of = |n: u16| {
        let source = Ipv6Addr::new(0x2001, 0xdb8, 7, n, 0, 0, 0, 1);
        delivered(&lab, &Packet6 { source, ..Packet6::tcp() }, SERVICE6, 80)
    };
    let first: Vec<_> = (1..=6).map(of).collect();
    let mut slots: Vec<_> = first.iter().map(|identity| identity.prefix()).collect();
    slots.sort_unstable();
    assert_eq!(slots, [1, 2, 3, 4, 5, 6]);
    assert_eq!(of(1), first[0]);
    let seventh = of(7);
    assert_eq!(seventh.prefix(), first[1].prefix(), "the second was used least lately");
    assert_eq!(of(1), first[0]);
}

#[test]
fn a_source_that_the_port_may_not_use_is_dropped() {
    let mut lab = Lab::dual();
    for source in [
        "2001:db8:0:1::11",
        "2001:db8:8::1",
        "fe80:0:0:1::1",
        "::",
        "::1",
        "ff02::1",
        "::ffff:192.168.0.10",
    ] {
        let source = source.parse().unwrap();
        let event =
            lab.dropped(&Packet6 { source, ..Packet6::tcp() }.bytes(), Verdict::SpoofedSource);
        assert_eq!(event.source, std::net::IpAddr::V6(source).to_canonical());
        assert_eq!((event.destination, event.destination_port), (SERVICE6.into(), 80));
    }
    for source in [SERVICE6, LINK_SERVICE] {
        for destination in [SERVICE6, "2001:db8::1".parse().unwrap()] {
            let packet = Packet6 { source, destination, ..Packet6::tcp() };
            lab.dropped(&packet.bytes(), Verdict::FromService);
        }
    }
}

#[test]
fn another_mac_a_tag_and_a_group_mac_are_dropped() {
    let mut lab = Lab::dual();
    let packet = Packet6 { from_mac: [0x52, 0x54, 0, 0, 0, 9], ..Packet6::tcp() };
    lab.dropped(&packet.bytes(), Verdict::WrongMac);
    let event = lab.dropped(&tagged(&Packet6::tcp().bytes(), 0x8100, 100), Verdict::Tagged);
    assert_eq!((event.vlan, event.ethertype), (100, 0x86dd));
    let packet = Packet6 { to_mac: [0x33, 0x33, 0, 0, 0, 1], ..Packet6::tcp() };
    lab.dropped(&packet.bytes(), Verdict::Malformed);
}

#[test]
fn extension_headers_and_fragments_to_a_service_are_dropped() {
    let mut lab = Lab::dual();
    for kinds in [&[0][..], &[60], &[43], &[0, 60], &[60; 8], &[60; 9], &[135], &[139], &[140]] {
        let frame = Packet6::tcp().extended(kinds).bytes();
        lab.dropped(&frame, Verdict::ExtensionHeader);
    }
    let mut authenticated = Packet6::tcp();
    authenticated.extensions = vec![(51, vec![0; 8])];
    lab.dropped(&authenticated.bytes(), Verdict::ExtensionHeader);
    let fragment = |offset: u16, more: u16| {
        let mut packet = Packet6::tcp();
        let [a, b] = ((offset << 3) | more).to_be_bytes();
        packet.extensions = vec![(44, vec![0, 0, a, b, 0, 0, 0, 7])];
        packet.bytes()
    };
    lab.dropped(&fragment(0, 1), Verdict::Fragment);
    lab.dropped(&fragment(9, 1), Verdict::Fragment);
    lab.dropped(&fragment(9, 0), Verdict::Fragment);
}

#[test]
fn a_service_that_is_not_there_and_a_broken_segment_are_dropped() {
    let mut lab = Lab::dual();
    let mut other_port = Packet6::tcp();
    other_port.upper[3] = 81;
    lab.dropped(&other_port.bytes(), Verdict::NoService);
    lab.dropped(&Packet6::udp(SERVICE6, (9, 80), b"x").bytes(), Verdict::NoService);
    lab.dropped(&Packet6::icmp(SERVICE6, 128, &[0; 8]).bytes(), Verdict::NoService);
    lab.dropped(&Packet6 { protocol: 132, ..Packet6::tcp() }.bytes(), Verdict::NoService);
    let mut short = Packet6::tcp();
    short.upper.truncate(19);
    lab.dropped(&short.bytes(), Verdict::Malformed);
    let mut frame = Packet6::tcp().bytes();
    frame[14] = 0x50;
    lab.dropped(&frame, Verdict::Malformed);
    let mut frame = Packet6::tcp().bytes();
    frame[18] = 0xff;
    lab.dropped(&frame, Verdict::Malformed);
}

#[test]
fn frames_of_others_pass_untouched() {
    let lab = Lab::dual();
    let elsewhere: Ipv6Addr = "2001:db8:9::1".parse().unwrap();
    let foreign = Packet6 { destination: elsewhere, ..Packet6::tcp() };
    lab.passed(&foreign.bytes());
    lab.passed(&Packet6 { source: "::1".parse().unwrap(), ..foreign.clone() }.bytes());
    lab.passed(&tagged(&foreign.bytes(), 0x8100, 7));
    for kinds in [&[0][..], &[60, 43], &[60; 8]] {
        lab.passed(&foreign.clone().extended(kinds).bytes());
    }
    lab.passed(&Packet6::udp(elsewhere, (5353, 5353), b"x").bytes());
    lab.passed(&Packet6::udp("ff02::fb".parse().unwrap(), (5353, 5353), b"x").bytes());
    lab.passed(&Packet6::icmp(elsewhere, 128, &[0; 8]).bytes());
    // Multicast listener reports have a hop-by-hop header.
    let all_routers = "ff02::16".parse().unwrap();
    lab.passed(&Packet6::icmp(all_routers, 143, &[0; 24]).extended(&[0]).bytes());
}

#[test]
fn a_reply_that_no_service_sent_does_not_leave_the_namespace() {
    let lab = Lab::dual();
    let identity = delivered(&lab, &Packet6::tcp(), SERVICE6, 80);
    let refused = |packet: &Packet6, verdict| {
        let before = lab.path.totals().unwrap().of(verdict) + lab.counted(verdict);
        assert_eq!(lab.reply(&packet.bytes()).action, Trial::DROP);
        assert_eq!(lab.path.totals().unwrap().of(verdict) + lab.counted(verdict), before + 1);
    };
    refused(&reply(SERVICE6, 81, identity), Verdict::BadReply);
    refused(&reply(LINK_SERVICE, 80, identity), Verdict::BadReply);
    let everyone = Identity6::new(slot(), Identity6::EVERYONE, 1);
    refused(&reply(SERVICE6, 80, everyone), Verdict::BadReply);
    let unused = Identity6::new(slot(), 5, 1);
    refused(&reply(SERVICE6, 80, unused), Verdict::StaleIdentity);
    let nobody = mezame_ebpf_loader::PortSlot::new(5).unwrap();
    refused(&reply(SERVICE6, 80, Identity6::new(nobody, 0, 1)), Verdict::StaleIdentity);
    let unreachable =
        Packet6 { destination: identity.address(), ..Packet6::icmp(SERVICE6, 1, &[0; 8]) };
    refused(&unreachable, Verdict::BadReply);
    // To no identity: the namespace's own talk.
    let own = Packet6::icmp("ff02::2".parse().unwrap(), 133, &[0; 4]);
    assert_eq!(lab.reply(&own.bytes()).action, Trial::DROP);
}

/// A datagram with a word by which its checksum comes out as zero, which is written as 0xffff, once
/// `rewrite` has changed its addresses and ports.
fn with_no_checksum_left(mut packet: Packet6, rewrite: impl Fn(&Packet6) -> Vec<u8>) -> Packet6 {
    let at = packet.upper.len() - 2;
    packet.upper[at..].fill(0);
    // What the checksum adds to all the rest to make 0xffff, the payload is to add.
    let checksum: [u8; 2] = rewrite(&packet)[60..62].try_into().unwrap();
    packet.upper[at..].copy_from_slice(&checksum);
    packet
}

#[test]
fn a_checksum_of_udp_does_not_become_zero_on_the_way() {
    let lab = Lab::dual();
    let request = Packet6::udp(SERVICE6, (40000, 123), &[0; 48]);
    let request = with_no_checksum_left(request, |packet| lab.guest(&packet.bytes()).frame);
    let trial = lab.guest(&request.bytes());
    assert_eq!((trial.action, &trial.frame[60..62]), (Trial::REDIRECT, &[0xff; 2][..]));
    let identity = Identity6::new(slot(), Identity6::LINK_LOCAL, 1);
    let answer = Packet6 {
        source: LINK_TARGET,
        ..Packet6::udp(identity.address(), (1123, 40000), &[0; 48])
    };
    let answer = with_no_checksum_left(answer, |packet| lab.reply(&packet.bytes()).frame);
    let trial = lab.reply(&answer.bytes());
    assert_eq!((trial.action, &trial.frame[60..62]), (Trial::REDIRECT, &[0xff; 2][..]));
}

#[test]
fn a_datagram_without_a_checksum_does_not_get_one() {
    let lab = Lab::dual();
    let mut frame = Packet6::udp(SERVICE6, (40000, 123), &[7; 48]).bytes();
    frame[60..62].fill(0);
    // The receiver throws it away (RFC 8200, section 8.1).
    assert_eq!(lab.guest(&frame).frame[60..62], [0; 2]);
}

#[test]
fn a_port_that_is_taken_away_leaves_no_address_behind() {
    let mut lab = Lab::dual();
    let identity = delivered(&lab, &Packet6::tcp(), SERVICE6, 80);
    lab.path.detach(LOOPBACK).unwrap();
    assert_eq!(lab.path.entries().unwrap(), 0);
    assert_eq!(lab.reply(&reply(SERVICE6, 80, identity).bytes()).action, Trial::DROP);
    let other = PortRules { generation: 8, allowed6: Vec::new(), ..dual_rules() };
    lab.path.attach(LOOPBACK, &other).unwrap();
    lab.dropped(&Packet6::tcp().bytes(), Verdict::SpoofedSource);
    delivered(&lab, &Packet6 { source: LINK_GUEST, ..Packet6::tcp() }, SERVICE6, 80);
}

#[test]
fn a_port_can_not_have_a_service_address() {
    let mut lab = Lab::dual();
    for address in ["fd00:ec2::254", "ff02::1", "::", "::1"] {
        let allowed6 = vec![format!("{address}/128").parse().unwrap()];
        let refused = lab.path.attach(LOOPBACK, &PortRules { allowed6, ..dual_rules() });
        assert!(refused.is_err(), "{address}");
    }
}

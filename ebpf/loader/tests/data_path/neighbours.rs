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
fn a_solicitation_that_receivers_discard_is_not_answered() {
    let mut lab = Lab::dual();
    let mut code = solicitation(SERVICE6);
    code.upper[1] = 1;
    lab.dropped(&code.bytes(), Verdict::Malformed);
    for length in [0, 23, 33, 0xffff_u16] {
        let mut frame = solicitation(SERVICE6).bytes();
        frame[18..20].copy_from_slice(&length.to_be_bytes());
        lab.dropped(&frame, Verdict::Malformed);
    }
    let mut version = solicitation(SERVICE6).bytes();
    version[14] = 0x50;
    lab.dropped(&version, Verdict::Malformed);
    // Without a target; to a service, so that it does not go on into the tenant's network.
    for length in [2, 4, 8, 23] {
        let mut short = Packet6 { destination: SERVICE6, ..solicitation(SERVICE6) };
        short.upper.resize(length.max(4), 0);
        let mut frame = short.bytes();
        frame.truncate(54 + length);
        lab.dropped(&frame, Verdict::Malformed);
        let frame = [&solicitation(SERVICE6).bytes()[..54], &frame[54..]].concat();
        lab.passed(&frame);
    }
}

/// The first piece of a packet, whose payload ends `inside` bytes behind the fragment header; what
/// comes behind is padding, and says whatever its sender likes.
fn first_piece(packet: Packet6, before: &[u8], inside: u16) -> Vec<u8> {
    let mut packet = packet.extended(before);
    packet.extensions.insert(0, (44, vec![0, 0, 0, 1, 0, 0, 0, 7]));
    let mut frame = packet.bytes();
    frame[18..20].copy_from_slice(&(8 + inside).to_be_bytes());
    frame
}

#[test]
fn a_claim_is_not_hidden_by_taking_it_to_pieces() {
    let mut lab = Lab::dual();
    let rest = [&[0x20, 0, 0, 0][..], &SERVICE6.octets()].concat();
    let claim = Packet6::icmp(EVERYONE, 136, &rest);
    lab.dropped(&first_piece(claim.clone(), &[], 24), Verdict::Fragment);
    // The target is in the second piece.
    lab.dropped(&first_piece(claim.clone(), &[], 8), Verdict::Fragment);
    lab.dropped(&first_piece(claim, &[], 8)[..70], Verdict::Fragment);
    // The type is: here is an echo request in the padding, as far as anybody sees.
    let echo = Packet6::icmp(EVERYONE, 128, &[0; 8]);
    lab.passed(&first_piece(echo.clone(), &[60], 16));
    lab.dropped(&first_piece(echo.clone(), &[60], 8), Verdict::ExtensionHeader);
    lab.dropped(&first_piece(echo.clone(), &[60], 11), Verdict::ExtensionHeader);
    lab.dropped(&first_piece(echo.clone(), &[60], 8)[..70], Verdict::ExtensionHeader);
    // Of the chain, too.
    lab.dropped(&first_piece(echo.clone(), &[60, 60], 8), Verdict::ExtensionHeader);
    let nothing = Packet6 { protocol: 59, ..echo };
    lab.dropped(&first_piece(nothing, &[60, 60], 8), Verdict::ExtensionHeader);
    let elsewhere: Ipv6Addr = "fe80::77".parse().unwrap();
    let server = Packet6::udp(elsewhere, (547, 546), b"x");
    lab.dropped(&first_piece(server.clone(), &[60], 16), Verdict::DhcpServer);
    lab.dropped(&first_piece(server, &[60], 8), Verdict::ExtensionHeader);
    // Segments of others come in pieces as before.
    let other = Packet6 { destination: "2001:db8:9::1".parse().unwrap(), ..Packet6::tcp() };
    lab.passed(&first_piece(other, &[], 24));
}

#[test]
fn an_advertisement_is_not_hidden_in_a_packet_that_says_it_has_no_payload() {
    let mut lab = Lab::dual();
    let mut router = Packet6::icmp(EVERYONE, 134, &[0; 12]);
    // A hop-by-hop header with a jumbo payload option (RFC 2675), and one with padding.
    for option in [[0xc2, 4, 0, 1, 0, 0], [1, 4, 0, 0, 0, 0]] {
        router.extensions = vec![(0, [&[0, 0], &option[..]].concat())];
        let mut frame = router.bytes();
        frame[18..20].fill(0);
        lab.dropped(&frame, Verdict::RouterAdvertisement);
        frame[62] = 136;
        frame.resize(70, 0);
        frame.extend([&LINK_SERVICE.octets()[..], &[2, 1, 0, 0, 0, 0, 0, 0]].concat());
        lab.dropped(&frame, Verdict::NeighbourClaim);
    }
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

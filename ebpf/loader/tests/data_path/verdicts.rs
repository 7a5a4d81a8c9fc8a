//! Each verdict on what comes out of a guest, with the bytes that come out.

use std::net::Ipv4Addr;

use mezame_ebpf_loader::{Identity, PortRules, Rate, Trial, Verdict};

use super::{
    frames::{ArpFrame, Packet, Read, ethernet, tagged},
    lab::{
        GUEST, GUEST_MAC, HOST_MAC, LOOPBACK, Lab, OTHER_SERVICE, PEER_MAC, SERVICE, SLOT, rules,
        slot,
    },
};

/// What a frame to a service must become.
fn assert_delivered(before: &[u8], trial: &Trial, target: Ipv4Addr, port: u16) -> u8 {
    assert_eq!(trial.action, Trial::REDIRECT);
    let (old, new) = (Read(before), Read(&trial.frame));
    assert_eq!((new.target_mac(), new.sender_mac()), (PEER_MAC, HOST_MAC));
    assert_eq!((new.destination(), new.ports().1), (target, port));
    assert_eq!(new.ports().0, old.ports().0);
    assert!(new.ip_checksum_is_right() && new.transport_checksum_is_right());
    assert_eq!(new.rest(), old.rest());
    let (found, n) = Identity::parse(new.source()).expect("an identity");
    assert_eq!(found, slot());
    n
}

#[test]
fn a_request_is_rewritten_to_the_ports_identity() {
    let lab = Lab::with_port();
    let frame = Packet::tcp().bytes();
    let n = assert_delivered(&frame, &lab.guest(&frame), SERVICE, 80);
    assert_eq!(n, 0);
    assert_eq!(lab.counted(Verdict::Delivered), 1);
}

#[test]
fn a_service_elsewhere_is_reached_at_its_address_and_port() {
    let lab = Lab::with_port();
    let packet = Packet { destination: OTHER_SERVICE, destination_port: 443, ..Packet::tcp() };
    let frame = packet.bytes();
    assert_delivered(&frame, &lab.guest(&frame), Ipv4Addr::new(169, 254, 169, 253), 8443);
}

#[test]
fn a_datagram_is_rewritten_with_and_without_a_checksum() {
    let lab = Lab::with_port();
    for no_checksum in [false, true] {
        let frame = Packet { no_checksum, ..Packet::udp(SERVICE, 123) }.bytes();
        let trial = lab.guest(&frame);
        assert_delivered(&frame, &trial, SERVICE, 1123);
        assert_eq!(trial.frame[40..42] == [0, 0], no_checksum);
    }
}

#[test]
fn a_frame_that_was_padded_is_delivered_with_its_padding() {
    let lab = Lab::with_port();
    let frame = Packet { payload: Vec::new(), padding: 6, ..Packet::tcp() }.bytes();
    assert_eq!(frame.len(), 60);
    assert_delivered(&frame, &lab.guest(&frame), SERVICE, 80);
}

#[test]
fn a_request_with_ttl_1_arrives() {
    let lab = Lab::with_port();
    let frame = Packet { ttl: 1, ..Packet::tcp() }.bytes();
    let trial = lab.guest(&frame);
    assert_delivered(&frame, &trial, SERVICE, 80);
    assert_eq!(trial.frame[22], 1);
}

#[test]
fn a_wrong_checksum_stays_wrong() {
    let lab = Lab::with_port();
    for at in [24, 50] {
        let mut frame = Packet::tcp().bytes();
        frame[at] ^= 0x5a;
        let trial = lab.guest(&frame);
        assert_eq!(trial.action, Trial::REDIRECT);
        let read = Read(&trial.frame);
        assert_eq!(read.ip_checksum_is_right(), at == 50);
        assert_eq!(read.transport_checksum_is_right(), at == 24);
    }
}

#[test]
fn several_addresses_of_one_port_have_an_identity_each() {
    let lab = Lab::with_port();
    let sources = [GUEST, [10, 9, 0, 200].into(), [169, 254, 3, 4].into(), [10, 9, 0, 1].into()];
    let slots = sources.map(|source| {
        let frame = Packet { source, ..Packet::tcp() }.bytes();
        let first = assert_delivered(&frame, &lab.guest(&frame), SERVICE, 80);
        let again = assert_delivered(&frame, &lab.guest(&frame), SERVICE, 80);
        assert_eq!(first, again);
        first
    });
    for (index, n) in slots.iter().enumerate() {
        assert!(!slots[..index].contains(n), "{slots:?}");
    }
}

#[test]
fn the_address_used_least_lately_loses_its_slot_and_the_ports_own_never() {
    let lab = Lab::with_port();
    let deliver = |source: Ipv4Addr| {
        let frame = Packet { source, ..Packet::tcp() }.bytes();
        assert_delivered(&frame, &lab.guest(&frame), SERVICE, 80)
    };
    let own = deliver(GUEST);
    let first = deliver([10, 9, 0, 1].into());
    let second = deliver([10, 9, 0, 2].into());
    for n in 3..15 {
        deliver([10, 9, 0, n].into());
    }
    assert_eq!(deliver([10, 9, 0, 1].into()), first, "used again");
    assert_eq!(deliver([10, 9, 0, 99].into()), second, "used least lately");
    assert_eq!(deliver(GUEST), own);
}

#[test]
fn frames_of_others_pass_untouched() {
    let lab = Lab::with_port();
    let elsewhere = Ipv4Addr::new(192, 168, 0, 1);
    let foreign = Packet { destination: elsewhere, ..Packet::tcp() };
    lab.passed(&foreign.bytes());
    lab.passed(&Packet { fragment: 0x2000, ..foreign.clone() }.bytes());
    lab.passed(&Packet { options: vec![1; 8], ..foreign.clone() }.bytes());
    lab.passed(&Packet { from_mac: [2; 6], source: elsewhere, ..foreign.clone() }.bytes());
    lab.passed(&Packet::udp(elsewhere, 67).bytes());
    lab.passed(&Packet { source_port: 68, ..Packet::udp([255; 4].into(), 67) }.bytes());
    lab.passed(&Packet { protocol: 1, ..foreign.clone() }.bytes());
    lab.passed(&tagged(&foreign.bytes(), 0x8100, 100));
    lab.passed(&tagged(&tagged(&foreign.bytes(), 0x8100, 100), 0x88a8, 7));
    lab.passed(&ArpFrame::request(elsewhere).bytes());
    let mut ipv6 = ethernet([0x33, 0x33, 0, 0, 0, 1], GUEST_MAC, 0x86dd);
    ipv6.extend([0x60; 60]);
    lab.passed(&ipv6);
    let mut bpdu = ethernet([1, 0x80, 0xc2, 0, 0, 0], GUEST_MAC, 38);
    bpdu.extend([0x42; 46]);
    lab.passed(&bpdu);
    // Too short for what it says to be.
    lab.passed(&ArpFrame::request(SERVICE).bytes()[..41]);
}

#[test]
fn an_unknown_port_is_refused() {
    let mut lab = Lab::new();
    lab.path.refuse(LOOPBACK).unwrap();
    let event = lab.dropped(&Packet::tcp().bytes(), Verdict::UnknownPort);
    assert_eq!((event.slot, event.ifindex), (None, LOOPBACK));
    lab.dropped(&ArpFrame::request(SERVICE).bytes(), Verdict::UnknownPort);
    lab.passed(&Packet { destination: [192, 168, 0, 1].into(), ..Packet::tcp() }.bytes());
    // Each is counted, and not only those of which there is an event.
    for _ in 0..100 {
        lab.guest(&Packet::tcp().bytes());
    }
    let refused = lab.path.refused().unwrap();
    assert_eq!(refused.len(), 1);
    assert_eq!((refused[0].0, refused[0].1.of(Verdict::UnknownPort)), (LOOPBACK, 102));
}

#[test]
fn a_device_that_nothing_is_known_about_is_refused_and_counted_in_the_totals() {
    let mut lab = Lab::new();
    assert_eq!(lab.guest(&Packet::tcp().bytes()).action, Trial::DROP);
    assert_eq!(lab.path.totals().unwrap().of(Verdict::UnknownPort), 1);
    let event = lab.path.drops().unwrap().next().unwrap();
    assert_eq!((event.verdict, event.slot), (Verdict::UnknownPort, None));
}

#[test]
fn a_tagged_frame_is_dropped() {
    let mut lab = Lab::with_port();
    let frame = Packet::tcp().bytes();
    let event = lab.dropped(&tagged(&frame, 0x8100, 100), Verdict::Tagged);
    assert_eq!((event.vlan, event.ethertype), (100, 0x0800));
    lab.dropped(&tagged(&frame, 0x88a8, 100), Verdict::Tagged);
    let event = lab.dropped(&tagged(&tagged(&frame, 0x8100, 9), 0x88a8, 200), Verdict::Tagged);
    assert_eq!(event.vlan, 200);
    lab.dropped(&tagged(&ArpFrame::request(SERVICE).bytes(), 0x8100, 5), Verdict::Tagged);
}

#[test]
fn more_tags_than_anybody_nests_are_dropped_and_not_let_through_unread() {
    let mut lab = Lab::with_port();
    let mut frame = Packet { destination: [192, 168, 0, 1].into(), ..Packet::tcp() }.bytes();
    for _ in 0..4 {
        frame = tagged(&frame, 0x8100, 0);
        if frame.len() < 14 + 40 + 35 + 16 {
            lab.passed(&frame);
        }
    }
    frame = tagged(&frame, 0x8100, 0);
    lab.dropped(&frame, Verdict::Tagged);
}

#[test]
fn another_mac_than_the_ports_is_dropped() {
    let mut lab = Lab::with_port();
    let from_mac = [0x52, 0x54, 0, 0, 0, 2];
    let event = lab.dropped(&Packet { from_mac, ..Packet::tcp() }.bytes(), Verdict::WrongMac);
    assert_eq!(event.mac, from_mac);
}

#[test]
fn a_source_that_the_port_may_not_use_is_dropped() {
    let mut lab = Lab::with_port();
    for source in [
        "192.168.0.11",
        "10.9.1.0",
        "10.8.255.255",
        "0.0.0.0",
        "127.0.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "32.0.0.1",
        "169.253.255.255",
        "169.255.0.0",
    ] {
        let source: Ipv4Addr = source.parse().unwrap();
        let packet = Packet { source, ..Packet::tcp() };
        let event = lab.dropped(&packet.bytes(), Verdict::SpoofedSource);
        assert_eq!((event.source, event.destination), (source.into(), SERVICE.into()));
        assert_eq!(event.slot.map(|slot| slot.number()), Some(SLOT));
        assert_eq!(event.protocol, 6);
    }
}

#[test]
fn a_frame_from_a_service_address_is_dropped_whatever_it_is_and_wherever_it_goes() {
    let mut lab = Lab::with_port();
    let rogue = Packet {
        source: SERVICE,
        source_port: 80,
        destination: [192, 168, 0, 20].into(),
        ..Packet::tcp()
    };
    lab.dropped(&rogue.bytes(), Verdict::FromService);
    lab.dropped(&Packet { source: OTHER_SERVICE, ..rogue.clone() }.bytes(), Verdict::FromService);
    lab.dropped(&Packet { destination: SERVICE, ..rogue.clone() }.bytes(), Verdict::FromService);
    lab.dropped(&Packet { protocol: 1, ..rogue.clone() }.bytes(), Verdict::FromService);
    lab.dropped(&Packet { fragment: 0x2000, ..rogue.clone() }.bytes(), Verdict::FromService);
    lab.dropped(&Packet { options: vec![1; 4], ..rogue.clone() }.bytes(), Verdict::FromService);
    lab.dropped(&tagged(&rogue.bytes(), 0x8100, 0), Verdict::FromService);
}

#[test]
fn a_dhcp_servers_message_is_dropped_unless_the_port_may_send_it() {
    let mut lab = Lab::with_port();
    let offer = Packet { source_port: 67, ..Packet::udp([255; 4].into(), 68) };
    let with_options = Packet { options: vec![1; 12], ..offer.clone() };
    let first_fragment = Packet { fragment: 0x2000, ..offer.clone() };
    let frames = [offer.bytes(), with_options.bytes(), first_fragment.bytes()];
    for frame in &frames {
        let event = lab.dropped(frame, Verdict::DhcpServer);
        assert_eq!((event.protocol, event.source_port), (17, 67));
        // Any number of tags without a VLAN is taken off by the receiver.
        lab.dropped(&tagged(&tagged(frame, 0x8100, 0), 0x8100, 0), Verdict::DhcpServer);
    }
    // A client looks at the destination alone.
    let from_elsewhere = Packet { source_port: 1067, ..offer.clone() };
    let event = lab.dropped(&from_elsewhere.bytes(), Verdict::DhcpServer);
    assert_eq!((event.source_port, event.destination_port), (1067, 68));
    // The same two bytes of a later fragment are no port.
    lab.passed(&Packet { fragment: 0x2010, ..offer.clone() }.bytes());
    lab.path.attach(LOOPBACK, &PortRules { dhcp_server: true, ..rules() }).unwrap();
    for frame in &frames {
        lab.passed(frame);
    }
    // To be a DHCP server is not to be a service.
    lab.dropped(&Packet { source: SERVICE, ..offer }.bytes(), Verdict::FromService);
}

#[test]
fn a_fragment_is_dropped() {
    let mut lab = Lab::with_port();
    for fragment in [0x2000, 0x0001, 0x3fff, 0x1000, 0x6000] {
        lab.dropped(&Packet { fragment, ..Packet::tcp() }.bytes(), Verdict::Fragment);
    }
}

#[test]
fn ip_options_are_dropped() {
    let mut lab = Lab::with_port();
    let source_route = vec![131, 7, 4, 10, 0, 0, 1, 0];
    for options in [source_route, vec![1; 4], vec![0; 40]] {
        lab.dropped(&Packet { options, ..Packet::tcp() }.bytes(), Verdict::IpOptions);
    }
}

#[test]
fn lengths_that_contradict_each_other_are_dropped() {
    let mut lab = Lab::with_port();
    let good = Packet::tcp().bytes();
    let set = |at: usize, value: u8| {
        let mut frame = good.clone();
        frame[at] = value;
        frame
    };
    lab.dropped(&set(14, 0x65), Verdict::Malformed);
    lab.dropped(&set(14, 0x44), Verdict::Malformed);
    lab.dropped(&set(14, 0x40), Verdict::Malformed);
    lab.dropped(&set(16, 0xff), Verdict::Malformed);
    lab.dropped(&set(17, 19), Verdict::Malformed);
    lab.dropped(&set(17, 39), Verdict::Malformed);
    lab.dropped(&set(46, 0x40), Verdict::Malformed);
    lab.dropped(&set(46, 0xf0), Verdict::Malformed);
    lab.dropped(&good[..40], Verdict::Malformed);
    lab.dropped(&good[..good.len() - 1], Verdict::Malformed);
    lab.dropped(&Packet { to_mac: [0xff; 6], ..Packet::tcp() }.bytes(), Verdict::Malformed);
    let datagram = Packet::udp(SERVICE, 123).bytes();
    for length in [7, 0xff] {
        let mut frame = datagram.clone();
        frame[39] = length;
        lab.dropped(&frame, Verdict::Malformed);
    }
}

#[test]
fn what_is_no_service_at_a_service_address_is_dropped() {
    let mut lab = Lab::with_port();
    let event =
        lab.dropped(&Packet { destination_port: 22, ..Packet::tcp() }.bytes(), Verdict::NoService);
    assert_eq!((event.source_port, event.destination_port), (40000, 22));
    lab.dropped(
        &Packet { destination: OTHER_SERVICE, ..Packet::tcp() }.bytes(),
        Verdict::NoService,
    );
    lab.dropped(&Packet::udp(SERVICE, 80).bytes(), Verdict::NoService);
    lab.dropped(&Packet { protocol: 1, ..Packet::tcp() }.bytes(), Verdict::NoService);
}

#[test]
fn more_frames_than_the_bucket_has_are_dropped() {
    let mut lab = Lab::new();
    let rate = Rate { frames_per_second: 1, burst: 3 };
    lab.path.attach(LOOPBACK, &PortRules { rate, ..rules() }).unwrap();
    let frame = Packet::tcp().bytes();
    let actions: Vec<i32> = (0..3).map(|_| lab.guest(&frame).action).collect();
    assert_eq!(actions, [Trial::REDIRECT; 3]);
    lab.dropped(&frame, Verdict::RateLimited);
    lab.dropped(&ArpFrame::request(SERVICE).bytes(), Verdict::RateLimited);
    // Neither refused frames nor those of others take or need a token.
    lab.passed(&Packet { destination: [192, 168, 0, 1].into(), ..Packet::tcp() }.bytes());
    lab.dropped(&Packet { destination_port: 22, ..Packet::tcp() }.bytes(), Verdict::NoService);
}

#[test]
fn an_offloaded_frame_takes_a_token_for_each_frame_it_will_become() {
    let mut lab = Lab::new();
    let rate = Rate { frames_per_second: 1, burst: 10 };
    lab.path.attach(LOOPBACK, &PortRules { rate, ..rules() }).unwrap();
    let frame = Packet { payload: vec![7; 2900], ..Packet::tcp() }.bytes();
    let send = || lab.path.try_offloaded_frame(LOOPBACK, &frame, 600).unwrap().action;
    assert_eq!([send(), send(), send()], [Trial::REDIRECT, Trial::REDIRECT, Trial::DROP]);
    assert_eq!(lab.counted(Verdict::RateLimited), 1);
}

#[test]
fn a_flood_of_drops_is_counted_but_not_recorded_frame_by_frame() {
    let mut lab = Lab::with_port();
    let mut events = lab.path.drops().unwrap();
    let spoofed = Packet { source: [8, 8, 8, 8].into(), ..Packet::tcp() }.bytes();
    lab.path.try_guest_frame(LOOPBACK, &spoofed, 10_000).unwrap();
    let mut recorded = 0;
    while events.next().is_some() {
        recorded += 1;
    }
    let counters = lab.path.counters(LOOPBACK).unwrap();
    assert_eq!(counters.of(Verdict::SpoofedSource), 10_000);
    assert!((1..=320).contains(&recorded), "{recorded}");
    assert_eq!(counters.suppressed_events() + recorded, 10_000);
}

//! What comes out of the metadata namespace.

use std::net::Ipv4Addr;

use mezame_ebpf_loader::{Identity, PortRules, PortSlot, SERVICE_MAC, Trial, Verdict};

use super::{
    frames::{Packet, Read, ethernet},
    lab::{
        GUEST, GUEST_MAC, HOST_MAC, LOOPBACK, Lab, OTHER_SERVICE, PEER_MAC, SERVICE, rules, slot,
    },
};

/// A reply of the first service to an identity.
fn reply(n: u8) -> Packet {
    Packet {
        to_mac: HOST_MAC,
        from_mac: PEER_MAC,
        source: SERVICE,
        source_port: 80,
        destination: Identity::new(slot(), n).address(),
        destination_port: 40000,
        ..Packet::tcp()
    }
}

fn assert_returned(before: &[u8], trial: &Trial, service: Ipv4Addr, port: u16, guest: Ipv4Addr) {
    assert_eq!(trial.action, Trial::REDIRECT);
    let (old, new) = (Read(before), Read(&trial.frame));
    assert_eq!((new.target_mac(), new.sender_mac()), (GUEST_MAC, SERVICE_MAC));
    assert_eq!((new.source(), new.ports().0), (service, port));
    assert_eq!((new.destination(), new.ports().1), (guest, old.ports().1));
    assert!(new.ip_checksum_is_right() && new.transport_checksum_is_right());
    assert_eq!(new.rest(), old.rest());
}

fn assert_refused(lab: &Lab, frame: &[u8], verdict: Verdict) {
    let count = |lab: &Lab| {
        let port = lab.path.counters(LOOPBACK).map_or(0, |counters| counters.of(verdict));
        port + lab.path.totals().unwrap().of(verdict)
    };
    let before = count(lab);
    let trial = lab.reply(frame);
    assert_eq!(trial.action, Trial::DROP);
    assert_eq!(trial.frame, frame);
    assert_eq!(count(lab), before + 1);
}

#[test]
fn a_reply_goes_to_the_guest_from_the_service() {
    let lab = Lab::with_port();
    let frame = reply(0).bytes();
    assert_returned(&frame, &lab.reply(&frame), SERVICE, 80, GUEST);
    assert_eq!(lab.counted(Verdict::Returned), 1);
}

#[test]
fn a_reply_of_a_service_elsewhere_comes_from_the_address_that_the_guest_asked() {
    let lab = Lab::with_port();
    let source = Ipv4Addr::new(169, 254, 169, 253);
    let frame = Packet { source, source_port: 8443, ..reply(0) }.bytes();
    assert_returned(&frame, &lab.reply(&frame), OTHER_SERVICE, 443, GUEST);
    let frame = Packet { source_port: 1123, protocol: 17, ..reply(0) }.bytes();
    assert_returned(&frame, &lab.reply(&frame), SERVICE, 123, GUEST);
}

#[test]
fn a_reply_finds_the_address_of_a_range_that_asked() {
    let lab = Lab::with_port();
    for source in [Ipv4Addr::new(10, 9, 0, 5), Ipv4Addr::new(169, 254, 77, 1)] {
        let request = lab.guest(&Packet { source, ..Packet::tcp() }.bytes());
        let destination = Read(&request.frame).source();
        let frame = Packet { destination, ..reply(0) }.bytes();
        assert_returned(&frame, &lab.reply(&frame), SERVICE, 80, source);
    }
}

#[test]
fn a_reply_keeps_its_ttl() {
    let lab = Lab::with_port();
    for ttl in [1, 2, 64] {
        assert_eq!(lab.reply(&Packet { ttl, ..reply(0) }.bytes()).frame[22], ttl);
    }
}

#[test]
fn a_reply_to_a_slot_that_no_address_has_is_dropped() {
    let lab = Lab::with_port();
    assert_refused(&lab, &reply(9).bytes(), Verdict::StaleIdentity);
}

#[test]
fn a_reply_to_a_port_that_is_gone_is_dropped() {
    let mut lab = Lab::with_port();
    lab.path.detach(LOOPBACK).unwrap();
    assert_refused(&lab, &reply(0).bytes(), Verdict::StaleIdentity);
}

#[test]
fn a_reply_to_the_one_before_on_a_recycled_device_is_dropped() {
    let mut lab = Lab::with_port();
    let next = PortRules { slot: PortSlot::new(5).unwrap(), generation: 8, ..rules() };
    lab.path.attach(LOOPBACK, &next).unwrap();
    assert_refused(&lab, &reply(0).bytes(), Verdict::StaleIdentity);
    // The same slot again, in another generation: nothing that the one before left is used.
    let lab = {
        lab.path.attach(LOOPBACK, &PortRules { generation: 9, ..rules() }).unwrap();
        lab
    };
    assert_refused(&lab, &reply(3).bytes(), Verdict::StaleIdentity);
}

#[test]
fn what_no_service_sent_does_not_leave_the_namespace() {
    let lab = Lab::with_port();
    assert_refused(&lab, &Packet { source_port: 22, ..reply(0) }.bytes(), Verdict::BadReply);
    assert_refused(&lab, &Packet { protocol: 1, ..reply(0) }.bytes(), Verdict::BadReply);
    assert_refused(&lab, &Packet { source: GUEST, ..reply(0) }.bytes(), Verdict::BadReply);
    assert_refused(&lab, &Packet { fragment: 0x2000, ..reply(0) }.bytes(), Verdict::BadReply);
    assert_refused(&lab, &Packet { options: vec![1; 4], ..reply(0) }.bytes(), Verdict::BadReply);
    assert_refused(&lab, &Packet { destination: GUEST, ..reply(0) }.bytes(), Verdict::BadReply);
    for ethertype in [0x86dd, 0x0806, 0x8100] {
        let mut frame = ethernet(HOST_MAC, PEER_MAC, ethertype);
        frame.extend([0; 60]);
        assert_eq!(lab.reply(&frame).action, Trial::DROP);
    }
}

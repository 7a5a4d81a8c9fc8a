//! Random frames, compared with the model, with an eye on every checksum.

use std::net::Ipv4Addr;

use mezame_ebpf_loader::{Identity, Trial};
use proptest::{collection::vec, prelude::*, sample::select};

use super::{
    frames::{ArpFrame, Packet, ROUTER_MAC, Read, tagged},
    lab::{
        GUEST, GUEST_MAC, HOST_MAC, Lab, OTHER_SERVICE, PEER_MAC, SERVICE, rules, services, slot,
    },
    model::Model,
};

const CASES: u32 = 4000;

fn some_address() -> impl Strategy<Value = Ipv4Addr> {
    let known = vec![
        GUEST,
        SERVICE,
        OTHER_SERVICE,
        Ipv4Addr::UNSPECIFIED,
        Ipv4Addr::BROADCAST,
        [10, 9, 0, 3].into(),
        [169, 254, 1, 2].into(),
        [192, 168, 0, 11].into(),
    ];
    prop_oneof![6 => select(known), 1 => any::<u32>().prop_map(Ipv4Addr::from)]
}

fn some_mac() -> impl Strategy<Value = [u8; 6]> {
    prop_oneof![4 => Just(GUEST_MAC), 1 => Just(ROUTER_MAC), 1 => any::<[u8; 6]>()]
}

fn some_port() -> impl Strategy<Value = u16> {
    prop_oneof![4 => select(vec![80, 123, 443, 67, 68, 8443]), 1 => any::<u16>()]
}

prop_compose! {
    fn some_packet()(
        macs in (some_mac(), some_mac()),
        source in some_address(),
        destination in prop_oneof![2 => Just(SERVICE), 1 => some_address()],
        protocol in prop_oneof![3 => Just(6_u8), 3 => Just(17), 1 => any::<u8>()],
        ttl in any::<u8>(),
        id in any::<u16>(),
        fragment in prop_oneof![8 => Just(0x4000_u16), 4 => Just(0), 1 => any::<u16>()],
        options in prop_oneof![8 => Just(0_usize), 1 => 1_usize..=10],
        ports in (some_port(), some_port()),
        payload in vec(any::<u8>(), 0..1400),
        no_checksum in any::<bool>(),
        padding in 0_usize..20,
    ) -> Packet {
        Packet {
            to_mac: macs.0, from_mac: macs.1, source, destination, protocol, ttl, id, fragment,
            options: vec![1; options * 4], source_port: ports.0, destination_port: ports.1,
            payload, no_checksum, padding,
        }
    }
}

prop_compose! {
    fn some_arp()(
        macs in (some_mac(), some_mac(), some_mac(), some_mac()),
        operation in prop_oneof![4 => Just(1_u16), 1 => Just(2), 1 => any::<u16>()],
        sender in some_address(),
        target in some_address(),
    ) -> ArpFrame {
        ArpFrame {
            to_mac: macs.0, from_mac: macs.1, operation, sender_mac: macs.2, sender,
            target_mac: macs.3, target,
        }
    }
}

/// Whole frames, tagged ones, and damaged ones: bytes changed, the end cut off.
fn some_frame() -> impl Strategy<Value = Vec<u8>> {
    let whole = prop_oneof![
        4 => some_packet().prop_map(|packet| packet.bytes()),
        1 => some_arp().prop_map(|arp| arp.bytes()),
    ];
    let tag = (select(vec![0x8100, 0x88a8]), any::<u16>());
    let damage = vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    let cut = prop_oneof![4 => Just(0_usize), 1 => 0_usize..80];
    (whole, prop_oneof![3 => Just(Vec::new()), 1 => vec(tag, 1..6)], damage, cut).prop_map(
        |(mut frame, tags, damage, cut)| {
            for (kind, vlan) in tags {
                frame = tagged(&frame, kind, vlan);
            }
            for (at, value) in damage {
                let length = frame.len();
                frame[at.index(length)] = value;
            }
            // The kernel takes no shorter ones for a trial; real ones come by a tap.
            frame.truncate(frame.len().saturating_sub(cut).max(54));
            frame.resize(frame.len().max(54), 0);
            frame
        },
    )
}

#[test]
fn every_frame_out_of_a_guest_meets_the_fate_that_the_model_says() {
    let lab = Lab::with_port();
    let mut model = Model::new(rules(), services());
    let mut runner = runner();
    let model = std::cell::RefCell::new(&mut model);
    runner
        .run(&some_frame(), |frame| {
            model.borrow_mut().compare(&frame, &lab.guest(&frame));
            Ok(())
        })
        .unwrap();
    let counters = lab.path.counters(super::lab::LOOPBACK).unwrap();
    for (verdict, count) in counters.iter() {
        assert_eq!(count, model.borrow().counted[verdict as usize], "{verdict:?}");
    }
    // The frames must not all be of one kind, or this has shown nothing.
    let seen = model.borrow().counted.iter().filter(|count| **count > 0).count();
    assert!(seen >= 11, "{:?}", model.borrow().counted);
}

#[test]
fn the_checksums_of_every_valid_reply_are_right_and_its_payload_is_untouched() {
    let lab = Lab::with_port();
    let reply = (some_packet(), select(vec![(6, 80), (17, 1123)])).prop_map(
        |(packet, (protocol, port))| {
            Packet {
                to_mac: HOST_MAC,
                from_mac: PEER_MAC,
                source: SERVICE,
                destination: Identity::new(slot(), 0).address(),
                protocol,
                source_port: port,
                fragment: 0x4000,
                options: Vec::new(),
                ..packet
            }
            .bytes()
        },
    );
    runner()
        .run(&reply, |frame| {
            let trial = lab.reply(&frame);
            prop_assert_eq!(trial.action, Trial::REDIRECT);
            let (old, new) = (Read(&frame), Read(&trial.frame));
            prop_assert_eq!((new.source(), new.destination()), (SERVICE, GUEST));
            prop_assert!(new.ip_checksum_is_right());
            prop_assert!(new.transport_checksum_is_right());
            prop_assert_eq!(new.rest(), old.rest());
            Ok(())
        })
        .unwrap();
}

/// Failing cases are printed, and belong into a test of their own: no file is kept.
pub(crate) fn runner() -> proptest::test_runner::TestRunner {
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(CASES) };
    proptest::test_runner::TestRunner::new(config)
}

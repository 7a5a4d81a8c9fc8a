//! Random frames of both families at a port that is answered on its link, compared with the model;
//! random replies too, and valid ones over IPv6 with an eye on the checksum.

use std::net::Ipv6Addr;

use mezame_ebpf_loader::{Identity6, SERVICE_MAC, Trial};
use proptest::{collection::vec, prelude::*, sample::select};

use super::{
    dice::Dice,
    frames6::{Packet6, Read6},
    lab::{
        GUEST_MAC, LINK_SERVICE, LINK_TARGET, LOOPBACK, Lab, SERVICE6, all_services, dual_rules,
        slot,
    },
    model::Model,
    random::runner,
};

#[test]
fn every_frame_and_reply_of_a_port_with_ipv6_and_dhcp_meets_the_fate_that_the_model_says() {
    let mut lab = Lab::dual();
    let mut model = Model::new(dual_rules(), all_services());
    let mut corpus = Vec::new();
    let lab_and_model = std::cell::RefCell::new((&mut lab, &mut model, &mut corpus));
    runner()
        .run(&any::<u64>(), |seed| {
            let (lab, model, corpus) = &mut *lab_and_model.borrow_mut();
            let mut dice = Dice(seed);
            let rules = dice.rules(&dual_rules());
            lab.path.attach(LOOPBACK, &rules).unwrap();
            model.rule(rules);
            for _ in 0..8 {
                let frame = dice.frame(corpus);
                model.compare(&frame, &lab.guest(&frame));
                let reply = dice.reply();
                model.compare_reply(&reply, &lab.reply(&reply));
            }
            Ok(())
        })
        .unwrap();
    for (verdict, count) in lab.path.counters(LOOPBACK).unwrap().iter() {
        assert_eq!(count, model.counted[verdict as usize], "{verdict:?}");
    }
    // All but those of a device without a port and of an empty bucket.
    let seen = model.counted.iter().filter(|count| **count > 0).count();
    assert_eq!(seen, 19, "{:?}", model.counted);
}

#[test]
fn the_checksums_of_every_valid_reply_over_ipv6_are_right_and_its_payload_is_untouched() {
    let lab = Lab::dual();
    let targets = vec![
        (6, SERVICE6, 80, SERVICE6, 80),
        (6, LINK_TARGET, 8080, LINK_SERVICE, 80),
        (17, LINK_TARGET, 547, LINK_SERVICE, 547),
        (17, LINK_TARGET, 1123, SERVICE6, 123),
    ];
    let reply = (select(targets), any::<u64>(), any::<u16>(), vec(any::<u8>(), 0..1400));
    runner()
        .run(&reply, |((protocol, target, port, service, seen), interface, to, payload)| {
            let identity = Identity6::new(slot(), Identity6::LINK_LOCAL, interface);
            let mut packet = match protocol {
                6 => Packet6::tcp(),
                _ => Packet6::udp(target, (port, to), &payload),
            };
            if protocol == 6 {
                packet.upper.truncate(20);
                packet.upper.extend(&payload);
                packet.upper[..4].copy_from_slice(&[port.to_be_bytes(), to.to_be_bytes()].concat());
            }
            (packet.source, packet.destination) = (target, identity.address());
            let frame = packet.bytes();
            let trial = lab.reply(&frame);
            prop_assert_eq!(trial.action, Trial::REDIRECT);
            let (old, new) = (Read6(&frame), Read6(&trial.frame));
            let guest = Ipv6Addr::from_bits(0xfe80 << 112 | u128::from(interface));
            prop_assert_eq!((new.source(), new.destination()), (service, guest));
            prop_assert_eq!(new.ports(), (seen, to));
            prop_assert_eq!(new.macs(), (GUEST_MAC, SERVICE_MAC));
            prop_assert!(new.checksum_is_right());
            prop_assert_eq!(new.rest(), old.rest());
            Ok(())
        })
        .unwrap();
}

//! What a port is sent, look by look.

use std::{net::Ipv6Addr, sync::Arc};

use mezame_link_local::router::advertise;
use mezame_model::{Guest, Ipv6Mode, Network};

use super::*;
use crate::fixture;

/// What the test port's guest is told, with its networks changed so.
fn advertised(change: impl Fn(&mut Network)) -> Option<Advertisement> {
    let mut snapshot = fixture::snapshot(1, [1]);
    for network in &mut snapshot.networks {
        let network = Arc::make_mut(network);
        network.dhcp.ipv6 = Ipv6Mode::Stateless;
        network.subnets.iter_mut().filter(|it| it.cidr.is_ipv6()).for_each(|subnet| {
            subnet.gateway = Some("fe80::1".parse().unwrap());
        });
        change(network);
    }
    let guest = Guest::join(&snapshot, &snapshot.instances[0]).unwrap();
    advertise(&guest, guest.primary())
}

fn by_router(router: &str) -> Option<Advertisement> {
    advertised(|network| {
        for subnet in network.subnets.iter_mut().filter(|it| it.cidr.is_ipv6()) {
            subnet.gateway = Some(router.parse().unwrap());
        }
    })
}

/// One port's memory, and what is sent.
#[derive(Default)]
struct Wire {
    memory: Memory,
    is_full: bool,
}

impl Wire {
    /// The sources and lifetimes of what the port of this number is sent at one look.
    fn look(
        &mut self,
        number: usize,
        generation: u64,
        again: bool,
        now: Option<Advertisement>,
    ) -> Vec<(Ipv6Addr, u16)> {
        let (slot, port) = (PortSlot::new(1).unwrap(), fixture::port_id(number));
        let generation = Generation(generation);
        let mut sent = Vec::new();
        if !self.memory.is_due(slot, &port, generation, again) {
            return sent;
        }
        let is_full = self.is_full;
        let result = self.memory.tell(slot, &port, generation, again, now, |message| {
            if is_full {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let lifetime = u16::from_be_bytes([message.bytes[6], message.bytes[7]]);
            sent.push((message.source, lifetime));
            Ok(())
        });
        assert_eq!(result.is_err(), is_full);
        sent
    }
}

fn first() -> Ipv6Addr {
    "fe80::1".parse().unwrap()
}

fn second() -> Ipv6Addr {
    "fe80::2".parse().unwrap()
}

#[test]
fn a_port_is_told_once_and_again_when_all_are_or_something_is_new() {
    let mut wire = Wire::default();
    let same = || by_router("fe80::1");
    assert_eq!(wire.look(1, 1, false, same()), [(first(), 9000)]);
    assert_eq!(wire.look(1, 1, false, same()), []);
    // Another generation, in which nothing of this is new.
    assert_eq!(wire.look(1, 2, false, same()), []);
    assert_eq!(wire.look(1, 2, true, same()), [(first(), 9000)]);
    let changed = || advertised(|network| network.domain = Some("new.example".into()));
    assert_eq!(wire.look(1, 3, false, changed()), [(first(), 9000)]);
}

#[test]
fn one_without_a_router_is_told_again_too() {
    let mut wire = Wire::default();
    let none = || {
        advertised(|network| network.subnets.iter_mut().for_each(|subnet| subnet.gateway = None))
    };
    let source = mezame_model::service_address::METADATA_LINK;
    assert_eq!(wire.look(1, 1, false, none()), [(source, 0)]);
    assert_eq!(wire.look(1, 1, true, none()), [(source, 0)]);
}

#[test]
fn a_former_router_is_ended_from_its_own_address_once() {
    let mut wire = Wire::default();
    wire.look(1, 1, false, by_router("fe80::1"));
    let now = || by_router("fe80::2");
    assert_eq!(wire.look(1, 2, false, now()), [(first(), 0), (second(), 9000)]);
    assert_eq!(wire.look(1, 2, true, now()), [(second(), 9000)]);
    // And where nothing is told any more.
    assert_eq!(wire.look(1, 3, false, None), [(second(), 0)]);
    assert_eq!(wire.look(1, 4, true, None), []);
}

#[test]
fn what_was_not_sent_is_tried_at_the_next_look() {
    let mut wire = Wire { is_full: true, ..Wire::default() };
    assert_eq!(wire.look(1, 1, false, by_router("fe80::1")), []);
    wire.is_full = false;
    assert_eq!(wire.look(1, 1, false, by_router("fe80::1")), [(first(), 9000)]);
    // A change, with what it ends.
    wire.is_full = true;
    assert_eq!(wire.look(1, 2, false, by_router("fe80::2")), []);
    wire.is_full = false;
    let both = [(first(), 0), (second(), 9000)];
    assert_eq!(wire.look(1, 2, false, by_router("fe80::2")), both);
    // A repetition.
    wire.is_full = true;
    assert_eq!(wire.look(1, 2, true, by_router("fe80::2")), []);
    wire.is_full = false;
    assert_eq!(wire.look(1, 2, false, by_router("fe80::2")), [(second(), 9000)]);
    assert_eq!(wire.look(1, 2, false, by_router("fe80::2")), []);
}

#[test]
fn another_port_in_the_same_place_hears_nothing_of_the_one_before() {
    let mut wire = Wire::default();
    wire.look(1, 1, false, by_router("fe80::1"));
    assert_eq!(wire.look(2, 1, false, by_router("fe80::2")), [(second(), 9000)]);
}

#[test]
fn ports_that_went_are_forgotten() {
    let mut wire = Wire::default();
    wire.look(1, 1, false, by_router("fe80::1"));
    wire.memory.retain(|_| false);
    assert_eq!(wire.look(1, 1, false, by_router("fe80::2")), [(second(), 9000)]);
}

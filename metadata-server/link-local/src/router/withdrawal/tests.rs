//! What guests are sent after a change, read back byte by byte.

use mezame_model::{Guest, Ipv6Mode, Network, Port, service_address::METADATA_LINK};
use proptest::prelude::*;

use super::*;
use crate::{fixture, router::advertise};

const PREFIX: [u8; 16] = [0x20, 0x01, 0x0d, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn advertised(guest: &Guest) -> Advertisement {
    advertise(guest, guest.primary()).unwrap()
}

/// What the fixture's guest is sent after a change.
fn after(change: impl FnOnce(&mut Port, &mut Network)) -> (Advertisement, Vec<Advertisement>) {
    let guest = fixture::with(change);
    let now = advertise(&guest, guest.primary());
    let before = advertised(&fixture::guest()).told;
    (now.clone().unwrap_or_else(|| advertised(&fixture::guest())), follow(&before, now))
}

/// What is written after an advertisement's own options.
fn added<'m>(now: &Advertisement, message: &'m Advertisement) -> &'m [u8] {
    message.bytes.strip_prefix(&now.bytes[..]).unwrap()
}

#[test]
fn nothing_is_taken_back_where_nothing_has_changed() {
    let (now, sent) = after(|_, _| {});
    assert_eq!(sent, [now]);
}

#[test]
fn a_former_router_says_that_it_is_none_and_ends_its_routes() {
    let other: Ipv6Addr = "fe80::2".parse().unwrap();
    let (now, sent) = after(|_, network| {
        network.subnets[1].gateway = Some(other.into());
        network.subnets[1].routes[0].via = other.into();
    });
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[0].source, "fe80::1".parse::<Ipv6Addr>().unwrap());
    let expected = [
        &[134, 0, 0, 0, 64, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..],
        &[24, 2, 48, 0, 0, 0, 0, 0, 0x20, 0x01, 0x0d, 0xb8, 0, 9, 0, 0],
    ];
    assert_eq!(sent[0].bytes, expected.concat());
    // The route is the new one's now, and prefixes and resolvers are the same.
    assert_eq!((sent[1].source, &sent[1]), (other, &now));
}

#[test]
fn a_router_that_is_gone_is_ended_too() {
    let (now, sent) = after(|_, network| network.subnets[1].gateway = None);
    assert_eq!(sent[0].source, "fe80::1".parse::<Ipv6Addr>().unwrap());
    assert_eq!(sent[0].bytes[6..8], [0, 0]);
    assert_eq!((sent[1].source, &sent[1]), (METADATA_LINK, &now));
}

#[test]
fn a_sender_that_was_no_router_is_not_ended() {
    let guest = fixture::with(|_, network| network.subnets[1].gateway = None);
    let now = advertised(&fixture::guest());
    assert_eq!(follow(&advertised(&guest).told, Some(now.clone())), [now]);
}

#[test]
fn prefixes_resolvers_domains_and_routes_that_are_gone_end_in_what_follows() {
    let (now, sent) = after(|_, network| {
        network.subnets[1].cidr = "2001:db8:2::/64".parse().unwrap();
        network.subnets[1].routes.clear();
        network.dns = vec!["2001:db8:2::2".parse().unwrap()];
        network.domain = None;
    });
    // The port's address is in no subnet then, so the router is gone as well.
    let [ended, following] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!(ended.source, "fe80::1".parse::<Ipv6Addr>().unwrap());
    let resolver: Ipv6Addr = "2001:db8:1::2".parse().unwrap();
    let expected = [
        &[3, 4, 64, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..],
        &PREFIX,
        &[25, 3, 0, 0, 0, 0, 0, 0],
        &resolver.octets(),
        &[31, 3, 0, 0, 0, 0, 0, 0],
        b"\x04acme\x07example\x00\x00\x00",
    ];
    assert_eq!(added(&now, following), expected.concat());
    // Under the same router its routes end there.
    let (now, sent) = after(|_, network| network.subnets[1].routes.clear());
    let route = [24, 2, 48, 0, 0, 0, 0, 0, 0x20, 0x01, 0x0d, 0xb8, 0, 9, 0, 0];
    assert_eq!(added(&now, &sent[0]), route);
}

#[test]
fn a_prefix_that_guests_make_addresses_of_no_more_loses_that_and_stays_on_the_link() {
    let other = fixture::with(|_, network| network.dhcp.ipv6 = Ipv6Mode::Other);
    let now = advertised(&fixture::guest());
    let sent = follow(&advertised(&other).told, Some(now.clone()));
    let expected = [&[3, 4, 64, 0x40, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &PREFIX];
    assert_eq!(added(&now, sent.last().unwrap()), expected.concat());
}

#[test]
fn where_nothing_is_told_any_more_all_of_it_ends() {
    let (_, sent) = after(|_, network| network.dhcp.ipv6 = Ipv6Mode::Off);
    let [ended] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!(ended.source, "fe80::1".parse::<Ipv6Addr>().unwrap());
    let kinds: Vec<(u8, Vec<u8>)> = options(ended);
    assert_eq!(kinds.iter().map(|it| it.0).collect::<Vec<_>>(), [3, 3, 25, 31, 24]);
    assert_eq!(ended.bytes[6..8], [0, 0]);
    for (kind, body) in kinds {
        let lifetimes = if kind == 3 { &body[2..10] } else { &body[2..6] };
        assert!(lifetimes.iter().all(|byte| *byte == 0), "{kind}");
    }
}

fn options(advertisement: &Advertisement) -> Vec<(u8, Vec<u8>)> {
    let mut rest = &advertisement.bytes[16..];
    let mut found = Vec::new();
    while let [kind, length, ..] = rest {
        let (option, after) = rest.split_at(usize::from(*length) * 8);
        found.push((*kind, option[2..].to_vec()));
        rest = after;
    }
    found
}

proptest! {
    #[test]
    fn no_message_is_longer_than_the_mtu_carries(
        subnets in prop::collection::vec(any::<u64>(), 1..80),
        mtu in 1280_u16..=3000, is_off in any::<bool>(),
    ) {
        let many = fixture::with(|_, network| {
            network.mtu = mtu;
            let subnet = network.subnets[1].clone();
            for prefix in &subnets {
                let range = Ipv6Addr::from_bits(u128::from(*prefix) << 64);
                let cidr = ipnetwork::IpNetwork::new(range.into(), 64).unwrap();
                network.subnets.push(mezame_model::Subnet { cidr, ..subnet.clone() });
            }
        });
        let few = fixture::with(|_, network| {
            network.mtu = mtu;
            network.subnets[1].gateway = None;
        });
        let now = (!is_off).then(|| advertised(&few));
        for message in follow(&advertised(&many).told, now) {
            prop_assert!(message.bytes.len() + 40 <= usize::from(mtu));
        }
    }
}

//! What holds for messages that nobody wrote on purpose.

use std::net::IpAddr;

use proptest::prelude::*;

use super::*;

/// An option of nearly the right form.
fn an_option() -> impl Strategy<Value = (u16, Vec<u8>)> {
    let address = prop::sample::select(vec!["2001:db8:1::10", "2001:db8:1::99", "fe80::1"]);
    let association = (
        prop::sample::select(vec![ADDRESSES, TEMPORARY_ADDRESSES, PREFIXES]),
        any::<u8>(),
        prop::collection::vec(address, 0..4),
    );
    prop_oneof![
        Just((CLIENT, CLIENT_DUID.to_vec())),
        Just((SERVER, SERVER_ID.duid().to_vec())),
        Just((RAPID_COMMIT, Vec::new())),
        association.prop_map(|(code, id, addresses)| {
            let message = Message { bytes: Vec::new() }.association(code, id, &addresses);
            (code, message.bytes[4..].to_vec())
        }),
        (any::<u16>(), prop::collection::vec(any::<u8>(), 0..40)),
        (0_u16..60, prop::collection::vec(any::<u8>(), 0..40)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn no_bytes_make_it_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..400), kind in 0_u8..14,
        is_framed in any::<bool>(),
    ) {
        let mut datagram = bytes;
        if is_framed {
            datagram.splice(0..0, Message::to_us(kind).bytes);
        }
        let guest = fixture::guest();
        let ask = Ask { guest: &guest, port: guest.primary(), server: SERVER_ID };
        let _ = answer(&datagram, &ask);
    }

    #[test]
    fn every_answer_reads_back_gives_only_what_is_the_ports_and_is_the_same_each_time(
        kind in 0_u8..14, options in prop::collection::vec(an_option(), 0..20),
        has_client in any::<bool>(), has_server in any::<bool>(),
    ) {
        let mut message = Message::bare(kind);
        if has_client {
            message = message.option(CLIENT, CLIENT_DUID);
        }
        if has_server {
            message = message.option(SERVER, &SERVER_ID.duid());
        }
        for (code, value) in &options {
            message = message.option(*code, value);
        }
        let guest = fixture::guest();
        let Ok(reply) = ask(&guest, &message.bytes) else { return Ok(()) };
        prop_assert_eq!(&reply.answer, &ask(&guest, &message.bytes).unwrap().answer);
        let request = Request::read(&message.bytes).unwrap();
        prop_assert_eq!(reply.option(CLIENT), request.option(CLIENT));
        let mut given = Vec::new();
        for told in reply.associations() {
            prop_assert!(told.addresses.is_empty() || told.status.is_none());
            for (address, preferred, valid) in told.addresses {
                let is_own = guest.primary().port.addresses.contains(&address.into());
                prop_assert_eq!(is_own, valid > 0);
                prop_assert_eq!(preferred, valid);
                given.extend(is_own.then_some(address));
            }
        }
        // No address is in two associations.
        let all = given.len();
        given.sort_unstable();
        given.dedup();
        prop_assert_eq!(given.len(), all);
    }
}

/// A port with so many addresses, in a network that tells as much as networks can.
fn full(addresses: usize, mtu: u16) -> Guest {
    fixture::with(|port, network| {
        let all = |count: usize, last: u16| {
            let one = move |at| Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, at as u16, last);
            (0..count).map(move |at| IpAddr::V6(one(at)))
        };
        port.addresses = all(addresses, 1).collect();
        port.boot = Some(Box::new(mezame_model::Boot {
            server: None,
            file: None,
            url: Some(format!("http://[2001:db8::9]/{}", "x".repeat(230)).into()),
        }));
        network.mtu = mtu;
        network.dns = all(16, 2).collect();
        network.ntp = all(16, 3).collect();
        network.domain = Some(["abcdefg"; 31].join(".").into());
    })
}

proptest! {
    #[test]
    fn no_answer_is_longer_than_the_mtu_carries(
        kind in prop::sample::select(vec![1_u8, 3, 4, 5, 6, 8, 9, 11]),
        addresses in 0_usize..=256, mtu in prop_oneof![1280_u16..1600, 1280_u16..=9216],
        listed in prop::collection::vec((prop::sample::select(vec![3_u16, 4, 25]), 0_usize..300), 0..10),
        longest_client in any::<bool>(), is_http in any::<bool>(), is_managed in any::<bool>(),
    ) {
        let mut message = Message::bare(kind);
        let client = if longest_client { &[7; 130] } else { CLIENT_DUID };
        message = message.option(CLIENT, client);
        if matches!(kind, 3 | 5 | 8 | 9) {
            message = message.option(SERVER, &SERVER_ID.duid());
        }
        if is_http {
            let class = [&[0, 0, 1, 87, 0, 10][..], b"HTTPClient"].concat();
            message = message.option(VENDOR_CLASS, &class);
        }
        for (at, (code, count)) in listed.iter().enumerate().filter(|_| kind != 11) {
            let foreign: Vec<_> = (0..*count).map(|it| format!("2001:db8:1::{it:x}:9")).collect();
            let foreign: Vec<&str> = foreign.iter().map(String::as_str).collect();
            message = message.association(*code, at as u8, &foreign);
        }
        let mut guest = full(addresses, mtu);
        if !is_managed {
            let network = std::sync::Arc::make_mut(&mut guest.ports[0].network);
            network.dhcp.ipv6 = Ipv6Mode::Other;
        }
        let reply = match ask(&guest, &message.bytes) {
            Ok(reply) => reply,
            Err(silence) => {
                prop_assert_eq!(silence, Silence::NothingToConfirm);
                return Ok(());
            }
        };
        prop_assert!(reply.answer.bytes.len() + 48 <= usize::from(mtu));
        // The record's first addresses, and eight at least.
        let own: Vec<Ipv6Addr> = crate::told::v6(&guest.primary().port.addresses);
        let told = reply.associations().into_iter().flat_map(|it| it.addresses);
        let given: Vec<_> = told.filter(|it| it.2 > 0).map(|it| it.0).collect();
        prop_assert!(own.starts_with(&given));
        let has_na = listed.iter().take(8).any(|it| it.0 == 3);
        if is_managed && has_na && matches!(kind, 1 | 5 | 6) {
            prop_assert!(given.len() >= own.len().min(8));
        }
    }
}

#[test]
fn as_many_addresses_are_given_as_the_mtu_carries_and_the_options_first() {
    for (mtu, given) in [(1280, 0), (1500, 0), (9000, 256)] {
        let message = Message::of(1).addresses(7, &[]).wants(&[RESOLVERS, SEARCH]);
        let reply = message.asked_of(&full(256, mtu)).unwrap();
        // The client's and our own identifier, the preference, the head of the association.
        let head = 4 + (4 + 10) + (4 + 18) + (4 + 1) + (4 + 12);
        let options = (4 + 16 * 16) + (4 + 31 * 8 + 1);
        let room = usize::from(mtu) - 48 - head - options;
        let expected = if given > 0 { given } else { room / 28 };
        assert_eq!(reply.associations()[0].addresses.len(), expected, "{mtu}");
        assert!(reply.option(RESOLVERS).is_some() && reply.option(SEARCH).is_some());
        assert_eq!(reply.answer.left_out, 256 - expected);
    }
}

#[test]
fn a_message_that_lists_as_much_as_it_can_is_answered_in_one_packet() {
    let many: Vec<String> = (0..2000).map(|at| format!("2001:db8:1::{at:x}:9")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let mut message = Message::to_us(5).wants(&[RESOLVERS]);
    for id in 0..20 {
        message = message.addresses(id, &many);
    }
    let reply = message.asked_of(&full(256, 1450)).unwrap();
    assert_eq!(reply.associations().len(), 8);
    // What there is no room for among those that end lasts until its lease does.
    assert!(reply.associations()[0].addresses.iter().all(|it| it.2 > 0));
    assert!(reply.answer.bytes.len() + 48 <= 1450);
    let given = reply.associations()[0].addresses.len();
    assert_eq!(reply.answer.left_out, 9 * 256 - given);
}

//! What holds for messages that nobody wrote on purpose.

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

#[test]
fn a_message_that_lists_as_much_as_it_can_is_answered_in_one_datagram() {
    let many: Vec<String> = (0..2000).map(|at| format!("2001:db8:1::{at:x}:1")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let mut message = Message::to_us(5);
    for id in 0..20 {
        message = message.addresses(id, &many);
    }
    let guest = fixture::with(|port, _| {
        port.addresses =
            (0..256).map(|at| format!("2001:db8:1::{at:x}").parse().unwrap()).collect();
    });
    let reply = message.asked_of(&guest).unwrap();
    assert_eq!(reply.associations().len(), 8);
    assert_eq!(reply.associations()[0].addresses.len(), 256 + 64);
    assert!(reply.answer.bytes.len() < 32_768);
}

//! What holds for messages that nobody wrote on purpose.

use proptest::prelude::*;

use super::*;

fn options() -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
    let code = prop_oneof![
        prop::sample::select(vec![12_u8, 50, 52, 53, 54, 55, 57, 60, 61, 80, 82]),
        1_u8..255,
    ];
    let value = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        prop::collection::vec(any::<u8>(), 200..600),
        Just(vec![169, 254, 169, 254]),
        Just(OWN.octets().to_vec()),
        Just((0..=255).collect::<Vec<u8>>()),
        Just(b"HTTPClient".to_vec()),
    ];
    prop::collection::vec((code, value), 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn no_bytes_make_it_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..700), is_framed in any::<bool>(),
    ) {
        let guest = fixture::guest();
        let mut datagram = bytes;
        if is_framed {
            datagram.splice(0..0, Message::of(1).bytes);
        }
        let _ = ask(&guest, &datagram);
    }

    #[test]
    fn every_answer_reads_back_is_the_clients_and_is_the_same_each_time(
        kind in 0_u8..10, options in options(), ciaddr in prop::sample::select(vec![0, 0xc0a8_000a, 1]),
        giaddr in prop::sample::select(vec![0_u32, 0, 0xc0a8_0001]), flags in any::<u16>(),
        header in prop::collection::vec(any::<u8>(), 192), is_dhcp in any::<bool>(),
        routes in 0_usize..33,
    ) {
        let guest = fixture::with(|port, network| {
            network.subnets[0].routes = vec![network.subnets[0].routes[0].clone(); routes];
            port.boot = Some(Box::new(mezame_model::Boot {
                server: Some("192.0.2.9".parse().unwrap()),
                file: (routes % 2 == 0).then(|| "x".repeat(127).into()),
                url: Some(format!("http://{}", "y".repeat(200)).into()),
            }));
        });
        let mut message = if is_dhcp { Message::of(kind) } else { Message::bare() };
        message = message.at(44, &header).at(10, &flags.to_be_bytes());
        message = message.ciaddr(Ipv4Addr::from_bits(ciaddr)).giaddr(Ipv4Addr::from_bits(giaddr));
        if !is_dhcp {
            message.bytes.extend(COOKIE);
        }
        for (code, value) in &options {
            message = message.option(*code, value);
        }
        let datagram = message.end();
        let Ok(reply) = ask(&guest, &datagram) else { return Ok(()) };
        let again = ask(&guest, &datagram).unwrap();
        prop_assert_eq!(&reply.answer, &again.answer);
        let bytes = &reply.answer.bytes;
        prop_assert!(bytes.len() <= 1450 - 28);
        prop_assert_eq!(&bytes[4..8], &XID);
        prop_assert_eq!(&bytes[28..44], &datagram[28..44]);
        prop_assert!(reply.yiaddr() == OWN || reply.yiaddr().is_unspecified());
        prop_assert_eq!(reply.yiaddr().is_unspecified(), reply.answer.kind == Kind::Nak
            || reply.option(51).is_none() && reply.answer.kind == Kind::Ack);
        // What was asked for by its own identifier is answered with it.
        let request = Request::read(&datagram).unwrap();
        if request.has_options() {
            prop_assert_eq!(reply.option(61), request.option(61));
            prop_assert_eq!(reply.option(82), request.option(82));
        }
    }
}

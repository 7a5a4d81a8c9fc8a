//! What is told, in which order, and in how much room.

use mezame_model::{Boot, Route};

use super::*;

const SERVICES: &[u8] = &[
    32, 169, 254, 169, 254, 0, 0, 0, 0, 32, 169, 254, 169, 253, 0, 0, 0, 0, 32, 169, 254, 169, 123,
    0, 0, 0, 0, 32, 169, 254, 169, 250, 0, 0, 0, 0,
];

#[test]
fn a_client_that_names_nothing_gets_everything() {
    let reply = Message::of(1).asked().unwrap();
    for (code, expected) in [
        (3, &[192, 168, 0, 1][..]),
        (6, &[192, 168, 0, 2, 192, 168, 0, 3]),
        (12, b"web"),
        (15, b"acme.example"),
        (26, &[0x05, 0xaa]),
        (28, &[192, 168, 0, 255]),
        (42, &[192, 168, 0, 7]),
        (119, b"\x04acme\x07example\x00"),
        (121, &[SERVICES, &[16, 10, 20, 192, 168, 0, 2], &[0, 192, 168, 0, 1]].concat()),
    ] {
        assert_eq!(reply.option(code), Some(expected), "{code}");
    }
    for code in [66, 67, 249, 108] {
        assert_eq!(reply.option(code), None, "{code}");
    }
}

#[test]
fn a_client_that_names_options_gets_those_in_its_order_after_what_a_lease_is_made_of() {
    let reply = Message::of(1).option(55, &[6, 249, 15, 3, 1, 121, 3, 200]).asked().unwrap();
    assert_eq!(reply.order(), [53, 54, 51, 58, 59, 1, 6, 249, 15, 3, 121]);
    assert_eq!(reply.option(249), reply.option(121));
    // RFC 6842: the client identifier as it came.
    let reply = Message::of(1).option(61, b"\xff\x00x").option(55, &[3]).asked().unwrap();
    assert_eq!(reply.option(61), Some(&b"\xff\x00x"[..]));
}

#[test]
fn the_way_to_tang_is_told_where_the_network_has_one() {
    let tang = vec!["192.0.2.89:80".parse().unwrap()];
    let guest = fixture::with(|_, network| network.forward.tang = tang);
    let reply = Message::of(1).asked_of(&guest).unwrap();
    let wanted = [SERVICES, &[32, 169, 254, 169, 252, 0, 0, 0, 0]].concat();
    assert!(reply.option(121).unwrap().starts_with(&wanted));
}

#[test]
fn only_the_first_port_is_told_a_router() {
    let guest = fixture::guest();
    let datagram = Message::of(1).at(33, &[0x57]).end();
    let reply = ask_from(&guest, 1, &datagram, Source::Unknown).unwrap();
    assert_eq!(reply.option(3), None);
    assert_eq!(reply.option(121), Some(SERVICES));
    // The platform's resolver, since this network names none; the mask of a /20.
    assert_eq!(reply.option(6), Some(&[169, 254, 169, 253][..]));
    assert_eq!(reply.option(1), Some(&[255, 255, 240, 0][..]));
    assert_eq!(reply.option(28), Some(&[10, 1, 15, 255][..]));
    assert_eq!(reply.option(26), Some(&9000_u16.to_be_bytes()[..]));
    assert_eq!((reply.option(15), reply.option(42), reply.option(119)), (None, None, None));
}

#[test]
fn an_address_in_no_subnet_is_a_host_and_its_router_is_on_the_link() {
    let guest = fixture::with(|port, _| {
        port.addresses = ["203.0.113.7", "192.168.0.10"].map(|it| it.parse().unwrap()).into();
    });
    let reply = Message::of(1).asked_of(&guest).unwrap();
    assert_eq!(reply.yiaddr(), Ipv4Addr::new(203, 0, 113, 7));
    assert_eq!(reply.option(1), Some(&[255; 4][..]));
    assert_eq!(reply.option(28), None);
    let router = [&[32, 192, 168, 0, 1, 0, 0, 0, 0][..], &[0, 192, 168, 0, 1]].concat();
    assert_eq!(reply.option(121), Some(&[SERVICES, &router].concat()[..]));
}

#[test]
fn a_network_with_ipv6_resolvers_alone_names_none_of_ipv4() {
    let guest = fixture::with(|_, network| network.dns = vec!["2001:db8::53".parse().unwrap()]);
    assert_eq!(Message::of(1).asked_of(&guest).unwrap().option(6), None);
}

#[test]
fn the_platforms_time_server_is_told_where_it_has_the_time_and_the_network_names_none() {
    let told = |ntp: &[&str], forward: &[&str]| {
        let guest = fixture::with(|_, network| {
            network.ntp = ntp.iter().map(|it| it.parse().unwrap()).collect();
            network.forward.ntp = forward.iter().map(|it| it.parse().unwrap()).collect();
        });
        Message::of(1).asked_of(&guest).unwrap().option(42).map(<[u8]>::to_vec)
    };
    assert_eq!(told(&[], &["198.51.100.1:123"]), Some(vec![169, 254, 169, 123]));
    assert_eq!(told(&[], &[]), None);
    assert_eq!(told(&["192.168.0.7"], &["198.51.100.1:123"]), Some(vec![192, 168, 0, 7]));
    // One of the other family is one.
    assert_eq!(told(&["2001:db8:1::7"], &["198.51.100.1:123"]), None);
}

#[test]
fn lease_times_are_half_and_seven_eighths_and_never_overflow() {
    for (lease, t1, t2) in
        [(120, 60, 105), (121, 60, 105), (u32::MAX - 1, 2_147_483_647, 3_758_096_382)]
    {
        let guest = fixture::with(|_, network| network.dhcp.lease_seconds = lease);
        let reply = Message::of(1).asked_of(&guest).unwrap();
        let time = |code| u32::from_be_bytes(reply.option(code).unwrap().try_into().unwrap());
        assert_eq!((time(51), time(58), time(59)), (lease, t1, t2));
        assert!(time(58) < time(59) && time(59) < time(51));
    }
}

fn booted() -> Guest {
    fixture::with(|port, _| {
        port.boot = Some(Box::new(Boot {
            server: Some("192.0.2.9".parse().unwrap()),
            file: Some("pxelinux.0".into()),
            url: Some("http://192.0.2.9/boot.efi".into()),
        }));
    })
}

#[test]
fn pxe_firmware_finds_server_and_file_in_the_header_and_in_options() {
    let message = Message::of(1).option(60, b"PXEClient:Arch:00007:UNDI:003000");
    let reply = message.option(55, &[1, 3, 66, 67]).asked_of(&booted()).unwrap();
    assert_eq!(reply.field(20), Ipv4Addr::new(192, 0, 2, 9));
    assert_eq!(reply.answer.bytes[108..119], *b"pxelinux.0\0");
    assert_eq!(reply.option(66), Some(&b"192.0.2.9"[..]));
    assert_eq!(reply.option(67), Some(&b"pxelinux.0"[..]));
    assert_eq!(reply.option(60), None);
}

#[test]
fn http_firmware_finds_the_url_and_that_it_is_meant() {
    let message = Message::of(1).option(60, b"HTTPClient:Arch:00016:UNDI:003001");
    let reply = message.option(55, &[1, 3, 66, 67]).asked_of(&booted()).unwrap();
    assert_eq!(reply.option(60), Some(&b"HTTPClient"[..]));
    assert_eq!(reply.option(67), Some(&b"http://192.0.2.9/boot.efi"[..]));
    assert_eq!((reply.option(66), reply.field(20)), (None, Ipv4Addr::UNSPECIFIED));
    assert_eq!(reply.answer.bytes[108], 0);
    // Without a URL it is told that there is nothing for it.
    let guest = fixture::with(|port, _| {
        port.boot = Some(Box::new(Boot { file: Some("pxelinux.0".into()), ..Boot::default() }));
    });
    let message = Message::of(1).option(60, b"HTTPClient:Arch:00016:UNDI:003001");
    let reply = message.asked_of(&guest).unwrap();
    assert_eq!((reply.option(60), reply.option(67)), (None, None));
}

/// A network whose routes make a long answer.
fn routed() -> Guest {
    fixture::with(|_, network| {
        network.subnets[0].routes = (0..32)
            .map(|at| Route {
                destination: format!("10.0.0.{at}/32").parse().unwrap(),
                via: "192.168.0.2".parse().unwrap(),
            })
            .collect();
    })
}

#[test]
fn a_long_answer_is_split_and_overflows_into_file_and_sname() {
    // RFC 3396: 36 + 32 * 9 + 5 bytes are more than an option has.
    for (longest, overload) in [(None, true), (Some(1478_u16), false)] {
        let mut message = Message::of(1);
        if let Some(longest) = longest {
            message = message.option(57, &longest.to_be_bytes());
        }
        let reply = message.asked_of(&routed()).unwrap();
        assert_eq!(reply.option(121).map(<[u8]>::len), Some(36 + 32 * 9 + 5), "{longest:?}");
        assert_eq!(reply.option(52).is_some(), overload, "{longest:?}");
        assert_eq!(reply.option(3), Some(&[192, 168, 0, 1][..]));
        let most = longest.map_or(548, |longest| usize::from(longest) - 28);
        assert!(reply.answer.bytes.len() <= most);
    }
}

#[test]
fn what_a_client_wants_least_is_left_out_where_there_is_no_room() {
    let reply = Message::of(1).option(55, &[3, 121, 6, 249, 15]).asked_of(&routed()).unwrap();
    assert!(reply.option(121).is_some());
    assert_eq!((reply.option(249), reply.answer.left_out), (None, 1));
    assert_eq!(reply.option(15), Some(&b"acme.example"[..]));
    // Late in the list the routes are in three pieces, where room is left (dhclient's list).
    let list = [1, 28, 2, 3, 15, 6, 119, 12, 44, 47, 26, 121, 42];
    let reply = Message::of(1).option(55, &list).asked_of(&routed()).unwrap();
    assert_eq!(reply.option(121).map(<[u8]>::len), Some(36 + 32 * 9 + 5));
    assert_eq!(reply.option(52), Some(&[3][..]));
    assert_eq!((reply.answer.bytes.len(), reply.answer.left_out), (548, 0));
    // A client that takes longer ones gets both, as far as the network carries them.
    let message = Message::of(1).option(55, &[3, 121, 6, 249, 15]).option(57, &[0xff, 0xff]);
    let reply = message.asked_of(&routed()).unwrap();
    assert!(reply.option(249).is_some());
    assert_eq!(reply.answer.left_out, 0);
    assert!(reply.answer.bytes.len() <= 1450 - 28);
}

#[test]
fn long_and_overloaded_options_of_a_client_are_read() {
    // RFC 3396: a client identifier in two pieces, one in the options, one in `sname`; the address
    // in `file`.
    let message = Message::of(3)
        .at(108, &[50, 4, 192, 168, 0, 10, END])
        .at(44, &[61, 3, 4, 5, 6, END])
        .option(52, &[3])
        .option(61, &[1, 2, 3]);
    let reply = message.asked().unwrap();
    assert_eq!(reply.answer.kind, Kind::Ack);
    assert_eq!(reply.option(61), Some(&[1, 2, 3, 4, 5, 6][..]));
}

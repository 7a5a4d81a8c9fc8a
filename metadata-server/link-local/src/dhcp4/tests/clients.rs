//! Messages as real clients send them, put together of what their sources and documentation say:
//! the options in their order, and the answer's bytes.

use super::*;

/// Options as `(number, value)`.
type Given<'a> = &'a [(u8, &'a [u8])];

fn discover(options: Given<'_>) -> Message {
    options.iter().fold(Message::of(1), |message, (code, value)| message.option(*code, value))
}

const CLIENT: &[u8] = &[1, 0x52, 0x54, 0, 0x12, 0x34, 0x56];
/// An identifier of RFC 4361: 255, the interface, a DUID.
const DUID: &[u8] =
    &[255, 0, 0x12, 0x34, 0x56, 0, 1, 0, 1, 0x2c, 1, 2, 3, 0x52, 0x54, 0, 0x12, 0x34, 0x56];

const CLIENTS: &[(&str, bool, Given<'_>, &[u8])] = &[
    (
        "dhclient 4.4 of Debian",
        false,
        &[(12, b"localhost"), (55, &[1, 28, 2, 3, 15, 6, 119, 12, 44, 47, 26, 121, 42])],
        &[53, 54, 51, 58, 59, 1, 28, 3, 15, 6, 119, 12, 26, 121, 42],
    ),
    (
        "dhcpcd 9",
        false,
        &[
            (61, DUID),
            (57, &[0x05, 0xc0]),
            (60, b"dhcpcd-9.4.1:Linux-5.15:x86_64:GenuineIntel"),
            (145, &[1]),
            (55, &[1, 121, 33, 3, 6, 12, 15, 26, 28, 51, 54, 58, 59, 119]),
        ],
        &[53, 54, 51, 58, 59, 1, 61, 121, 3, 6, 12, 15, 26, 28, 119],
    ),
    (
        "systemd-networkd 252",
        false,
        &[
            (61, DUID),
            (55, &[1, 3, 6, 12, 15, 26, 33, 119, 120, 121, 42]),
            (57, &[0x05, 0xaa]),
            (12, b"debian"),
        ],
        &[53, 54, 51, 58, 59, 1, 61, 3, 6, 12, 15, 26, 119, 121, 42],
    ),
    (
        "udhcpc 1.36",
        false,
        &[
            (61, CLIENT),
            (57, &[0x02, 0x40]),
            (55, &[1, 3, 6, 12, 15, 28, 42]),
            (60, b"udhcp 1.36.1"),
        ],
        &[53, 54, 51, 58, 59, 1, 61, 3, 6, 12, 15, 28, 42],
    ),
    (
        "Windows Server 2022",
        false,
        &[
            (61, CLIENT),
            (12, b"WIN-0123456789A"),
            (60, b"MSFT 5.0"),
            (55, &[1, 3, 6, 15, 31, 33, 43, 44, 46, 47, 119, 121, 249, 252]),
        ],
        &[53, 54, 51, 58, 59, 1, 61, 3, 6, 15, 119, 121, 249],
    ),
    (
        "Windows XP, which asks for a broadcast",
        true,
        &[
            (116, &[1]),
            (61, CLIENT),
            (12, b"XP"),
            (60, b"MSFT 5.0"),
            (55, &[1, 15, 3, 6, 44, 46, 47, 31, 33, 249, 43]),
        ],
        &[53, 54, 51, 58, 59, 1, 61, 15, 3, 6, 249],
    ),
    (
        "NetBSD's dhcpcd of the base system",
        false,
        &[(61, DUID), (80, &[]), (55, &[1, 121, 33, 3, 6, 12, 15, 26, 28, 42, 119])],
        &[53, 54, 51, 58, 59, 1, 61, 80, 121, 3, 6, 12, 15, 26, 28, 42, 119],
    ),
    (
        "iPXE",
        false,
        &[
            (57, &[0x05, 0xc0]),
            (93, &[0, 0]),
            (94, &[1, 3, 16]),
            (60, b"PXEClient:Arch:00000:UNDI:003016"),
            (77, b"iPXE"),
            (55, &[1, 3, 6, 7, 12, 15, 17, 26, 43, 60, 66, 67, 119, 128, 175, 203]),
        ],
        &[53, 54, 51, 58, 59, 1, 3, 6, 12, 15, 26, 119],
    ),
];

#[test]
fn each_client_gets_what_it_asks_for_in_its_order_and_has_it_confirmed() {
    for (name, is_broadcast, options, expected) in CLIENTS {
        let mut message = discover(options);
        if *is_broadcast {
            message = message.broadcast();
        }
        let offer = message.asked().unwrap_or_else(|silence| panic!("{name}: {silence:?}"));
        assert_eq!(offer.order(), *expected, "{name}");
        assert_eq!(offer.yiaddr(), OWN, "{name}");
        let to = if *is_broadcast { Ipv4Addr::BROADCAST } else { OWN };
        assert_eq!(offer.answer.to, to, "{name}");
        if offer.answer.kind == Kind::Ack {
            continue;
        }
        let mut request = Message::of(3).option(50, &OWN.octets());
        request = request.option(54, offer.option(54).unwrap());
        for (code, value) in options.iter().filter(|(code, _)| [55, 61].contains(code)) {
            request = request.option(*code, value);
        }
        let ack = request.asked().unwrap();
        assert_eq!((ack.answer.kind, ack.yiaddr()), (Kind::Ack, OWN), "{name}");
    }
}

#[test]
fn udhcpcs_offer_is_these_bytes() {
    let (_, _, options, _) = CLIENTS[3];
    let offer = discover(options).asked().unwrap().answer;
    let mut expected = vec![0; HEADER];
    expected[..8].copy_from_slice(&[2, 1, 6, 0, 0xde, 0xad, 0xbe, 0xef]);
    expected[16..20].copy_from_slice(&[192, 168, 0, 10]);
    expected[28..34].copy_from_slice(&fixture::MAC);
    for bytes in [
        &[99, 130, 83, 99][..],
        &[53, 1, 2],
        &[54, 4, 169, 254, 169, 254],
        &[51, 4, 0, 1, 0x51, 0x80],
        &[58, 4, 0, 0, 0xa8, 0xc0],
        &[59, 4, 0, 1, 0x27, 0x50],
        &[1, 4, 255, 255, 255, 0],
        &[61, 7, 1, 0x52, 0x54, 0, 0x12, 0x34, 0x56],
        &[3, 4, 192, 168, 0, 1],
        &[6, 8, 192, 168, 0, 2, 192, 168, 0, 3],
        b"\x0c\x03web",
        b"\x0f\x0cacme.example",
        &[28, 4, 192, 168, 0, 255],
        &[42, 4, 192, 168, 0, 7],
        &[255],
    ] {
        expected.extend(bytes);
    }
    expected.resize(expected.len().max(300), 0);
    assert_eq!(offer.bytes, expected);
}

//! Messages as real clients send them, put together of what their sources and documentation say.

use super::*;

/// An IA_NA without a wish: the number, T1 and T2.
const IA_NA: &[u8] = &[0, 0x12, 0x34, 0x56, 0, 0, 0, 0, 0, 0, 0, 0];
const IA_PD: &[u8] = &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
/// Elapsed time: none.
const ELAPSED: (u16, &[u8]) = (8, &[0, 0]);
/// Of link-layer address and time, as dhclient and Windows make it.
const DUID_LLT: &[u8] = &[0, 1, 0, 1, 0x2c, 1, 2, 3, 0x52, 0x54, 0, 0x12, 0x34, 0x56];
/// Of systemd's enterprise number and the machine's id.
const DUID_EN: &[u8] = &[0, 2, 0, 0, 0xab, 0x11, 1, 2, 3, 4, 5, 6, 7, 8];

type Given<'a> = &'a [(u16, &'a [u8])];

/// Name, options, and the order of the answer's.
const CLIENTS: &[(&str, Given<'_>, &[u16])] = &[
    (
        "dhclient -6 4.4",
        &[(1, DUID_LLT), (6, &[0, 23, 0, 24, 0, 39, 0, 31]), ELAPSED, (3, IA_NA)],
        &[1, 2, 7, 3, 23, 24, 31],
    ),
    (
        "systemd-networkd 252",
        &[
            (14, &[]),
            (3, IA_NA),
            (39, &[0, 6, b'd', b'e', b'b', b'i', b'a', b'n']),
            (6, &[0, 23, 0, 24, 0, 31, 0, 56, 0, 82]),
            (1, DUID_EN),
            ELAPSED,
        ],
        &[1, 2, 14, 3, 23, 24, 31, 56],
    ),
    (
        "odhcp6c, which asks for a prefix too",
        &[
            (1, CLIENT_DUID),
            (20, &[]),
            (6, &[0, 21, 0, 22, 0, 23, 0, 24, 0, 31, 0, 56, 0, 64, 0, 67, 0, 82, 0, 83]),
            ELAPSED,
            (3, IA_NA),
            (25, IA_PD),
        ],
        &[1, 2, 7, 3, 25, 23, 24, 31, 56],
    ),
    (
        "dhcpcd 9",
        &[
            (1, DUID_LLT),
            ELAPSED,
            (3, IA_NA),
            (39, &[0, 0]),
            (6, &[0, 7, 0, 12, 0, 23, 0, 24, 0, 32, 0, 82, 0, 83]),
        ],
        &[1, 2, 7, 3, 23, 24],
    ),
    (
        "Windows Server 2022",
        &[
            ELAPSED,
            (1, DUID_LLT),
            (3, IA_NA),
            (39, &[0, 3, b'W', b'I', b'N']),
            (16, &[0, 0, 1, 0x37, 0, 8, b'M', b'S', b'F', b'T', b' ', b'5', b'.', b'0']),
            (6, &[0, 17, 0, 23, 0, 24, 0, 39]),
        ],
        &[1, 2, 7, 3, 23, 24],
    ),
    (
        "udhcpc6 1.36",
        &[(1, CLIENT_DUID), (3, IA_NA), (6, &[0, 23, 0, 24]), ELAPSED],
        &[1, 2, 7, 3, 23, 24],
    ),
];

#[test]
fn each_client_gets_what_it_asks_for_and_has_it_confirmed() {
    for (name, options, expected) in CLIENTS {
        let with = |message, leave: &[u16]| {
            let kept = options.iter().filter(|(code, _)| !leave.contains(code));
            kept.fold(message, |message: Message, (code, value)| message.option(*code, value))
        };
        let advertised = with(Message::bare(1), &[]).asked();
        let advertised = advertised.unwrap_or_else(|silence| panic!("{name}: {silence:?}"));
        assert_eq!(advertised.order(), *expected, "{name}");
        assert_eq!(advertised.associations()[0], given(0x56), "{name}");
        // The client asks for what it was given, and renews it.
        for kind in [3, 5] {
            let message = with(Message::bare(kind), &[3, 14]);
            let message = message.option(SERVER, advertised.option(SERVER).unwrap());
            let message = message.option(ADDRESSES, advertised.option(ADDRESSES).unwrap());
            let reply = message.asked().unwrap();
            assert_eq!(reply.answer.kind, Kind::Reply, "{name}");
            let told = reply.associations();
            assert!(told.contains(&given(0x56)), "{name}: {told:?}");
        }
    }
}

#[test]
fn udhcpcs_advertise_is_these_bytes() {
    let (_, options, _) = CLIENTS[5];
    let message =
        options.iter().fold(Message::bare(1), |it, (code, value)| it.option(*code, value));
    let prefix: &[u8] = &[0x20, 0x01, 0x0d, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let day: &[u8] = &[0, 1, 0x51, 0x80, 0, 1, 0x51, 0x80];
    let expected = [
        &[2, 0xab, 0xcd, 0xef][..],
        &[0, 1, 0, 10],
        CLIENT_DUID,
        &[0, 2, 0, 18, 0, 4],
        &[0x5a; 16],
        &[0, 7, 0, 1, 255],
        &[0, 3, 0, 68, 0, 0x12, 0x34, 0x56, 0, 0, 0xa8, 0xc0, 0, 1, 0x0e, 0],
        &[0, 5, 0, 24],
        prefix,
        &[0x10],
        day,
        &[0, 5, 0, 24],
        prefix,
        &[0x11],
        day,
        &[0, 23, 0, 16],
        prefix,
        &[2],
        &[0, 24, 0, 14],
        b"\x04acme\x07example\x00",
    ];
    assert_eq!(message.asked().unwrap().answer.bytes, expected.concat());
}

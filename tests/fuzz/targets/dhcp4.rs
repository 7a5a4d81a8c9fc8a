//! A guest's datagrams to UDP port 67.
//!
//! Besides not panicking: an answer is of the client's transaction and hardware address, gives no
//! address but the port's, fits into what the network carries, and is the same each time.

#![no_main]

mod guest;

use std::{net::Ipv4Addr, sync::LazyLock};

use libfuzzer_sys::fuzz_target;
use mezame_link_local::dhcp4::{Ask, Kind, Source, answer};
use mezame_model::{Guest, service_address::METADATA};

static GUEST: LazyLock<Guest> = LazyLock::new(guest::guest);

const OWN: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 10);

fuzz_target!(|input: &[u8]| {
    for source in [Source::Own, Source::Unknown] {
        let ask = Ask { guest: &GUEST, port: GUEST.primary(), server: METADATA, source };
        let found = answer(input, &ask);
        assert_eq!(found, answer(input, &ask), "two answers to one datagram");
        let Ok(reply) = found else { continue };
        let bytes = &reply.bytes;
        assert!((300..=1450 - 28).contains(&bytes.len()), "{} bytes", bytes.len());
        assert_eq!(bytes[4..8], input[4..8], "another transaction");
        assert_eq!(bytes[28..44], input[28..44], "another hardware address");
        let given = Ipv4Addr::new(bytes[16], bytes[17], bytes[18], bytes[19]);
        assert!(given == OWN || given.is_unspecified(), "{given} was given");
        assert!(reply.kind != Kind::Nak || given.is_unspecified(), "a refusal gave an address");
        assert!([67, 68].contains(&reply.to_port));
    }
});

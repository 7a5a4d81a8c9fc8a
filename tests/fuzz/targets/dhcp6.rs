//! A guest's datagrams to UDP port 547.
//!
//! Besides not panicking: an answer is of the client's transaction, its options read back to the
//! last byte, it fits into one packet of the network's MTU, and is the same each time.

#![no_main]

mod guest;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use mezame_link_local::dhcp6::{Ask, ServerId, answer};
use mezame_model::Guest;

static GUEST: LazyLock<Guest> = LazyLock::new(guest::guest);

fuzz_target!(|input: &[u8]| {
    let server = ServerId([0x5a; 16]);
    let ask = Ask { guest: &GUEST, port: GUEST.primary(), server };
    let found = answer(input, &ask);
    assert_eq!(found, answer(input, &ask), "two answers to one datagram");
    let Ok(reply) = found else { return };
    assert_eq!(reply.bytes[1..4], input[1..4], "another transaction");
    assert!(reply.bytes.len() <= 1450 - 48, "{} bytes", reply.bytes.len());
    assert!(reply.declined.len() <= 1, "others' addresses were declined");
    let mut rest = &reply.bytes[4..];
    while let [_, _, high, low, after @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        rest = after.get(length..).expect("an option is cut short");
    }
    assert!(rest.is_empty(), "bytes after the last option");
});

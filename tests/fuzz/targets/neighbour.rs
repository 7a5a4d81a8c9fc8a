//! A guest's router solicitations: hop limit, whether it has an address, and the ICMPv6 message.
//!
//! Besides not panicking: nothing is taken that RFC 4861 (section 6.1.1) discards.

#![no_main]

use std::net::Ipv6Addr;

use libfuzzer_sys::fuzz_target;
use mezame_link_local::router::parse;

fuzz_target!(|input: &[u8]| {
    let [hop_limit, has_address, message @ ..] = input else { return };
    let own = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
    let source = if has_address & 1 == 1 { own } else { Ipv6Addr::UNSPECIFIED };
    let Ok(found) = parse(message, source, *hop_limit) else { return };
    assert_eq!((*hop_limit, message[0], message[1]), (255, 133, 0));
    assert_eq!(message.len() % 8, 0, "an option was cut short");
    assert!(found.link_address.is_none() || source == own);
});

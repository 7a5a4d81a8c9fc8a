//! A guest's router solicitations: hop limit, whether it has an address, and the ICMPv6 message.
//!
//! Besides not panicking: nothing is taken that RFC 4861 (section 6.1.1) discards.

#![no_main]

use std::net::Ipv6Addr;

use libfuzzer_sys::fuzz_target;
use mezame_link_local::router::check;

fuzz_target!(|input: &[u8]| {
    let [hop_limit, has_address, message @ ..] = input else { return };
    let own = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
    let source = if has_address & 1 == 1 { own } else { Ipv6Addr::UNSPECIFIED };
    if check(message, source, *hop_limit).is_err() {
        return;
    }
    assert_eq!((*hop_limit, message[0], message[1]), (255, 133, 0));
    assert_eq!(message.len() % 8, 0, "an option was cut short");
    let mut options = &message[8..];
    while let [kind, length, ..] = options {
        assert!(*kind != 1 || source == own, "a link-layer address without an address");
        options = &options[usize::from(*length) * 8..];
    }
});

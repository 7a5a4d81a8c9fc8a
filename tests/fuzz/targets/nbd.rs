//! What a server of blocks says to whoever pulls a backup: a greeting, maps, and a read.
//!
//! A guest that has broken out of its QEMU is such a server. The bytes are taken as they are, and
//! behind a greeting that is right, so that replies are reached. Besides not panicking: what is
//! understood is no longer than what was said. To a client that wants TLS they are said as well, and
//! behind the acknowledgement of TLS; none of them makes it believe that it is talking to its server.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use mezame_images::nbd::{
    against, against_tls,
    certificates::{Authority, Validity},
    tls::Credentials,
};

/// A greeting up to the export of 2 MiB, with both maps.
const GREETING: &[u8] = include_bytes!("../corpus/nbd/greeting");

/// The same up to the acknowledgement of TLS, and the head of a record of its handshake.
const TLS: &[u8] = b"NBDMAGICIHAVEOPT\0\x03\0\x03\xe8\x89\x04\x55\x65\xa9\0\0\0\x05\0\0\0\x01\0\0\0\0\x16\x03\x03";

static CLIENT: LazyLock<Credentials> = LazyLock::new(|| {
    // 2026-01-01.
    let valid = Validity::around(1_767_225_600_000).expect("a time of certificates");
    let authority = Authority::make("fuzz.invalid", valid).expect("an authority");
    authority.client(valid).expect("a client")
});

fuzz_target!(|input: &[u8]| {
    let alone = against(input);
    let behind = against(&[GREETING, input].concat());
    // The shortest conversation: a greeting, a run of each map, and a hole.
    assert!(alone.is_err() || input.len() > GREETING.len(), "it was understood too soon");
    assert!(against_tls(input, &CLIENT).is_err(), "no server was known");
    assert!(against_tls(&[TLS, input].concat(), &CLIENT).is_err(), "no server was known");
    assert!(behind.is_err() || input.len() >= 20 * 3, "replies were understood too soon");
});

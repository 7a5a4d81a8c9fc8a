//! What a server of blocks says to whoever pulls a backup: a greeting, maps, and a read.
//!
//! A guest that has broken out of its QEMU is such a server. The bytes are taken as they are, and
//! behind a greeting that is right, so that replies are reached. Besides not panicking: what is
//! understood is no longer than what was said.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mezame_images::nbd::against;

/// A greeting up to the export of 2 MiB, with both maps.
const GREETING: &[u8] = include_bytes!("../corpus/nbd/greeting");

fuzz_target!(|input: &[u8]| {
    let alone = against(input);
    let behind = against(&[GREETING, input].concat());
    // The shortest conversation: a greeting, a run of each map, and a hole.
    assert!(alone.is_err() || input.len() > GREETING.len(), "it was understood too soon");
    assert!(behind.is_err() || input.len() >= 20 * 3, "replies were understood too soon");
});

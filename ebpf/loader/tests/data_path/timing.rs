//! What the data path costs, for reading and not for judging: a slow machine fails nothing.

use super::{
    frames::Packet,
    lab::{LOOPBACK, Lab, SERVICE},
};

/// `cargo nextest run … --run-ignored only --no-capture` shows it.
#[test]
#[ignore = "a measurement and not a check"]
fn a_frame_costs_so_many_nanoseconds() {
    let lab = Lab::with_port();
    let foreign = Packet { destination: [192, 168, 0, 1].into(), ..Packet::tcp() };
    let refused = Packet { destination_port: 22, ..Packet::tcp() };
    for (name, frame) in [
        ("other, TCP", foreign.bytes()),
        ("other, UDP", Packet { protocol: 17, ..foreign.clone() }.bytes()),
        ("other, IPv6", [&[0; 12][..], &[0x86, 0xdd], &[0; 60]].concat()),
        ("refused", refused.bytes()),
    ] {
        let mut rounds: Vec<_> = (0..9)
            .map(|_| lab.path.try_guest_frame(LOOPBACK, &frame, 1_000_000).unwrap().time)
            .collect();
        rounds.sort_unstable();
        println!("{name}: median {:?}, best {:?}", rounds[4], rounds[0]);
    }
    // Rewritten once, a frame is from an identity to a service, and so refused from then on: only
    // single runs show what a delivery costs, with the clock's own cost in it.
    let request = Packet { destination: SERVICE, ..Packet::tcp() }.bytes();
    let mut runs: Vec<_> = (0..9999).map(|_| lab.guest(&request).time).collect();
    runs.sort_unstable();
    println!("delivered: median {:?}", runs[runs.len() / 2]);
}

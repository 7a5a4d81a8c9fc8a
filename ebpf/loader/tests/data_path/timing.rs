//! What the data path costs, for reading and not for judging: a slow machine fails nothing.

use std::time::Instant;

use mezame_ebpf_loader::{PortRules, PortSlot};

use super::{
    frames::Packet,
    lab::{LOOPBACK, Lab, SERVICE, rules},
    wire::{ifindex, open_tap},
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

/// How long attaching takes, with few and with many ports known.
#[test]
#[ignore = "a measurement and not a check"]
fn attaching_takes_so_many_microseconds() {
    let mut lab = Lab::new();
    let taps: Vec<_> = (0..600).map(|n| open_tap(&format!("tap{n}"))).collect();
    for from in [0, 250, 500] {
        let indexes: Vec<u32> = (from..from + 100).map(|n| ifindex(&format!("tap{n}"))).collect();
        let start = Instant::now();
        for index in &indexes {
            let slot = PortSlot::new(*index).unwrap();
            lab.path.attach(*index, &PortRules { slot, ..rules() }).unwrap();
        }
        let attached = start.elapsed() / 100;
        let start = Instant::now();
        for index in &indexes {
            lab.path.detach(*index).unwrap();
        }
        println!("attach {attached:?}, detach {:?}", start.elapsed() / 100);
        for n in from..from + 250 {
            let Some(index) = taps.get(n).map(|_| ifindex(&format!("tap{n}"))) else { break };
            let slot = PortSlot::new(index).unwrap();
            lab.path.attach(index, &PortRules { slot, ..rules() }).unwrap();
        }
    }
}

//! Throws many random and mutated frames at the program in the kernel and compares what it does
//! with the model that the tests use: `cargo run --release --example fuzz_frames -- 10000000`.
//!
//! Needs root. A second argument is the seed; a run can be repeated by it. Ends with an error at
//! the first frame that differs, and prints it.
#![allow(clippy::unwrap_used)] // A test in all but name.

#[allow(dead_code, unreachable_pub)] // Shared with tests that use more of it.
#[path = "../tests/data_path/frames.rs"]
mod frames;
#[allow(dead_code, unreachable_pub)]
#[path = "../tests/data_path/lab.rs"]
mod lab;
#[path = "../tests/data_path/model.rs"]
mod model;

use std::net::Ipv4Addr;

use frames::{ArpFrame, Packet, ROUTER_MAC, tagged};
use lab::{GUEST, GUEST_MAC, LOOPBACK, Lab, OTHER_SERVICE, SERVICE, rules, services};
use mezame_ebpf_loader::Verdict;
use model::Model;

/// How often the counters are compared.
const ROUND: u64 = 4096;

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>());
    let count = arguments.next().map_or(100_000, |count| count.expect("a number of frames"));
    let seed = arguments.next().map_or(1, |seed| seed.expect("a seed"));
    let lab = Lab::with_port();
    let mut rules = rules();
    rules.rate.frames_per_second = u32::MAX;
    rules.rate.burst = u32::MAX;
    let mut lab = lab;
    lab.path.attach(LOOPBACK, &rules).unwrap();
    let mut model = Model::new(rules, services());
    let mut dice = Dice(seed);
    let mut corpus: Vec<Vec<u8>> = Vec::new();
    for number in 1..=count {
        let frame = dice.frame(&mut corpus);
        model.compare(&frame, &lab.guest(&frame));
        if number % ROUND == 0 || number == count {
            let counters = lab.path.counters(LOOPBACK).unwrap();
            for (verdict, counted) in counters.iter() {
                assert_eq!(counted, model.counted[verdict as usize], "{verdict:?}");
            }
        }
    }
    println!("{count} frames, seed {seed}: as the model says");
    for verdict in Verdict::ALL {
        let counted = model.counted[verdict as usize];
        if counted > 0 {
            println!("{:>12} {}", counted, verdict.name());
        }
    }
    println!("{:>12} passed", count - model.counted.iter().sum::<u64>());
}

/// SplitMix64: small, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.roll() % bound as u64) as usize
    }

    fn pick<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())]
    }

    fn one_in(&mut self, odds: usize) -> bool {
        self.below(odds) == 0
    }

    fn address(&mut self) -> Ipv4Addr {
        match self.below(12) {
            0 => Ipv4Addr::from(self.roll() as u32),
            1 => Ipv4Addr::new(10, 9, 0, self.roll() as u8),
            2 => Ipv4Addr::new(169, 254, self.below(4) as u8, self.roll() as u8),
            3 => Ipv4Addr::UNSPECIFIED,
            4 => OTHER_SERVICE,
            5 => Ipv4Addr::new(192, 168, 0, 11),
            _ => GUEST,
        }
    }

    fn mac(&mut self) -> [u8; 6] {
        if self.one_in(10) { self.roll().to_be_bytes()[..6].try_into().unwrap() } else { GUEST_MAC }
    }

    fn packet(&mut self) -> Vec<u8> {
        let length = if self.one_in(8) { self.below(1400) } else { self.below(40) };
        let byte = self.roll() as u8;
        Packet {
            to_mac: if self.one_in(10) { [0xff; 6] } else { ROUTER_MAC },
            from_mac: self.mac(),
            source: if self.one_in(20) { SERVICE } else { self.address() },
            destination: if self.one_in(3) { self.address() } else { SERVICE },
            protocol: if self.one_in(20) { self.roll() as u8 } else { self.pick(&[6, 6, 17]) },
            ttl: self.roll() as u8,
            id: self.roll() as u16,
            fragment: if self.one_in(12) { self.roll() as u16 } else { 0x4000 },
            options: if self.one_in(12) { vec![1; 4 * self.below(11)] } else { Vec::new() },
            source_port: self.pick(&[40000, 40001, 67, 80]),
            destination_port: self.pick(&[80, 80, 123, 443, 22]),
            payload: (0..length).map(|n| byte.wrapping_mul(n as u8 | 1)).collect(),
            no_checksum: self.one_in(4),
            padding: if self.one_in(4) { self.below(16) } else { 0 },
        }
        .bytes()
    }

    fn arp(&mut self) -> Vec<u8> {
        ArpFrame {
            to_mac: [0xff; 6],
            from_mac: self.mac(),
            operation: if self.one_in(6) { self.roll() as u16 } else { 1 },
            sender_mac: self.mac(),
            sender: if self.one_in(8) { SERVICE } else { self.address() },
            target_mac: [0; 6],
            target: if self.one_in(4) { self.address() } else { SERVICE },
        }
        .bytes()
    }

    /// A new frame, or a mutation of an earlier one.
    fn frame(&mut self, corpus: &mut Vec<Vec<u8>>) -> Vec<u8> {
        let mut frame = match self.below(8) {
            0 => self.arp(),
            1 | 2 if !corpus.is_empty() => corpus[self.below(corpus.len())].clone(),
            _ => self.packet(),
        };
        if self.one_in(10) {
            for _ in 0..=self.below(5) {
                let vlan = self.pick(&[0, 1, 100, 0xffff]);
                frame = tagged(&frame, self.pick(&[0x8100, 0x88a8, 0x8100, 0x9100]), vlan);
            }
        }
        if self.one_in(3) {
            for _ in 0..=self.below(4) {
                // Rather in the headers than in the payload.
                let reach = if self.one_in(4) { frame.len() } else { frame.len().min(60) };
                let at = self.below(reach);
                frame[at] = match self.below(3) {
                    0 => self.roll() as u8,
                    1 => frame[at] ^ (1 << self.below(8)),
                    _ => self.pick(&[0, 0xff, 0x80, 0x7f]),
                };
            }
        }
        if self.one_in(8) {
            let length = self.below(frame.len());
            frame.truncate(length);
        }
        // The kernel takes no shorter ones for a trial.
        frame.resize(frame.len().max(54), 0);
        if self.one_in(16) {
            if corpus.len() < 512 {
                corpus.push(frame.clone());
            } else {
                let at = self.below(corpus.len());
                corpus[at].clone_from(&frame);
            }
        }
        frame
    }
}

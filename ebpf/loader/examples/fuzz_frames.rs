//! Throws many random and mutated frames at the programs in the kernel and compares what they do
//! with the model that the tests use: `cargo run --release --example fuzz_frames -- 10000000`.
//!
//! Needs root. A second argument is the seed; a run can be repeated by it. Ends with an error at
//! the first frame that differs, and prints it.
#![allow(clippy::unwrap_used)] // A test in all but name.

#[path = "../tests/data_path/dice.rs"]
mod dice;
#[allow(dead_code, unreachable_pub)] // Shared with tests that use more of it.
#[path = "../tests/data_path/frames.rs"]
mod frames;
#[allow(dead_code, unreachable_pub)]
#[path = "../tests/data_path/frames6.rs"]
mod frames6;
#[allow(dead_code, unreachable_pub)]
#[path = "../tests/data_path/lab.rs"]
mod lab;
#[path = "../tests/data_path/model.rs"]
mod model;

use dice::Dice;
use lab::{LOOPBACK, Lab, all_services, dual_rules};
use mezame_ebpf_loader::Verdict;
use model::Model;

/// How often the counters are compared, and the port is given other rules.
const ROUND: u64 = 4096;
/// Of so many frames one comes out of the metadata namespace.
const REPLIES: u64 = 5;

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>());
    let count = arguments.next().map_or(100_000, |count| count.expect("a number of frames"));
    let seed = arguments.next().map_or(1, |seed| seed.expect("a seed"));
    let mut lab = Lab::dual();
    let mut rules = dual_rules();
    rules.rate.frames_per_second = u32::MAX;
    rules.rate.burst = u32::MAX;
    lab.path.attach(LOOPBACK, &rules).unwrap();
    let mut model = Model::new(rules.clone(), all_services());
    let mut dice = Dice(seed);
    let mut corpus: Vec<Vec<u8>> = Vec::new();
    for number in 1..=count {
        if number % REPLIES == 0 {
            let reply = dice.reply();
            model.compare_reply(&reply, &lab.reply(&reply));
        } else {
            let frame = dice.frame(&mut corpus);
            model.compare(&frame, &lab.guest(&frame));
        }
        if number % ROUND == 0 || number == count {
            let counters = lab.path.counters(LOOPBACK).unwrap();
            for (verdict, counted) in counters.iter() {
                assert_eq!(counted, model.counted[verdict as usize], "{verdict:?}");
            }
            let other = dice.rules(&rules);
            lab.path.attach(LOOPBACK, &other).unwrap();
            model.rule(other);
        }
    }
    println!("{count} frames, seed {seed}: as the model says");
    for verdict in Verdict::ALL {
        let counted = model.counted[verdict as usize];
        if counted > 0 {
            println!("{:>12} {}", counted, verdict.name());
        }
    }
    println!(
        "{:>12} passed, or stayed in the namespace",
        count - model.counted.iter().sum::<u64>()
    );
}

//! Tests of the data path as the kernel runs it. They need root and Linux 6.6; each works in a
//! network namespace and under a pin path of its own.

#![allow(clippy::unwrap_used)] // All of this is tests.

#[path = "data_path/arp.rs"]
mod arp;
#[path = "data_path/dhcp.rs"]
mod dhcp;
#[path = "data_path/dice.rs"]
mod dice;
#[path = "data_path/frames.rs"]
mod frames;
#[path = "data_path/frames6.rs"]
mod frames6;
#[path = "data_path/ipv6.rs"]
mod ipv6;
#[path = "data_path/lab.rs"]
mod lab;
#[path = "data_path/model.rs"]
mod model;
#[path = "data_path/neighbours.rs"]
mod neighbours;
#[path = "data_path/random.rs"]
mod random;
#[path = "data_path/random6.rs"]
mod random6;
#[path = "data_path/raw_taps.rs"]
mod raw_taps;
#[path = "data_path/raw_taps6.rs"]
mod raw_taps6;
#[path = "data_path/replies.rs"]
mod replies;
#[path = "data_path/rules.rs"]
mod rules;
#[path = "data_path/taps.rs"]
mod taps;
#[path = "data_path/verdicts.rs"]
mod verdicts;
#[path = "data_path/wire.rs"]
mod wire;

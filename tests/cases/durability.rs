//! What a hard stop takes of a volume, class by class: QEMU is killed with -9 at moments that
//! nobody chose, and every sector is compared with what had been acknowledged.
//!
//! `MEZAME_STOPS` says how many stops each class gets, for more than a sample; the table that is
//! printed then (`--no-capture`) is the one in docs/volumes.md.

mod driver;
pub(crate) mod guest;
mod sectors;

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use mezame_images::volume::{Durability, FlushInterval};

/// How many stops each class gets.
fn stops(sample: usize) -> usize {
    std::env::var("MEZAME_STOPS").map_or(sample, |stops| stops.parse().unwrap())
}

/// Another one each time; a failure names it.
fn seed() -> u64 {
    RandomState::new().hash_one(1) | 1
}

fn second() -> FlushInterval {
    FlushInterval::new(Duration::from_secs(1)).unwrap()
}

fn stop_often(class: Durability) -> driver::Outcome {
    let outcome = driver::stop_often(class, stops(4), seed()).unwrap();
    println!(
        "| {} | {} | {} | {} | {} | {:.2} s |",
        class.name(),
        outcome.stops,
        outcome.losing,
        outcome.acknowledged,
        outcome.lost,
        outcome.oldest.as_secs_f64()
    );
    assert!(outcome.acknowledged > 0);
    outcome
}

#[test]
fn a_plain_volume_loses_nothing_with_qemu() {
    stop_often(Durability::Plain);
}

#[test]
fn a_recovered_clone_loses_nothing_with_qemu_as_a_plain_volume_would() {
    stop_often(Durability::Recovered(second()));
}

#[test]
fn a_hydrated_clone_loses_nothing_before_during_and_after_the_copying() {
    stop_often(Durability::Hydrated(second()));
}

#[test]
fn a_synchronous_clone_loses_nothing() {
    stop_often(Durability::Synchronous);
}

#[test]
fn a_bounded_clone_loses_what_is_younger_than_its_bound_and_nothing_else() {
    stop_often(Durability::Bounded(second()));
}

#[test]
fn a_clone_that_only_honours_flushes_loses_what_was_not_flushed_and_nothing_else() {
    // So the others' zeroes are not the comparison's.
    assert!(stop_often(Durability::FlushHonouring).lost > 0);
}

//! Two thousand guests at once, none of which may be turned away.
//!
//! How long the slowest of them takes is the bench's business (`storm.slowest`); here nobody is
//! refused, cut off, or told something else than the client whose requests were recorded.

use mezame_tests::{Lab, crowd::Crowd};

const GUESTS: usize = 2000;

#[test]
fn two_thousand_guests_that_ask_for_everything_at_once_are_all_answered() {
    let lab = Lab::start().unwrap();
    let crowd = Crowd::gather(&lab, GUESTS).unwrap();
    let failed: Vec<String> = crowd
        .storm()
        .unwrap()
        .into_iter()
        .filter_map(|guest| Some(format!("{:#}", guest.err()?)))
        .collect();
    assert!(failed.is_empty(), "{} failed, such as: {}", failed.len(), failed[0]);
}

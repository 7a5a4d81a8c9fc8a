//! Torn ends, scopes, and what counts as the same step.

use super::*;
use crate::step::{Action, Script};

fn step(key: &str, frequency: Frequency, body: &str) -> Step {
    Step {
        key: key.into(),
        frequency,
        fingerprint: Some(Fingerprint::of(&[body.as_bytes()])),
        action: Action::Run(Script::unix(key, body.as_bytes())),
    }
}

fn instance(digit: char) -> InstanceId {
    InstanceId::parse(&format!("i-{}", digit.to_string().repeat(17))).unwrap()
}

#[test]
fn what_was_noted_is_known_after_opening_again() {
    let directory = tempfile::tempdir().unwrap();
    let once = step("s", Frequency::PerInstance, "a");
    let mut ledger = Ledger::open(directory.path()).unwrap();
    assert_eq!(ledger.begin_run(&instance('1'), "boot-a").unwrap(), 1);
    assert_eq!(ledger.history().past(&once), Past::New);
    ledger.started(&once, None).unwrap();
    drop(ledger);
    let mut ledger = Ledger::open(directory.path()).unwrap();
    assert_eq!(ledger.begin_run(&instance('1'), "boot-a").unwrap(), 2);
    assert_eq!(ledger.history().past(&once), Past::Interrupted);
    ledger.done(&once, Outcome::Failed, "script-exit").unwrap();
    assert!(matches!(ledger.history().past(&once), Past::Ended(t) if t.reason == "script-exit"));
}

#[test]
fn a_torn_or_damaged_end_is_cut_off_and_what_is_before_it_stays() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger");
    let (first, second) = (step("a", Frequency::Once, "a"), step("b", Frequency::Once, "b"));
    let mut ledger = Ledger::open(directory.path()).unwrap();
    ledger.begin_run(&instance('1'), "boot").unwrap();
    ledger.done(&first, Outcome::Done, "").unwrap();
    let whole = std::fs::read(&path).unwrap();
    ledger.done(&second, Outcome::Done, "").unwrap();
    drop(ledger);
    let longer = std::fs::read(&path).unwrap();
    for cut in whole.len()..longer.len() {
        std::fs::write(&path, &longer[..cut]).unwrap();
        let ledger = Ledger::open(directory.path()).unwrap();
        assert!(matches!(ledger.history().past(&first), Past::Ended(_)), "cut at {cut}");
        assert_eq!(ledger.history().past(&second), Past::New, "cut at {cut}");
        assert_eq!(std::fs::read(&path).unwrap(), whole, "cut at {cut}");
    }
    let mut damaged = longer.clone();
    damaged[whole.len() + 30] ^= 1;
    std::fs::write(&path, &damaged).unwrap();
    let ledger = Ledger::open(directory.path()).unwrap();
    assert_eq!(ledger.history().past(&second), Past::New);
}

#[test]
fn each_frequency_counts_in_its_own_scope() {
    let boot = step("boot", Frequency::PerBoot, "a");
    let inst = step("inst", Frequency::PerInstance, "b");
    let once = step("once", Frequency::Once, "c");
    let directory = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(directory.path()).unwrap();
    ledger.begin_run(&instance('1'), "boot-a").unwrap();
    for step in [&boot, &inst, &once] {
        ledger.done(step, Outcome::Done, "").unwrap();
    }
    let known =
        |ledger: &Ledger, step: &Step| matches!(ledger.history().past(step), Past::Ended(_));
    ledger.begin_run(&instance('1'), "boot-b").unwrap();
    assert_eq!([&boot, &inst, &once].map(|step| known(&ledger, step)), [false, true, true]);
    ledger.begin_run(&instance('2'), "boot-c").unwrap();
    assert_eq!([&boot, &inst, &once].map(|step| known(&ledger, step)), [false, false, true]);
    // A disk that becomes the first instance again remembers it.
    ledger.begin_run(&instance('1'), "boot-d").unwrap();
    assert!(known(&ledger, &inst));
}

#[test]
fn content_that_moved_is_the_same_step_and_other_content_in_its_place_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(directory.path()).unwrap();
    ledger.begin_run(&instance('1'), "boot").unwrap();
    ledger.done(&step("script 1", Frequency::PerInstance, "a"), Outcome::Done, "").unwrap();
    let past = |key, body| {
        format!("{:?}", ledger.history().past(&step(key, Frequency::PerInstance, body)))
    };
    assert!(past("script 2", "a").starts_with("Ended"));
    assert!(past("script 1", "b").starts_with("Other"));
    assert_eq!(past("script 2", "b"), "New");
}

#[test]
fn a_second_agent_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let _first = Ledger::open(directory.path()).unwrap();
    assert!(matches!(Ledger::open(directory.path()), Err(LedgerError::Locked { .. })));
}

#[test]
fn a_long_ledger_is_written_anew_and_knows_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let once = step("s", Frequency::Once, "a");
    let mut ledger = Ledger::open(directory.path()).unwrap();
    ledger.done(&once, Outcome::Done, "").unwrap();
    ledger.right("ops", Right::Keys, true).unwrap();
    let path = directory.path().join("ledger");
    while std::fs::metadata(&path).unwrap().len() <= COMPACT_AT {
        ledger.begin_run(&instance('1'), "boot").unwrap();
    }
    let before = ledger.history().clone();
    drop(ledger);
    let ledger = Ledger::open(directory.path()).unwrap();
    assert!(std::fs::metadata(&path).unwrap().len() < 4096);
    assert_eq!(*ledger.history(), before);
    assert!(matches!(Ledger::open(directory.path()), Err(LedgerError::Locked { .. })));
}

#[test]
fn a_file_that_grew_is_told_from_one_that_did_not_and_from_another_one() {
    let found = Found::of(b"one.");
    assert!(found.grown_by(b"two.", b"one.two."));
    assert!(found.grown_by(b"two.", b"one.two.three."));
    for other in [&b"one."[..], b"one.tw", b"ONE.two.", b"", b"two."] {
        assert!(!found.grown_by(b"two.", other), "{other:?}");
    }
    assert!(Found::of(b"").grown_by(b"x", b"xx"));
}

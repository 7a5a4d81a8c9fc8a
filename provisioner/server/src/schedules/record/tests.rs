//! What is due when, and what comes of it.

use proptest::prelude::*;

use super::*;

const HOUR: u64 = 3_600_000;

fn done() -> Ended {
    Ended::Done { dropped: 0, why: None }
}

/// Every two hours, written just after 10:00.
fn record() -> ScheduleRecord {
    let spec = r#"{"volumes": ["a"], "qmp": "/q", "when": "every 2h"}"#;
    let spec = serde_json::from_str(spec).unwrap();
    ScheduleRecord::new(ProjectName::parse("p").unwrap(), "nightly", spec, 10 * HOUR + 1)
}

#[test]
fn nothing_is_due_before_it_was_written() {
    let record = record();
    assert_eq!(record.next_ms(), Some(12 * HOUR));
    assert_eq!(record.due_ms(12 * HOUR - 1), None);
    assert_eq!(record.due_ms(12 * HOUR), Some(12 * HOUR));
}

#[test]
fn times_that_were_missed_are_made_up_for_once() {
    let mut record = record();
    assert_eq!(record.due_ms(100 * HOUR + 5), Some(12 * HOUR));
    record.begin(100 * HOUR + 5, Some("job".into()));
    assert_eq!((record.due_ms(200 * HOUR), record.job()), (None, Some("job")));
    record.end(100 * HOUR + 9, Ended::Done { dropped: 3, why: None });
    assert_eq!(record.next_ms(), Some(102 * HOUR));
    assert_eq!((record.due_ms(101 * HOUR), record.job()), (None, None));
    assert_eq!((record.done_ms, record.failures), (Some(100 * HOUR + 9), 0));
    assert_eq!(record.last.as_ref().unwrap().dropped, 3);
}

#[test]
fn failures_are_counted_until_one_is_done_and_the_next_time_is_the_next() {
    let mut record = record();
    for round in 1..=2 {
        record.begin(12 * HOUR * round, Some("job".into()));
        record.end(12 * HOUR * round + 1, Ended::Failed("no monitor".into()));
        assert_eq!(u64::from(record.failures), round);
    }
    assert_eq!(record.last.as_ref().unwrap().why.as_deref(), Some("no monitor"));
    assert_eq!(record.next_ms(), Some(26 * HOUR));
    record.begin(26 * HOUR, None);
    record.end(26 * HOUR, done());
    assert_eq!(record.failures, 0);
}

#[test]
fn one_that_failed_while_the_archive_was_away_is_tried_again_and_not_for_ever() {
    let mut record = record();
    let mut now = 12 * HOUR;
    record.spec.when = "every 2d".into();
    for _ in 0..MOST_TRIES {
        record.begin(now, Some("job".into()));
        record.end(now + 7, Ended::Away("the bucket is down".into()));
        assert_eq!(record.next_ms(), Some(now + 7 + AGAIN_MS));
        now += 7 + AGAIN_MS;
        assert_eq!(record.due_ms(now), Some(now));
    }
    assert_eq!(record.failures, MOST_TRIES);
    record.begin(now, Some("job".into()));
    record.end(now + 7, Ended::Away("the bucket is down".into()));
    assert_eq!(record.next_ms(), Some(48 * HOUR));
    // At its next time all begins anew.
    record.begin(48 * HOUR, Some("job".into()));
    record.end(48 * HOUR + 1, Ended::Away("the bucket is down".into()));
    assert_eq!(record.next_ms(), Some(48 * HOUR + 1 + AGAIN_MS));
    record.begin(48 * HOUR + 1 + AGAIN_MS, Some("job".into()));
    record.end(50 * HOUR, done());
    assert_eq!((record.next_ms(), record.failures), (Some(96 * HOUR), 0));
}

#[test]
fn one_that_was_interrupted_is_due_at_once_and_that_once() {
    let mut record = record();
    record.begin(12 * HOUR, Some("job".into()));
    record.end(12 * HOUR + 7, Ended::Interrupted("the provisioner ended".into()));
    assert_eq!(record.due_ms(12 * HOUR + 7), Some(12 * HOUR + 7));
    record.begin(12 * HOUR + 8, Some("job".into()));
    record.end(12 * HOUR + 9, Ended::Interrupted("the provisioner ended".into()));
    assert_eq!((record.next_ms(), record.failures), (Some(14 * HOUR), 2));
    // The next time is a first one again.
    record.begin(14 * HOUR, Some("job".into()));
    record.end(14 * HOUR + 1, Ended::Interrupted("the provisioner ended".into()));
    assert_eq!(record.next_ms(), Some(14 * HOUR + 1));
}

#[test]
fn one_that_is_paused_is_never_due_and_what_it_missed_so_is_not_made_up_for() {
    let mut record = record();
    let (running, mut paused) = (record.spec.clone(), record.spec.clone());
    paused.paused = true;
    record = record.replaced(paused, 11 * HOUR);
    assert_eq!((record.next_ms(), record.due_ms(u64::MAX)), (None, None));
    record = record.replaced(running, 21 * HOUR);
    assert_eq!(record.next_ms(), Some(22 * HOUR));
}

#[test]
fn another_policy_does_not_lose_a_time_that_has_come_and_other_times_do() {
    let record = record();
    let mut spec = record.spec.clone();
    spec.keep.last = 3;
    let changed = record.replaced(spec.clone(), 13 * HOUR);
    assert_eq!(changed.due_ms(13 * HOUR), Some(12 * HOUR));
    spec.when = "every 1h".into();
    let changed = changed.replaced(spec, 13 * HOUR);
    assert_eq!((changed.due_ms(13 * HOUR), changed.next_ms()), (None, Some(14 * HOUR)));
}

#[test]
fn a_clock_that_is_set_back_a_little_has_no_time_come_twice_and_far_back_stops_nothing() {
    let mut record = record();
    record.begin(12 * HOUR + 1, None);
    record.end(12 * HOUR + 2, done());
    let now = 12 * HOUR - 5;
    assert!(!record.is_ahead(now));
    assert_eq!(record.due_ms(now + 6), None);
    let long_ago = 2 * HOUR;
    assert!(record.is_ahead(long_ago));
    record.rebase(long_ago);
    assert_eq!(record.next_ms(), Some(4 * HOUR));
    assert!(!record.is_ahead(long_ago));
}

#[test]
fn a_record_is_read_as_it_was_written() {
    let mut record = record();
    record.begin(12 * HOUR, Some("job".into()));
    record.end(13 * HOUR, Ended::Interrupted("the provisioner ended".into()));
    let written = serde_json::to_vec(&record).unwrap();
    assert_eq!(serde_json::from_slice::<ScheduleRecord>(&written).unwrap(), record);
}

proptest! {
    /// Whenever it is looked at, and however each run ends: runs never overlap, and there are at
    /// most as many as times came, and one more for each that was interrupted.
    #[test]
    fn there_is_one_run_for_each_time_that_came_at_most_and_never_two_at_once(
        minutes in 1..300u32, steps in prop::collection::vec((1..20_000_000u64, 0..6u8), 1..60),
    ) {
        let mut record = record();
        record.spec.when = format!("every {minutes}m");
        let step = u64::from(minutes) * 60_000;
        let begin = record.anchor_ms;
        let (mut now, mut runs, mut interrupted) = (begin, 0, 0);
        for (passed, what) in steps {
            now += passed;
            if record.is_running() {
                prop_assert_eq!(record.due_ms(now), None);
                match what {
                    0 => record.end(now, Ended::Failed("it failed".into())),
                    1 => {
                        record.end(now, Ended::Interrupted("it ended".into()));
                        interrupted += 1;
                    }
                    2 => {}
                    _ => record.end(now, done()),
                }
            } else if record.due_ms(now).is_some() {
                record.begin(now, Some("job".into()));
                runs += 1;
                // What is not over is not begun again, and the next time is ahead.
                prop_assert!(record.next_ms().is_some_and(|next| next > now));
            }
        }
        prop_assert!(runs <= now / step - begin / step + interrupted);
    }
}

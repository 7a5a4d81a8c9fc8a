//! Tests of the outbox: events survive restarts and torn files.

use std::{sync::Mutex as StdMutex, time::Duration};

use mezame_model::{Acknowledgement, BoxFuture, Snapshot, UserName, report::SealedPassword};
use tokio::sync::mpsc;

use super::*;
use crate::fixture;

struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn open(&self) -> (Outbox, Vec<LedgerError>) {
        let key = Arc::new(LedgerKey::open(&self.directory.path().join("key")).unwrap());
        Outbox::open(self.directory.path(), key, 3).unwrap()
    }
}

fn event(port: usize, at_ms: u64) -> GuestEvent {
    GuestEvent {
        port: fixture::port_id(port),
        instance: fixture::instance_id(port),
        at_ms,
        key: Outbox::new_key().unwrap(),
        kind: GuestEventKind::Password(SealedPassword {
            user: UserName::parse("admin").unwrap(),
            recipient: String::new(),
            sealed: "sealed".into(),
            reset: None,
            nova: None,
        }),
    }
}

fn acknowledgement(port: usize, secret: &str, value: Option<SecretDigest>) -> GuestEvent {
    let read = Acknowledgement { name: SecretName::parse(secret).unwrap(), digest: value };
    GuestEvent { kind: GuestEventKind::SecretAcknowledged(read), ..event(port, 1) }
}

/// A generation of the guests' records.
const NOW: Generation = Generation(5);
const FIRST: SecretDigest = SecretDigest::new([1; 32]);
const SECOND: SecretDigest = SecretDigest::new([2; 32]);

/// A control plane that answers as it is told and keeps what it took.
struct Script {
    answers: StdMutex<Vec<Result<(), FeedError>>>,
    taken: mpsc::UnboundedSender<GuestEvent>,
}

impl Feed for Script {
    fn next(&self, _: Generation) -> BoxFuture<'_, Result<Arc<Snapshot>, FeedError>> {
        Box::pin(std::future::pending())
    }

    fn deliver(&self, event: GuestEvent) -> BoxFuture<'_, Result<(), FeedError>> {
        Box::pin(async move {
            let answer = self.answers.lock().unwrap().pop().unwrap_or(Ok(()));
            if answer.is_ok() {
                self.taken.send(event).unwrap();
            }
            answer
        })
    }
}

#[test]
fn an_event_that_was_kept_is_there_after_a_restart() {
    let place = Place::new();
    let kept = event(1, 10);
    place.open().0.keep(kept.clone(), NOW).unwrap();
    let (outbox, faults) = place.open();
    assert!(faults.is_empty());
    assert_eq!(outbox.lock().events.values().collect::<Vec<_>>(), [&kept]);
}

#[test]
fn a_spent_secret_stays_spent_after_a_restart() {
    let place = Place::new();
    let (instance, secret) = (fixture::instance_id(1), SecretName::parse("one").unwrap());
    let (first, _) = place.open();
    assert!(!first.is_spent(&instance, &secret, FIRST));
    first.keep(acknowledgement(1, "one", Some(FIRST)), NOW).unwrap();
    assert!(first.spent(&instance).covers(&secret, || FIRST));
    let (again, faults) = place.open();
    assert!(faults.is_empty());
    assert!(again.spent(&instance).covers(&secret, || FIRST));
    assert!(again.is_spent(&instance, &secret, FIRST));
    assert!(!again.is_spent(&instance, &secret, SECOND));
    assert!(!again.is_spent(&fixture::instance_id(2), &secret, FIRST));
}

#[test]
fn a_secret_that_another_process_saw_spent_is_spent() {
    let place = Place::new();
    let (instance, secret) = (fixture::instance_id(1), SecretName::parse("one").unwrap());
    let (new, old) = (place.open().0, place.open().0);
    old.keep(acknowledgement(1, "one", Some(FIRST)), NOW).unwrap();
    assert!(new.is_spent(&instance, &secret, FIRST));
    assert!(!new.is_spent(&instance, &secret, SECOND));
    assert_eq!(new.len(), 0);
    new.scan().unwrap();
    assert_eq!(new.len(), 1);
    assert!(new.spent(&instance).covers(&secret, || FIRST));
}

#[test]
fn the_last_acknowledged_value_is_the_spent_one_after_a_restart() {
    let place = Place::new();
    let (instance, secret) = (fixture::instance_id(1), SecretName::parse("one").unwrap());
    let (outbox, _) = place.open();
    for value in [FIRST, SECOND] {
        outbox.keep(acknowledgement(1, "one", Some(value)), NOW).unwrap();
    }
    for outbox in [outbox, place.open().0] {
        assert_eq!(outbox.len(), 2);
        assert!(outbox.is_spent(&instance, &secret, SECOND));
        assert!(!outbox.is_spent(&instance, &secret, FIRST));
    }
}

#[test]
fn a_mark_of_an_earlier_version_is_of_any_value() {
    let place = Place::new();
    let (instance, secret) = (fixture::instance_id(1), SecretName::parse("one").unwrap());
    let (outbox, _) = place.open();
    let mark = place.directory.path().join(format!("acknowledged/{instance}.one"));
    fs::write(&mark, "").unwrap();
    assert!(outbox.is_spent(&instance, &secret, FIRST));
    let (outbox, faults) = place.open();
    assert!(faults.is_empty());
    assert!(outbox.spent(&instance).covers(&secret, || SECOND));
    outbox.forget(NOW, |_, _| Some(SECOND)).unwrap();
    assert!(outbox.is_spent(&instance, &secret, FIRST), "there is a secret of that name");
    outbox.forget(NOW, |_, _| None).unwrap();
    assert!(!outbox.is_spent(&instance, &secret, FIRST) && !mark.exists());
}

#[test]
fn a_damaged_mark_is_reported_and_is_of_any_value() {
    let place = Place::new();
    let (instance, secret) = (fixture::instance_id(1), SecretName::parse("one").unwrap());
    let (outbox, _) = place.open();
    let spent = acknowledgement(1, "one", Some(FIRST));
    outbox.keep(spent.clone(), NOW).unwrap();
    outbox.delivered(&spent).unwrap();
    let mark = place.directory.path().join(format!("acknowledged/{instance}.one"));
    let whole = fs::read(&mark).unwrap();
    assert!(!whole.windows(32).any(|part| part == FIRST.bytes()), "it is sealed");
    let mut changed = whole.clone();
    *changed.last_mut().unwrap() ^= 1;
    for damaged in [&whole[..whole.len() - 1], &changed, b"mezame\0\x01", b"x"] {
        fs::write(&mark, damaged).unwrap();
        let (outbox, faults) = place.open();
        assert_eq!(faults.len(), 1);
        assert!(outbox.is_spent(&instance, &secret, SECOND));
    }
}

#[test]
fn a_port_has_its_share_and_no_more() {
    let place = Place::new();
    let (outbox, _) = place.open();
    for at in 0..3 {
        outbox.keep(event(1, at), NOW).unwrap();
    }
    assert!(matches!(outbox.keep(event(1, 9), NOW), Err(LedgerError::TooMany { .. })));
    outbox.keep(event(2, 9), NOW).unwrap();
    assert_eq!(outbox.len(), 4);
}

#[test]
fn a_damaged_event_is_reported_and_the_others_are_read() {
    let place = Place::new();
    let (outbox, _) = place.open();
    let (good, bad) = (event(1, 1), event(1, 2));
    outbox.keep(good, NOW).unwrap();
    outbox.keep(bad.clone(), NOW).unwrap();
    fs::write(outbox.file_of(&bad), b"mezame\0\x01 and nonsense").unwrap();
    let (outbox, faults) = place.open();
    assert_eq!((outbox.len(), faults.len()), (1, 1));
}

#[test]
fn a_spent_secret_is_forgotten_once_the_control_plane_has_it_and_no_instance_has_it() {
    let place = Place::new();
    let (outbox, _) = place.open();
    let spent = acknowledgement(1, "one", Some(FIRST));
    outbox.keep(spent.clone(), NOW).unwrap();
    let instance = fixture::instance_id(1);
    outbox.forget(NOW, |_, _| None).unwrap();
    assert_eq!(outbox.spent(&instance).len(), 1, "not delivered yet");
    outbox.delivered(&spent).unwrap();
    outbox.forget(NOW, |_, _| Some(FIRST)).unwrap();
    assert_eq!(outbox.spent(&instance).len(), 1, "the instance still has it");
    outbox.forget(NOW, |_, _| None).unwrap();
    assert!(outbox.spent(&instance).is_empty());
    assert!(place.open().0.spent(&instance).is_empty());
}

#[test]
fn a_spent_secret_is_forgotten_once_the_instance_has_another_value() {
    let place = Place::new();
    let (instance, secret) = (fixture::instance_id(1), SecretName::parse("one").unwrap());
    let (outbox, _) = place.open();
    let (first, second) =
        (acknowledgement(1, "one", Some(FIRST)), acknowledgement(1, "one", Some(SECOND)));
    outbox.keep(first.clone(), NOW).unwrap();
    outbox.delivered(&first).unwrap();
    outbox.forget(NOW.next(), |_, _| Some(SECOND)).unwrap();
    assert!(outbox.spent(&instance).is_empty());
    assert!(!outbox.is_spent(&instance, &secret, FIRST));
    outbox.keep(second.clone(), NOW.next()).unwrap();
    outbox.delivered(&second).unwrap();
    outbox.forget(NOW.next(), |_, _| Some(SECOND)).unwrap();
    assert!(place.open().0.is_spent(&instance, &secret, SECOND));
}

#[test]
fn a_snapshot_from_before_an_acknowledgement_makes_nothing_of_it_forgotten() {
    let place = Place::new();
    let (instance, secret) = (fixture::instance_id(1), SecretName::parse("one").unwrap());
    let (outbox, _) = place.open();
    let spent = acknowledgement(1, "one", Some(SECOND));
    outbox.keep(spent.clone(), NOW.next()).unwrap();
    outbox.delivered(&spent).unwrap();
    // The ledger was still writing this one while the guest read the new value.
    for present in [Some(FIRST), None] {
        outbox.forget(NOW, |_, _| present).unwrap();
        assert!(outbox.is_spent(&instance, &secret, SECOND));
    }
    outbox.forget(NOW.next(), |_, _| None).unwrap();
    assert!(!outbox.is_spent(&instance, &secret, SECOND));
}

#[tokio::test(start_paused = true)]
async fn events_are_delivered_in_order_and_again_while_the_control_plane_is_away() {
    let place = Place::new();
    let (outbox, _) = place.open();
    for at in [3, 1, 2] {
        outbox.keep(event(1, at), NOW).unwrap();
    }
    let (taken, mut took) = mpsc::unbounded_channel();
    let answers = StdMutex::new(vec![Err(FeedError::Away), Err(FeedError::Away)]);
    let feed = Script { answers, taken };
    let delivering = outbox.deliver(&feed, |_, _| {}, |error| panic!("{error}"));
    let mut order = Vec::new();
    let collecting = async {
        while order.len() < 3 {
            order.push(took.recv().await.unwrap().at_ms);
        }
    };
    tokio::select! {
        () = delivering => unreachable!(),
        done = tokio::time::timeout(Duration::from_secs(600), collecting) => done.unwrap(),
    }
    assert_eq!(order, [1, 2, 3]);
}

#[tokio::test]
async fn what_a_process_kept_that_is_ending_is_delivered_by_its_successor_who_waited_for_events() {
    let place = Place::new();
    let (new, old) = (place.open().0, place.open().0);
    let (taken, mut delivered) = mpsc::unbounded_channel();
    let script = Script { answers: StdMutex::default(), taken };
    let delivering = new.deliver(&script, |_, _| panic!("refused"), |error| panic!("{error}"));
    let mut delivering = std::pin::pin!(delivering);
    // It has looked, and found nothing.
    assert!(tokio::time::timeout(Duration::ZERO, &mut delivering).await.is_err());
    let kept = event(1, 10);
    old.keep(kept.clone(), NOW).unwrap();
    new.scan().unwrap();
    tokio::select! {
        () = delivering => unreachable!(),
        got = tokio::time::timeout(Duration::from_secs(20), delivered.recv()) => {
            assert_eq!(got.unwrap().unwrap(), kept);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_event_is_dropped_and_the_next_is_delivered() {
    let place = Place::new();
    let (outbox, _) = place.open();
    outbox.keep(event(1, 1), NOW).unwrap();
    outbox.keep(event(1, 2), NOW).unwrap();
    let (taken, mut took) = mpsc::unbounded_channel();
    let refusal = FeedError::Refused { reason: "unknown-instance" };
    let feed = Script { answers: StdMutex::new(vec![Err(refusal)]), taken };
    let mut refused = Vec::new();
    let delivering = outbox.deliver(&feed, |event, why| refused.push((event.at_ms, why)), |_| {});
    tokio::select! {
        () = delivering => unreachable!(),
        event = took.recv() => assert_eq!(event.unwrap().at_ms, 2),
    }
    assert_eq!(refused, [(1, "unknown-instance")]);
}

#[test]
fn what_a_process_that_died_left_half_written_is_swept_away() {
    let place = Place::new();
    place.open();
    let mut ended = std::process::Command::new("true").spawn().unwrap();
    ended.wait().unwrap();
    let (dead, alive) = (ended.id(), std::process::id());
    let left = ["snapshot.ledger".to_owned(), format!("outbox/{:032x}", 1)];
    let half = |path: &str, pid: u32| place.directory.path().join(format!("{path}.{pid}.new"));
    for path in &left {
        fs::write(half(path, dead), "half").unwrap();
        fs::write(half(path, alive), "half").unwrap();
    }
    place.open();
    for path in &left {
        assert!(!half(path, dead).exists(), "{path}");
        assert!(half(path, alive).exists(), "{path}");
    }
}

//! What every store must do, run against each implementation.

use std::sync::Arc;

use mezame_model::{
    Generation, InstanceId, UserName,
    api::{Event, Kind},
};
use zeroize::Zeroizing;

use super::{
    Batch, Body, Committed, EVENTS_KEPT, From, KEY_REQUESTS_KEPT, Key, PASSWORD_USERS_KEPT,
    PASSWORDS_KEPT, Position, REPORTS_KEPT, Store, StoreError, Trail, memory::MemoryStore,
    sqlite::SqliteStore,
};
use crate::{
    environment::fixed::FixedEnvironment,
    sealing::{Keyring, SealingKey},
};

fn body(text: &str) -> Body {
    Zeroizing::new(text.as_bytes().to_vec())
}

fn key(name: &str) -> Key {
    Key { kind: Kind::Instance.into(), project: "p".into(), name: name.into() }
}

fn id(number: u8) -> InstanceId {
    InstanceId::parse(&format!("i-{number:017x}")).unwrap()
}

fn user(name: &str) -> UserName {
    UserName::parse(name).unwrap()
}

fn event(name: &str) -> Event {
    Event {
        generation: Generation::ZERO,
        at_ms: 5,
        project: "p".into(),
        kind: Kind::Instance,
        name: name.into(),
        what: "created".into(),
        detail: String::new(),
    }
}

/// A batch on top of a generation.
fn on(expected: u64) -> Batch {
    Batch { expected: Generation(expected), ..Batch::default() }
}

async fn write(store: &dyn Store, batch: Batch) -> u64 {
    match store.commit(batch).await.unwrap() {
        Committed::Written(generation) => generation.0,
        Committed::Seen => panic!("nothing of this batch was seen before"),
    }
}

async fn names_after(store: &dyn Store, after: u64) -> Vec<String> {
    let page = store.events(From::After(Generation(after)), 100).await.unwrap();
    page.events.into_iter().map(|event| event.name).collect()
}

async fn an_empty_store_is_at_generation_zero(store: Arc<dyn Store>) {
    let contents = store.load().await.unwrap();
    assert_eq!(contents.generation, Generation::ZERO);
    assert!(contents.site.is_none() && contents.rows.is_empty() && contents.observed.is_empty());
}

async fn each_batch_adds_one_and_marks_its_rows(store: Arc<dyn Store>) {
    let mut batch = on(0);
    batch.puts = vec![(key("a"), body("1")), (key("b"), body("2"))];
    batch.site = Some(body("site"));
    assert_eq!(write(&*store, batch).await, 1);
    let mut batch = on(1);
    batch.puts = vec![(key("b"), body("3")), (key("c"), body("4"))];
    batch.deletes = vec![key("a")];
    assert_eq!(write(&*store, batch).await, 2);
    let mut contents = store.load().await.unwrap();
    contents.rows.sort_by(|a, b| a.key.cmp(&b.key));
    let rows: Vec<_> =
        contents.rows.iter().map(|r| (&*r.key.name, r.revision.0, r.body.as_slice())).collect();
    assert_eq!(rows, [("b", 2, b"3".as_slice()), ("c", 2, b"4".as_slice())]);
    assert_eq!((contents.generation.0, contents.site), (2, Some(body("site"))));
}

async fn a_row_that_is_deleted_and_put_in_one_batch_is_there(store: Arc<dyn Store>) {
    let mut batch = on(0);
    batch.puts = vec![(key("a"), body("1"))];
    write(&*store, batch).await;
    let mut batch = on(1);
    batch.deletes = vec![key("a")];
    batch.puts = vec![(key("a"), body("2"))];
    write(&*store, batch).await;
    assert_eq!(store.load().await.unwrap().rows[0].body, body("2"));
}

async fn a_batch_on_an_old_generation_is_refused_whole(store: Arc<dyn Store>) {
    write(&*store, on(0)).await;
    let mut batch = on(0);
    batch.puts = vec![(key("a"), body("1"))];
    batch.events = vec![event("a")];
    batch.reports = vec![(id(1), 1, body("r"))];
    batch.event_key = Some(7);
    let refused = store.commit(batch).await.unwrap_err();
    assert!(matches!(
        refused,
        StoreError::Conflict { expected: Generation(0), actual: Generation(1) }
    ));
    let contents = store.load().await.unwrap();
    assert!(contents.rows.is_empty());
    assert!(store.reports(id(1)).await.unwrap().is_empty());
    assert!(names_after(&*store, 0).await.is_empty());
    // Its event's key was not taken either.
    let mut batch = on(1);
    batch.event_key = Some(7);
    assert_eq!(write(&*store, batch).await, 2);
}

async fn of_many_writers_on_one_generation_one_succeeds(store: Arc<dyn Store>) {
    let writers: Vec<_> = (0..16)
        .map(|number| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut batch = on(0);
                batch.puts = vec![(key(&format!("w{number}")), body("x"))];
                store.commit(batch).await.is_ok()
            })
        })
        .collect();
    let mut succeeded = 0;
    for writer in writers {
        succeeded += usize::from(writer.await.unwrap());
    }
    assert_eq!(succeeded, 1);
    assert_eq!(store.load().await.unwrap().rows.len(), 1);
}

async fn a_guests_event_is_written_once(store: Arc<dyn Store>) {
    let with_key = |expected| {
        let mut batch = on(expected);
        batch.event_key = Some(42);
        batch.reports = vec![(id(1), 9, body("report"))];
        batch
    };
    write(&*store, with_key(0)).await;
    // Also when the generation has moved on since: seen before is seen before.
    for expected in [0, 1, 77] {
        assert_eq!(store.commit(with_key(expected)).await.unwrap(), Committed::Seen);
    }
    assert_eq!(store.reports(id(1)).await.unwrap(), [(9, body("report"))]);
    assert_eq!(store.load().await.unwrap().generation, Generation(1));
}

async fn reports_and_passwords_are_kept_newest_first_up_to_a_number(store: Arc<dyn Store>) {
    for number in 0..(REPORTS_KEPT + 7) as u64 {
        let mut batch = on(number);
        batch.reports = vec![(id(1), number, body(&format!("r{number}")))];
        batch.passwords = vec![(id(1), user("ops"), number, body(&format!("p{number}")))];
        write(&*store, batch).await;
    }
    let reports = store.reports(id(1)).await.unwrap();
    assert_eq!(reports.len(), REPORTS_KEPT);
    let newest = (REPORTS_KEPT + 6) as u64;
    assert_eq!(reports[0], (newest, body(&format!("r{newest}"))));
    assert_eq!(reports[REPORTS_KEPT - 1].0, 7);
    let passwords = store.passwords(id(1)).await.unwrap();
    assert_eq!((passwords.len(), &passwords[0].1), (PASSWORDS_KEPT, &body(&format!("p{newest}"))));
    assert!(store.reports(id(2)).await.unwrap().is_empty());
}

async fn no_user_pushes_out_the_newest_password_of_another(store: Arc<dyn Store>) {
    let mut batch = on(0);
    let of = |name: &str, at: u64| (id(1), user(name), at, body(&format!("{name} {at}")));
    batch.passwords = vec![of("dev", 1), of("dev", 2)];
    batch.passwords.extend((3..3 + 2 * PASSWORDS_KEPT as u64).map(|at| of("ops", at)));
    batch.passwords.push((id(2), user("dev"), 1, body("another instance's")));
    write(&*store, batch).await;
    let kept = store.passwords(id(1)).await.unwrap();
    assert_eq!(kept.len(), PASSWORDS_KEPT + 1);
    let last = kept.last().unwrap();
    assert_eq!((last.0, &last.1), (2, &body("dev 2")), "the newest of the other user");
    assert_eq!(store.passwords(id(2)).await.unwrap().len(), 1);
    // Whom no document can name any more goes, the longest silent first.
    let mut batch = on(1);
    let names = (0..PASSWORD_USERS_KEPT as u64).map(|at| of(&format!("u{at}"), 1000 + at));
    batch.passwords = names.collect();
    write(&*store, batch).await;
    let kept = store.passwords(id(1)).await.unwrap();
    assert_eq!(kept.len(), PASSWORD_USERS_KEPT);
    assert_eq!(kept.last().unwrap().1, body("u0 1000"));
}

async fn requests_in_vain_push_out_none_that_was_granted(store: Arc<dyn Store>) {
    let mut batch = on(0);
    batch.key_requests = vec![(id(1), 1, Trail::Released, body("given"))];
    write(&*store, batch).await;
    let mut batch = on(1);
    let number = |number: usize| (id(1), number as u64, Trail::Withheld, body("not given"));
    batch.key_requests = (0..KEY_REQUESTS_KEPT + 3).map(number).collect();
    write(&*store, batch).await;
    let of = |trail| store.key_requests(id(1), trail);
    assert_eq!(of(Trail::Released).await.unwrap(), [(1, body("given"))]);
    let withheld = of(Trail::Withheld).await.unwrap();
    assert_eq!((withheld.len(), withheld[0].0), (KEY_REQUESTS_KEPT, KEY_REQUESTS_KEPT as u64 + 2));
    assert!(store.key_requests(id(2), Trail::Released).await.unwrap().is_empty());
    let mut batch = on(2);
    batch.forget = vec![id(1)];
    write(&*store, batch).await;
    for trail in Trail::ALL {
        assert!(of(trail).await.unwrap().is_empty());
    }
}

async fn what_guests_said_last_is_replaced_and_forgotten(store: Arc<dyn Store>) {
    for (expected, text) in [(0, "one"), (1, "two")] {
        let mut batch = on(expected);
        batch.observed = vec![(id(1), body(text)), (id(2), body("other"))];
        batch.reports = vec![(id(1), 1, body(text))];
        batch.passwords = vec![(id(1), user("ops"), 1, body(text))];
        write(&*store, batch).await;
    }
    let observed = store.load().await.unwrap().observed;
    assert!(observed.contains(&(id(1), body("two"))) && observed.len() == 2);
    let mut batch = on(2);
    batch.forget = vec![id(1)];
    write(&*store, batch).await;
    assert_eq!(store.load().await.unwrap().observed, [(id(2), body("other"))]);
    assert!(store.reports(id(1)).await.unwrap().is_empty());
    assert!(store.passwords(id(1)).await.unwrap().is_empty());
}

async fn events_are_read_by_generation_and_by_position(store: Arc<dyn Store>) {
    let start = store.events(From::After(Generation(0)), 10).await.unwrap();
    assert!(start.events.is_empty());
    for (expected, names) in [(0, vec!["a", "b", "c"]), (1, vec![]), (2, vec!["d"])] {
        let mut batch = on(expected);
        batch.events = names.into_iter().map(event).collect();
        write(&*store, batch).await;
    }
    assert_eq!(names_after(&*store, 0).await, ["a", "b", "c", "d"]);
    assert_eq!(names_after(&*store, 1).await, ["d"]);
    assert_eq!(names_after(&*store, 2).await, ["d"]);
    assert!(names_after(&*store, 3).await.is_empty());
    // Page by page nothing is lost or told twice, from before the first event on.
    let (mut position, mut told) = (start.next, Vec::new());
    loop {
        let page = store.events(From::Position(position), 2).await.unwrap();
        position = page.next;
        if page.events.is_empty() {
            break;
        }
        told.extend(page.events.into_iter().map(|e| format!("{}{}", e.name, e.generation)));
    }
    assert_eq!(told, ["a1", "b1", "c1", "d3"]);
    // The place at the end is where the next event comes.
    let mut batch = on(3);
    batch.events = vec![event("e")];
    write(&*store, batch).await;
    let page = store.events(From::Position(position), 9).await.unwrap();
    assert_eq!(page.events[0].name, "e");
}

async fn after_a_generation_that_is_not_yet_there_comes_nothing(store: Arc<dyn Store>) {
    let mut batch = on(0);
    batch.events = vec![event("a")];
    write(&*store, batch).await;
    for asked in [2, i64::MAX.unsigned_abs(), i64::MAX.unsigned_abs() + 1, u64::MAX] {
        let page = store.events(From::After(Generation(asked)), 9).await.unwrap();
        assert!(page.events.is_empty(), "{asked}");
        // It goes on with what comes next.
        assert_eq!(store.events(From::Position(page.next), 9).await.unwrap().next, page.next);
    }
}

async fn the_oldest_events_go_and_whoever_missed_them_is_told(store: Arc<dyn Store>) {
    for expected in 0..3 {
        let mut batch = on(expected);
        batch.events = (0..EVENTS_KEPT / 2).map(|_| event("x")).collect();
        write(&*store, batch).await;
    }
    let gone = store.events(From::After(Generation(0)), 1).await.unwrap_err();
    assert!(matches!(gone, StoreError::EventsGone { oldest: Generation(1), .. }), "{gone}");
    let gone = store.events(From::Position(Position(0)), 1).await.unwrap_err();
    assert!(matches!(gone, StoreError::EventsGone { .. }));
    let page = store.events(From::After(Generation(1)), usize::MAX).await.unwrap();
    assert_eq!(page.events.len(), EVENTS_KEPT);
    // A single batch longer than what is kept can't be told whole.
    let mut batch = on(3);
    batch.events = (0..EVENTS_KEPT + 1).map(|_| event("y")).collect();
    write(&*store, batch).await;
    for asked in [1, 3] {
        let gone = store.events(From::After(Generation(asked)), 1).await.unwrap_err();
        assert!(matches!(gone, StoreError::EventsGone { oldest: Generation(4), .. }), "{gone}");
    }
    assert!(names_after(&*store, 4).await.is_empty());
}

async fn after_resealing_everything_is_as_before(store: Arc<dyn Store>) {
    let mut batch = on(0);
    batch.puts = vec![(key("a"), body("1"))];
    batch.site = Some(body("site"));
    batch.observed = vec![(id(1), body("seen"))];
    batch.reports = vec![(id(1), 1, body("report"))];
    batch.passwords = vec![(id(1), user("ops"), 1, body("password"))];
    write(&*store, batch).await;
    store.reseal(ring(&[1, 2])).await.unwrap();
    store.reseal(ring(&[2])).await.unwrap();
    let contents = store.load().await.unwrap();
    assert_eq!(contents.rows[0].body, body("1"));
    assert_eq!(contents.site, Some(body("site")));
    assert_eq!(contents.observed[0].1, body("seen"));
    assert_eq!(store.reports(id(1)).await.unwrap(), [(1, body("report"))]);
    assert_eq!(store.passwords(id(1)).await.unwrap(), [(1, body("password"))]);
    assert_eq!(contents.generation, Generation(1));
}

async fn a_closed_store_refuses_every_call(store: Arc<dyn Store>) {
    write(&*store, on(0)).await;
    store.close().await;
    store.close().await;
    assert!(matches!(store.load().await, Err(StoreError::Closed)));
    assert!(matches!(store.commit(on(1)).await, Err(StoreError::Closed)));
    assert!(matches!(store.reports(id(1)).await, Err(StoreError::Closed)));
}

/// A ring of these test keys.
pub(super) fn ring(numbers: &[u8]) -> Keyring {
    let keys = numbers.iter().map(|number| SealingKey::new((*number).into(), [*number; 32]));
    Keyring::new(keys.collect()).unwrap()
}

/// A store in a directory that goes with the test.
pub(super) async fn sqlite(directory: &std::path::Path) -> SqliteStore {
    let environment = Arc::new(FixedEnvironment::new());
    let path = directory.join("store.db");
    SqliteStore::open(&path, ring(&[1]), environment, std::time::Duration::ZERO).await.unwrap()
}

macro_rules! contract {
    ($($rule:ident)*) => {
        mod memory {
            use super::*;
            $(#[tokio::test]
            async fn $rule() {
                super::$rule(Arc::new(MemoryStore::default())).await;
            })*
        }

        mod in_sqlite {
            use super::*;
            $(#[tokio::test]
            async fn $rule() {
                let directory = tempfile::tempdir().unwrap();
                super::$rule(Arc::new(sqlite(directory.path()).await)).await;
            })*
        }
    };
}

contract! {
    an_empty_store_is_at_generation_zero
    each_batch_adds_one_and_marks_its_rows
    a_row_that_is_deleted_and_put_in_one_batch_is_there
    a_batch_on_an_old_generation_is_refused_whole
    of_many_writers_on_one_generation_one_succeeds
    a_guests_event_is_written_once
    reports_and_passwords_are_kept_newest_first_up_to_a_number
    no_user_pushes_out_the_newest_password_of_another
    requests_in_vain_push_out_none_that_was_granted
    what_guests_said_last_is_replaced_and_forgotten
    events_are_read_by_generation_and_by_position
    after_a_generation_that_is_not_yet_there_comes_nothing
    the_oldest_events_go_and_whoever_missed_them_is_told
    after_resealing_everything_is_as_before
    a_closed_store_refuses_every_call
}

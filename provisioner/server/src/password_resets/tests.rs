//! Which asks are new, and which answers are theirs.

use serde_json::json;

use super::*;

fn record() -> InstanceRecord {
    let instance: Instance = serde_json::from_value(json!({
        "id": "i-0123456789abcdef0", "project": "p", "name": "web", "hostname": "web",
        "ports": ["eni-0123456789abcdef0"], "dialects": ["mezame"], "instance_type": "m1.small",
        "image_id": "ami-0123456789abcdef0", "zone": "a", "launched_at": 1,
        "users": [
            {"name": "ops", "password": "generate"},
            {"name": "dev", "password": {"hash": "$6$a$b"}},
        ],
    }))
    .unwrap();
    InstanceRecord {
        instance: Arc::new(instance),
        consumed: Default::default(),
        kept_back: Default::default(),
        renewed: Default::default(),
        revision: None,
    }
}

fn ops() -> UserName {
    UserName::parse("ops").unwrap()
}

fn asked(record: &InstanceRecord, again: bool, now_ms: u64) -> Option<InstanceRecord> {
    ask(record, &ops(), again, now_ms).unwrap()
}

fn state(record: &InstanceRecord) -> (u64, ResetState) {
    let view = view(record, &ops()).unwrap();
    (view.asked_ms, view.state)
}

fn after(record: InstanceRecord, reset: Option<u64>) -> Option<InstanceRecord> {
    after_with(record, reset, None)
}

fn after_with(
    record: InstanceRecord,
    reset: Option<u64>,
    nova: Option<&str>,
) -> Option<InstanceRecord> {
    let held = HeldInstance {
        record: Arc::new(record),
        revision: mezame_model::Generation(3),
        observed: None,
        observed_at: mezame_model::Generation(3),
    };
    let password = SealedPassword {
        user: ops(),
        recipient: "ssh-ed25519 AAAA".into(),
        sealed: "sealed".into(),
        reset,
        nova: nova.map(Into::into),
    };
    match answered(&held, &password, 99) {
        Some(Record::Instance(record)) => Some(InstanceRecord::clone(&record)),
        Some(_) => panic!("a record of another kind"),
        None => None,
    }
}

fn nova(record: &InstanceRecord) -> Option<&str> {
    record.instance.nova_password.as_ref().map(SecretString::expose)
}

#[test]
fn an_ask_is_pending_until_its_own_answer_and_is_not_repeated_by_accident() {
    let once = asked(&record(), false, 1000).unwrap();
    assert_eq!(state(&once), (1000, ResetState::Pending));
    assert!(asked(&once, false, 2000).is_none());
    for other in [None, Some(999), Some(1001)] {
        assert!(after(once.clone(), other).is_none(), "{other:?}");
    }
    let done = after(once, Some(1000)).unwrap();
    assert_eq!(state(&done), (1000, ResetState::Done));
    assert_eq!(done.revision, Some(mezame_model::Generation(3)), "operators know that one");
    assert!(after(done.clone(), Some(1000)).is_none(), "told twice");
    let next = asked(&done, false, 3000).unwrap();
    assert_eq!(state(&next), (3000, ResetState::Pending));
    assert!(next.revision.is_none());
}

#[test]
fn an_ask_goes_forward_even_where_the_clock_went_back() {
    let once = asked(&record(), false, 1000).unwrap();
    let again = asked(&once, true, 10).unwrap();
    assert_eq!(state(&again), (1001, ResetState::Pending));
    let done = after(again, Some(1001)).unwrap();
    assert_eq!(state(&asked(&done, false, 10).unwrap()).0, 1002);
}

#[test]
fn openstacks_clients_are_shown_no_password_from_before_the_one_that_they_know() {
    let first = after_with(record(), None, Some("first")).unwrap();
    assert_eq!(nova(&first), Some("first"));
    let asked_once = asked(&first, false, 1000).unwrap();
    let second = after_with(asked_once, Some(1000), Some("second")).unwrap();
    assert_eq!(nova(&second), Some("second"));
    // What was held up on its way: the first of all, and the answer to an earlier ask.
    assert!(after_with(second.clone(), None, Some("first")).is_none());
    let asked_again = asked(&second, false, 2000).unwrap();
    let third = after_with(asked_again, Some(2000), Some("third")).unwrap();
    for (late, held_up) in [(None, Some("first")), (Some(1000), Some("second")), (None, None)] {
        assert!(after_with(third.clone(), late, held_up).is_none(), "{late:?}");
    }
    // A guest whose disk was put back answers the same ask again, by another password.
    let again = after_with(third, Some(2000), Some("fourth")).unwrap();
    assert_eq!(nova(&again), Some("fourth"));
}

#[test]
fn a_password_that_the_record_asks_for_is_never_late() {
    let pending = asked(&record(), false, 1000).unwrap();
    let mut done = after_with(pending, Some(1000), Some("second")).unwrap();
    // As after a document with a hash, and then one with `generate` again.
    Arc::make_mut(&mut done.instance).users[0].password_reset = None;
    let anew = after_with(done, None, Some("third")).unwrap();
    assert_eq!(nova(&anew), Some("third"));
}

#[test]
fn an_answer_without_a_form_for_openstacks_clients_takes_the_former_one_away() {
    let first = after_with(record(), None, Some("first")).unwrap();
    let pending = asked(&first, false, 1000).unwrap();
    assert!(after_with(pending.clone(), None, None).is_none(), "it answers no ask");
    let done = after_with(pending, Some(1000), None).unwrap();
    assert_eq!((nova(&done), state(&done)), (None, (1000, ResetState::Done)));
    assert!(after_with(done, None, Some("first")).is_none(), "it does not come back");
}

#[test]
fn only_a_password_that_the_guest_makes_can_be_asked_for() {
    let dev = UserName::parse("dev").unwrap();
    let Err(Refused::Fault(fault)) = ask(&record(), &dev, false, 1) else { panic!() };
    assert_eq!(fault.path, "users[1].password");
    let eve = UserName::parse("eve").unwrap();
    assert!(matches!(ask(&record(), &eve, false, 1), Err(Refused::NotFound)));
}

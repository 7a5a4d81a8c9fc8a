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
        nova: None,
    };
    match answered(&held, &password, 99) {
        Some(Record::Instance(record)) => Some(InstanceRecord::clone(&record)),
        Some(_) => panic!("a record of another kind"),
        None => None,
    }
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
fn only_a_password_that_the_guest_makes_can_be_asked_for() {
    let dev = UserName::parse("dev").unwrap();
    let Err(Refused::Fault(fault)) = ask(&record(), &dev, false, 1) else { panic!() };
    assert_eq!(fault.path, "users[1].password");
    let eve = UserName::parse("eve").unwrap();
    assert!(matches!(ask(&record(), &eve, false, 1), Err(Refused::NotFound)));
}

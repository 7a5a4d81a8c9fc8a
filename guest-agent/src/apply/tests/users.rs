//! What users are given, and what is taken back from those that are stopped or named no more.

use super::*;

#[test]
fn keys_of_a_user_that_is_named_no_more_are_taken_back() {
    let keys = json!({"users": [{"name": "ops", "ssh_keys": [ED25519], "sudo": true}]});
    let mut world = World::new(keys, "");
    world.run();
    assert!(!world.fake.state().keys["ops"].is_empty());
    world.document.users.clear();
    world.run();
    assert!(world.fake.state().keys["ops"].is_empty());
    assert!(world.fake.state().sudo.is_empty());
}

pub(super) fn users(world: &mut World, users: serde_json::Value) -> Applied {
    world.document.users = serde_json::from_value(users).unwrap();
    world.run()
}

#[test]
fn a_user_who_is_stopped_gets_in_by_nothing_and_gets_all_back_when_started() {
    let hash = "$6$salt$hash";
    let of = |stopped: bool| {
        json!([{"name": "ops", "sudo": true, "ssh_keys": [ED25519], "password": {"hash": hash},
            "stopped": stopped}])
    };
    let mut world = World::new(json!({}), "");
    users(&mut world, of(false));
    let keys = |world: &World| world.fake.state().keys["ops"].len();
    assert!(keys(&world) > 0 && world.fake.state().sudo.contains_key("ops"));
    users(&mut world, of(true));
    assert!(world.fake.state().stopped.contains("ops"));
    assert_eq!((keys(&world), world.fake.state().sudo.len()), (0, 0));
    assert_eq!(users(&mut world, of(true)).outcome(), Outcome::Unchanged);
    users(&mut world, of(false));
    assert!(world.fake.state().stopped.is_empty());
    assert!(keys(&world) > 0 && world.fake.state().sudo.contains_key("ops"));
    assert_eq!(users(&mut world, of(false)).outcome(), Outcome::Unchanged);
}

#[test]
fn the_account_of_a_removed_user_is_shut_if_the_agent_made_it_and_opened_when_named_again() {
    let named = || json!([{"name": "ops", "ssh_keys": [ED25519]}]);
    let mut world = World::new(json!({}), "");
    users(&mut world, named());
    let removed = users(&mut world, json!([]));
    assert_eq!(step(&removed, "stop ops").outcome, Outcome::Done);
    assert!(
        world.fake.state().stopped.contains("ops") && world.fake.state().keys["ops"].is_empty()
    );
    assert!(world.fake.state().users.contains_key("ops"), "what it owns keeps its owner");
    let again = users(&mut world, json!([]));
    assert!(!again.steps.iter().any(|step| step.step == "stop ops"), "once is enough");
    users(&mut world, named());
    assert!(world.fake.state().stopped.is_empty() && !world.fake.state().keys["ops"].is_empty());
}

#[test]
fn an_account_of_the_images_loses_what_the_agent_gave_and_no_more() {
    let named = || json!([{"name": "debian", "sudo": true, "password": {"hash": "$6$a$b"}}]);
    let mut world = World::new(json!({}), "");
    world.fake.ensure_account(&crate::step::Account::named("debian")).unwrap();
    users(&mut world, named());
    users(&mut world, json!([]));
    assert!(world.fake.state().stopped.is_empty() && world.fake.state().sudo.is_empty());
    let hash = |world: &World| world.fake.state().passwords["debian"].expose().to_owned();
    assert_eq!(hash(&world), "!$6$a$b");
    // Named again, it has the password of its record again.
    users(&mut world, named());
    assert_eq!(hash(&world), "$6$a$b");
    assert_eq!(users(&mut world, named()).outcome(), Outcome::Unchanged);
}

#[test]
fn an_account_of_the_images_is_opened_again_whatever_form_its_password_has() {
    let generated = json!([{"name": "debian", "ssh_keys": [ED25519], "password": "generate"}]);
    let text = "#cloud-config\nchpasswd: {expire: false, users: [{name: debian, password: long, \
        type: text}]}\n";
    for (named, seed, key) in [
        (generated, "", "generated password debian"),
        (json!([{"name": "debian"}]), text, "password debian"),
    ] {
        let mut world = World::new(json!({}), seed);
        world.fake.ensure_account(&crate::step::Account::named("debian")).unwrap();
        users(&mut world, named.clone());
        let is_shut =
            |world: &World| world.fake.state().passwords["debian"].expose().starts_with('!');
        assert!(!is_shut(&world));
        world.user.clear();
        users(&mut world, json!([]));
        assert!(is_shut(&world), "{key}");
        world.user = seed.to_owned();
        let again = users(&mut world, named.clone());
        assert_eq!(step(&again, key).outcome, Outcome::Done, "{again:?}");
        assert!(!is_shut(&world), "{key}");
        assert_eq!(users(&mut world, named).outcome(), Outcome::Unchanged);
    }
}

#[test]
fn an_account_that_was_locked_is_opened_by_a_later_run_where_one_could_not_set_its_password() {
    let named = || json!([{"name": "debian", "ssh_keys": [ED25519], "password": "generate"}]);
    let mut world = World::new(json!({}), "");
    world.fake = Fake::of(System::Windows, "boot-0", Vec::new());
    world.fake.change(|state| state.hostname = "web".into());
    world.fake.ensure_account(&crate::step::Account::named("debian")).unwrap();
    users(&mut world, named());
    users(&mut world, json!([]));
    world.fake.change(|state| state.refuses_texts = true);
    let failed = users(&mut world, named());
    assert_eq!(step(&failed, "generated password debian").outcome, Outcome::Failed);
    world.fake.change(|state| state.refuses_texts = false);
    let later = users(&mut world, named());
    assert_eq!(step(&later, "generated password debian").outcome, Outcome::Done, "{later:?}");
}

#[test]
fn a_text_that_is_to_be_locked_is_not_opened_by_a_second_run() {
    let seed =
        "#cloud-config\nusers: [{name: debian, plain_text_passwd: long, lock_passwd: true}]\n";
    let mut world = World::new(json!({}), seed);
    for _ in 0..3 {
        world.run();
        assert!(world.fake.state().passwords["debian"].expose().starts_with('!'));
    }
}

#[test]
fn another_instance_shuts_the_accounts_that_were_made_for_the_former_one() {
    let mut world = World::new(json!({}), "");
    users(&mut world, json!([{"name": "ops"}]));
    world.document.instance_id = InstanceId::parse("i-0123456789abcdef1").unwrap();
    users(&mut world, json!([{"name": "eve"}]));
    assert_eq!(world.fake.state().stopped.iter().collect::<Vec<_>>(), ["ops"]);
}

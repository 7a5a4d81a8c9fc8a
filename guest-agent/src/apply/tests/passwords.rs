//! Passwords that the guest makes anew because its operator asks for it, whatever cuts it off.

use super::*;

/// Of the user `ops`; after an ask, if one was made.
fn asked(reset: Option<u64>) -> serde_json::Value {
    let mut user = json!({"name": "ops", "ssh_keys": [ED25519], "password": "generate"});
    if let Some(reset) = reset {
        user["password_reset"] = reset.into();
    }
    json!([user])
}

fn of(system: System) -> World {
    let mut world = World::new(json!({"users": asked(None), "hostname": "web"}), "");
    world.fake = Fake::of(system, "boot-1", Vec::new());
    world.fake.change(|state| state.hostname = "web".into());
    world
}

/// What opens the user's account in the guest.
fn now(world: &World) -> String {
    let state = world.fake.state();
    let of = |map: &std::collections::BTreeMap<String, SecretString>| {
        map.get("ops").map(|it| it.expose().to_owned())
    };
    of(&state.passwords).or(of(&state.texts)).unwrap()
}

fn resets(world: &World) -> Vec<Option<u64>> {
    world.service.passwords.iter().map(|password| password.reset).collect()
}

#[test]
fn each_ask_makes_one_password_and_none_is_made_for_an_ask_before_the_last() {
    for system in [System::Unix, System::Windows] {
        let mut world = of(system);
        world.run();
        let first = now(&world);
        for _ in 0..2 {
            users(&mut world, asked(Some(1_700_000_000_000)));
        }
        let second = now(&world);
        assert_ne!(first, second);
        users(&mut world, asked(Some(1_700_000_000_001)));
        let third = now(&world);
        assert_ne!(second, third);
        // A hypervisor that was long away has an older record; a restored database has none.
        for stale in [Some(1_700_000_000_000), None, Some(1_700_000_000_001)] {
            let applied = users(&mut world, asked(stale));
            assert_eq!(step(&applied, "generated password ops").outcome, Outcome::Unchanged);
        }
        assert_eq!(now(&world), third);
        let told = [None, Some(1_700_000_000_000), Some(1_700_000_000_001)];
        assert_eq!(resets(&world), told, "{system:?}");
    }
}

#[test]
fn a_guest_that_boots_first_after_the_ask_makes_one_password_for_both() {
    let mut world = of(System::Unix);
    users(&mut world, asked(Some(7)));
    users(&mut world, asked(Some(7)));
    assert_eq!(resets(&world), [Some(7)]);
}

#[test]
fn a_password_that_waits_for_an_earlier_ask_is_not_taken_for_the_later_ones() {
    let mut world = of(System::Unix);
    world.service.away = true;
    world.run();
    let first = now(&world);
    users(&mut world, asked(Some(7)));
    let second = now(&world);
    assert_ne!(first, second);
    world.service.away = false;
    world.run();
    assert_eq!((resets(&world), now(&world)), (vec![Some(7)], second));
}

#[test]
fn an_ask_that_was_cut_off_ends_with_the_password_that_the_operator_gets() {
    for system in [System::Unix, System::Windows] {
        let mut world = of(system);
        world.run();
        let ledger = world.state.path().join("ledger");
        let before = std::fs::read(&ledger).unwrap();
        world.service.away = true;
        users(&mut world, asked(Some(7)));
        let made = now(&world);
        // Nothing of it was noted when the power went.
        std::fs::write(&ledger, before).unwrap();
        world.service.away = false;
        world.run();
        // By a hash the same one is set again; by a text another one is made, and only that is sent.
        assert_eq!(now(&world) == made, system == System::Unix);
        assert_eq!(resets(&world), [None, Some(7)], "{system:?}");
        let last = now(&world);
        world.run();
        assert_eq!((now(&world), world.service.passwords.len()), (last, 2));
    }
}

#[test]
fn an_ask_for_a_password_that_can_be_sealed_to_nobody_waits_until_one_can() {
    let mut world = of(System::Unix);
    world.run();
    let first = now(&world);
    let mut nobody = asked(Some(7));
    nobody[0]["ssh_keys"] = json!([]);
    for _ in 0..2 {
        let applied = users(&mut world, nobody.clone());
        assert_eq!(step(&applied, "generated password ops").reason, "no-recipient");
    }
    assert_eq!(now(&world), first);
    users(&mut world, asked(Some(7)));
    assert_eq!(resets(&world), [None, Some(7)]);
}

#[test]
fn one_who_is_stopped_gets_the_password_that_was_asked_for_when_started_again() {
    let mut world = of(System::Unix);
    world.run();
    let mut stopped = asked(Some(7));
    stopped[0]["stopped"] = true.into();
    users(&mut world, stopped);
    assert_eq!(resets(&world), [None]);
    users(&mut world, asked(Some(7)));
    assert_eq!(resets(&world), [None, Some(7)]);
}

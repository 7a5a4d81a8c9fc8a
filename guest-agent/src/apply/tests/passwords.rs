//! Passwords that the guest makes anew because its operator asks for it, whatever cuts it off;
//! their forms for other clouds' tools; and the certificates that it trusts.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{users::users, *};
use crate::rsa_cipher::tests::{key_pair, opened};

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
        // By a hash the same one is set again; by a text another one is made, and only that is
        // sent.
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

/// A line of ssh-keygen's kind for an RSA key, and the file of its private half.
fn rsa_line(directory: &std::path::Path) -> (String, std::path::PathBuf) {
    let (path, modulus, exponent) = key_pair(directory, 2048);
    let string = |bytes: &[u8]| {
        let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
        [&length[..], bytes].concat()
    };
    // A number that would look negative has a zero in front (RFC 4251, section 5).
    let modulus = [&[0][..], &modulus].concat();
    let blob = [string(b"ssh-rsa"), string(&exponent), string(&modulus)].concat();
    (format!("ssh-rsa {} me", STANDARD.encode(blob)), path)
}

#[test]
fn a_password_for_openstacks_clients_is_opened_by_openssl_and_is_the_one_that_is_set() {
    let directory = tempfile::tempdir().unwrap();
    let (line, key) = rsa_line(directory.path());
    let mut world = of(System::Windows);
    world.document.nova_password = true;
    users(
        &mut world,
        json!([
            {"name": "ops", "ssh_keys": [ED25519, line], "password": "generate"},
            {"name": "dev", "ssh_keys": [ED25519], "password": "generate"},
        ]),
    );
    let posted = &world.service.passwords;
    let of = |user: &str| posted.iter().find(|it| it.user.as_str() == user).unwrap();
    let sealed = of("ops").nova.as_ref().unwrap();
    assert_eq!(opened(&key, &["rsa_padding_mode:pkcs1"], sealed), now(&world));
    assert_eq!(of("ops").recipient, ED25519, "age's form is for the first key as ever");
    assert!(of("dev").nova.is_none(), "an Ed25519 key encrypts nothing");
    world.document.nova_password = false;
    users(&mut world, json!([{"name": "eve", "ssh_keys": [line], "password": "generate"}]));
    assert!(world.service.passwords.last().unwrap().nova.is_none(), "nobody asked for it");
}

#[test]
fn a_windows_key_is_answered_once_on_the_serial_port_and_in_the_report() {
    let directory = tempfile::tempdir().unwrap();
    let (path, modulus, exponent) = key_pair(directory.path(), 2048);
    let key = |user: &str, expires: &str| {
        json!({"userName": user, "modulus": STANDARD.encode(&modulus),
            "exponent": STANDARD.encode(&exponent), "expireOn": expires, "hashFunction": "sha256"})
    };
    let ask = |world: &mut World, keys: serde_json::Value| {
        world.document.windows_keys = serde_json::from_value(keys).unwrap();
        world.run()
    };
    let mut world = of(System::Windows);
    world.document.users.clear();
    let asks = json!([key("Ops", "2030-01-01T00:00:00Z"), key("Late", "2020-01-01T00:00:00Z")]);
    let applied = ask(&mut world, asks.clone());
    let step = |applied: &Applied, user: &str| {
        let name = format!("windows key {user} ");
        applied.steps.iter().find(|it| it.step.starts_with(&name)).unwrap().clone()
    };
    let serial = world.fake.state().serial.clone();
    let lines: Vec<&str> = serial.lines().collect();
    let [ready, answer] = lines[..] else { panic!("{serial}") };
    assert!(ready.starts_with(r#"{"ready":true"#), "{ready}");
    assert_eq!(step(&applied, "Ops").detail, answer);
    let answer: serde_json::Value = serde_json::from_str(answer).unwrap();
    let sealed = answer["encryptedPassword"].as_str().unwrap();
    let options = ["rsa_padding_mode:oaep", "rsa_oaep_md:sha256"];
    assert_eq!(opened(&path, &options, sealed), world.fake.state().texts["Ops"].expose());
    assert!(world.fake.state().sudo.contains_key("Ops"), "an administrator, as with Google");
    let late = step(&applied, "Late");
    assert_eq!((late.outcome, late.reason.as_str()), (Outcome::Skipped, "expired"));
    assert!(!world.fake.state().texts.contains_key("Late"));
    let state = world.fake.state().clone();
    assert!(!state.sudo.contains_key("Late"), "a void ask makes nobody an administrator");
    assert!(!state.users.contains_key("Late"), "nor an account");
    // Once; and once more for the same key with another time.
    assert_eq!(step(&ask(&mut world, asks), "Ops").outcome, Outcome::Unchanged);
    assert_eq!(world.fake.state().serial, serial);
    let last = json!([key("Ops", "2031-01-01T00:00:00Z")]);
    ask(&mut world, last.clone());
    assert_eq!(world.fake.state().serial.lines().count(), 4);
    // Who was answered in time keeps what it has when the time is over.
    world.fake.facts.now = 2_000_000_000;
    assert_eq!(step(&ask(&mut world, last), "Ops").reason, "expired");
    let state = world.fake.state();
    assert!(state.sudo.contains_key("Ops") && !state.stopped.contains("Ops"));
}

#[test]
fn a_windows_key_of_a_user_who_is_stopped_lets_nobody_in_whatever_the_case_of_its_letters() {
    let directory = tempfile::tempdir().unwrap();
    let (_, modulus, exponent) = key_pair(directory.path(), 2048);
    let mut world = of(System::Windows);
    world.document.windows_keys = serde_json::from_value(json!([{
        "userName": "Ops", "modulus": STANDARD.encode(&modulus),
        "exponent": STANDARD.encode(&exponent), "expireOn": "2030-01-01T00:00:00Z"}]))
    .unwrap();
    let applied =
        users(&mut world, json!([{"name": "ops", "ssh_keys": [ED25519], "stopped": true}]));
    let ask = applied.steps.iter().find(|it| it.step.starts_with("windows key Ops ")).unwrap();
    assert_eq!((ask.outcome, ask.reason.as_str()), (Outcome::Skipped, "stopped"));
    let state = world.fake.state();
    assert!(state.texts.is_empty() && state.sudo.is_empty(), "{:?}", state.sudo);
    drop(state);
    // And one who is not stopped is one user, and no two.
    users(&mut world, json!([{"name": "ops", "ssh_keys": [ED25519]}]));
    let state = world.fake.state();
    assert_eq!(state.sudo.keys().collect::<Vec<_>>(), ["ops"]);
    assert_eq!(state.users.keys().filter(|it| it.eq_ignore_ascii_case("ops")).count(), 1);
    assert_eq!(state.texts.keys().collect::<Vec<_>>(), ["ops"]);
    drop(state);
    // What the password's user is called in the ledger is what the plan calls it.
    let history = Ledger::look(world.state.path()).unwrap();
    assert!(history.rights().all(|(name, _)| name != "Ops"));
}

#[test]
fn a_windows_key_is_nothing_to_a_unix_and_a_key_that_encrypts_nothing_sets_no_password() {
    let mut world = of(System::Unix);
    let keys = json!([{"userName": "ops", "modulus": "AQ==", "exponent": "AQAB",
        "expireOn": "2030-01-01T00:00:00Z"}]);
    world.document.windows_keys = serde_json::from_value(keys).unwrap();
    let outcome = |applied: &Applied| {
        let step = applied.steps.iter().find(|it| it.step.starts_with("windows key")).unwrap();
        (step.outcome, step.reason.clone())
    };
    assert_eq!(outcome(&world.run()), (Outcome::Skipped, "other-system".into()));
    let keys = std::mem::take(&mut world.document.windows_keys);
    let mut world = of(System::Windows);
    world.document.users.clear();
    world.document.windows_keys = keys;
    assert_eq!(outcome(&world.run()), (Outcome::Failed, "bad-value".into()));
    assert!(world.fake.state().texts.is_empty() && world.fake.state().serial.is_empty());
}

#[test]
fn certificates_are_trusted_as_long_as_the_record_names_them() {
    let pem = include_str!("../../../../metadata-server/model/testdata/authority.pem");
    let mut world = World::new(json!({"trusted_certificates": [pem]}), "");
    let applied = world.run();
    assert_eq!(super::step(&applied, "trusted certificates").outcome, Outcome::Done);
    assert_eq!(world.run().outcome(), Outcome::Unchanged);
    world.document.trusted_certificates.clear();
    let applied = world.run();
    assert_eq!(super::step(&applied, "trusted certificates").outcome, Outcome::Done);
    assert!(world.fake.state().certificates.is_empty());
    assert!(!world.run().steps.iter().any(|step| step.step == "trusted certificates"));
}

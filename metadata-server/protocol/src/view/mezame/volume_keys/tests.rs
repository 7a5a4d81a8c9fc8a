//! Keys of volumes: what the record alone withholds, with its reason, and what is no request at all.

use base64::{Engine, engine::general_purpose::STANDARD};
use mezame_model::{
    Guest, SecretBytes,
    report::GuestEventKind,
    volume_key::{KeyOutcome, KeyVersion, Once},
};

use super::*;
use crate::fixture::World;

const PATH: &str = "/mezame/v1/volume-keys/root";

fn key() -> VolumeKey {
    let version = KeyVersion { number: 1, key: SecretBytes::new(vec![77; 32]) };
    VolumeKey {
        versions: vec![version],
        last: 1,
        state: KeyState::Active,
        once: Once::PerStart,
        window_seconds: None,
        not_after: None,
    }
}

/// `web-0` with a key `root`.
fn web(world: &World, change: impl FnOnce(&mut VolumeKey)) -> Guest {
    let mut key = key();
    change(&mut key);
    world.web_with(|it| {
        it.volume_keys.insert(VolumeName::parse("root").unwrap(), key);
    })
}

fn body() -> Vec<u8> {
    let body = serde_json::json!({
        "public_key": STANDARD.encode([9; 32]),
        "boot_nonce": "7f2c7b1e-0000-4000-8000-000000000001",
    });
    body.to_string().into_bytes()
}

/// Asks with a token.
fn ask(world: &World, guest: &Guest, path: &str) -> Answer {
    let token = world.token(guest, 60);
    world.answer(guest, "POST", path, &[("X-aws-ec2-metadata-token", &token)], &body())
}

/// Why it is not given, with the status.
fn withheld(answer: Answer) -> (Withheld, u16) {
    let Answer::Event { kind: GuestEventKind::VolumeKey(request), reply } = answer else {
        panic!("{answer:?}")
    };
    let KeyOutcome::Withheld(why) = request.outcome else { panic!("{request:?}") };
    let said: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!((&said["error"], &said["detail"]), (&why.code().into(), &why.to_string().into()));
    (why, reply.status.code())
}

#[test]
fn a_guest_that_may_have_its_key_claims_it() {
    let world = World::new();
    let guest = web(&world, |_| {});
    let Answer::VolumeKey(claim) = ask(&world, &guest, PATH) else { panic!() };
    assert_eq!(claim.key().0, &guest.instance.id);
    assert_eq!(claim.key().1.as_str(), "root");
}

#[test]
fn a_key_that_the_record_withholds_is_refused_with_the_reason_and_audited() {
    let mut world = World::new();
    let now = world.now.0;
    let why = |world: &World, guest: &Guest| withheld(ask(world, guest, PATH));
    let revoked = web(&world, |key| {
        key.state = KeyState::Revoked;
        key.versions.clear();
    });
    assert_eq!(why(&world, &revoked), (Withheld::Revoked, 403));
    let late = web(&world, |key| key.not_after = Some(now - 1));
    assert_eq!(why(&world, &late), (Withheld::DeadlineOver, 403));
    let in_time = web(&world, |key| key.not_after = Some(now));
    assert!(matches!(ask(&world, &in_time, PATH), Answer::VolumeKey(_)));
    let window = web(&world, |key| key.window_seconds = Some(60));
    assert!(matches!(ask(&world, &window, PATH), Answer::VolumeKey(_)));
    world.start.age_s = 61;
    assert_eq!(why(&world, &window), (Withheld::WindowOver, 403));
    assert_eq!(why(&world, &world.web()), (Withheld::NoSuchKey, 404));
    let other = ask(&world, &web(&world, |_| {}), "/mezame/v1/volume-keys/data");
    assert_eq!(withheld(other), (Withheld::NoSuchKey, 404));
}

#[test]
fn another_port_of_the_instance_has_no_starts_of_its_own() {
    let world = World::new();
    let mut guest = web(&world, |_| {});
    // As if the request had come through what is now the second port.
    guest.ports.swap(0, 1);
    let context = crate::Context { port: &guest.ports[1].port.id, ..world.context(&guest) };
    let token = world.token(&guest, 60);
    let body = body();
    let fields =
        [("Host", &b"169.254.169.254"[..]), ("X-aws-ec2-metadata-token", token.as_bytes())];
    let request = Request::parse(crate::Version::Http11, "POST", PATH.as_bytes(), fields).unwrap();
    let answer = crate::respond(&request, &body, &guest, &context);
    assert_eq!(withheld(answer), (Withheld::OtherPort, 403));
}

#[test]
fn without_a_token_nothing_is_given_nor_said_whatever_the_policy() {
    let world = World::new();
    let guest = web(&world, |_| {});
    let answer = world.answer(&guest, "POST", PATH, &[], &body());
    let Answer::Reply(reply) = answer else { panic!("{answer:?}") };
    assert_eq!(reply.status, Status::Unauthorized);
    // Nor with another guest's.
    let token = world.token(&world.db(), 60);
    let headers = [("X-aws-ec2-metadata-token", token.as_str())];
    let Answer::Reply(reply) = world.answer(&guest, "POST", PATH, &headers, &body()) else {
        panic!()
    };
    assert_eq!(reply.status, Status::Unauthorized);
}

#[test]
fn what_is_no_request_for_a_key_is_refused_and_not_audited() {
    let world = World::new();
    let guest = web(&world, |_| {});
    let token = world.token(&guest, 60);
    let headers = [("X-aws-ec2-metadata-token", token.as_str())];
    let status = |method: &str, path: &str, body: &[u8]| match world
        .answer(&guest, method, path, &headers, body)
    {
        Answer::Reply(reply) => reply.status.code(),
        answer => panic!("{answer:?}"),
    };
    let key = STANDARD.encode([9; 32]);
    let with = |key: &str, nonce: &str| {
        serde_json::json!({ "public_key": key, "boot_nonce": nonce }).to_string().into_bytes()
    };
    let long = "x".repeat(65);
    for body in [
        b"".to_vec(),
        b"[]".to_vec(),
        b"{}".to_vec(),
        with("", "0123456789abcdef"),
        with(&STANDARD.encode([9; 31]), "0123456789abcdef"),
        with(&key, "0123456789abcde"),
        with(&key, &long),
        with(&key, "0123456789abcde\n"),
    ] {
        assert_eq!(status("POST", PATH, &body), 400, "{}", String::from_utf8_lossy(&body));
    }
    assert_eq!(status("GET", PATH, b""), 405);
    assert_eq!(status("PUT", PATH, b""), 405);
    for path in ["/mezame/v1/volume-keys/Root", "/mezame/v1/volume-keys/root/x"] {
        assert_eq!(status("POST", path, &body()), 404, "{path}");
    }
}

#[test]
fn a_key_is_in_no_other_answer() {
    let world = World::new();
    let guest = web(&world, |_| {});
    let needle = STANDARD.encode([77; 24]);
    for path in ["/mezame/v1/document", "/mezame/v1/", "/latest/user-data", "/mezame/v1/secrets/"] {
        let text = String::from_utf8_lossy(&world.get(&guest, path).body).into_owned();
        assert!(!text.contains(&needle) && !text.contains("volume"), "{path}: {text}");
    }
}

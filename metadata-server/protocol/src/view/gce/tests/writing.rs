//! Waiting for a change, and what a guest writes.

use mezame_model::{GuestAttribute, report::GuestEventKind};

use super::*;

/// Asks for the instance's JSON with this query; Ok is a reply, Err a wait for so many seconds.
fn wait(world: &World, guest: &Guest, query: &str) -> Result<Response, u32> {
    let target = format!("{V1}/instance/?recursive=true&alt=json&wait_for_change=true{query}");
    match world.answer(guest, "GET", &target, &[FLAVOR], b"") {
        Answer::Reply(reply) => {
            assert_eq!(reply.status, Status::Ok);
            Ok(reply)
        }
        Answer::Watch { timeout_s, .. } => Err(timeout_s),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_guest_that_has_the_content_waits_until_it_changes() {
    let world = World::new();
    let before = guest(&world);
    let tag = get(&world, &before, "/instance/?recursive=true").etag.unwrap();
    let query = format!("&last_etag={tag:016x}");
    assert_eq!(wait(&world, &before, &query), Err(300));
    for (seconds, waits) in [("60", 60), ("300", 300), ("301", 300), ("99999999999999", 300)] {
        assert_eq!(wait(&world, &before, &format!("{query}&timeout_sec={seconds}")), Err(waits));
    }
    let after = guest_with(&world, |it| it.tags = it.tags.with("new", Some("tag")));
    let reply = wait(&world, &after, &query).unwrap();
    assert_ne!(reply.etag, Some(tag));
    // A look does not wait, and who asks for another part waits for that.
    assert!(wait(&world, &before, &format!("{query}&timeout_sec=0")).is_ok());
    let target = format!("{V1}/instance/name?wait_for_change=true{query}");
    assert_eq!(world.ask(&before, "GET", &target, &[FLAVOR]).status, Status::Ok);
    let target = format!("{V1}/instance/?recursive=true&wait_for_change=true{query}");
    assert_eq!(world.ask(&before, "HEAD", &target, &[FLAVOR]).status, Status::Ok);
}

#[test]
fn a_wait_that_is_over_gets_the_content_as_it_is() {
    let mut world = World::new();
    let guest = guest(&world);
    let tag = get(&world, &guest, "/instance/?recursive=true").etag.unwrap();
    world.watch_over = true;
    for query in [format!("&last_etag={tag:016x}&timeout_sec=1"), String::new()] {
        let reply = wait(&world, &guest, &query).unwrap();
        assert_eq!((reply.etag, reply.body.is_empty()), (Some(tag), false), "{query}");
    }
}

#[test]
fn a_guest_that_has_nothing_is_answered_at_once() {
    let world = World::new();
    let guest = guest(&world);
    for tag in ["NONE", "0", "", "0123456789abcdef", "deadbeef"] {
        assert!(wait(&world, &guest, &format!("&last_etag={tag}&timeout_sec=60")).is_ok(), "{tag}");
    }
    // google-guest-agent's first request.
    let target = format!(
        "{V1}//?alt=json&last_etag=NONE&recursive=true&timeout_sec=60&wait_for_change=true"
    );
    assert_eq!(world.ask(&guest, "GET", &target, &[FLAVOR]).status, Status::Ok);
}

#[test]
fn a_guest_that_does_not_say_what_it_has_waits_for_a_change_from_now_on() {
    let mut world = World::new();
    let before = guest(&world);
    assert_eq!(wait(&world, &before, ""), Err(60));
    assert_eq!(wait(&world, &before, "&timeout_sec=90"), Err(90));
    let after = guest_with(&world, |it| it.tags = it.tags.with("new", Some("tag")));
    world.watched = get(&world, &before, "/instance/?recursive=true").etag;
    assert_eq!(wait(&world, &before, ""), Err(60));
    assert_ne!(wait(&world, &after, "").unwrap().etag, world.watched);
}

#[test]
fn what_is_not_there_is_not_waited_for() {
    let world = World::new();
    let target = format!("{V1}/instance/attributes/none?wait_for_change=true");
    let reply = world.ask(&guest(&world), "GET", &target, &[FLAVOR]);
    assert_eq!(reply.status, Status::NotFound);
}

fn send(world: &World, guest: &Guest, method: &str, path: &str, body: &[u8]) -> Answer {
    let target = format!("{V1}/instance/guest-attributes/{path}");
    world.answer(guest, method, &target, &[FLAVOR], body)
}

#[test]
fn a_guest_attribute_that_is_put_is_kept_and_then_answered() {
    let world = World::new();
    let guest = guest(&world);
    let answer = send(&world, &guest, "PUT", "hostkeys/ssh-ed25519", "AAAA \u{3b1}\n".as_bytes());
    let Answer::Event { kind, reply } = answer else { panic!("no event") };
    let expected = GuestAttribute {
        path: "hostkeys/ssh-ed25519".into(),
        value: Some("AAAA \u{3b1}\n".into()),
    };
    assert_eq!(kind, GuestEventKind::GuestAttribute(expected));
    assert_eq!((reply.status, reply.flavor), (Status::Ok, true));
}

#[test]
fn a_guest_attribute_is_read_at_each_level() {
    let world = World::new();
    let guest = guest(&world);
    let below = "/instance/guest-attributes/";
    assert_eq!(text(&world, &guest, below), "hostkeys/\nmtu/\nnetwork-interfaces/\n");
    assert_eq!(text(&world, &guest, &format!("{below}hostkeys/")), "ssh-ed25519\nssh-rsa\n");
    assert_eq!(text(&world, &guest, &format!("{below}hostkeys/ssh-ed25519")), "AAAAC3 a b");
    assert_eq!(
        json(&world, &guest, &format!("{below}?recursive=true")),
        serde_json::json!({
            "hostkeys": {"ssh-ed25519": "AAAAC3 a b", "ssh-rsa": "AAAAB3"},
            "mtu": {"index": "1"},
            "network-interfaces": {"ip": "x\ny"},
        })
    );
    for path in ["none", "none/", "hostkeys/none", "hostkeys/ssh-rsa/", "not%20a/segment"] {
        let reply = get(&world, &guest, &format!("{below}{path}"));
        assert_eq!(reply.status, Status::NotFound, "{path}");
    }
}

#[test]
fn a_delete_is_passed_on_and_says_whether_there_was_something() {
    let world = World::new();
    let guest = guest(&world);
    for (path, status) in [("hostkeys/ssh-rsa", Status::Ok), ("just/put", Status::NotFound)] {
        let answer = send(&world, &guest, "DELETE", path, b"");
        let Answer::Event { kind, reply } = answer else { panic!("{path}: no event") };
        let expected = GuestAttribute { path: path.into(), value: None };
        assert_eq!(kind, GuestEventKind::GuestAttribute(expected));
        assert_eq!((reply.status, reply.flavor), (status, true), "{path}");
    }
}

#[test]
fn an_attribute_for_which_there_is_no_room_is_refused_at_once_and_not_later() {
    let world = World::new();
    let value = "x".repeat(GuestAttribute::VALUE_MAX - 256);
    let full = guest_with(&world, |it| {
        for path in ["a/1", "a/2"] {
            let change = GuestAttribute { path: path.into(), value: Some(value.as_str().into()) };
            it.guest_attributes = it.guest_attributes.with(&change).unwrap();
        }
    });
    let answer = send(&world, &full, "PUT", "a/3", value.as_bytes());
    let Answer::Reply(reply) = answer else { panic!("it is kept") };
    assert_eq!((reply.status, reply.flavor), (Status::BadRequest, true));
    assert!(matches!(send(&world, &full, "PUT", "a/3", b""), Answer::Event { .. }));
}

#[test]
fn a_guest_attribute_that_is_none_is_refused() {
    let world = World::new();
    let guest = guest(&world);
    let long = "k".repeat(129);
    let value = vec![b'x'; GuestAttribute::VALUE_MAX + 1];
    for (method, path, body, status) in [
        ("PUT", "a/b", &value[..], Status::ContentTooLarge),
        ("PUT", "a/b", b"\xff", Status::BadRequest),
        ("PUT", &format!("a/{long}"), b"", Status::BadRequest),
        ("PUT", &format!("{long}/a"), b"", Status::BadRequest),
        ("PUT", "a/b%20c", b"", Status::BadRequest),
        ("DELETE", "a%3b/b", b"", Status::BadRequest),
        ("PUT", "a", b"", Status::NotFound),
        ("PUT", "a/b/", b"", Status::NotFound),
        ("PUT", "a/b/c", b"", Status::NotFound),
        ("PUT", "hostkeys/", b"", Status::MethodNotAllowed),
        ("POST", "a/b", b"", Status::MethodNotAllowed),
    ] {
        let Answer::Reply(reply) = send(&world, &guest, method, path, body) else {
            panic!("{method} {path} is taken")
        };
        assert_eq!((reply.status, reply.flavor), (status, true), "{method} {path}");
    }
    let most = &value[1..];
    assert!(matches!(send(&world, &guest, "PUT", "a/b", most), Answer::Event { .. }));
    let limit = |path: &str| {
        let target = format!("{V1}/instance/guest-attributes/{path}");
        let headers = [("Host", &b"169.254.169.254"[..])];
        let version = crate::Version::Http11;
        let request = Request::parse(version, "PUT", target.as_bytes(), headers).unwrap();
        crate::body_limit(&request)
    };
    assert_eq!((limit("a/b"), limit("a"), limit("a/b/c")), (32 << 10, 1024, 1024));
}

#[test]
fn a_relayed_or_forged_write_is_refused() {
    let world = World::new();
    let guest = guest(&world);
    let target = format!("{V1}/instance/guest-attributes/a/b");
    let relayed = ("X-Forwarded-For", "10.0.0.1");
    for headers in [&[][..], &[FLAVOR, relayed], &[FLAVOR, ("Origin", "http://evil.example")]] {
        let Answer::Reply(reply) = world.answer(&guest, "PUT", &target, headers, b"x") else {
            panic!("taken")
        };
        assert_eq!((reply.status, reply.flavor), (Status::Forbidden, true));
    }
}

//! The password's life: empty, posted once, readable; and what is refused on the way.

use mezame_model::report::{GuestEventKind, NovaPassword};

use super::*;
use crate::body_limit;

const PASSWORD: &str = "/openstack/2013-04-04/password";

/// Posts to the password, and gives what would be kept with the reply.
fn post(world: &World, guest: &Guest, body: &[u8]) -> (Option<NovaPassword>, Response) {
    match world.answer(guest, "POST", PASSWORD, &[], body) {
        Answer::Reply(reply) => (None, reply),
        Answer::Event { kind: GuestEventKind::NovaPassword(kept), reply } => (Some(kept), reply),
        answer => panic!("{answer:?}"),
    }
}

#[test]
fn a_password_is_empty_then_set_once_and_then_readable() {
    let world = World::new();
    let mut guest = web(&world);
    let read = world.get(&guest, PASSWORD);
    assert_eq!(
        (read.status, &read.body[..], read.content_type),
        (Status::Ok, &b""[..], "text/plain")
    );
    let (kept, reply) = post(&world, &guest, b"q83vEjRWeJA=\n");
    assert_eq!((reply.status, reply.body.len()), (Status::Ok, 0));
    let NovaPassword { ciphertext } = kept.unwrap();
    assert_eq!(ciphertext.expose(), "q83vEjRWeJA=");
    // As the control plane does with the event.
    Arc::make_mut(&mut guest.instance).nova_password = Some(ciphertext);
    assert_eq!(world.text(&guest, PASSWORD), "q83vEjRWeJA=");
    assert_eq!(world.text(&guest, "/openstack/latest/password"), "q83vEjRWeJA=");
    assert_eq!(world.ask(&guest, "HEAD", PASSWORD, &[]).content_length, 12);
    for again in [&b"q83vEjRWeJA="[..], b"other", b""] {
        let (kept, reply) = post(&world, &guest, again);
        assert_eq!((kept, reply.status), (None, Status::Conflict));
    }
}

#[test]
fn a_password_that_is_none_is_refused() {
    let world = World::new();
    let guest = web(&world);
    let longest = "x".repeat(1020);
    assert!(post(&world, &guest, longest.as_bytes()).0.is_some());
    assert!(post(&world, &guest, format!("{longest}\r\n").as_bytes()).0.is_some());
    let too_long = "x".repeat(1021);
    for body in [
        &b""[..],
        b" \r\n\t",
        too_long.as_bytes(),
        b"a\nb",
        b"a\0b",
        "pässwörd".as_bytes(),
        b"\xff",
    ] {
        let (kept, reply) = post(&world, &guest, body);
        assert_eq!((kept, reply.status), (None, Status::BadRequest), "{}", body.escape_ascii());
    }
}

#[test]
fn a_password_takes_no_other_method_and_no_longer_body() {
    let world = World::new();
    let guest = web(&world);
    for method in ["PUT", "DELETE", "PATCH", "OPTIONS"] {
        let reply = world.ask(&guest, method, PASSWORD, &[]);
        assert_eq!(reply.status, Status::MethodNotAllowed, "{method}");
        assert_eq!(reply.allow, Some("GET, HEAD, POST"));
    }
    let limit = |path: &str| {
        let request = Request::parse(crate::Version::Http10, "POST", path.as_bytes(), []).unwrap();
        body_limit(&request)
    };
    assert_eq!(limit(PASSWORD), 4096);
    assert_eq!(limit("/openstack/latest/password/"), 4096);
    for path in ["/openstack/latest/meta_data.json", "/openstack/password", "/latest/password"] {
        assert_eq!(limit(path), 0, "{path}");
    }
}

#[test]
fn a_password_from_a_web_page_or_through_a_proxy_is_refused() {
    let world = World::new();
    let guest = web(&world);
    for header in [("Origin", "http://a"), ("X-Forwarded-For", "10.0.0.1")] {
        let answer = world.answer(&guest, "POST", PASSWORD, &[header], b"x");
        assert!(matches!(answer, Answer::Reply(it) if it.status == Status::Forbidden));
    }
}

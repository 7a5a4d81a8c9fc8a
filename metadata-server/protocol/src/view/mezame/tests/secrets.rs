//! Read-once secrets: handed out, acknowledged, gone.

use super::*;

#[test]
fn a_secret_is_handed_out_until_it_is_acknowledged_and_never_after() {
    let mut world = World::new();
    let guest = world.web();
    let path = "/mezame/v1/secrets/db-password";
    for _ in 0..2 {
        let answer = world.answer(&guest, "GET", path, &[], b"");
        let Answer::Secret { name, reply, .. } = answer else { panic!("{answer:?}") };
        assert_eq!(name.as_str(), "db-password");
        assert_eq!(&reply.body[..], b"correct horse");
        assert_eq!(reply.audit, Some(Audit::Secret(name)));
        assert!(reply.no_store);
    }
    let answer = post(&world, &format!("{path}/ack"), b"");
    let Answer::Event { kind: GuestEventKind::SecretAcknowledged(read), reply } = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(reply.status, Status::NoContent);
    world.acknowledged.note(read);
    assert_eq!(world.get(&guest, path).status, Status::NotFound);
    assert_eq!(world.text(&guest, "/mezame/v1/secrets/"), "api-token\n");
    // The first acknowledgement's answer may be lost: said again, it is answered the same, even
    // when the record has no such secret any more.
    for guest in [guest, world.web_with(|it| it.secrets.clear())] {
        let answer = world.answer(&guest, "POST", &format!("{path}/ack"), &[], b"");
        assert_eq!(super::tests::reply(answer).status, Status::NoContent);
    }
}

#[test]
fn a_new_value_right_after_an_acknowledgement_is_served() {
    let mut world = World::new();
    let path = "/mezame/v1/secrets/db-password";
    let answer = post(&world, &format!("{path}/ack"), b"");
    let Answer::Event { kind: GuestEventKind::SecretAcknowledged(read), .. } = answer else {
        panic!("{answer:?}")
    };
    world.acknowledged.note(read.clone());
    assert_eq!(world.get(&world.web(), path).status, Status::NotFound);
    let guest = with_password(&world, "battery staple");
    assert_eq!(world.text(&guest, path), "battery staple");
    assert_eq!(world.text(&guest, "/mezame/v1/secrets/"), "api-token\ndb-password\n");
    let shown = document(&world.get(&guest, DOCUMENT));
    assert!(shown.secrets.contains(&read.name));
    // That value is acknowledged for itself.
    let answer = world.answer(&guest, "POST", &format!("{path}/ack"), &[], b"");
    let Answer::Event { kind: GuestEventKind::SecretAcknowledged(other), .. } = answer else {
        panic!("{answer:?}")
    };
    assert_ne!(other, read);
    world.acknowledged.note(other);
    assert_eq!(world.get(&guest, path).status, Status::NotFound);
}

#[test]
fn an_acknowledgement_of_a_value_that_waits_no_longer_is_412_and_spends_nothing() {
    let world = World::new();
    let path = "/mezame/v1/secrets/db-password";
    let acknowledge = |guest: &Guest, tag: &str| {
        world.answer(guest, "POST", &format!("{path}/ack"), &[("If-Match", tag)], b"")
    };
    let tag = |guest: &Guest| format!("\"{:016x}\"", world.get(guest, path).etag.unwrap());
    let (before, after) = (world.web(), with_password(&world, "battery staple"));
    let refused = reply(acknowledge(&after, &tag(&before)));
    assert_eq!(
        (refused.status, error_of(&refused)),
        (Status::PreconditionFailed, "other-value".into())
    );
    for (guest, tag) in [(&before, tag(&before)), (&after, tag(&after)), (&after, "*".into())] {
        let answer = acknowledge(guest, &tag);
        assert!(matches!(answer, Answer::Event { .. }), "{tag}: {answer:?}");
    }
    // Once it is spent, what is said of it again is taken.
    let mut world = world;
    let name = SecretName::parse("db-password").unwrap();
    world.acknowledged.note(Acknowledgement { name, digest: None });
    let answer =
        world.answer(&before, "POST", &format!("{path}/ack"), &[("If-Match", "\"x\"")], b"");
    assert_eq!(reply(answer).status, Status::NoContent);
}

#[test]
fn a_secrets_tag_never_makes_a_304_and_is_another_at_another_site() {
    let mut world = World::new();
    let (guest, path) = (world.web(), "/mezame/v1/secrets/db-password");
    let tag = world.get(&guest, path).etag.unwrap();
    let headers = [("If-None-Match", &*format!("\"{tag:016x}\""))];
    let again = world.ask(&guest, "GET", path, &headers);
    assert_eq!((again.status, again.etag), (Status::Ok, Some(tag)));
    let mut keys = world.snapshot.site.token_keys.clone();
    keys[0].key = SecretBytes::new(vec![1; 32]);
    world.keys = crate::TokenKeys::new(&keys).unwrap();
    assert_ne!(world.get(&guest, path).etag, Some(tag));
    // Nor is it what anybody could make of the value.
    assert_ne!(tag, crate::etag::of(b"correct horse"));
}

/// `web-0` with another value of one secret.
fn with_password(world: &World, value: &str) -> Guest {
    world.web_with(|it| {
        let name = SecretName::parse("db-password").unwrap();
        it.secrets.insert(name, SecretString::new(value.into()));
    })
}

#[test]
fn a_look_at_a_secrets_length_hands_nothing_out() {
    let world = World::new();
    let answer = world.answer(&world.web(), "HEAD", "/mezame/v1/secrets/db-password", &[], b"");
    let reply = reply(answer);
    assert!(reply.body.is_empty() && reply.audit.is_none());
}

#[test]
fn a_secret_that_is_not_there_is_404_and_so_is_its_acknowledgement() {
    let world = World::new();
    assert_eq!(world.get(&world.web(), "/mezame/v1/secrets/none").status, Status::NotFound);
    let answer = post(&world, "/mezame/v1/secrets/none/ack", b"");
    assert_eq!(reply(answer).status, Status::NotFound);
}

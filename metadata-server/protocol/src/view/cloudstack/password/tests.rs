//! Tests of CloudStack's one-time password.

use std::sync::Arc;

use mezame_model::{Dialect, Guest, SecretName, SecretString, TokenPolicy, report::GuestEventKind};

use super::*;
use crate::{
    Answer, Gate, Version, body_limit, dialect_of,
    fixture::World,
    response::{Audit, Status},
};

const SEND: [(&str, &str); 1] = [("DomU_Request", "send_my_password")];
const SAVED_IT: [(&str, &str); 1] = [("DomU_Request", "saved_password")];

fn name() -> SecretName {
    SecretName::parse("password").unwrap()
}

/// `web-0` with a password, in these dialects.
fn machine(world: &World, dialects: &[Dialect]) -> Guest {
    world.web_with(|it| {
        it.dialects = dialects.iter().copied().collect();
        it.secrets.insert(name(), SecretString::new("Sekrit Squirrel".into()));
    })
}

fn cloudstack(world: &World) -> Guest {
    machine(world, &[Dialect::Cloudstack])
}

fn ask(world: &World, guest: &Guest, headers: &[(&str, &str)]) -> Answer {
    world.answer_by(Gate::Password, guest, "GET", "/", headers, b"")
}

fn reply(answer: Answer) -> Response {
    match answer {
        Answer::Reply(reply) => Gate::Password.worded(reply),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn assert_saved(answer: Answer) {
    let reply = reply(answer);
    assert_eq!((reply.status, &reply.body[..]), (Status::Ok, &b"saved_password"[..]));
    assert!(reply.audit.is_none());
}

#[test]
fn the_password_is_sent_until_it_is_acknowledged_and_never_after() {
    let mut world = World::new();
    let guest = cloudstack(&world);
    for _ in 0..2 {
        let answer = ask(&world, &guest, &SEND);
        let Answer::Secret { name: sent, reply, .. } = answer else { panic!("{answer:?}") };
        assert_eq!(sent, name());
        assert_eq!((reply.status, &reply.body[..]), (Status::Ok, &b"Sekrit Squirrel"[..]));
        assert_eq!(reply.content_type, "text/plain");
        assert_eq!(reply.audit, Some(Audit::Secret(sent)));
        assert!(reply.no_store && reply.etag.is_none());
        assert!(!format!("{reply:?}").contains("Sekrit"));
    }
    let answer = ask(&world, &guest, &SAVED_IT);
    let Answer::Event { kind: GuestEventKind::SecretAcknowledged(spent), reply } = answer else {
        panic!("{answer:?}")
    };
    assert_eq!((reply.status, &reply.body[..]), (Status::Ok, &b"saved_password"[..]));
    world.acknowledged.note(spent);
    assert_saved(ask(&world, &guest, &SEND));
    // The first acknowledgement's answer may be lost: said again, it is answered the same.
    assert_saved(ask(&world, &guest, &SAVED_IT));
}

#[test]
fn a_guest_without_a_password_is_told_that_it_is_saved() {
    let world = World::new();
    let guest = world.web_in(Dialect::Cloudstack);
    assert!(!guest.instance.secrets.is_empty(), "another secret is none");
    assert_saved(ask(&world, &guest, &SEND));
    assert_saved(ask(&world, &guest, &SAVED_IT));
}

#[test]
fn anything_else_is_a_bad_request() {
    let world = World::new();
    let guest = cloudstack(&world);
    for header in ["", "save_password", "Send_My_Password", "send_my_password,saved_password"] {
        let reply = reply(ask(&world, &guest, &[("DomU_Request", header)]));
        assert_eq!((reply.status, &reply.body[..]), (Status::BadRequest, &b"bad_request"[..]));
    }
    for headers in [&[][..], &[("DomU-Request", "send_my_password")]] {
        assert_eq!(reply(ask(&world, &guest, headers)).status, Status::BadRequest);
    }
    let twice = [SEND[0], SAVED_IT[0]];
    assert_eq!(reply(ask(&world, &guest, &twice)).status, Status::BadRequest);
}

#[test]
fn the_headers_name_may_be_in_any_case_and_the_path_is_any() {
    let world = World::new();
    let guest = cloudstack(&world);
    for path in ["/", "/latest/meta-data/", "/latest/api/token", "/mezame/v1/document", "/x?y"] {
        let headers = [("domu_request", " send_my_password ")];
        let answer = world.answer_by(Gate::Password, &guest, "GET", path, &headers, b"");
        assert!(matches!(answer, Answer::Secret { .. }), "{path}: {answer:?}");
        let answer = world.answer_by(Gate::Password, &guest, "GET", path, &[], b"");
        assert_eq!(reply(answer).status, Status::BadRequest, "{path}");
    }
}

#[test]
fn only_get_reads_or_forgets() {
    let world = World::new();
    let guest = cloudstack(&world);
    for method in ["HEAD", "POST", "PUT", "DELETE", "OPTIONS"] {
        for headers in [&SEND, &SAVED_IT] {
            let path = "/latest/api/token";
            let answer = world.answer_by(Gate::Password, &guest, method, path, headers, b"");
            let reply = reply(answer);
            assert_eq!(reply.status, Status::MethodNotAllowed, "{method}");
            assert_eq!(reply.allow, Some("GET"));
        }
    }
}

#[test]
fn by_the_port_of_metadata_nobody_is_asked_for_a_password() {
    let world = World::new();
    let guest = cloudstack(&world);
    let plain = world.get(&guest, "/");
    assert_eq!(world.ask(&guest, "GET", "/", &SEND), plain);
    assert_eq!(&plain.body[..], b"latest/");
    for path in ["/password", "/latest/password", "/latest/meta-data/password"] {
        assert_eq!(world.ask(&guest, "GET", path, &SEND).status, Status::NotFound, "{path}");
    }
}

#[test]
fn a_guest_of_another_cloud_is_404_and_keeps_its_secret() {
    let world = World::new();
    for dialect in Dialect::ALL.into_iter().filter(|it| *it != Dialect::Cloudstack) {
        let guest = machine(&world, &[dialect]);
        for headers in [&SEND[..], &SAVED_IT, &[]] {
            let reply = reply(ask(&world, &guest, headers));
            assert_eq!(reply.status, Status::NotFound, "{dialect:?}");
            assert_eq!(&reply.body[..], b"saved_password");
        }
    }
}

#[test]
fn mezames_own_dialect_knows_the_same_secret() {
    let mut world = World::new();
    let guest = machine(&world, &[Dialect::Cloudstack, Dialect::Mezame]);
    assert_eq!(world.text(&guest, "/mezame/v1/secrets/password"), "Sekrit Squirrel");
    let answer = world.answer(&guest, "POST", "/mezame/v1/secrets/password/ack", &[], b"");
    let Answer::Event { kind: GuestEventKind::SecretAcknowledged(spent), .. } = answer else {
        panic!("{answer:?}")
    };
    world.acknowledged.note(spent);
    assert_saved(ask(&world, &guest, &SEND));
}

#[test]
fn the_token_policy_holds_here_too_and_a_token_is_taken() {
    let world = World::new();
    let mut guest = cloudstack(&world);
    let mut with = |policy| {
        Arc::make_mut(&mut guest.instance).tokens = policy;
        guest.clone()
    };
    let required = with(TokenPolicy::Required);
    for headers in [&SEND, &SAVED_IT] {
        let refused = reply(ask(&world, &required, headers));
        assert_eq!(refused.status, Status::Unauthorized);
        assert_eq!(&refused.body[..], b"saved_password");
    }
    let token = world.token(&required, 60);
    let with_token = [SEND[0], ("X-aws-ec2-metadata-token", token.as_str())];
    let answer = ask(&world, &required, &with_token);
    let Answer::Secret { reply: sent, .. } = answer else { panic!("{answer:?}") };
    assert_eq!(sent.token_ttl, Some(60));
    let refused = reply(ask(&world, &with(TokenPolicy::Off), &SEND));
    assert_eq!((refused.status, &refused.body[..]), (Status::Forbidden, &b"saved_password"[..]));
}

#[test]
fn relayed_requests_and_web_pages_are_refused_though_they_get() {
    let world = World::new();
    let guest = cloudstack(&world);
    for more in [("X-Forwarded-For", "10.0.0.1"), ("Origin", "http://evil.example")] {
        for headers in [[SEND[0], more], [SAVED_IT[0], more]] {
            assert_eq!(reply(ask(&world, &guest, &headers)).status, Status::Forbidden, "{more:?}");
        }
    }
}

#[test]
fn no_errors_text_can_be_taken_for_a_password() {
    let replies = [
        Response::not_ready(1),
        Response::too_many_requests(1),
        Response::not_kept(5),
        Response::body_too_large(),
        Response::head_too_large(),
        Response::too_slow(),
        Response::internal(),
        Response::unknown_port(),
    ];
    for plain in replies {
        let worded = Gate::Password.worded(plain.clone());
        assert_eq!(&worded.body[..], b"saved_password", "{plain:?}");
        assert_eq!(worded.content_length, worded.body.len());
        assert_eq!((worded.status, worded.close), (plain.status, plain.close));
        assert_eq!(worded.retry_after, plain.retry_after);
        assert_eq!(Gate::Metadata.worded(plain.clone()), plain);
    }
}

#[test]
fn the_shell_reads_no_body_here_and_counts_it_for_cloudstack() {
    for (method, path) in [("POST", "/mezame/v1/report"), ("PUT", "/latest/api/token")] {
        let headers = [("Host", &b"169.254.169.254:8080"[..])];
        let request = Request::parse(Version::Http11, method, path.as_bytes(), headers).unwrap();
        assert!(body_limit(&request) > 0);
        let request = request.by(Gate::Password);
        assert_eq!(body_limit(&request), 0);
        assert_eq!(dialect_of(&request), Some(Dialect::Cloudstack));
    }
}

//! Tests of Mezame's own dialect: document, watch, reports, passwords, and in files of their own
//! secrets and what a shell reads.

mod plain;
mod secrets;

use mezame_model::{
    Acknowledgement, Document, Generation, Guest, SecretBytes, SecretName, SecretString,
    report::{GuestEventKind, Outcome, Report, SealedPassword},
};

use super::*;
use crate::fixture::World;

const DOCUMENT: &str = "/mezame/v1/document";

fn document(reply: &Response) -> Document {
    serde_json::from_slice(&reply.body).unwrap()
}

fn error_of(reply: &Response) -> String {
    let value: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(reply.content_type, "application/json");
    assert!(value["detail"].is_string());
    value["error"].as_str().unwrap().to_owned()
}

fn reply(answer: Answer) -> Response {
    match answer {
        Answer::Reply(reply) => reply,
        other => panic!("{other:?}"),
    }
}

fn report(world: &World) -> Report {
    Report {
        instance_id: world.web().instance.id.clone(),
        agent: "1.0".into(),
        boot_id: "b".into(),
        run: 1,
        outcome: Outcome::Done,
        steps: Vec::new(),
        configured_ms: Some(12),
        total_ms: 13,
        host_keys: Vec::new(),
    }
}

fn post(world: &World, path: &str, body: &[u8]) -> Answer {
    world.answer(&world.web(), "POST", path, &[("Content-Type", "application/json")], body)
}

#[test]
fn the_document_says_all_that_the_agent_applies() {
    let world = World::new();
    let guest = world.web();
    let reply = world.get(&guest, DOCUMENT);
    let document = document(&reply);
    assert_eq!(document.version, Document::VERSION);
    assert_eq!(document.generation, Generation(7));
    assert_eq!(document.hostname, "web-0.acme.example");
    assert_eq!(document.users, guest.instance.users);
    assert_eq!(document.user_data, guest.instance.user_data);
    assert_eq!(document.secrets.len(), 2);
    let [front, back] = &document.interfaces[..] else { panic!("two interfaces") };
    assert_eq!(front.addresses[0].to_string(), "192.168.0.10/24");
    assert_eq!(front.gateways.len(), 2);
    assert_eq!((back.mtu, back.gateways.len()), (9000, 0));
}

#[test]
fn a_network_behind_a_tag_names_no_resolver_of_the_platforms() {
    let world = World::new();
    let guest = world.trunked_with_resolvers_in(mezame_model::Dialect::Mezame);
    let document = document(&world.get(&guest, DOCUMENT));
    let wanted: std::net::IpAddr = "10.1.0.2".parse().unwrap();
    assert_eq!(document.interfaces[0].vlans[0].dns, [wanted]);
}

#[test]
fn password_hashes_are_audited_and_kept_out_of_caches() {
    let world = World::new();
    let reply = world.get(&world.web(), DOCUMENT);
    assert!(reply.no_store);
    let Some(Audit::PasswordHashes(users)) = reply.audit else { panic!("no audit") };
    assert_eq!(users.iter().map(|user| user.as_str()).collect::<Vec<_>>(), ["admin"]);
    let without = world.web_with(|it| it.users.clear());
    assert_eq!(world.get(&without, DOCUMENT).audit, None);
}

#[test]
fn another_tenants_write_changes_no_tag() {
    let mut world = World::new();
    let guest = world.web();
    let before = world.get(&guest, DOCUMENT);
    world.snapshot.generation = Generation(8);
    let after = world.get(&guest, DOCUMENT);
    assert_eq!(before.etag, after.etag);
    assert_eq!(document(&after).generation, Generation(8));
}

#[test]
fn every_change_that_the_guest_can_see_changes_the_tag() {
    let mut world = World::new();
    let mut tags = vec![world.get(&world.web(), DOCUMENT).etag];
    let data = |bytes: &'static [u8]| mezame_model::UserData::new(bytes).unwrap();
    for guest in [
        world.web_with(|it| it.ssh_keys.truncate(1)),
        world.web_with(|it| it.hostname = "other".into()),
        world.web_with(|it| it.users.truncate(1)),
        world.web_with(|it| it.user_data = None),
        world.web_with(|it| it.user_data = Some(data(b""))),
        world.web_with(|it| it.user_data = Some(data(b"x"))),
        world.web_with(|it| it.vendor_data = Some(data(b"x"))),
        world.web_with(|it| it.tags.clear()),
        world.web_with(|it| it.secrets.clear()),
    ] {
        tags.push(world.get(&guest, DOCUMENT).etag);
    }
    let name = SecretName::parse("db-password").unwrap();
    world.acknowledged.note(Acknowledgement { name, digest: None });
    tags.push(world.get(&world.web(), DOCUMENT).etag);
    let all = tags.len();
    tags.sort();
    tags.dedup();
    assert_eq!(tags.len(), all);
}

#[test]
fn a_watch_waits_while_nothing_changed_and_ends_with_304() {
    let mut world = World::new();
    let guest = world.web();
    let tag = world.get(&guest, DOCUMENT).etag.unwrap();
    for target in [
        format!("{DOCUMENT}?watch={tag:016x}&timeout=30"),
        format!("{DOCUMENT}?timeout=30&watch=%22{tag:016x}%22"),
    ] {
        let answer = world.answer(&guest, "GET", &target, &[], b"");
        let Answer::Watch { etag, timeout_s } = answer else { panic!("{answer:?}") };
        assert_eq!((etag, timeout_s), (tag, 30));
    }
    world.watch_over = true;
    let target = format!("{DOCUMENT}?watch={tag:016x}");
    let reply = world.get(&guest, &target);
    assert_eq!((reply.status, reply.etag), (Status::NotModified, Some(tag)));
}

#[test]
fn a_watch_answers_at_once_when_the_record_is_another() {
    let world = World::new();
    let tag = world.get(&world.web(), DOCUMENT).etag.unwrap();
    let changed = world.web_with(|it| it.ssh_keys.truncate(1));
    let reply = world.get(&changed, &format!("{DOCUMENT}?watch={tag:016x}&timeout=300"));
    assert_eq!(reply.status, Status::Ok);
    assert_eq!(document(&reply).ssh_keys.len(), 1);
    assert_ne!(reply.etag, Some(tag));
}

#[test]
fn watch_none_answers_at_once() {
    let world = World::new();
    for query in ["watch=NONE", "watch=", "watch=123", "watch=0123456789abcdef"] {
        let reply = world.get(&world.web(), &format!("{DOCUMENT}?{query}&timeout=60"));
        assert_eq!(reply.status, Status::Ok, "{query}");
    }
}

#[test]
fn a_watch_without_time_answers_at_once_and_one_of_too_much_is_400() {
    let world = World::new();
    let tag = world.get(&world.web(), DOCUMENT).etag.unwrap();
    let ask = |timeout: &str| {
        let target = format!("{DOCUMENT}?watch={tag:016x}&timeout={timeout}");
        reply(world.answer(&world.web(), "GET", &target, &[], b""))
    };
    assert_eq!(ask("0").status, Status::NotModified);
    for bad in ["301", "-1", "", "1e2", "99999999999"] {
        assert_eq!(ask(bad).status, Status::BadRequest, "{bad}");
        assert_eq!(error_of(&ask(bad)), "bad-timeout");
    }
}

#[test]
fn a_report_becomes_an_event() {
    let world = World::new();
    let report = report(&world);
    let body = serde_json::to_vec(&report).unwrap();
    let answer = post(&world, "/mezame/v1/report", &body);
    let Answer::Event { kind, reply } = answer else { panic!("{answer:?}") };
    assert_eq!(kind, GuestEventKind::Report(report));
    assert_eq!(reply.status, Status::NoContent);
}

#[test]
fn a_report_for_another_instance_is_409() {
    let world = World::new();
    let mut report = report(&world);
    report.instance_id = world.db().instance.id.clone();
    let reply = reply(post(&world, "/mezame/v1/report", &serde_json::to_vec(&report).unwrap()));
    assert_eq!((reply.status, error_of(&reply).as_str()), (Status::Conflict, "other-instance"));
}

#[test]
fn a_body_that_is_no_report_is_400_and_is_not_quoted() {
    let world = World::new();
    let nested = "[".repeat(100_000);
    for body in ["", "{}", "hunter2", r#"{"instance_id":"hunter2"}"#, &nested] {
        let reply = reply(post(&world, "/mezame/v1/report", body.as_bytes()));
        assert_eq!((reply.status, error_of(&reply).as_str()), (Status::BadRequest, "bad-body"));
        assert!(!String::from_utf8_lossy(&reply.body).contains("hunter2"));
    }
}

#[test]
fn a_body_of_another_type_is_415_and_one_too_long_is_413() {
    let world = World::new();
    let body = serde_json::to_vec(&report(&world)).unwrap();
    let send = |content_type: &str, body: &[u8]| {
        let headers = [("Content-Type", content_type)];
        world.answer(&world.web(), "POST", "/mezame/v1/report", &headers, body)
    };
    for form in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; x"] {
        assert_eq!(reply(send(form, &body)).status, Status::UnsupportedMediaType, "{form}");
    }
    assert!(matches!(send("Application/JSON; charset=utf-8", &body), Answer::Event { .. }));
    let long = [body.as_slice(), &vec![b' '; inbox::REPORT_MAX]].concat();
    assert_eq!(reply(send("application/json", &long)).status, Status::ContentTooLarge);
}

fn sealed(user: &str, recipient: &str, text: &str) -> Vec<u8> {
    serde_json::to_vec(&SealedPassword {
        user: user.parse().unwrap(),
        recipient: recipient.into(),
        sealed: text.into(),
        reset: None,
        nova: None,
    })
    .unwrap()
}

const AGE: &str = "-----BEGIN AGE ENCRYPTED FILE-----\nYWdl\n-----END AGE ENCRYPTED FILE-----\n";

#[test]
fn a_password_sealed_to_the_users_key_becomes_an_event() {
    let world = World::new();
    let instance = world.web().instance;
    // The user's own key, or the instance's; comment and options don't matter.
    let key = instance.users[1].ssh_keys[0].trim_end_matches(" ops").to_owned();
    for key in [key.as_str(), &instance.ssh_keys[2]] {
        let answer = post(&world, "/mezame/v1/password", &sealed("ops", key, AGE));
        let Answer::Event { kind: GuestEventKind::Password(sealed), .. } = answer else {
            panic!("{answer:?}")
        };
        assert_eq!(sealed.user.as_str(), "ops");
    }
}

#[test]
fn a_password_that_nobody_asked_for_or_can_open_is_refused() {
    let world = World::new();
    let instance = world.web().instance;
    let key = &instance.users[1].ssh_keys[0];
    let foreign = &instance.users[0].ssh_keys[0];
    let long = format!("{}{AGE}", " ".repeat(8 << 10));
    for (user, key, text, status, error) in [
        ("admin", key, AGE, Status::Conflict, "not-asked"),
        ("guest", key, AGE, Status::Conflict, "not-asked"),
        ("nobody", key, AGE, Status::Conflict, "not-asked"),
        ("ops", foreign, AGE, Status::Conflict, "other-recipient"),
        ("ops", &"".into(), AGE, Status::Conflict, "other-recipient"),
        ("ops", key, "hunter2", Status::BadRequest, "not-sealed"),
        ("ops", key, &long, Status::ContentTooLarge, "too-long"),
    ] {
        let reply = reply(post(&world, "/mezame/v1/password", &sealed(user, key, text)));
        assert_eq!((reply.status, error_of(&reply).as_str()), (status, error), "{user}");
    }
}

#[test]
fn the_form_for_openstacks_clients_is_taken_only_if_it_looks_like_one() {
    let world = World::new();
    let key = &world.web().instance.users[1].ssh_keys[0];
    let with = |nova: &str| {
        let mut body: serde_json::Value = serde_json::from_slice(&sealed("ops", key, AGE)).unwrap();
        body["nova"] = nova.into();
        post(&world, "/mezame/v1/password", &serde_json::to_vec(&body).unwrap())
    };
    assert!(matches!(with(&"A".repeat(344)), Answer::Event { .. }));
    for (nova, error) in [
        ("hunter2".to_owned(), "not-sealed"),
        (format!("{} ", "A".repeat(343)), "not-sealed"),
        ("A".repeat(1021), "too-long"),
    ] {
        let reply = reply(with(&nova));
        assert_eq!(error_of(&reply), error, "{}", nova.len());
        assert!(!String::from_utf8_lossy(&reply.body).contains("hunter2"));
    }
}

#[test]
fn inboxes_take_post_and_nothing_else() {
    let world = World::new();
    for path in ["report", "password", "secrets/db-password/ack"] {
        for method in ["GET", "HEAD", "PUT", "DELETE"] {
            let reply = world.ask(&world.web(), method, &format!("/mezame/v1/{path}"), &[]);
            assert_eq!(reply.status, Status::MethodNotAllowed, "{method} {path}");
            assert_eq!(reply.allow, Some("POST"));
        }
    }
}

#[test]
fn relayed_requests_and_web_pages_are_refused_in_json() {
    let world = World::new();
    for name in ["X-Forwarded-For", "Forwarded", "X-Real-IP"] {
        let reply = world.ask(&world.web(), "GET", DOCUMENT, &[(name, "10.0.0.1")]);
        assert_eq!((reply.status, error_of(&reply).as_str()), (Status::Forbidden, "relayed"));
    }
    let headers = [("Origin", "http://evil.example")];
    let reply = world.ask(&world.web(), "POST", "/mezame/v1/report", &headers);
    assert_eq!((reply.status, error_of(&reply).as_str()), (Status::Forbidden, "web-page"));
}

#[test]
fn errors_of_the_dialect_are_json() {
    let world = World::new();
    assert_eq!(error_of(&world.get(&world.web(), "/mezame/v2/document")), "not-found");
    assert_eq!(error_of(&world.get(&world.db(), DOCUMENT)), "token-required");
}

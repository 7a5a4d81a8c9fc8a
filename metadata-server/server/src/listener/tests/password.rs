//! CloudStack's password port: its own listener, the same workers, limits and outbox.

use std::sync::Arc;

use mezame_model::{Dialect, SecretName, SecretString};

use super::arena::{Arena, Client, Reply};
use crate::{
    identity::{Attachment, Standing},
    sandbox,
    settings::Limits,
};

/// Lets the record of this port come, of an instance in a dialect that has a password.
fn serve(arena: &Arena, number: u32, dialect: Dialect) -> Arc<Attachment> {
    let attachment = arena.attach(number);
    arena.record(&attachment, |instance| {
        instance.dialects = [dialect].into();
        let password = SecretString::new(format!("password of {number}"));
        instance.secrets.insert(SecretName::parse("password").unwrap(), password);
    });
    attachment
}

/// As wget asks.
fn ask(client: &mut Client, what: &str) -> Reply {
    client.send(&format!(
        "GET / HTTP/1.1\r\nHost: 169.254.169.254:8080\r\nUser-Agent: Wget/1.21.3\r\n\
         Accept: */*\r\nConnection: Keep-Alive\r\nDomU_Request: {what}\r\n\r\n"
    ));
    client.reply().unwrap()
}

#[test]
fn each_port_gets_its_own_password_once() {
    sandbox::enter();
    let arena = Arena::new();
    let attachments = [1, 2].map(|number| serve(&arena, number, Dialect::Cloudstack));
    for number in [1, 2] {
        let mut client = arena.connect_for_password(number).unwrap();
        for _ in 0..2 {
            let sent = ask(&mut client, "send_my_password");
            assert_eq!((sent.status, sent.body), (200, format!("password of {number}")));
        }
        let saved = ask(&mut client, "saved_password");
        assert_eq!((saved.status, saved.body.as_str()), (200, "saved_password"));
        let mut later = arena.connect_for_password(number).unwrap();
        let after = ask(&mut later, "send_my_password");
        assert_eq!((after.status, after.body.as_str()), (200, "saved_password"));
    }
    for attachment in attachments {
        let Standing::Serving(record) = attachment.standing() else { panic!() };
        assert_eq!(record.acknowledged.len(), 1);
    }
    assert_eq!(arena.serving.outbox.len(), 2);
    assert_eq!(arena.counted("mezame_secrets_handed_out_total"), 4);
    let series = "mezame_requests_total{dialect=\"cloudstack\",status=\"200\"}";
    assert_eq!(arena.counted(series), 8);
}

#[test]
fn the_two_ports_answer_nothing_of_each_other() {
    sandbox::enter();
    let arena = Arena::new();
    serve(&arena, 1, Dialect::Cloudstack);
    let by_metadata = ask(&mut arena.connect(1).unwrap(), "send_my_password");
    assert_eq!((by_metadata.status, by_metadata.body.as_str()), (200, "latest/"));
    let mut client = arena.connect_for_password(1).unwrap();
    let by_password = client.get("/latest/meta-data/instance-id");
    assert_eq!((by_password.status, by_password.body.as_str()), (400, "bad_request"));
    let lifetime = "X-aws-ec2-metadata-token-ttl-seconds: 60\r\n";
    assert_eq!(client.ask("PUT", "/latest/api/token", lifetime).status, 405);
    assert_eq!(arena.counted("mezame_secrets_handed_out_total"), 0);
}

#[test]
fn no_password_is_for_guests_of_another_cloud_or_without_a_port() {
    sandbox::enter();
    let arena = Arena::new();
    serve(&arena, 1, Dialect::Ec2);
    let mut client = arena.connect_for_password(1).unwrap();
    for what in ["send_my_password", "saved_password"] {
        let reply = ask(&mut client, what);
        assert_eq!((reply.status, reply.body.as_str()), (404, "saved_password"), "{what}");
    }
    assert_eq!(arena.serving.outbox.len(), 0);
    let unknown = arena.connect_for_password(2);
    assert!(unknown.is_err() || unknown.is_ok_and(|mut client| client.is_ended()));
    assert_eq!(arena.refused("unknown_port"), 1);
}

#[test]
fn what_the_shell_refuses_can_not_be_taken_for_a_password() {
    sandbox::enter();
    let limits = Limits { requests_per_second: 1, request_burst: 2, ..Limits::default() };
    let arena = Arena::with(limits);
    let attachment = arena.attach(1);
    let mut client = arena.connect_for_password(1).unwrap();
    let early = ask(&mut client, "send_my_password");
    assert_eq!((early.status, early.header("retry-after")), (503, Some("1")));
    assert_eq!(early.body, "saved_password");
    arena.record(&attachment, |instance| instance.dialects = [Dialect::Cloudstack].into());
    // One bucket for both ports.
    assert_eq!(arena.connect(1).unwrap().get("/").status, 200);
    let refused = (0..10).map(|_| ask(&mut client, "send_my_password"));
    let refused = refused.into_iter().find(|reply| reply.status == 429).unwrap();
    assert_eq!(refused.body, "saved_password");
    assert!(arena.refused("requests_of_port") > 0);
}

//! What honest guests get.

use mezame_model::{Instance, SecretName, SecretString};

use super::arena::{Arena, Client, until};
use crate::{identity::Standing, sandbox};

const INSTANCE_ID: &str = "/latest/meta-data/instance-id";

#[test]
fn each_port_is_told_of_its_own_instance() {
    sandbox::enter();
    let arena = Arena::new();
    for number in [1, 2] {
        arena.serve(number);
    }
    for number in [1, 2] {
        for client in [arena.connect(number), arena.connect6(number)] {
            let reply = client.unwrap().get(INSTANCE_ID);
            assert_eq!(reply.status, 200);
            assert_eq!(reply.body, crate::fixture::instance_id(number as usize).as_str());
        }
    }
}

#[test]
fn many_requests_go_through_one_connection() {
    sandbox::enter();
    let arena = Arena::new();
    arena.serve(1);
    let mut client = arena.connect(1).unwrap();
    for _ in 0..100 {
        assert_eq!(client.get(INSTANCE_ID).status, 200);
    }
    assert_eq!(arena.counted("mezame_connections_accepted_total"), 1);
    assert_eq!(arena.counted("mezame_requests_total{dialect=\"ec2\",status=\"200\"}"), 100);
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    sandbox::enter();
    let arena = Arena::new();
    arena.serve(1);
    let mut client = arena.connect(1).unwrap();
    let request = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n");
    let three = [request(INSTANCE_ID), request("/latest/nothing"), request(INSTANCE_ID)];
    client.send(&three.concat());
    let statuses: Vec<u16> = (0..3).map(|_| client.reply().unwrap().status).collect();
    assert_eq!(statuses, [200, 404, 200]);
}

#[test]
fn head_tells_the_length_of_what_get_would_send_and_sends_nothing() {
    sandbox::enter();
    let arena = Arena::new();
    arena.serve(1);
    let mut client = arena.connect(1).unwrap();
    let request =
        |method: &str| format!("{method} {INSTANCE_ID} HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n");
    client.send(&[request("HEAD"), request("GET")].concat());
    let head = client.head().unwrap();
    let get = client.reply().unwrap();
    assert_eq!((head.status, get.status), (200, 200));
    assert_eq!(head.header("content-length"), get.header("content-length"));
    assert_eq!(head.header("etag"), get.header("etag"));
}

#[test]
fn a_port_whose_record_has_not_come_waits_and_is_served_when_it_comes() {
    sandbox::enter();
    let arena = Arena::new();
    let attachment = arena.attach(1);
    let mut client = arena.connect(1).unwrap();
    let early = client.get(INSTANCE_ID);
    assert_eq!((early.status, early.header("retry-after")), (503, Some("1")));
    assert_eq!(client.get("/latest/nothing").status, 503, "never 404 before the record");
    arena.record(&attachment, |_| {});
    assert_eq!(client.get(INSTANCE_ID).status, 200);
}

#[test]
fn a_token_leaves_with_the_instances_hop_limit_and_what_follows_with_the_usual_one() {
    sandbox::enter();
    let arena = Arena::new();
    let attachment = arena.attach(1);
    arena.record(&attachment, |instance| instance.hop_limit = 3.try_into().unwrap());
    let mut client = arena.connect(1).unwrap();
    let sniffer = arena.sniff(&client);
    let lifetime = "X-aws-ec2-metadata-token-ttl-seconds: 60\r\n";
    assert_eq!(client.get(INSTANCE_ID).status, 200);
    assert_eq!(sniffer.next_ttl(), 64);
    assert_eq!(client.ask("PUT", "/latest/api/token", lifetime).status, 200);
    assert_eq!(sniffer.next_ttl(), 3);
    assert_eq!(client.get(INSTANCE_ID).status, 200);
    assert_eq!(sniffer.next_ttl(), 64);
    assert_eq!(arena.counted("mezame_tokens_issued_total"), 1);
}

#[test]
fn a_watch_is_answered_when_its_own_record_changes_and_not_for_anothers() {
    sandbox::enter();
    let arena = Arena::new();
    let (one, two) = (arena.serve(1), arena.serve(2));
    let mut client = arena.connect(1).unwrap();
    client.watch();
    until("the watch waits", || one.watches.now() == 1);
    arena.record(&two, |instance| instance.hostname = "other".into());
    arena.record(&one, |instance| instance.hostname = "renamed".into());
    let reply = client.reply().unwrap();
    assert_eq!(reply.status, 200);
    assert!(reply.body.contains("renamed"), "{}", reply.body);
    until("its place is free", || one.watches.now() == 0);
}

#[test]
fn a_secret_is_handed_out_until_it_is_acknowledged_and_never_after() {
    sandbox::enter();
    let arena = Arena::new();
    let attachment = arena.serve(1);
    let mut client = arena.connect(1).unwrap();
    for _ in 0..2 {
        let secret = client.get("/mezame/v1/secrets/one");
        assert_eq!((secret.status, secret.body.as_str()), (200, "the secret of 1"));
    }
    let acknowledged = client.ask("POST", "/mezame/v1/secrets/one/ack", "");
    assert!(acknowledged.status < 300, "{acknowledged:?}");
    let after = client.get("/mezame/v1/secrets/one");
    assert!(after.status >= 400 && !after.body.contains("the secret"), "{after:?}");
    let Standing::Serving(record) = attachment.standing() else { panic!() };
    assert_eq!(record.acknowledged.len(), 1);
    assert_eq!(arena.serving.outbox.len(), 1);
    assert_eq!(arena.counted("mezame_secrets_handed_out_total"), 2);
}

#[test]
fn a_new_value_right_after_an_acknowledgement_is_served() {
    sandbox::enter();
    let arena = Arena::new();
    let attachment = arena.serve(1);
    let mut client = arena.connect(1).unwrap();
    assert_eq!(client.ask("POST", "/mezame/v1/secrets/one/ack", "").status, 204);
    assert_eq!(client.get("/mezame/v1/secrets/one").status, 404);
    let name = SecretName::parse("one").unwrap();
    let other = |instance: &mut Instance| {
        instance.secrets.insert(name.clone(), SecretString::new("another".into()));
    };
    arena.record(&attachment, other);
    let mut tag = String::new();
    for _ in 0..2 {
        let secret = client.get("/mezame/v1/secrets/one");
        assert_eq!((secret.status, secret.body.as_str()), (200, "another"));
        tag = secret.header("etag").unwrap().to_owned();
    }
    let ask = |client: &mut Client, tag: &str| {
        client.ask("POST", "/mezame/v1/secrets/one/ack", &format!("If-Match: {tag}\r\n")).status
    };
    assert_eq!(ask(&mut client, "\"0000000000000000\""), 412);
    assert_eq!(ask(&mut client, &tag), 204);
    assert_eq!(client.get("/mezame/v1/secrets/one").status, 404);
    // The same record anew, and still nothing: it is the outbox that knows.
    arena.record(&attachment, other);
    assert_eq!(client.get("/mezame/v1/secrets/one").status, 404);
    assert_eq!(arena.serving.outbox.len(), 2);
}

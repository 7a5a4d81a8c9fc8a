//! What abusive guests get, and that honest ones don't feel it.

use std::{
    io::{Read, Write},
    time::Duration,
};

use super::arena::{Arena, Reply, until};
use crate::{sandbox, settings::Limits};

const INSTANCE_ID: &str = "/latest/meta-data/instance-id";
const SECOND: Duration = Duration::from_secs(1);

#[test]
fn an_address_that_is_no_ports_is_answered_nothing() {
    sandbox::enter();
    let arena = Arena::new();
    arena.serve(1);
    for from in ["127.0.0.1", "32.0.1.0", "::1", "fdaf:e001::1"] {
        let from = from.parse().unwrap();
        if let Ok(mut client) = arena.connect_from(from) {
            assert!(client.is_ended());
        }
    }
    until("all are counted", || arena.refused("unknown_port") == 4);
}

#[test]
fn a_port_over_its_rate_is_told_when_to_come_again_and_its_neighbour_is_served() {
    sandbox::enter();
    let limits = Limits { requests_per_second: 1, request_burst: 3, ..Limits::default() };
    let arena = Arena::with(limits);
    arena.serve(1);
    arena.serve(2);
    let mut greedy = arena.connect(1).unwrap();
    assert!((0..3).all(|_| greedy.get(INSTANCE_ID).status == 200));
    let refused = first_refused(|| greedy.get(INSTANCE_ID));
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("1")));
    assert_eq!(arena.connect(2).unwrap().get(INSTANCE_ID).status, 200);
}

#[test]
fn a_port_has_its_share_of_connections_and_no_more() {
    sandbox::enter();
    let arena = Arena::with(Limits { connections_per_port: 2, ..Limits::default() });
    let attachment = arena.serve(1);
    arena.serve(2);
    let mut held: Vec<_> = (0..2).map(|_| arena.connect(1).unwrap()).collect();
    assert!(held.iter_mut().all(|client| client.get(INSTANCE_ID).status == 200));
    if let Ok(mut third) = arena.connect(1) {
        assert!(third.is_ended());
    }
    until("it is counted", || arena.refused("connections_of_port") == 1);
    assert_eq!(arena.connect(2).unwrap().get(INSTANCE_ID).status, 200);
    drop(held);
    until("the places are free again", || attachment.connections() == 0);
    assert_eq!(arena.connect(1).unwrap().get(INSTANCE_ID).status, 200);
}

#[test]
fn when_all_places_are_taken_the_port_with_the_most_makes_room() {
    sandbox::enter();
    let limits = Limits { connections: 4, connections_per_port: 4, ..Limits::default() };
    let arena = Arena::with(limits);
    let greedy = arena.serve(1);
    arena.serve(2);
    let mut held: Vec<_> = (0..4).map(|_| arena.connect(1).unwrap()).collect();
    assert!(held.iter_mut().all(|client| client.get(INSTANCE_ID).status == 200));
    assert_eq!(arena.connect(2).unwrap().get(INSTANCE_ID).status, 200);
    until("one of the many was cut", || greedy.connections() == 3);
    assert_eq!(arena.refused("evicted"), 1);
}

#[test]
fn a_slow_head_is_cut_and_so_is_an_idle_connection() {
    sandbox::enter();
    let arena = Arena::with(Limits { head_time: SECOND, idle_time: SECOND, ..Limits::default() });
    arena.serve(1);
    let (mut slow, mut idle) = (arena.connect(1).unwrap(), arena.connect(1).unwrap());
    slow.send("GET /latest/meta-data/ HTTP/1.1\r\nHost: 169.2");
    assert!(slow.is_ended());
    assert!(idle.is_ended());
    until("all are counted", || arena.refused("slow_head") == 1 && arena.refused("idle") == 1);
}

#[test]
fn a_guest_that_dribbles_its_head_gains_no_time() {
    sandbox::enter();
    let arena = Arena::with(Limits { head_time: SECOND, ..Limits::default() });
    let attachment = arena.serve(1);
    let mut socket = arena.connect(1).unwrap().0.into_inner();
    socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    socket.write_all(b"GET /").unwrap();
    until("the connection is there", || attachment.connections() == 1);
    until("the server has had enough", || {
        // One byte after the other, never a whole head.
        let _ = socket.write_all(b"a");
        let _ = socket.read(&mut [0; 1]);
        attachment.connections() == 0
    });
    assert_eq!(arena.refused("slow_head"), 1);
}

#[test]
fn a_reply_that_is_not_taken_is_cut() {
    sandbox::enter();
    let arena = Arena::with(Limits { write_time: SECOND, ..Limits::default() });
    let attachment = arena.attach(1);
    let mebibyte = mezame_model::UserData::new(vec![b'x'; 1 << 20]).unwrap();
    arena.record(&attachment, |instance| instance.user_data = Some(mebibyte));
    let mut client = arena.connect(1).unwrap();
    let request = "GET /latest/user-data HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n";
    client.send(&request.repeat(16));
    until("it began", || attachment.connections() == 1);
    until("the connection was cut", || attachment.connections() == 0);
    assert_eq!(arena.refused("slow_reader"), 1);
}

#[test]
fn a_head_that_is_too_large_or_has_too_many_fields_is_431() {
    sandbox::enter();
    let arena = Arena::new();
    arena.serve(1);
    let large = format!("X-Large: {}\r\n", "x".repeat(20_000));
    let many = "X-Many: 1\r\n".repeat(70);
    for headers in [large, many] {
        let mut client = arena.connect(1).unwrap();
        client.send(&format!("GET / HTTP/1.1\r\nHost: 169.254.169.254\r\n{headers}\r\n"));
        assert_eq!(client.reply().unwrap().status, 431);
        assert!(client.is_ended());
    }
}

#[test]
fn a_body_that_is_too_long_is_refused_before_it_is_read() {
    sandbox::enter();
    let arena = Arena::new();
    arena.serve(1);
    let mut client = arena.connect(1).unwrap();
    client.send(
        "POST /mezame/v1/report HTTP/1.1\r\nHost: 169.254.169.254\r\n\
         Content-Length: 999999999\r\n\r\n",
    );
    assert_eq!(client.reply().unwrap().status, 413);
    assert!(client.is_ended());
}

#[test]
fn what_could_smuggle_a_second_request_is_refused_and_the_connection_ends() {
    sandbox::enter();
    let arena = Arena::new();
    arena.serve(1);
    let host = "Host: 169.254.169.254\r\n";
    for (head, status) in [
        ("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", 400),
        ("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", 400),
        ("transfer-encoding: chunked\r\ncontent-length: 0\r\n", 400),
        ("Content-Length: 4\r\nContent-Length: 5\r\n", 400),
        ("Content-Length: +4\r\n", 400),
        ("Transfer-Encoding: xchunked\r\n", 400),
        ("Transfer-Encoding: chunked\r\n", 411),
        ("X-Folded: a\r\n b\r\n", 400),
        ("Bad Name: a\r\n", 400),
        ("Content-Length : 4\r\n", 400),
    ] {
        let mut client = arena.connect(1).unwrap();
        client.send(&format!(
            "POST /mezame/v1/report HTTP/1.1\r\n{host}{head}\r\n0\r\n\r\n\
             GET {INSTANCE_ID} HTTP/1.1\r\n{host}\r\n"
        ));
        assert_eq!(client.reply().unwrap().status, status, "{head:?}");
        assert!(client.is_ended(), "{head:?}");
    }
    assert_eq!(arena.refused("smuggling"), 3);
}

#[test]
fn methods_and_targets_that_nobody_needs_are_refused() {
    sandbox::enter();
    let arena = Arena::new();
    arena.serve(1);
    for (line, statuses) in [
        ("TRACE / HTTP/1.1", [405, 405]),
        ("CONNECT 169.254.169.254:80 HTTP/1.1", [405, 405]),
        ("GET http://169.254.169.254/latest/meta-data/ HTTP/1.1", [400, 400]),
        ("GET /latest/../latest/meta-data/ HTTP/1.1", [400, 400]),
        ("GET /latest/%2e%2e/meta-data/ HTTP/1.1", [400, 400]),
        ("GET /latest/meta-data/%00 HTTP/1.1", [400, 400]),
        ("OPTIONS * HTTP/1.1", [400, 405]),
        ("GET /latest/meta-data/ HTTP/2.0", [400, 505]),
    ] {
        let mut client = arena.connect(1).unwrap();
        client.send(&format!("{line}\r\nHost: 169.254.169.254\r\n\r\n"));
        let status = client.reply().unwrap().status;
        assert!(statuses.contains(&status), "{line}: {status}");
    }
}

#[test]
fn a_port_has_its_share_of_watches_and_no_more() {
    sandbox::enter();
    let arena = Arena::with(Limits { watches_per_port: 1, ..Limits::default() });
    let attachment = arena.serve(1);
    let (mut first, mut second) = (arena.connect(1).unwrap(), arena.connect(1).unwrap());
    first.watch();
    until("the watch waits", || attachment.watches.now() == 1);
    second.watch();
    assert_eq!(second.reply().unwrap().status, 429);
}

#[test]
fn a_port_that_floods_the_disk_with_reports_is_told_to_wait_and_its_neighbour_is_not() {
    sandbox::enter();
    let limits = Limits { events_per_port: 3, events_per_second: 1, ..Limits::default() };
    let arena = Arena::with(limits);
    arena.serve(1);
    arena.serve(2);
    for _ in 0..3 {
        assert_eq!(report(&arena, 1).status, 204);
    }
    let refused = first_refused(|| report(&arena, 1));
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("1")));
    assert_eq!(arena.refused("events_of_port"), 1);
    assert_eq!(report(&arena, 2).status, 204);
}

#[test]
fn a_port_whose_reports_nobody_fetches_is_told_to_wait_and_its_neighbour_is_not() {
    sandbox::enter();
    let limits = Limits { events_per_port: 2, events_per_second: 0, ..Limits::default() };
    let arena = Arena::with(limits);
    arena.serve(1);
    arena.serve(2);
    for _ in 0..2 {
        assert_eq!(report(&arena, 1).status, 204);
    }
    let refused = report(&arena, 1);
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("5")));
    assert_eq!((arena.refused("outbox_of_port"), arena.refused("not_kept")), (1, 0));
    assert_eq!(report(&arena, 2).status, 204);
}

/// Posts a report through a port.
fn report(arena: &Arena, number: u32) -> Reply {
    let body = serde_json::json!({
        "instance_id": crate::fixture::instance_id(number as usize), "agent": "1.0", "boot_id": "b",
        "run": 1, "outcome": "done", "steps": [], "total_ms": 13,
    });
    let body = body.to_string();
    let mut client = arena.connect(number).unwrap();
    client.send(&format!(
        "POST /mezame/v1/report HTTP/1.1\r\nHost: 169.254.169.254\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    client.reply().unwrap()
}

/// Asks until the port is over its rate. No count of requests is sure to reach it: on a slow machine
/// the bucket fills meanwhile.
fn first_refused(mut ask: impl FnMut() -> Reply) -> Reply {
    let mut refused = None;
    until("a request is refused", || {
        let reply = ask();
        if reply.status == 429 {
            refused = Some(reply);
        }
        refused.is_some()
    });
    refused.unwrap()
}

//! DNS over TCP.

use std::{
    io::Write,
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use super::arena::{A, Arena, answer, code, framed, is_reset, query, receive, send, until};

/// A resolver that answers one query on each of so many connections.
fn resolver(connections: usize) -> (SocketAddr, std::thread::JoinHandle<Vec<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answering = move || {
        let serve = |_| {
            let (mut stream, _) = listener.accept().unwrap();
            let asked = receive(&mut stream);
            send(&mut stream, &answer(&asked, 0));
            assert!(is_reset(&mut stream), "it leaves nothing behind");
            asked
        };
        (0..connections).map(serve).collect()
    };
    (address, std::thread::spawn(answering))
}

#[test]
fn several_queries_of_one_connection_are_answered_in_their_order() {
    let arena = Arena::new();
    arena.serve(1, |_| {});
    let mut client = arena.stream(1, arena.at.dns_stream);
    for id in 1..=3 {
        send(&mut client, &query(id, "example.com", A));
    }
    for id in 1..=3 {
        let reply = receive(&mut client);
        assert_eq!((reply[1], code(&reply)), (id, 5));
    }
    arena.becomes("dns_tcp", "refused", 3);
}

#[test]
fn a_query_that_came_by_tcp_goes_on_by_tcp() {
    let arena = Arena::new();
    let (address, answering) = resolver(2);
    arena.serve(1, |network| network.forward.dns = vec![address]);
    let mut client = arena.stream(1, arena.at.dns_stream);
    for id in [7, 8] {
        send(&mut client, &query(id, "Example.com", A));
        let reply = receive(&mut client);
        assert_eq!(reply[..2], id.to_be_bytes());
        assert!(reply.ends_with(&[192, 0, 2, 1]));
    }
    let asked = answering.join().unwrap();
    assert!(asked.iter().all(|one| one[2..] == query(7, "Example.com", A)[2..]));
    arena.becomes("dns_tcp", "forwarded", 2);
}

#[test]
fn an_idle_connection_is_closed_even_in_the_middle_of_a_message() {
    let arena = Arena::with(|limits| limits.dns_idle_time = Duration::from_millis(200));
    arena.serve(1, |_| {});
    let mut idle = arena.stream(1, arena.at.dns_stream);
    let mut slow = arena.stream(1, arena.at.dns_stream);
    slow.write_all(&[0, 40, 1, 2, 3]).unwrap();
    is_reset(&mut idle);
    is_reset(&mut slow);
    until("both were idle", || arena.counted("dns_tcp", "idle") == 2);
    until("both are gone", || arena.value("mezame_link_local_streams") == 0);
}

#[test]
fn connections_of_a_port_and_in_all_have_ceilings() {
    let arena = Arena::with(|limits| (limits.streams_per_port, limits.streams) = (2, 3));
    for number in [1, 2] {
        arena.serve(number, |_| {});
    }
    let mut open: Vec<_> = (0..2).map(|_| arena.stream(1, arena.at.dns_stream)).collect();
    assert!(arena.is_refused(1, arena.at.dns_stream));
    open.push(arena.stream(2, arena.at.dns_stream));
    assert!(arena.is_refused(2, arena.at.dns_stream));
    arena.becomes("dns_tcp", "streams_of_port", 1);
    arena.becomes("dns_tcp", "streams_in_all", 1);
    for client in &mut open {
        send(client, &query(7, "example.com", A));
        receive(client);
    }
    open.clear();
    until("all are gone", || arena.value("mezame_link_local_streams") == 0);
    let mut again = arena.stream(1, arena.at.dns_stream);
    send(&mut again, &query(7, "example.com", A));
    receive(&mut again);
}

#[test]
fn a_connection_that_asks_beyond_the_rate_or_no_question_is_reset() {
    // Two connections, two messages.
    let arena = Arena::with(|limits| (limits.dns_per_second, limits.dns_burst) = (1, 4));
    arena.serve(1, |_| {});
    let mut garbage = arena.stream(1, arena.at.dns_stream);
    send(&mut garbage, b"garbage");
    assert!(is_reset(&mut garbage));
    let mut client = arena.stream(1, arena.at.dns_stream);
    send(&mut client, &query(1, "example.com", A));
    receive(&mut client);
    client.write_all(&framed(&query(2, "example.com", A)).repeat(8)).unwrap();
    assert!(is_reset(&mut client));
    arena.becomes("dns_tcp", "malformed", 1);
    arena.becomes("dns_tcp", "rate_of_port", 1);
    assert!(arena.is_refused(2, arena.at.dns_stream), "no port has this identity");
}

//! Ends: of a tenancy, and of the process.

use std::{
    io::{Read, Write},
    net::TcpListener,
    sync::{Mutex, mpsc},
    time::Duration,
};

use super::arena::{
    A, Arena, SOON, Upstream, answer, is_quiet, is_reset, query, receive, received, send, until,
};

/// A resolver that answers when the test says so, once for each time.
fn patient() -> (Upstream, mpsc::Sender<()>) {
    let (go, wait) = mpsc::channel();
    let wait = Mutex::new(wait);
    let answers = move |query: &[u8]| {
        // The sender may be gone with the test.
        let _ = wait.lock().unwrap().recv_timeout(SOON);
        vec![answer(query, 0)]
    };
    (Upstream::new(answers), go)
}

#[test]
fn an_answer_that_comes_after_the_tenancy_reaches_nobody() {
    let arena = Arena::new();
    let (resolver, go) = patient();
    let old = arena.serve(1, |network| network.forward.dns = vec![resolver.address]);
    let client = arena.datagrams(1, arena.at.dns);
    client.send(&query(7, "example.com", A)).unwrap();
    resolver.next();
    // The slot's next tenant has the same identity.
    arena.serve(1, |_| {});
    assert!(matches!(old.standing(), crate::identity::Standing::Over));
    go.send(()).unwrap();
    until("it is dropped", || arena.counted("dns", "tenancy_over") == 1);
    assert!(is_quiet(&client));
}

#[test]
fn connections_are_reset_with_the_tenancy() {
    let arena = Arena::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let attachment = arena.serve(1, |network| network.forward.kms = vec![address]);
    let mut dns = arena.stream(1, arena.at.dns_stream);
    send(&mut dns, &query(7, "guest-1", A));
    receive(&mut dns);
    let mut kms = arena.stream(1, arena.at.kms);
    let (mut host, _) = listener.accept().unwrap();
    host.set_read_timeout(Some(SOON)).unwrap();
    kms.write_all(b"bind").unwrap();
    host.read_exact(&mut [0; 4]).unwrap();
    attachment.end();
    assert!(is_reset(&mut dns));
    assert!(is_reset(&mut kms));
    assert_eq!(host.read(&mut [0; 1]).unwrap(), 0);
    arena.becomes("kms", "tenancy_over", 1);
    arena.becomes("dns_tcp", "tenancy_over", 1);
}

#[test]
fn an_ending_process_answers_what_it_has_taken_and_takes_no_more() {
    let mut arena = Arena::new();
    let (resolver, go) = patient();
    arena.serve(1, |network| network.forward.dns = vec![resolver.address]);
    let client = arena.datagrams(1, arena.at.dns);
    client.send(&query(7, "example.com", A)).unwrap();
    resolver.next();
    let mut idle = arena.stream(1, arena.at.dns_stream);
    until("it is let in", || arena.value("mezame_link_local_streams") == 1);
    let answering = std::thread::spawn(move || {
        assert!(!is_reset(&mut idle), "an idle connection is closed");
        go.send(()).unwrap();
    });
    assert_eq!(arena.drain(SOON), 0);
    answering.join().unwrap();
    assert!(received(&client).ends_with(&[192, 0, 2, 1]));
}

#[test]
fn a_query_that_is_on_its_way_when_the_process_ends_is_answered() {
    let mut arena = Arena::new();
    arena.serve(1, |_| {});
    let mut late = arena.stream(1, arena.at.dns_stream);
    until("it is let in", || arena.value("mezame_link_local_streams") == 1);
    let asking = std::thread::spawn(move || {
        // By then it drains, and lets no more connections in.
        std::thread::sleep(Duration::from_millis(200));
        send(&mut late, &query(7, "guest-1.acme.example", A));
        let reply = receive(&mut late);
        assert!(!is_reset(&mut late), "then it is closed");
        reply
    });
    assert_eq!(arena.drain(SOON), 0);
    assert_eq!(asking.join().unwrap()[..2], [0, 7]);
}

#[test]
fn what_is_taken_at_the_moment_of_the_end_is_answered_or_left_to_the_successor() {
    let resolver = Upstream::new(|query| vec![answer(query, 0)]);
    for round in 0..100 {
        let mut arena = Arena::new();
        arena.serve(1, |network| network.forward.dns = vec![resolver.address]);
        let client = arena.datagrams(1, arena.at.dns);
        let sending = std::thread::spawn(move || {
            // From before the end begins to after it.
            std::thread::sleep(Duration::from_micros(round * 5));
            client.send(&query(7, "example.com", A)).unwrap();
            client
        });
        assert_eq!(arena.drain(SOON), 0);
        let client = sending.join().unwrap();
        client.set_nonblocking(true).unwrap();
        let is_answered = client.recv(&mut [0; 512]).is_ok();
        assert!(is_answered || arena.is_left_to_a_successor(), "lost in round {round}");
    }
}

#[test]
fn an_ending_process_cuts_off_what_takes_longer_than_it_may() {
    let mut arena = Arena::new();
    let (resolver, go) = patient();
    arena.serve(1, |network| network.forward.dns = vec![resolver.address]);
    let client = arena.datagrams(1, arena.at.dns);
    client.send(&query(7, "example.com", A)).unwrap();
    resolver.next();
    assert_eq!(arena.drain(Duration::from_millis(50)), 1);
    drop(go);
    assert!(is_quiet(&client));
}

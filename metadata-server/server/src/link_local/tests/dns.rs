//! DNS over UDP.

use std::net::{Ipv4Addr, SocketAddr};

use super::arena::{A, Arena, Upstream, answer, code, is_quiet, nobody, query, received, until};
use crate::fixture;

const NOERROR: u8 = 0;
const SERVFAIL: u8 = 2;
const NXDOMAIN: u8 = 3;
const REFUSED: u8 = 5;

/// Serves port 1 with these resolvers, and asks once.
fn asked(arena: &Arena, resolvers: &[SocketAddr]) -> Vec<u8> {
    arena.serve(1, |network| network.forward.dns = resolvers.to_vec());
    let client = arena.datagrams(1, arena.at.dns);
    client.send(&query(7, "Example.com", A)).unwrap();
    received(&client)
}

#[test]
fn an_instance_is_found_by_its_name_once_the_snapshot_is_indexed() {
    // No limit: it asks until it is so.
    let arena = Arena::with(|limits| limits.dns_per_second = 0);
    arena.serve(1, |_| {});
    let client = arena.datagrams(1, arena.at.dns);
    until("its own name is known", || {
        client.send(&query(7, "guest-1.acme.example", A)).unwrap();
        let reply = received(&client);
        code(&reply) == NOERROR && reply.ends_with(&[203, 0, 113, 7])
    });
    let next = std::sync::Arc::new(fixture::snapshot(2, [1, 2]));
    client.send(&query(7, "guest-2.acme.example", A)).unwrap();
    assert_eq!(code(&received(&client)), NXDOMAIN);
    arena.publish(&next);
    until("another's name is known", || {
        client.send(&query(7, "guest-2.acme.example", A)).unwrap();
        code(&received(&client)) == NOERROR
    });
    assert!(arena.counted("dns", "answered") >= 3);
}

#[test]
fn a_foreign_name_is_asked_for_at_the_resolver_under_another_number() {
    let arena = Arena::new();
    let resolver = Upstream::new(|query| vec![answer(query, NOERROR)]);
    let reply = asked(&arena, &[resolver.address]);
    assert_eq!(reply[..2], [0, 7]);
    assert!(reply.ends_with(&[192, 0, 2, 1]));
    let mut seen = vec![resolver.next()];
    let client = arena.datagrams(1, arena.at.dns);
    for _ in 0..7 {
        client.send(&query(7, "Example.com", A)).unwrap();
        received(&client);
        seen.push(resolver.next());
    }
    assert!(seen.iter().all(|one| one[2..] == query(7, "Example.com", A)[2..]));
    seen.dedup_by(|a, b| a[..2] == b[..2]);
    assert!(seen.len() > 4, "the numbers are drawn anew");
    arena.becomes("dns", "forwarded", 8);
    until("nothing waits", || arena.value("mezame_link_local_waiting") == 0);
}

#[test]
fn a_name_that_is_not_there_is_passed_on_as_such_without_asking_another_resolver() {
    let arena = Arena::new();
    let first = Upstream::new(|query| vec![answer(query, NXDOMAIN)]);
    let second = Upstream::new(|query| vec![answer(query, NOERROR)]);
    let reply = asked(&arena, &[first.address, second.address]);
    assert_eq!(code(&reply), NXDOMAIN);
    assert_eq!(second.others(), 0);
}

#[test]
fn a_resolver_that_is_not_there_or_can_not_say_is_passed_over() {
    let arena = Arena::new();
    let failing = Upstream::new(|query| vec![answer(query, SERVFAIL)]);
    let good = Upstream::new(|query| vec![answer(query, NOERROR)]);
    let reply = asked(&arena, &[nobody(), failing.address, good.address]);
    assert!(reply.ends_with(&[192, 0, 2, 1]));
    assert_eq!(failing.others(), 1);
}

#[test]
fn a_resolver_may_be_reached_by_ipv6() {
    let arena = Arena::new();
    let resolver = Upstream::at("[::1]:0", |query| vec![answer(query, NOERROR)]);
    assert!(asked(&arena, &[resolver.address]).ends_with(&[192, 0, 2, 1]));
}

#[test]
fn a_silent_resolver_is_passed_over() {
    let arena = Arena::new();
    let silent = Upstream::silent();
    let good = Upstream::new(|query| vec![answer(query, NOERROR)]);
    let reply = asked(&arena, &[silent.address, good.address]);
    assert!(reply.ends_with(&[192, 0, 2, 1]));
    assert_eq!(silent.others(), 1);
}

#[test]
fn what_all_resolvers_refuse_is_refused_and_what_none_answers_fails() {
    let arena = Arena::new();
    let refusing = Upstream::new(|query| vec![answer(query, REFUSED)]);
    assert_eq!(code(&asked(&arena, &[refusing.address])), REFUSED);
    assert_eq!(refusing.others(), 1, "it is asked once");
    assert_eq!(code(&asked(&arena, &[nobody()])), SERVFAIL);
    arena.becomes("dns", "failed", 1);
}

#[test]
fn an_answer_with_another_number_or_question_is_not_passed_on() {
    let arena = Arena::new();
    let resolver = Upstream::new(|asked| {
        let mut number = answer(asked, NXDOMAIN);
        number[0] ^= 1;
        let mut case = answer(asked, NXDOMAIN);
        case[13] ^= 0x20;
        let mut kind = answer(asked, NXDOMAIN);
        let length = kind.len();
        kind[length - 3] = 28;
        vec![number, case, kind, b"short".to_vec(), answer(asked, NOERROR)]
    });
    let reply = asked(&arena, &[resolver.address]);
    assert!(reply.ends_with(&[192, 0, 2, 1]));
}

#[test]
fn a_question_is_given_up_after_a_few_wrong_answers() {
    let arena = Arena::new();
    let guessing = Upstream::new(|asked| {
        let mut wrong = answer(asked, NOERROR);
        wrong[0] ^= 1;
        let mut all = vec![wrong; 16];
        all.push(answer(asked, NOERROR));
        all
    });
    assert_eq!(code(&asked(&arena, &[guessing.address])), SERVFAIL);
    assert_eq!(guessing.others(), 3);
}

#[test]
fn what_is_beyond_a_ports_rate_is_dropped_and_leaves_others_theirs() {
    let arena = Arena::with(|limits| (limits.dns_per_second, limits.dns_burst) = (1, 3));
    arena.serve(1, |_| {});
    arena.serve(2, |_| {});
    let client = arena.datagrams(1, arena.at.dns);
    until("one is beyond it", || {
        client.send(&query(7, "example.com", A)).unwrap();
        arena.counted("dns", "rate_of_port") > 0
    });
    assert!(arena.counted("dns", "refused") >= 3);
    let other = arena.datagrams(2, arena.at.dns);
    other.send(&query(7, "example.com", A)).unwrap();
    assert_eq!(code(&received(&other)), REFUSED);
}

#[test]
fn a_port_with_too_many_waiting_queries_is_told_at_once() {
    let arena = Arena::with(|limits| limits.waiting_per_port = 1);
    let silent = Upstream::silent();
    arena.serve(1, |network| network.forward.dns = vec![silent.address]);
    let client = arena.datagrams(1, arena.at.dns);
    client.send(&query(7, "example.com", A)).unwrap();
    silent.next();
    client.send(&query(8, "example.com", A)).unwrap();
    let reply = received(&client);
    assert_eq!((reply[1], code(&reply)), (8, SERVFAIL));
    arena.becomes("dns", "waiting_of_port", 1);
}

#[test]
fn all_ports_together_have_a_ceiling_of_waiting_queries() {
    let arena = Arena::with(|limits| limits.waiting = 1);
    let silent = Upstream::silent();
    for number in [1, 2] {
        arena.serve(number, |network| network.forward.dns = vec![silent.address]);
    }
    arena.datagrams(1, arena.at.dns).send(&query(7, "example.com", A)).unwrap();
    silent.next();
    let client = arena.datagrams(2, arena.at.dns);
    client.send(&query(8, "example.com", A)).unwrap();
    assert_eq!(code(&received(&client)), SERVFAIL);
    arena.becomes("dns", "waiting_in_all", 1);
}

#[test]
fn nobody_but_a_port_with_a_record_is_answered() {
    let arena = Arena::new();
    let attachment = arena.serve(1, |_| {});
    let stranger = arena.datagrams_from(Ipv4Addr::LOCALHOST, arena.at.dns);
    stranger.send(&query(7, "example.com", A)).unwrap();
    let unattached = arena.datagrams(2, arena.at.dns);
    unattached.send(&query(7, "example.com", A)).unwrap();
    until("both were refused", || arena.counted("dns", "unknown_port") == 2);
    attachment.serve(crate::identity::Standing::Waiting);
    let waiting = arena.datagrams(1, arena.at.dns);
    waiting.send(&query(7, "example.com", A)).unwrap();
    until("it has no record", || arena.counted("dns", "no_record") == 1);
    assert!(is_quiet(&stranger) && is_quiet(&unattached) && is_quiet(&waiting));
}

#[test]
fn garbage_and_replies_are_dropped() {
    let arena = Arena::new();
    arena.serve(1, |_| {});
    let client = arena.datagrams(1, arena.at.dns);
    client.send(b"garbage").unwrap();
    client.send(&answer(&query(7, "example.com", A), NOERROR)).unwrap();
    client.send(&[]).unwrap();
    until("all three were dropped", || arena.counted("dns", "malformed") == 3);
    assert!(is_quiet(&client));
}

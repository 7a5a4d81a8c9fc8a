//! Time.

use super::arena::{Arena, Upstream, is_quiet, nobody, received, until};

/// A client's question, version 4, with this transmit timestamp.
fn question(transmit: u8) -> Vec<u8> {
    let mut bytes = vec![0; 48];
    bytes[0] = 0o43;
    bytes[40..].fill(transmit);
    bytes
}

/// A server's answer.
fn answer(question: &[u8]) -> Vec<u8> {
    let mut bytes = vec![1; 48];
    bytes[0] = 0o44;
    let transmit = &question[40..48];
    bytes[24..32].copy_from_slice(transmit);
    bytes
}

#[test]
fn a_question_is_passed_on_without_the_guests_clock_and_answered() {
    let arena = Arena::new();
    let server = Upstream::new(|question| vec![vec![0; 48], answer(question)]);
    arena.serve(1, |network| network.forward.ntp = vec![server.address]);
    let client = arena.datagrams(1, arena.at.ntp);
    let mut long = question(9);
    long.extend([7; 20]);
    client.send(&long).unwrap();
    let reply = received(&client);
    assert_eq!(reply.len(), 48);
    assert_eq!(reply[24..32], [9; 8]);
    let asked = server.next();
    assert_eq!(asked.len(), 48);
    assert_ne!(asked[40..], [9; 8]);
    arena.becomes("ntp", "forwarded", 1);
}

#[test]
fn control_and_private_messages_never_reach_the_server() {
    let arena = Arena::new();
    let server = Upstream::new(|question| vec![answer(question)]);
    arena.serve(1, |network| network.forward.ntp = vec![server.address]);
    let client = arena.datagrams(1, arena.at.ntp);
    for mode in [0, 1, 2, 4, 5, 6, 7] {
        let mut bytes = question(9);
        bytes[0] = 0o40 | mode;
        client.send(&bytes).unwrap();
    }
    client.send(&question(9)[..47]).unwrap();
    until("all were dropped", || arena.counted("ntp", "malformed") == 8);
    assert!(is_quiet(&client));
    assert_eq!(server.others(), 0);
}

#[test]
fn without_a_server_and_with_none_that_answers_there_is_silence() {
    let arena = Arena::new();
    arena.serve(1, |_| {});
    arena.serve(2, |network| network.forward.ntp = vec![nobody()]);
    let clients = [1, 2].map(|number| arena.datagrams(number, arena.at.ntp));
    clients.iter().for_each(|client| {
        client.send(&question(9)).unwrap();
    });
    until("one has no server", || arena.counted("ntp", "no_upstream") == 1);
    until("one has none that answers", || arena.counted("ntp", "failed") == 1);
    assert!(clients.iter().all(is_quiet));
}

#[test]
fn the_next_server_is_asked_where_one_is_silent_or_answers_something_else() {
    let arena = Arena::new();
    let wrong = Upstream::new(|_| vec![answer(&question(5))]);
    let good = Upstream::new(|question| vec![answer(question)]);
    arena.serve(1, |network| network.forward.ntp = vec![wrong.address, good.address]);
    let client = arena.datagrams(1, arena.at.ntp);
    client.send(&question(9)).unwrap();
    assert_eq!(received(&client)[24..32], [9; 8]);
    assert_eq!(wrong.others(), 1);
}

#[test]
fn the_next_server_is_asked_at_once_where_one_has_no_time_to_tell() {
    let arena = Arena::new();
    // Leap indicator 3; a kiss of death; stratum 16.
    for (number, [first, stratum]) in [[0o344, 3], [0o44, 0], [0o44, 16]].into_iter().enumerate() {
        let number = number as u32 + 1;
        let unset = Upstream::new(move |question| {
            let mut reply = answer(question);
            (reply[0], reply[1]) = (first, stratum);
            vec![reply]
        });
        let good = Upstream::new(|question| vec![answer(question)]);
        arena.serve(number, |network| network.forward.ntp = vec![unset.address, good.address]);
        let client = arena.datagrams(number, arena.at.ntp);
        client.send(&question(9)).unwrap();
        assert_eq!(received(&client)[..2], [0o44, 1]);
        assert_eq!(unset.others(), 1);
    }
    arena.becomes("ntp", "forwarded", 3);
    // Nobody else: silence.
    let unset = Upstream::new(|question| {
        let mut reply = answer(question);
        reply[1] = 0;
        vec![reply]
    });
    arena.serve(4, |network| network.forward.ntp = vec![unset.address]);
    let client = arena.datagrams(4, arena.at.ntp);
    client.send(&question(9)).unwrap();
    arena.becomes("ntp", "failed", 1);
    assert!(is_quiet(&client));
}

#[test]
fn questions_beyond_the_rate_are_dropped() {
    let arena = Arena::with(|limits| (limits.ntp_per_second, limits.ntp_burst) = (1, 2));
    arena.serve(1, |_| {});
    let client = arena.datagrams(1, arena.at.ntp);
    until("one is beyond it", || {
        client.send(&question(9)).unwrap();
        arena.counted("ntp", "rate_of_port") > 0
    });
    assert!(arena.counted("ntp", "no_upstream") >= 2);
}

//! Licence activation, and tang.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener},
    time::Duration,
};

use super::arena::{Arena, SOON, is_reset, until};

fn host() -> (std::net::SocketAddr, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    (listener.local_addr().unwrap(), listener)
}

fn accept(listener: &TcpListener) -> std::net::TcpStream {
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

#[test]
fn bytes_pass_both_ways_until_both_sides_have_ended() {
    let arena = Arena::new();
    let (dead, unused) = host();
    drop(unused);
    let (address, listener) = host();
    arena.serve(1, |network| network.forward.kms = vec![dead, address]);
    let mut guest = arena.stream(1, arena.at.kms);
    let mut host = accept(&listener);
    guest.write_all(b"bind").unwrap();
    let mut four = [0; 4];
    host.read_exact(&mut four).unwrap();
    assert_eq!(&four, b"bind");
    host.write_all(b"ack!").unwrap();
    guest.read_exact(&mut four).unwrap();
    assert_eq!(&four, b"ack!");
    guest.shutdown(Shutdown::Write).unwrap();
    assert_eq!(host.read(&mut four).unwrap(), 0, "the end is passed on");
    host.write_all(b"last").unwrap();
    drop(host);
    let mut rest = Vec::new();
    guest.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"last");
    until("it is counted", || arena.counted("kms", "forwarded") == 1);
    until("it is gone", || arena.value("mezame_link_local_streams") == 0);
}

#[test]
fn each_service_has_hosts_and_a_rate_of_its_own() {
    let arena = Arena::with(|limits| (limits.kms_per_second, limits.kms_burst) = (1, 1));
    let (address, listener) = host();
    arena.serve(1, |network| network.forward.tang = vec![address]);
    assert!(arena.is_refused(1, arena.at.kms));
    arena.becomes("kms", "no_upstream", 1);
    let mut guest = arena.stream(1, arena.at.tang);
    let mut host = accept(&listener);
    guest.write_all(b"GET /adv").unwrap();
    let mut asked = [0; 8];
    host.read_exact(&mut asked).unwrap();
    assert_eq!(&asked, b"GET /adv");
    drop((guest, host));
    until("it is counted", || arena.counted("tang", "forwarded") == 1);
}

#[test]
fn without_a_host_or_with_none_that_is_there_a_connection_is_reset() {
    let arena = Arena::new();
    arena.serve(1, |_| {});
    assert!(arena.is_refused(1, arena.at.kms));
    arena.becomes("kms", "no_upstream", 1);
    let (dead, unused) = host();
    drop(unused);
    arena.serve(2, |network| network.forward.kms = vec![dead]);
    assert!(arena.is_refused(2, arena.at.kms));
    arena.becomes("kms", "failed", 1);
}

#[test]
fn connections_beyond_the_rate_are_reset() {
    let arena = Arena::with(|limits| (limits.kms_per_second, limits.kms_burst) = (1, 2));
    arena.serve(1, |_| {});
    until("one is beyond it", || {
        assert!(arena.is_refused(1, arena.at.kms));
        arena.counted("kms", "rate_of_port") > 0
    });
    assert!(arena.counted("kms", "no_upstream") >= 2);
}

#[test]
fn a_connection_carries_no_more_bytes_than_it_may() {
    let arena = Arena::with(|limits| limits.kms_bytes = 1000);
    let (address, listener) = host();
    arena.serve(1, |network| network.forward.kms = vec![address]);
    let mut guest = arena.stream(1, arena.at.kms);
    let mut host = accept(&listener);
    guest.write_all(&[1; 600]).unwrap();
    host.read_exact(&mut [0; 600]).unwrap();
    host.write_all(&[2; 401]).unwrap();
    assert!(is_reset(&mut guest));
    arena.becomes("kms", "bytes", 1);
}

#[test]
fn a_connection_on_which_nothing_comes_is_reset() {
    let arena = Arena::with(|limits| limits.kms_idle_time = Duration::from_millis(200));
    let (address, listener) = host();
    arena.serve(1, |network| network.forward.kms = vec![address]);
    let mut guest = arena.stream(1, arena.at.kms);
    let mut host = accept(&listener);
    assert!(is_reset(&mut guest));
    assert_eq!(host.read(&mut [0; 1]).unwrap(), 0);
    arena.becomes("kms", "idle", 1);
}

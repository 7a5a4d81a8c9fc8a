//! Tests of the load generator's reading of replies.

use std::{net::TcpListener, thread};

use super::*;

/// Answers every request of `connections` connections with the same bytes.
fn server(reply: &'static [u8], connections: usize, close: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().take(connections) {
            let mut stream = stream.unwrap();
            let mut buffer = [0; 1024];
            while stream.read(&mut buffer).is_ok_and(|length| length > 0) {
                if stream.write_all(reply).is_err() || close {
                    break;
                }
            }
        }
    });
    address
}

fn target(address: SocketAddr) -> Target {
    Target { address, path: "/x".into(), token: "t".into(), body: b"body".to_vec() }
}

const GOOD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbody";

#[test]
fn a_keep_alive_run_counts_replies_over_one_connection() {
    let figures =
        target(server(GOOD, 1, false)).run(Mode::KeepAlive, Duration::from_millis(50)).unwrap();
    assert!(figures.rate > 0.0 && figures.p50 > 0.0 && figures.p99 >= figures.p50);
}

#[test]
fn a_connect_run_makes_a_connection_for_each_request() {
    let figures = target(server(GOOD, usize::MAX, true))
        .run(Mode::Connect, Duration::from_millis(50))
        .unwrap();
    assert!(figures.rate > 0.0);
}

#[test]
fn a_wrong_status_or_body_ends_the_run() {
    for bad in [
        &b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 4\r\n\r\nbody"[..],
        b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbodx",
    ] {
        for mode in [Mode::KeepAlive, Mode::Connect] {
            let run = target(server(bad, 1, true)).run(mode, Duration::from_millis(50));
            assert!(run.unwrap_err().to_string().contains("a wrong reply"));
        }
    }
}

#[test]
fn a_server_that_closes_early_ends_the_run() {
    let run = target(server(GOOD, 1, true)).run(Mode::KeepAlive, Duration::from_millis(50));
    assert!(run.is_err());
}

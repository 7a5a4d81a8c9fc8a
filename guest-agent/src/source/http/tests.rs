//! Answers of every framing, over loopback.

use std::{
    io::Read,
    net::{Ipv4Addr, TcpListener},
    thread::JoinHandle,
};

use proptest::prelude::*;

use super::*;

/// A server that answers each connection's requests with these texts, in order.
fn server(connections: Vec<Vec<&'static str>>) -> (u16, JoinHandle<usize>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let handle = std::thread::spawn(move || {
        let mut served = 0;
        for answers in connections {
            let (mut stream, _) = listener.accept().unwrap();
            for answer in answers {
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
                    head.push(byte[0]);
                }
                stream.write_all(answer.as_bytes()).unwrap();
                served += 1;
            }
        }
        served
    });
    (port, handle)
}

fn get(client: &mut Client) -> Result<Response, HttpError> {
    client.exchange(&Request {
        method: "GET",
        target: "/",
        headers: &[],
        body: None,
        timeout: Duration::from_secs(20),
    })
}

fn client(port: u16) -> Client {
    Client::new((Ipv4Addr::LOCALHOST, port).into(), None)
}

#[test]
fn a_connection_is_used_again_and_made_anew_when_the_server_has_closed_it() {
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
    let (port, handle) = server(vec![vec![ok, ok], vec![ok]]);
    let mut client = client(port);
    for _ in 0..3 {
        assert_eq!(get(&mut client).unwrap().body, b"hi");
    }
    assert_eq!(handle.join().unwrap(), 3);
    assert!(client.first_packet.unwrap() <= client.first_reply.unwrap());
}

#[test]
fn chunks_are_joined_and_trailers_dropped() {
    let (port, _handle) = server(vec![vec![
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
         3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nTrailer: x\r\n\r\n",
    ]]);
    assert_eq!(get(&mut client(port)).unwrap().body, b"abcde");
}

#[test]
fn a_body_without_a_length_ends_with_the_connection() {
    let (port, _handle) = server(vec![vec!["HTTP/1.1 200 OK\r\n\r\nall of it"]]);
    assert_eq!(get(&mut client(port)).unwrap().body, b"all of it");
}

#[test]
fn answers_that_no_server_of_ours_gives_are_refused() {
    for (answer, too_long) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", false),
        ("HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n", false),
        ("HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n", true),
        ("SSH-2.0-dropbear\r\n", false),
    ] {
        let (port, _handle) = server(vec![vec![answer]]);
        let error = get(&mut client(port)).unwrap_err();
        assert_eq!(matches!(error, HttpError::TooLong), too_long, "{answer}: {error:?}");
        assert!(matches!(error, HttpError::TooLong | HttpError::Malformed), "{answer}: {error:?}");
    }
}

#[test]
fn an_answer_that_breaks_off_is_an_error_and_not_a_short_body() {
    let (port, _handle) = server(vec![vec!["HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"]]);
    assert!(matches!(get(&mut client(port)), Err(HttpError::Exchange(_))));
}

#[test]
fn the_host_is_an_address_in_brackets_without_a_zone_and_with_a_port_that_is_not_the_usual() {
    for (address, wanted) in [
        ("169.254.169.254:80", "169.254.169.254"),
        ("127.0.0.1:8080", "127.0.0.1:8080"),
        ("[fd00:ec2::254]:80", "[fd00:ec2::254]"),
        ("[fe80::a9fe:a9fe%7]:80", "[fe80::a9fe:a9fe]"),
        ("[fe80::a9fe:a9fe%7]:8080", "[fe80::a9fe:a9fe]:8080"),
    ] {
        assert_eq!(host(address.parse().unwrap()), wanted);
    }
}

#[test]
fn a_server_of_ipv6_is_asked_by_its_address() {
    let listener = TcpListener::bind((std::net::Ipv6Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let asked = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
            head.push(byte[0]);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").unwrap();
        String::from_utf8(head).unwrap()
    });
    assert_eq!(get(&mut Client::new(address, None)).unwrap().body, b"hi");
    let head = asked.join().unwrap();
    assert!(head.contains(&format!("\r\nHost: [::1]:{}\r\n", address.port())), "{head}");
}

proptest! {
    #[test]
    fn any_bytes_are_a_head_or_none(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = parse_head(&bytes);
    }

    #[test]
    fn a_head_is_read_the_same_from_each_of_its_prefixes(status in 100_u16..600, cut in 0_usize..60) {
        let text = format!("HTTP/1.1 {status} X\r\nETag: \"abc\"\r\nContent-Length: 3\r\n\r\nabc");
        let whole = parse_head(text.as_bytes()).unwrap().unwrap();
        prop_assert_eq!(whole.0.status, status);
        prop_assert_eq!(whole.0.header("etag"), Some("\"abc\""));
        let cut = cut.min(whole.1 - 1);
        prop_assert_eq!(parse_head(&text.as_bytes()[..cut]).unwrap(), None);
    }
}

//! Tests from request bytes to reply bytes.

use proptest::prelude::*;

use super::*;
use crate::{fixture::World, response::Status};

/// Sends bytes; gives the reply's bytes and how many bytes were taken.
fn send(input: &[u8]) -> Option<(String, usize)> {
    let world = World::new();
    let guest = world.web();
    let mut out = Vec::new();
    match serve_bytes(input, &guest, &world.context(&guest), &mut out) {
        Served::Reply { consumed, .. } => Some((String::from_utf8_lossy(&out).into(), consumed)),
        Served::Partial => None,
    }
}

fn status(input: &str) -> String {
    let (reply, _) = send(input.as_bytes()).unwrap();
    reply.split(' ').nth(1).unwrap().to_owned()
}

#[test]
fn bytes_in_bytes_out() {
    let request = b"GET /latest/meta-data/mac HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\nNEXT";
    let (reply, consumed) = send(request).unwrap();
    assert_eq!(consumed, request.len() - 4);
    assert!(reply.starts_with("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n"), "{reply}");
    assert!(reply.ends_with("\r\n\r\n52:54:00:ab:cd:01"), "{reply}");
}

#[test]
fn a_request_is_taken_with_its_body_and_not_before_it_is_there() {
    let head = "PUT /latest/api/token HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\
                X-aws-ec2-metadata-token-ttl-seconds: 60\r\n\r\n";
    for body in ["", "a", "ab"] {
        assert!(send(format!("{head}{body}").as_bytes()).is_none());
    }
    let (reply, consumed) = send(format!("{head}abcGET").as_bytes()).unwrap();
    assert!(reply.starts_with("HTTP/1.1 200 "), "{reply}");
    assert_eq!(consumed, head.len() + 3);
}

/// Found by fuzzing: the body would have been read as the next reply.
#[test]
fn a_refusal_to_head_has_no_body() {
    for request in [
        "HEAD /latest/user-data HTTP/1.1\r\nHost: not a host\r\n\r\n",
        "HEAD /latest/user-data HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcde",
    ] {
        let (reply, _) = send(request.as_bytes()).unwrap();
        assert!(reply.starts_with("HTTP/1.1 4") && reply.ends_with("\r\n\r\n"), "{reply}");
    }
}

#[test]
fn heads_that_two_readers_could_read_in_two_ways_are_refused() {
    for (head, expected) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n folded: b\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n\tc\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "400"),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", "400"),
        ("GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        ("GET /%2e%2e/ HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "400"),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "400",
        ),
        ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", "411"),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", "413"),
        ("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", "405"),
        ("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", "405"),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", "421"),
        ("GET / HTTP/1.0\r\n\r\n", "200"),
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "200"),
    ] {
        assert_eq!(status(head), expected, "{head:?}");
    }
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(8192));
    assert_eq!(status(&long), "414");
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(FIELDS_MAX));
    assert_eq!(status(&many), "431");
}

#[test]
fn statuses_that_the_shell_chooses_have_their_headers() {
    let text = |response: Response| {
        let mut out = Vec::new();
        write(&response, &mut out);
        String::from_utf8(out).unwrap()
    };
    let not_ready = text(Response::not_ready(2));
    assert!(not_ready.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{not_ready}");
    assert!(not_ready.contains("\r\nretry-after: 2\r\n"), "{not_ready}");
    assert!(text(Response::too_many_requests(1)).contains("\r\nretry-after: 1\r\n"));
    assert!(text(Response::not_kept(5)).starts_with("HTTP/1.1 503 "));
    for (response, status) in [
        (Response::unknown_port(), Status::Forbidden),
        (Response::body_too_large(), Status::ContentTooLarge),
        (Response::head_too_large(), Status::HeaderFieldsTooLarge),
        (Response::too_slow(), Status::RequestTimeout),
        (Response::internal(), Status::InternalServerError),
    ] {
        assert_eq!(response.status, status);
        assert!(text(response).contains("\r\nconnection: close\r\n"));
    }
}

#[test]
fn replies_without_content_have_no_length() {
    let head = "POST /mezame/v1/secrets/db-password/ack HTTP/1.1\r\nHost: a\r\n\r\n";
    let (reply, _) = send(head.as_bytes()).unwrap();
    assert_eq!(reply, "HTTP/1.1 204 No Content\r\n\r\n");
}

proptest! {
    #[test]
    fn no_bytes_make_the_service_panic(input: Vec<u8>) {
        let _ = send(&input);
    }

    #[test]
    fn no_request_like_bytes_make_the_service_panic(
        method in "GET|PUT|POST|HEAD|TRACE|DELETE|[A-Z]{1,5}",
        path in "(/(latest|1\\.0|meta-data|public-keys|0|network|macs|nocloud|mezame|v1|document|secrets|api|token|report|%2e|\\.\\.|[!-~]{0,6})){0,6}(\\?watch=[0-9a-f]{0,17}&timeout=[0-9]{0,4})?",
        name in "Host|Content-Length|Transfer-Encoding|X-aws-ec2-metadata-token|X-aws-ec2-metadata-token-ttl-seconds|If-None-Match|Origin",
        value in "[ -~]{0,60}|[0-9]{0,6}",
        body in "[ -~]{0,40}",
    ) {
        let input = format!("{method} {path} HTTP/1.1\r\nHost: a\r\n{name}: {value}\r\n\r\n{body}");
        if let Some((reply, consumed)) = send(input.as_bytes()) {
            prop_assert!(reply.starts_with("HTTP/1.1 "));
            prop_assert!(!reply.starts_with("HTTP/1.1 500"));
            prop_assert!(consumed <= input.len());
        }
    }
}

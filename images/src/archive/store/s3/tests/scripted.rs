//! Servers that answer what a test says, over TLS and without.

use std::{
    io::Write,
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use super::{super::*, credentials, faults::request, name, open_unproved, place};
use crate::environment::SystemEnvironment;

type Script = dyn Fn(&str) -> Vec<u8> + Send + Sync;

/// A server that answers what the script makes of a request's head; ends with the process.
struct Scripted {
    port: u16,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    fn start(script: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (script, heads): (Arc<Script>, _) = (Arc::new(script), seen.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (script, heads, stream) = (script.clone(), heads.clone(), stream.unwrap());
                std::thread::spawn(move || answer(stream, &*script, &heads));
            }
        });
        Self { port, seen }
    }

    fn store(&self) -> S3 {
        open_unproved(self.port, "f").unwrap()
    }

    fn seen(&self, method: &str) -> usize {
        self.seen.lock().unwrap().iter().filter(|head| head.starts_with(method)).count()
    }
}

fn answer(mut stream: TcpStream, script: &Script, heads: &Mutex<Vec<String>>) {
    while let Ok((head, _)) = request(&mut stream) {
        heads.lock().unwrap().push(head.clone());
        let bytes = script(&head);
        if bytes.is_empty() || stream.write_all(&bytes).is_err() {
            return;
        }
    }
}

fn http(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{headers}\r\n{body}").into_bytes()
}

fn missing() -> Vec<u8> {
    http("404 Not Found", "", "<Error><Code>NoSuchKey</Code></Error>")
}

/// The words of the error itself.
fn words(error: StoreError) -> String {
    match error {
        StoreError::Io { source, .. } | StoreError::Unsettled { source, .. } => source.to_string(),
        other => panic!("{other}"),
    }
}

#[test]
fn an_image_is_never_written_again_after_its_answer_was_lost() {
    // It takes the request and says nothing.
    let server = Scripted::start(|head| if head.starts_with("PUT") { vec![] } else { missing() });
    let error = server.store().put_new(&name("images/a"), b"record").unwrap_err();
    assert_eq!(words(error), "whether it was written is not known");
    assert_eq!(server.seen("PUT"), 1);
    assert!(server.seen("GET") > 1, "it was not looked for");
}

#[test]
fn a_pack_is_never_written_again_under_the_same_name_after_its_answer_was_lost() {
    let server = Scripted::start(|head| if head.starts_with("PUT") { vec![] } else { missing() });
    let error = server.store().put_new(&name("packs/a"), b"pack").unwrap_err();
    assert!(matches!(error, StoreError::Unsettled { .. }), "{error}");
    assert_eq!((server.seen("PUT"), server.seen("GET")), (1, 1));
}

#[test]
fn a_session_s_record_is_written_again_after_its_answer_was_lost() {
    let server = Scripted::start(|head| if head.starts_with("PUT") { vec![] } else { missing() });
    let error = server.store().put_new(&name("writers/a"), b"time").unwrap_err();
    assert!(matches!(error, StoreError::Io { .. } | StoreError::Unsettled { .. }), "{error}");
    assert!(server.seen("PUT") > 2, "it was not tried again");
}

#[test]
fn an_image_whose_answer_was_lost_is_there_where_it_is_found_with_the_same_bytes() {
    let with = |bytes: &'static str| {
        let server = Scripted::start(move |head| match head.starts_with("PUT") {
            true => vec![],
            false => http("200 OK", "", bytes),
        });
        server.store().put_new(&name("images/a"), b"record")
    };
    with("record").unwrap();
    for other in ["tombstone, of another length", "recorD", ""] {
        assert!(matches!(with(other), Err(StoreError::Exists { .. })), "{other}");
    }
}

#[test]
fn a_record_that_was_slowed_down_is_tried_again() {
    let count = Mutex::new(0);
    let server = Scripted::start(move |_| {
        let mut count = count.lock().unwrap();
        *count += 1;
        match *count {
            1 | 2 => http("503 Slow Down", "", "<Error><Code>SlowDown</Code></Error>"),
            _ => http("200 OK", "", ""),
        }
    });
    server.store().put_new(&name("images/a"), b"record").unwrap();
    assert_eq!(server.seen("PUT"), 3);
    let seen = server.seen.lock().unwrap();
    assert!(seen.iter().all(|head| head.to_lowercase().contains("\r\nif-none-match: *\r\n")));
    assert!(seen[0].contains("X-Amz-SignedHeaders=host%3Bif-none-match%3Bx-amz-checksum-sha256"));
}

#[test]
fn a_server_that_says_nothing_is_waited_for_no_longer_than_told() {
    let server = Scripted::start(|_| {
        std::thread::sleep(Duration::from_secs(60));
        vec![]
    });
    let begin = Instant::now();
    let error = server.store().read(&name("images/a"), 9).unwrap_err();
    assert!(words(error).contains("no answer"));
    assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
    let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let error = open_unproved(nobody, "f").unwrap().delete(&name("packs/a")).unwrap_err();
    assert!(words(error).contains("connection"));
}

#[test]
fn a_long_object_is_waited_for_longer_than_a_short_one() {
    // The time for one attempt is 2 s, and 1 s for each MiB.
    let server = Scripted::start(|_| {
        std::thread::sleep(Duration::from_secs(3));
        http("200 OK", "", "a long one")
    });
    let read = server.store().read(&name("packs/a"), 8 << 20).unwrap();
    assert_eq!(read, b"a long one");
    assert_eq!(server.seen("GET"), 1);
}

#[test]
fn an_answer_that_makes_no_sense_is_an_error_and_takes_no_memory() {
    let wrong: [(&str, Vec<u8>); 6] = [
        ("another page", http("404 Not Found", "", "<html>not here</html>")),
        ("too long", b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\n".to_vec()),
        ("a redirect", http("301 Moved", "Location: http://192.0.2.1/\r\n", "")),
        ("no HTTP", b"220 mail.example ESMTP\r\n".to_vec()),
        ("the whole for a part", http("200 OK", "", "123456789")),
        ("another part", http("206 Partial", "Content-Range: bytes 7-9/20\r\n", "789")),
    ];
    for (what, bytes) in wrong {
        let server = Scripted::start(move |_| bytes.clone());
        let error = server.store().read_at(&name("packs/a"), 1, &mut [0; 3]).unwrap_err();
        assert!(matches!(error, StoreError::Io { .. }), "{what}: {error}");
        let error = server.store().list("packs/").unwrap_err();
        assert!(matches!(error, StoreError::Io { .. }), "{what}: {error}");
    }
}

#[test]
fn a_list_without_an_end_or_with_others_names_is_refused() {
    let list = |inner: &str| {
        let space = "http://s3.amazonaws.com/doc/2006-03-01/";
        http(
            "200 OK",
            "",
            &format!("<ListBucketResult xmlns=\"{space}\">{inner}</ListBucketResult>"),
        )
    };
    let page = |key: &str, next: &str| {
        list(&format!("<Contents><Key>{key}</Key><Size>3</Size></Contents>{next}"))
    };
    let endless = "<IsTruncated>true</IsTruncated>\
                   <NextContinuationToken>x</NextContinuationToken>";
    for (bytes, expected) in [
        (page("f/packs/a", endless), "no end"),
        (page("f/packs/a", "<IsTruncated>true</IsTruncated>"), "no list"),
        (page("g/packs/a", ""), "not asked for"),
        (page("/etc/passwd", ""), "not asked for"),
        (list("<Contents><Key>f/packs/a</Key></Contents>"), "lacks a length"),
    ] {
        let server = Scripted::start(move |_| bytes.clone());
        let error = words(server.store().list("packs/").unwrap_err());
        assert!(error.contains(expected), "{error}");
    }
    let foreign = page("f/packs/Some%20Other", "<EncodingType>url</EncodingType>");
    let server = Scripted::start(move |_| foreign.clone());
    assert_eq!(server.store().list("packs/").unwrap(), []);
}

#[test]
fn an_object_that_was_damaged_on_the_way_is_read_again() {
    let count = Mutex::new(0);
    let server = Scripted::start(move |head| {
        assert!(head.contains("x-amz-checksum-mode: ENABLED"), "{head}");
        let mut count = count.lock().unwrap();
        *count += 1;
        let sum = format!("{}: {}\r\n", request::CHECKSUM, request::checksum(b"record"));
        http("200 OK", &sum, if *count == 1 { "recorD" } else { "record" })
    });
    assert_eq!(server.store().read(&name("images/a"), 9).unwrap(), b"record");
    assert_eq!(server.seen("GET"), 2);
}

#[test]
fn over_tls_only_the_authority_that_was_given_is_believed() {
    let folder = tempfile::tempdir().unwrap();
    let made = |file: &str| {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let path = folder.path().join(file);
        std::fs::write(&path, made.cert.pem()).unwrap();
        (path, made)
    };
    let ((ours, certified), (other, _)) = (made("ours.pem"), made("other.pem"));
    let port = tls_server(certified);
    let read = |file: &std::path::Path| {
        let endpoint = format!("https://127.0.0.1:{port}");
        let patience = Patience { attempt: Duration::from_secs(5), whole: Duration::from_secs(1) };
        let (trust, environment) = (Trust::File(file.into()), Arc::new(SystemEnvironment::new()));
        S3::unproved(&place(&endpoint, "f"), credentials(), &trust, patience, environment)
            .unwrap()
            .read(&name("images/a"), 9)
    };
    assert_eq!(read(&ours).unwrap(), b"sealed");
    let StoreError::Io { source, .. } = read(&other).unwrap_err() else { unreachable!() };
    let cause = format!("{source:?}");
    assert!(cause.contains("UnknownIssuer") || cause.contains("BadSignature"), "{cause}");
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    let endpoint = format!("https://127.0.0.1:{port}");
    let (patience, environment) = (Patience::default(), Arc::new(SystemEnvironment::new()));
    let place = place(&endpoint, "f");
    let none = S3::unproved(&place, credentials(), &Trust::File(empty), patience, environment);
    assert!(matches!(none, Err(S3Error::Trust(_))));
}

fn tls_server(certified: rcgen::CertifiedKey<rcgen::KeyPair>) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(certified.signing_key.serialize_der().into());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = rustls::ServerConnection::new(config.clone()).unwrap();
            let mut stream = rustls::StreamOwned::new(connection, stream.unwrap());
            // A client that does not believe it goes.
            if request(&mut stream).is_ok() {
                let _ = stream.write_all(&http("200 OK", "Connection: close\r\n", "sealed"));
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        }
    });
    port
}

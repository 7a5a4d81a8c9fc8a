//! Bytes of a guest to bytes of a reply, through the whole protocol crate.
//!
//! Besides not panicking, each reply must be one that a client reads as exactly one reply, and a
//! guest without a token must get nothing but refusals.

#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::{Corpus, fuzz_target};
use mezame_model::{Dialect, Guest, PortId, Snapshot};
use mezame_protocol::{
    Context, NoRandomness, Randomness, Signer, Spent, Start, Status, TokenKeys, UnixTime,
    wire::{Served, serve_bytes},
};

/// A moment at which the corpus's token is good.
const NOW: UnixTime = UnixTime(1_800_000_000);

/// The most requests that are read from one input.
const PIPELINED: usize = 16;

struct Fixture {
    guest: Guest,
    snapshot: Snapshot,
    port: PortId,
    keys: TokenKeys,
    signer: Signer,
    token: Vec<u8>,
}

static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| {
    let text = include_str!("../../bench/fixture/snapshot.json");
    let snapshot: Snapshot = serde_json::from_str(text).expect("the fixture is a snapshot");
    // In every dialect but the one that would take the others' paths.
    let mut instance = Arc::clone(&snapshot.instances[0]);
    let dialects = Dialect::ALL.into_iter().filter(|it| *it != Dialect::Cloudstack);
    let record = Arc::make_mut(&mut instance);
    record.dialects = dialects.collect();
    let key = serde_json::json!({
        "versions": [{ "number": 1, "key": "Y29ycmVjdCBob3JzZSBiYXR0ZXJ5IHN0YXBsZQ==" }], "last": 1,
    });
    let key = serde_json::from_value(key).expect("a volume's key");
    record.volume_keys.insert("root".parse().expect("a name"), key);
    let mut fixture = Fixture {
        guest: Guest::join(&snapshot, &instance).expect("the record is whole"),
        port: instance.ports[0].clone(),
        keys: TokenKeys::new(&snapshot.site.token_keys).expect("token keys"),
        signer: Signer::new(&snapshot.site.signing_key, Box::new(ring::rand::SystemRandom::new()))
            .expect("a signing key"),
        snapshot,
        token: Vec::new(),
    };
    let mut out = Vec::new();
    let ask = b"PUT /latest/api/token HTTP/1.1\r\nHost: 169.254.169.254\r\n\
        X-aws-ec2-metadata-token-ttl-seconds: 21600\r\n\r\n";
    serve(ask, &fixture, &mut out);
    let head = out.windows(4).position(|four| four == b"\r\n\r\n").expect("a reply");
    fixture.token = out.split_off(head + 4);
    fixture
});

/// The same bytes each time, so that the token in the corpus is the one that is sealed here.
struct Fixed;

impl Randomness for Fixed {
    fn fill(&self, out: &mut [u8]) -> Result<(), NoRandomness> {
        out.iter_mut().zip((1..=u8::MAX).cycle()).for_each(|(byte, value)| *byte = value);
        Ok(())
    }
}

fn serve(input: &[u8], fixture: &Fixture, out: &mut Vec<u8>) -> Served {
    let context = Context {
        keys: &fixture.keys,
        signer: &fixture.signer,
        now: NOW,
        random: &Fixed,
        port: &fixture.port,
        generation: fixture.snapshot.generation,
        modified: None,
        start: Start::NONE,
        acknowledged: &Spent::NONE,
        watch_over: false,
        watched: None,
        order: None,
    };
    serve_bytes(input, &fixture.guest, &context, out)
}

fuzz_target!(|input: &[u8]| -> Corpus {
    let fixture = &*FIXTURE;
    let mut rest = input;
    let mut out = Vec::new();
    for _ in 0..PIPELINED {
        out.clear();
        let Served::Reply { consumed, response } = serve(rest, fixture, &mut out) else {
            assert!(out.is_empty(), "something was replied to a part of a request");
            break;
        };
        assert!((1..=rest.len()).contains(&consumed), "{consumed} of {} bytes", rest.len());
        // Empty lines before a request are passed over (RFC 9112, section 2.2).
        let request = rest[..consumed].trim_ascii_start();
        is_one_reply(&out, request.starts_with(b"HEAD "), response.close);
        let is_token = request.starts_with(b"PUT ");
        let has_token = contains(request, &fixture.token);
        assert!(
            response.status != Status::Ok || is_token || has_token,
            "a guest without a token was answered"
        );
        assert!(has_token || !contains(&out, b"correct horse"), "a secret went out");
        rest = &rest[consumed..];
        if rest.is_empty() || response.close {
            break;
        }
    }
    Corpus::Keep
});

/// Fails unless the bytes are one whole reply: no header breaks out of its line, and the body is
/// as long as announced.
fn is_one_reply(out: &[u8], to_head: bool, is_last: bool) {
    let end = out.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    let head = std::str::from_utf8(&out[..end]).expect("a head of ASCII");
    let mut lines = head.split("\r\n");
    let status = lines.next().expect("a status line");
    let code: u16 = status[9..12].parse().expect("a code");
    assert!(status.starts_with("HTTP/1.1 ") && (200..600).contains(&code), "{status:?}");
    let mut length = None;
    for line in lines {
        let (name, value) = line.split_once(": ").expect("a header");
        assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'), "{name:?}");
        assert!(value.bytes().all(|b| b == b'\t' || !b.is_ascii_control()), "{value:?}");
        if name == "content-length" {
            assert!(length.replace(value.parse::<usize>().expect("a length")).is_none());
        }
    }
    let body = out.len() - end - 4;
    match (to_head, code) {
        // A head that can't be read has no method; what it is answered is the connection's last.
        (true, _) => assert!(body == 0 || is_last, "a body in reply to HEAD"),
        (_, 204 | 304) => assert_eq!(body, 0, "a body where none may be"),
        _ => assert_eq!(Some(body), length, "another length than announced"),
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

//! Keys of volumes: once a start, whoever asks how often, over how many connections and processes.

use std::sync::{Arc, Barrier};

use mezame_model::{
    Generation, KeyOutcome, SecretBytes, VolumeKey, VolumeName, Withheld,
    report::GuestEventKind,
    volume_key::{KeyVersion, Once},
};

use super::arena::{Arena, Client, Reply};
use crate::{
    fixture,
    identity::{Attachment, Taken},
    ledger::{outbox::Outbox, seal::LedgerKey},
    sandbox,
    settings::Limits,
};

const NONCE: &str = "the-first-boot-of-it";
const OTHER: &str = "another-boot-of-it-all";

fn root() -> VolumeName {
    VolumeName::parse("root").unwrap()
}

/// Lets the record of this port come, of an instance with the key `root`.
fn serve(arena: &Arena, number: u32, once: Once) -> Arc<Attachment> {
    let attachment = arena.attach(number);
    attachment.take(Taken::now(1));
    arena.record(&attachment, |instance| {
        let key = SecretBytes::new(vec![77; 32]);
        let key = VolumeKey {
            versions: vec![KeyVersion { number: 1, key }],
            last: 1,
            state: Default::default(),
            once,
            window_seconds: None,
            not_after: None,
        };
        instance.volume_keys.insert(root(), key);
    });
    attachment
}

fn ask(client: &mut Client, nonce: &str) -> Reply {
    let ttl = "X-aws-ec2-metadata-token-ttl-seconds: 60\r\n";
    let token = client.ask("PUT", "/latest/api/token", ttl).body;
    ask_with(client, &token, nonce)
}

fn ask_with(client: &mut Client, token: &str, nonce: &str) -> Reply {
    let key = "CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=";
    let body = format!(r#"{{"public_key":"{key}","boot_nonce":"{nonce}"}}"#);
    client.send(&format!(
        "POST /mezame/v1/volume-keys/root HTTP/1.1\r\nHost: 169.254.169.254\r\n\
         X-aws-ec2-metadata-token: {token}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    client.reply().unwrap()
}

#[test]
fn of_many_that_ask_at_once_one_is_given_the_key() {
    sandbox::enter();
    let arena = Arena::new();
    serve(&arena, 1, Once::PerBoot);
    let barrier = Barrier::new(8);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let askers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = arena.connect(1).unwrap();
                    let ttl = "X-aws-ec2-metadata-token-ttl-seconds: 60\r\n";
                    let token = client.ask("PUT", "/latest/api/token", ttl).body;
                    barrier.wait();
                    ask_with(&mut client, &token, NONCE).status
                })
            })
            .collect();
        askers.into_iter().map(|asker| asker.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| [200, 409].contains(status)), "{statuses:?}");
    assert_eq!(arena.counted("mezame_secrets_handed_out_total"), 1);
}

#[test]
fn a_tap_that_is_taken_hold_of_anew_is_a_start_and_nothing_that_the_guest_says_is() {
    sandbox::enter();
    let arena = Arena::new();
    let attachment = serve(&arena, 1, Once::PerStart);
    let mut client = arena.connect(1).unwrap();
    let first = ask(&mut client, NONCE);
    assert_eq!(first.status, 200, "{}", first.body);
    assert!(!first.body.contains("TU1NTU1N"), "not in the clear");
    assert_eq!(first.header("cache-control"), Some("no-store"));
    for nonce in [NONCE, OTHER] {
        let again = ask(&mut client, nonce);
        assert!(again.status == 409 && again.body.contains("already-released"), "{}", again.body);
    }
    attachment.take(Taken::now(2));
    assert_eq!(ask(&mut client, NONCE).status, 200);
    assert_eq!(arena.serving.outbox.len(), 4, "all of it is on its way up");
}

#[test]
fn a_key_that_can_not_be_audited_is_not_given_out_and_may_be_asked_for_again() {
    sandbox::enter();
    let arena = Arena::with(Limits { events_per_port: 1, ..Limits::default() });
    serve(&arena, 1, Once::PerStart);
    let mut client = arena.connect(1).unwrap();
    let ttl = "X-aws-ec2-metadata-token-ttl-seconds: 60\r\n";
    let token = client.ask("PUT", "/latest/api/token", ttl).body;
    // The one event that may wait is on its way up already.
    let port = fixture::port_id(1);
    let instance = fixture::instance_id(1);
    let request = mezame_model::KeyRequest {
        volume: root(),
        start: mezame_model::BootDigest::new([0; 16]),
        boot: mezame_model::BootDigest::new([0; 16]),
        outcome: KeyOutcome::Withheld(Withheld::Revoked),
    };
    let kind = GuestEventKind::VolumeKey(request);
    let event = mezame_model::GuestEvent { port, instance, at_ms: 1, key: 1, kind };
    arena.serving.outbox.keep(event, Generation(1)).unwrap();
    let refused = ask_with(&mut client, &token, NONCE);
    assert_eq!(refused.status, 503, "{}", refused.body);
    assert_eq!(arena.counted("mezame_secrets_handed_out_total"), 0);
}

/// A claim as the protocol makes it.
fn claim(generation: u64) -> Box<mezame_protocol::Claim> {
    use mezame_protocol::{Answer, Context, Request, Spent, Start, Version, respond};
    let mut snapshot = fixture::snapshot(generation, [1]);
    let key = serde_json::json!({
        "versions": [{ "number": 1, "key": "TU1NTU1NTU1NTU1NTU1NTQ==" }], "last": 1,
    });
    let instance = Arc::make_mut(&mut snapshot.instances[0]);
    instance.volume_keys.insert(root(), serde_json::from_value(key).unwrap());
    let guest = mezame_model::Guest::join(&snapshot, &snapshot.instances[0]).unwrap();
    let keys = crate::site::SiteKeys::new(&snapshot.site).unwrap();
    let now = crate::clock::unix_time();
    let ttl = [("host", &b"x"[..]), ("x-aws-ec2-metadata-token-ttl-seconds", b"60")];
    let context = Context {
        keys: &keys.tokens,
        signer: &keys.signer,
        now,
        random: &Zeroes,
        port: &guest.ports[0].port.id,
        generation: snapshot.generation,
        modified: None,
        acknowledged: &Spent::NONE,
        start: Start { age_s: 1, ..Start::NONE },
        order: None,
        watch_over: false,
        watched: None,
    };
    let put = Request::parse(Version::Http11, "PUT", b"/latest/api/token", ttl).unwrap();
    let Answer::Reply(token) = respond(&put, b"", &guest, &context) else { panic!() };
    let fields = [("host", &b"x"[..]), ("x-aws-ec2-metadata-token", &token.body[..])];
    let path = b"/mezame/v1/volume-keys/root";
    let post = Request::parse(Version::Http11, "POST", path, fields).unwrap();
    let body = format!(
        r#"{{"public_key":"CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=","boot_nonce":"{NONCE}"}}"#
    );
    let Answer::VolumeKey(claim) = respond(&post, body.as_bytes(), &guest, &context) else {
        panic!()
    };
    claim
}

struct Zeroes;

impl mezame_protocol::Randomness for Zeroes {
    fn fill(&self, out: &mut [u8]) -> Result<(), mezame_protocol::NoRandomness> {
        out.fill(0);
        Ok(())
    }
}

/// An outbox over a directory, as each process opens it.
fn open(directory: &std::path::Path) -> Outbox {
    let key = Arc::new(LedgerKey::open(&directory.join("key")).unwrap());
    Outbox::open(directory, key, 8).unwrap().0
}

#[test]
fn what_one_process_gave_out_another_does_not() {
    let directory = tempfile::tempdir().unwrap();
    let (one, other) = (open(directory.path()), open(directory.path()));
    let claim = claim(5);
    // The event could not be kept, so nothing was given out.
    let failed = one.releases().settle(&claim, || Err(crate::ledger::LedgerError::Random));
    assert!(failed.is_err());
    assert_eq!(one.releases().settle(&claim, || Ok(())).unwrap(), Ok(()));
    for outbox in [&one, &other, &open(directory.path())] {
        let again = outbox.releases().settle(&claim, || panic!("it is not given out"));
        assert_eq!(again.unwrap(), Err(Withheld::AlreadyReleased));
    }
}

#[test]
fn what_was_given_out_is_forgotten_with_its_key_and_not_before() {
    let directory = tempfile::tempdir().unwrap();
    let outbox = open(directory.path());
    let releases = outbox.releases();
    let claim = claim(5);
    let settle = || releases.settle(&claim, || Ok(())).unwrap();
    assert_eq!(settle(), Ok(()));
    releases.forget(Generation(9), |_, volume| *volume == root()).unwrap();
    assert!(settle().is_err(), "the key is there");
    releases.forget(Generation(4), |_, _| false).unwrap();
    assert!(settle().is_err(), "a snapshot from before does not know it");
    releases.forget(Generation(5), |_, _| false).unwrap();
    assert_eq!(settle(), Ok(()));
}

#[test]
fn a_note_that_does_not_open_keeps_the_key_where_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let outbox = open(directory.path());
    let claim = claim(5);
    assert_eq!(outbox.releases().settle(&claim, || Ok(())).unwrap(), Ok(()));
    let released = directory.path().join("released");
    let file = std::fs::read_dir(&released)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some())
        .unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    assert!(!bytes.windows(4).any(|four| four == b"boot"), "it is sealed");
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&file, bytes).unwrap();
    assert!(outbox.releases().settle(&claim, || Ok(())).is_err());
}

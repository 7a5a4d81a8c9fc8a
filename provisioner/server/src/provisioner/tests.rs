//! The whole control plane over a real unix socket and real TLS on the loopback.

use std::os::unix::fs::PermissionsExt;

use mezame_model::{FeedError, Generation};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::*;
use crate::{settings::TlsSettings, testing::http};

/// A control plane that runs until it is stopped.
struct Running {
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<Result<(), ServeError>>,
    feed: Arc<dyn Feed>,
    tls: Option<SocketAddr>,
}

impl Running {
    async fn start(settings: &Settings) -> Self {
        let provisioner = Provisioner::open(settings.clone()).await.unwrap();
        let (feed, tls) = (provisioner.feed(), provisioner.tls_address());
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(provisioner.serve(async {
            let _ = stopped.await;
        }));
        Self { stop, task, feed, tls }
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap().unwrap();
    }
}

fn seed() -> Value {
    json!({ "documents": [
        { "kind": "Instance", "project": "p", "name": "web", "ports": ["web-0"],
          "user_data": "#!/bin/sh\necho plain-user-data-text\n",
          "secrets": { "db": "plain-secret-text" } },
        { "kind": "Port", "project": "p", "name": "web-0", "network": "lan" },
        { "kind": "Network", "project": "p", "name": "lan", "vni": 1000,
          "subnets": [{ "cidr": "192.168.0.0/24", "gateway": "192.168.0.1" }] },
        { "kind": "Project", "name": "p" },
    ] })
}

#[tokio::test]
async fn a_seed_over_the_unix_socket_reaches_the_feed_and_survives_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let settings = Settings::in_directory(directory.path());
    let socket = settings.socket.clone().unwrap();
    let running = Running::start(&settings).await;
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o660);

    let before = running.feed.next(Generation::ZERO).await.unwrap();
    let waiting = tokio::spawn({
        let feed = Arc::clone(&running.feed);
        async move { feed.next(before.generation).await }
    });
    let answer = http::unix(&socket, "POST", "/v1/apply", &[], Some(&seed())).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let snapshot = waiting.await.unwrap().unwrap();
    assert_eq!(snapshot.generation.0, answer.json()["generation"].as_u64().unwrap());
    assert_eq!(snapshot.instances.len(), 1);
    assert_eq!(snapshot.ports[0].instance.as_ref(), Some(&snapshot.instances[0].id));
    assert_eq!(snapshot.ports[0].addresses, ["192.168.0.2".parse::<std::net::IpAddr>().unwrap()]);

    // An event stream that is open does not hold the end up.
    let stream = http::unix_lines(&socket, "/v1/events?after=0").await;
    let feed = Arc::clone(&running.feed);
    running.stop().await;
    drop(stream);
    assert_eq!(feed.next(Generation::ZERO).await.unwrap_err(), FeedError::Away);
    assert!(!socket.exists());

    let again = Running::start(&settings).await;
    let after = again.feed.next(Generation::ZERO).await.unwrap();
    assert_eq!((&after.instances, &after.ports), (&snapshot.instances, &snapshot.ports));
    assert_eq!(after.site, snapshot.site);
    assert!(after.generation >= snapshot.generation);
    again.stop().await;
}

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A tokens file with one writer and one reader.
fn write_tokens(path: &Path) {
    let line = |name: &str, token: &str| {
        let digest = ring::digest::digest(&ring::digest::SHA256, token.as_bytes());
        format!("{name} {name} {}\n", crate::spec::hex(digest.as_ref()))
    };
    let text = line("write", TOKEN) + &line("read", &TOKEN.replace('0', "9"));
    fs::write(path, text).unwrap();
}

#[tokio::test]
async fn tls_asks_for_a_token_and_keeps_its_role_and_its_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let mut settings = Settings::in_directory(directory.path());
    let listen = "127.0.0.1:0".parse().unwrap();
    settings.tls = Some(TlsSettings { listen, identity: None, names: vec![] });
    assert!(matches!(Provisioner::open(settings.clone()).await, Err(OpenError::Tokens(_))));
    write_tokens(&settings.tokens_file);
    let running = Running::start(&settings).await;
    let (address, certificate) = (running.tls.unwrap(), directory.path().join("tls.crt"));
    let call = |method: &'static str, path: &'static str, authorization: Option<String>| {
        let certificate = certificate.clone();
        async move {
            let headers: Vec<_> =
                authorization.iter().map(|text| ("authorization", text.as_str())).collect();
            http::tls(address, &certificate, method, path, &headers).await.unwrap()
        }
    };
    let bearer = |token: &str| Some(format!("Bearer {token}"));
    for wrong in [
        None,
        bearer("x"),
        bearer(&TOKEN.replace('f', "e")),
        Some(format!("Basic {TOKEN}")),
        Some(TOKEN.into()),
    ] {
        assert_eq!(call("GET", "/v1/projects", wrong).await.status, 401);
    }
    let good = call("GET", "/v1/whoami", Some(format!("bearer {TOKEN}"))).await;
    assert_eq!(good.json(), json!({ "name": "write", "role": "write" }));
    let reader = bearer(&TOKEN.replace('0', "9"));
    assert_eq!(call("GET", "/v1/projects", reader.clone()).await.status, 200);
    assert_eq!(call("POST", "/v1/keys/tokens/rotate", reader).await.status, 403);
    assert_eq!(call("POST", "/v1/keys/tokens/rotate", bearer(TOKEN)).await.status, 204);

    // Plain HTTP gets no answer from it.
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut plain = tokio::net::TcpStream::connect(address).await.unwrap();
    plain.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"));

    // Whoever pinned the certificate still knows the server after a restart.
    let pinned = fs::read(&certificate).unwrap();
    assert_eq!(
        fs::metadata(directory.path().join("tls.key")).unwrap().permissions().mode() & 0o777,
        0o600
    );
    running.stop().await;
    let again = Running::start(&settings).await;
    assert_eq!(fs::read(&certificate).unwrap(), pinned);
    again.stop().await;
}

#[tokio::test]
async fn no_secret_lies_in_the_clear_in_the_state_directory() {
    let directory = tempfile::tempdir().unwrap();
    let settings = Settings::in_directory(directory.path());
    let socket = settings.socket.clone().unwrap();
    let running = Running::start(&settings).await;
    assert_eq!(http::unix(&socket, "POST", "/v1/apply", &[], Some(&seed())).await.status, 200);
    let snapshot = running.feed.next(Generation::ZERO).await.unwrap();
    let search = || {
        let files = fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap().path());
        // The key file is the one place that holds a key in the clear, and no other secret.
        let read = files.filter(|path| path.is_file()).map(|path| fs::read(path).unwrap());
        let bytes: Vec<u8> = read.flatten().collect();
        let has = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
        assert!(has(b"web-0"), "the search finds what is in the clear");
        let key = snapshot.site.token_keys[0].key.expose();
        let signing = &snapshot.site.signing_key.pkcs8.expose()[100..160];
        use base64::{Engine, engine::general_purpose::STANDARD};
        for secret in [b"plain-user-data".as_slice(), b"plain-secret", key, signing] {
            assert!(!has(secret));
            // Neither as the JSON of the records has them.
            let length = secret.len() / 3 * 3;
            assert!(!has(STANDARD.encode(&secret[..length]).as_bytes()));
        }
    };
    search();
    assert_eq!(http::unix(&socket, "POST", "/v1/keys/sealing/rotate", &[], None).await.status, 204);
    search();
    running.stop().await;
    search();
    // What was sealed anew opens with what the key file has now.
    let again = Running::start(&settings).await;
    let after = again.feed.next(Generation::ZERO).await.unwrap();
    assert_eq!(after.instances, snapshot.instances);
    again.stop().await;
}

#[tokio::test]
async fn a_rotation_that_was_cut_short_is_finished_at_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let settings = Settings::in_directory(directory.path());
    let socket = settings.socket.clone().unwrap();
    let running = Running::start(&settings).await;
    http::unix(&socket, "POST", "/v1/apply", &[], Some(&seed())).await;
    running.stop().await;
    // Killed right after the new key was saved: the file has both, the database the old one only.
    let environment = SystemEnvironment::new();
    let ring = key_file::load_or_make(&settings.key_path(), true, &environment).unwrap();
    let next = crate::sealing::SealingKey::make(ring.current() + 1, &environment).unwrap();
    key_file::save(&settings.key_path(), &ring.with(next)).unwrap();
    let again = Running::start(&settings).await;
    assert_eq!(again.feed.next(Generation::ZERO).await.unwrap().instances.len(), 1);
    again.stop().await;
    let ring = key_file::load_or_make(&settings.key_path(), true, &environment).unwrap();
    assert_eq!(ring.keys().iter().map(|key| key.number).collect::<Vec<_>>(), [2]);
    Running::start(&settings).await.stop().await;
}

#[tokio::test]
async fn a_lost_key_file_is_an_error_and_not_a_new_beginning() {
    let directory = tempfile::tempdir().unwrap();
    let settings = Settings::in_directory(directory.path());
    Running::start(&settings).await.stop().await;
    fs::remove_file(settings.key_path()).unwrap();
    let refused = Provisioner::open(settings).await.map(drop).unwrap_err();
    assert!(matches!(refused, OpenError::KeyFile(KeyFileError::Lost { .. })), "{refused}");
}

#[tokio::test]
async fn a_successor_waits_for_the_state_and_keeps_its_own_socket() {
    let directory = tempfile::tempdir().unwrap();
    let settings = Settings { takeover_seconds: 60, ..Settings::in_directory(directory.path()) };
    let socket = settings.socket.clone().unwrap();
    let hasty = Settings { takeover_seconds: 0, ..settings.clone() };
    let old = Running::start(&settings).await;
    let refused = Provisioner::open(hasty).await.map(drop).unwrap_err();
    assert!(matches!(refused, OpenError::Store(StoreError::InUse { .. })), "{refused}");
    let new = tokio::spawn({
        let settings = settings.clone();
        async move { Running::start(&settings).await }
    });
    assert_eq!(http::unix(&socket, "GET", "/healthz", &[], None).await.status, 200);
    old.stop().await;
    let new = new.await.unwrap();
    assert_eq!(http::unix(&socket, "GET", "/healthz", &[], None).await.status, 200);
    new.stop().await;
}

#[tokio::test]
async fn another_region_in_the_settings_is_a_new_generation() {
    let directory = tempfile::tempdir().unwrap();
    let settings = Settings::in_directory(directory.path());
    let first = Running::start(&settings).await;
    let before = first.feed.next(Generation::ZERO).await.unwrap();
    first.stop().await;
    let moved = Settings { region: "jp-east-1".into(), ..settings.clone() };
    let second = Running::start(&moved).await;
    let after = second.feed.next(before.generation).await.unwrap();
    assert_eq!(&*after.site.region, "jp-east-1");
    assert_eq!(after.site.token_keys, before.site.token_keys);
    second.stop().await;
    let bad = Settings { region: "JP East".into(), ..settings };
    let refused = Provisioner::open(bad).await.map(drop).unwrap_err();
    assert!(matches!(refused, OpenError::Setting { name: "region", .. }));
}

#[tokio::test]
async fn a_file_in_the_sockets_place_is_left_alone_and_a_dead_socket_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let settings = Settings::in_directory(directory.path());
    let socket = settings.socket.clone().unwrap();
    fs::write(&socket, "precious").unwrap();
    let refused = Provisioner::open(settings.clone()).await.map(drop).unwrap_err();
    assert!(matches!(refused, OpenError::Socket(SocketError::NotASocket { .. })), "{refused}");
    assert_eq!(fs::read_to_string(&socket).unwrap(), "precious");
    fs::remove_file(&socket).unwrap();
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    assert!(socket.exists());
    let running = Running::start(&settings).await;
    assert_eq!(http::unix(&socket, "GET", "/healthz", &[], None).await.status, 200);
    running.stop().await;
}

#[tokio::test]
async fn events_are_streamed_over_the_socket() {
    let directory = tempfile::tempdir().unwrap();
    let settings =
        Settings { storage: Storage::Memory, ..Settings::in_directory(directory.path()) };
    let socket = settings.socket.clone().unwrap();
    let running = Running::start(&settings).await;
    let mut lines = http::unix_lines(&socket, "/v1/events").await;
    http::unix(&socket, "PUT", "/v1/projects/p", &[], Some(&json!({}))).await;
    let line = lines.next().await.unwrap();
    assert_eq!((&line["what"], &line["name"]), (&json!("created"), &json!("p")));
    running.stop().await;
    assert_eq!(lines.next().await, None);
    assert!(!settings.database_path().exists());
}

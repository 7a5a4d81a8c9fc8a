//! The whole control plane over a real unix socket and real TLS on the loopback.

use std::{os::unix::fs::PermissionsExt, time::Duration};

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

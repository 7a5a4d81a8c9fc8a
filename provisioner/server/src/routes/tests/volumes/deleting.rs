//! Volumes deleted by callers who don't wait for the end.

use super::*;

impl Depot {
    /// Asks for a volume's deletion, and goes away once so many were begun.
    async fn delete_and_go(&self, id: &str, begun: usize) {
        let path = format!("/v1/projects/p/volumes/{id}");
        let mut call = std::pin::pin!(self.plane().call("DELETE", &path, &[], Body::empty()));
        loop {
            let look = tokio::time::timeout(Duration::from_millis(1), &mut call);
            assert!(look.await.is_err(), "{id} is deleted at once");
            if self.noted.deleting.load(Ordering::SeqCst) >= begun {
                return;
            }
        }
    }

    fn hold(&self, is_held: bool) {
        self.noted.is_held.store(is_held, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn a_volume_that_is_being_erased_is_forgotten_with_its_keys_though_who_asked_goes() {
    let depot = Depot::open().await;
    depot.made(json!({ "id": "web", "size": 1 << 20, "encrypted": true })).await;
    depot.hold(true);
    depot.delete_and_go("web", 1).await;
    depot.hold(false);
    while depot.plane().get("/v1/projects/p/volumes/web").await.status != 404 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(depot.noted.volumes.lock().unwrap().is_empty());
    depot.made(json!({ "id": "web", "size": 1 << 20 })).await;
}

#[tokio::test]
async fn a_deletion_tells_which_schedules_name_the_volume() {
    let depot = Depot::open().await;
    for id in ["data", "web"] {
        depot.made(json!({ "id": id, "size": 1 << 20 })).await;
    }
    let plane = depot.plane();
    for (name, volumes) in [("both", json!(["web", "data"])), ("other", json!(["data"]))] {
        let at = format!("/v1/projects/p/backup-schedules/{name}");
        let spec = json!({ "volumes": volumes, "when": "02:30" });
        assert_eq!(plane.put(&at, &[], spec).await.status, 200);
    }
    let deleted = plane.call("DELETE", "/v1/projects/p/volumes/web", &[], Body::empty()).await;
    assert_eq!(deleted.json()["schedules"], json!(["both"]), "{}", deleted.text);
}

#[tokio::test]
async fn a_project_that_is_made_again_has_no_jobs_of_the_one_before() {
    let depot = Depot::open().await;
    depot.made(json!({ "id": "web", "size": 1 << 20 })).await;
    let plane = depot.plane();
    let jobs = "/v1/projects/p/jobs";
    assert_eq!(plane.get(jobs).await.json().as_array().unwrap().len(), 1);
    for path in ["/v1/projects/p/volumes/web", "/v1/projects/p"] {
        let deleted = plane.call("DELETE", path, &[], Body::empty()).await;
        assert!(matches!(deleted.status, 200 | 204), "{}", deleted.text);
    }
    let again = plane.put("/v1/projects/p", &[], json!({})).await;
    assert!(matches!(again.status, 200 | 201), "{}", again.text);
    assert_eq!(plane.get(jobs).await.json(), json!([]));
}

/// The events of this thread, as text.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl tracing::Subscriber for Log {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::INFO
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = String::new();
        event.record(&mut |field: &tracing::field::Field, value: &dyn std::fmt::Debug| {
            line += &format!("{field}={value:?} ");
        });
        self.0.lock().unwrap().push(line);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test]
async fn who_has_something_changed_is_in_the_log_also_where_he_does_not_wait_for_the_answer() {
    let depot = Depot::open().await;
    depot.made(json!({ "id": "web", "size": 1 << 20 })).await;
    let log = Log::default();
    let logged = tracing::subscriber::set_default(log.clone());
    depot.hold(true);
    depot.delete_and_go("web", 1).await;
    depot.hold(false);
    drop(logged);
    let lines = log.0.lock().unwrap().concat();
    assert!(
        ["caller=test", "method=DELETE", "path=/v1/projects/p/volumes/web"]
            .iter()
            .all(|word| lines.contains(word)),
        "{lines}"
    );
}

#[tokio::test]
async fn a_volume_whose_deletion_was_not_begun_when_who_asked_went_stays() {
    let depot = Depot::open().await;
    for number in 0..5 {
        depot.made(json!({ "id": format!("web-{number}"), "size": 1 << 20 })).await;
    }
    depot.hold(true);
    // As many as there are threads.
    for number in 0..4 {
        depot.delete_and_go(&format!("web-{number}"), number + 1).await;
    }
    depot.delete_and_go("web-4", 4).await;
    depot.hold(false);
    let ids = async || {
        let all = depot.plane().get("/v1/projects/p/volumes").await.json();
        let ids = all.as_array().unwrap().iter().map(|it| it["id"].clone());
        ids.collect::<Vec<_>>()
    };
    while ids().await.len() > 1 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // It can be opened once its deletion was given up.
    let open = async || depot.plane().post("/v1/projects/p/volumes/web-4/open", Value::Null).await;
    while open().await.status != 200 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(ids().await, ["web-4"]);
    assert_eq!(depot.noted.deleting.load(Ordering::SeqCst), 4);
}

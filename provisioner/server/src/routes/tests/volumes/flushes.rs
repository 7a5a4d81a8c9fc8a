//! Guests that are seen to, over the API, with QEMUs that are only noted down.

use super::*;
use crate::environment::Environment;

const BOUND: Duration = Duration::from_secs(60);

impl Depot {
    pub(super) async fn open_for(&self, id: &str, qmp: &str) {
        let path = format!("/v1/projects/p/volumes/{id}/open");
        let opened = self.plane().post(&path, json!({ "qmp": qmp })).await;
        assert_eq!(opened.status, 200, "{}", opened.text);
    }

    /// What is shown of a volume, once that is so.
    pub(super) async fn until(&self, id: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let begin = std::time::Instant::now();
        loop {
            let shown = self.show(id).await;
            if is_so(&shown) {
                return shown;
            }
            assert!(begin.elapsed() < BOUND, "{shown}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(super) fn qemu(&self, qmp: &str, is_there: bool) {
        let mut qemus = self.noted.qemus.lock().unwrap();
        if is_there {
            qemus.insert(qmp.into())
        } else {
            qemus.remove(Path::new(qmp))
        };
    }

    pub(super) fn told(&self, id: &str) -> Option<Limits> {
        self.noted.told.lock().unwrap().get(&VolumeId::parse(id).unwrap()).copied()
    }

    /// Changes how a volume's flusher does.
    fn flusher(&self, id: &str, change: impl FnOnce(&mut Flushed)) {
        let mut all = self.noted.flushers.lock().unwrap();
        change(all.get_mut(&VolumeId::parse(id).unwrap()).unwrap());
    }
}

#[tokio::test]
async fn a_guest_that_open_names_has_limits_and_flushes_from_its_start_until_it_ends() {
    let depot = Depot::open().await;
    let limits = json!({ "iops": 5 });
    depot.made(json!({ "id": "web", "size": 1 << 20, "limits": limits })).await;
    assert!(depot.show("web").await.get("flush").is_none());
    depot.open_for("web", "/run/web").await;
    let waiting = depot.until("web", |it| it["flush"]["why"] == "nobody is there").await;
    assert_eq!(waiting["flush"]["state"], "waiting");
    assert_eq!(depot.told("web"), None);

    depot.qemu("/run/web", true);
    let kept = depot.until("web", |it| it["flush"]["state"] == "kept").await;
    assert_eq!(kept["flush"]["qmp"], "/run/web");
    assert_eq!(depot.told("web"), Some(Limits { iops: Some(5), bytes: None }));
    let until = kept["flush"]["durable_until_ms"].as_u64().unwrap();
    assert_eq!(until, depot.environment.now_ms() - 200);
    // Its limits are changed without a word of its monitor.
    let path = "/v1/projects/p/volumes/web/limits";
    depot.plane().put(path, &[], json!({ "limits": { "bytes": 7 } })).await;
    depot.until("web", |_| depot.told("web").is_some_and(|it| it.bytes == Some(7))).await;

    depot.flusher("web", |it| (it.is_kept, it.lates) = (false, 1));
    let late = depot.until("web", |it| it["flush"]["state"] == "late").await;
    assert_eq!(late["flush"]["lates"], 1);
    // Its QEMU is gone, so its flushes fail.
    depot.qemu("/run/web", false);
    depot.flusher("web", |it| it.is_failing = true);
    depot.until("web", |it| it.get("flush").is_none()).await;
    assert!(depot.noted.flushers.lock().unwrap().is_empty());
    // The next one that is started there is none that was said to have it.
    depot.qemu("/run/web", true);
    depot.plane().post("/v1/projects/p/volumes/web/open", Value::Null).await;
    assert!(depot.show("web").await.get("flush").is_none());
}

#[tokio::test]
async fn a_running_guest_s_volume_is_flushed_when_that_is_said_and_until_it_is_said_no_more() {
    let depot = Depot::open().await;
    for (id, class) in [("web", "bounded"), ("sync", "synchronous")] {
        depot.made(json!({ "id": id, "size": 1 << 20, "class": class })).await;
    }
    let (web, sync) = ("/v1/projects/p/volumes/web/flush", "/v1/projects/p/volumes/sync/flush");
    let plane = depot.plane();
    for (path, body, status) in [
        (web, json!({}), 422),
        (web, json!({ "qmp": "x" }), 422),
        (web, json!({ "qmp": "/run/web" }), 409),
        (sync, json!({ "qmp": "/run/web" }), 409),
        ("/v1/projects/q/volumes/web/flush", json!({ "qmp": "/run/web" }), 404),
    ] {
        let refused = plane.put(path, &[], body.clone()).await;
        assert_eq!(refused.status, status, "{path} {body} {}", refused.text);
    }
    assert!(depot.show("web").await.get("flush").is_none());
    depot.qemu("/run/web", true);
    let begun = plane.put(web, &[], json!({ "qmp": "/run/web" })).await.json();
    assert_eq!(begun["flush"]["state"], "kept", "{begun}");
    assert_eq!(plane.get("/v1/projects/p/volumes").await.json()[1]["flush"]["state"], "kept");
    let ended = plane.call("DELETE", web, &[], Body::empty()).await;
    assert!(ended.status == 200 && ended.json().get("flush").is_none(), "{}", ended.text);
    assert!(depot.noted.flushers.lock().unwrap().is_empty());
    let again = plane.call("DELETE", web, &[], Body::empty()).await;
    assert_eq!(again.status, 200, "{}", again.text);
}

#[tokio::test]
async fn a_guest_of_a_class_that_is_not_flushed_has_its_limits_and_is_left_alone_then() {
    let depot = Depot::open().await;
    let limits = json!({ "bytes": 9 });
    for (id, limits) in [("sync", limits), ("free", json!({}))] {
        let class = "synchronous";
        depot.made(json!({ "id": id, "size": 1 << 20, "class": class, "limits": limits })).await;
    }
    depot.open_for("free", "/run/free").await;
    assert!(depot.show("free").await.get("flush").is_none());
    depot.open_for("sync", "/run/sync").await;
    assert_eq!(depot.show("sync").await["flush"]["state"], "waiting");
    depot.qemu("/run/sync", true);
    depot.until("sync", |it| it.get("flush").is_none()).await;
    assert_eq!(depot.told("sync").unwrap().bytes, Some(9));
}

#[tokio::test]
async fn a_guest_that_does_not_come_is_waited_for_ten_minutes_and_what_refuses_is_tried_again() {
    let depot = Depot::open().await;
    for id in ["web", "db"] {
        depot.made(json!({ "id": id, "size": 1 << 20 })).await;
    }
    depot.open_for("web", "/run/web").await;
    depot.until("web", |it| it["flush"]["why"] == "nobody is there").await;
    depot.environment.advance_ms(599_000);
    depot.open_for("db", "/run/db").await;
    depot.noted.refuse(Reason::Conflict);
    depot.qemu("/run/db", true);
    let refused = depot.until("db", |it| it["flush"]["why"] == "refused, as the test wants").await;
    assert_ne!(refused["flush"]["state"], "kept");
    depot.until("db", |it| it["flush"]["state"] == "kept").await;
    assert_eq!(depot.show("web").await["flush"]["state"], "waiting");
    depot.environment.advance_ms(1_000);
    depot.until("web", |it| it.get("flush").is_none()).await;
    assert_eq!(depot.show("db").await["flush"]["state"], "kept");
}

#[tokio::test]
async fn how_often_a_volume_is_flushed_is_said_when_it_is_made() {
    let depot = Depot::open().await;
    for (class, flush_ms) in
        [("bounded", 99), ("bounded", 60_001), ("recovered", 0), ("synchronous", 1000)]
    {
        let body = json!({ "id": "x", "size": 1 << 20, "class": class, "flush_ms": flush_ms });
        assert_eq!(depot.fault(body.clone()).await, "flush_ms", "{body}");
    }
    for (id, class, flush_ms, shown) in [
        ("one", "bounded", json!(100), json!(100)),
        ("two", "bounded", Value::Null, json!(1000)),
        ("three", "recovered", json!(60_000), json!(60_000)),
        ("four", "flush-honouring", Value::Null, Value::Null),
    ] {
        depot
            .made(json!({ "id": id, "size": 1 << 20, "class": class, "flush_ms": flush_ms }))
            .await;
        let volume = depot.show(id).await;
        assert_eq!((&volume["class"], &volume["flush_ms"]), (&json!(class), &shown));
    }
}

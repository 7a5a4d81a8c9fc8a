//! Backups of a guest that is off when it is to be backed up.

use super::*;

impl Site {
    /// One volume's backup, and what it says.
    async fn saved(&self, order: Value) -> Value {
        let job = self.done("backups", order).await;
        assert_eq!(job["state"], "done", "{job}");
        let path = format!("/v1/projects/p/backups/{}", job["backups"][0].as_str().unwrap());
        self.plane().get(&path).await.json()
    }
}

#[tokio::test]
async fn a_guest_is_backed_up_whether_it_runs_or_not_by_the_same_order() {
    let site = Site::open().await;
    site.made(json!({ "id": "web", "size": 2 << 20 })).await;
    let start = site.start("web").await;
    let machine = Machine::start(&site.path(""), "web", &[&start]);
    let order = json!({ "volumes": ["web"], "qmp": machine.socket });
    let running = site.saved(order.clone()).await;
    assert_eq!(running["consistency"], "crash", "{running}");
    // By whatever name, a volume that QEMU has open is not read behind its back.
    let off = json!({ "volumes": ["web"], "qmp": site.path("none.sock") });
    let refused = site.done("backups", off).await;
    assert_eq!(refused["state"], "failed", "{refused}");
    let said = refused["faults"][0]["message"].as_str().unwrap();
    assert!(said.contains("nobody listens at") && said.contains("none.sock"), "{refused}");
    let refused = site.done("backups", json!({ "volumes": ["web"] })).await;
    assert_eq!(refused["state"], "failed", "{refused}");
    machine.quit();
    let stopped = site.saved(order.clone()).await;
    assert_eq!(stopped["consistency"], "stopped", "{stopped}");
    assert_eq!(stopped["read"], "all: no guest ran on it", "{stopped}");
    assert_eq!(stopped["size"], 2 << 20);
    assert_ne!(stopped["point"], running["point"]);
    let unnamed = site.saved(json!({ "volumes": ["web"] })).await;
    assert_eq!(unnamed["consistency"], "stopped", "{unnamed}");
    // What has changed since the last point in time is still known.
    let start = site.start("web").await;
    let machine = Machine::start(&site.path(""), "again", &[&start]);
    let order = json!({ "volumes": ["web"], "qmp": machine.socket });
    assert_eq!(site.saved(order).await["read"], "incremental");
    assert_eq!(std::fs::read_dir(site.path("run")).unwrap().count(), 0);
}

#[tokio::test]
async fn nobody_is_frozen_where_no_monitor_is_named() {
    let site = Site::open().await;
    site.made(json!({ "id": "web", "size": 1 << 20 })).await;
    let order = json!({ "volumes": ["web"], "freeze": { "guest_agent": "/run/web.qga" } });
    let asked = site.plane().post("/v1/projects/p/backups", order).await;
    assert_eq!(asked.status, 422, "{}", asked.text);
    assert!(asked.text.contains("freeze"), "{}", asked.text);
}

#[tokio::test]
async fn the_guest_that_a_volume_was_opened_for_is_asked_while_it_runs_and_has_it_and_no_other() {
    let site = Site::open().await;
    let unsealed = json!({ "id": "web", "size": 2 << 20, "encrypted": true });
    site.made(unsealed).await;
    site.made(json!({ "id": "db", "size": 1 << 20 })).await;
    let open = "/v1/projects/p/volumes/web/open";
    let opened = site.plane().post(open, json!({ "qmp": site.path("web.a") })).await.json();
    let machine = Machine::start(&site.path(""), "web", &[&opened]);
    let rotated = async || {
        let job = site.done("volumes/web/rotate-key", json!({})).await;
        assert_eq!(job["state"], "done", "{job}");
        site.show("web").await["keys"].clone()
    };
    assert_eq!(rotated().await, json!([2]));
    machine.quit();
    assert_eq!(rotated().await, json!([3]));
    // Another guest has the socket now, and nobody the volume.
    let other = site.start("db").await;
    let machine = Machine::start(&site.path(""), "web", &[&other]);
    assert_eq!(rotated().await, json!([4]));
    let refused = site.done("volumes/web/rotate-key", json!({ "qmp": machine.socket })).await;
    assert_eq!(refused["state"], "failed", "{refused}");
    machine.quit();
    // One that is named is asked, whether it is there or not.
    let refused = site.done("volumes/web/rotate-key", json!({ "qmp": site.path("no") })).await;
    assert_eq!(refused["state"], "failed", "{refused}");
    // One that has it by another name than was told keeps everybody off.
    let again = site.plane().post(open, json!({ "qmp": site.path("away.a") })).await.json();
    let machine = Machine::start(&site.path(""), "web", &[&again]);
    let refused = site.done("volumes/web/rotate-key", json!({})).await;
    let said = refused["faults"][0]["message"].as_str().unwrap();
    assert!(said.contains("away.a") && said.contains("in use"), "{refused}");
    machine.quit();
    rotated().await;
}

#[tokio::test]
async fn what_is_captured_of_a_running_guest_is_never_called_sealed_by_what_was_kept() {
    let site = Site::open().await;
    site.made(json!({ "id": "web", "size": 1 << 20 })).await;
    let open = "/v1/projects/p/volumes/web/open";
    let opened = site.plane().post(open, json!({ "qmp": site.path("web.a") })).await.json();
    let machine = Machine::start(&site.path(""), "web", &[&opened]);
    let capture = async |sealed: bool| {
        site.done("volumes/web/capture", json!({ "name": "now", "sealed": sealed })).await
    };
    assert_eq!(capture(false).await["state"], "done");
    assert_eq!(capture(true).await["state"], "failed");
    machine.quit();
    assert_eq!(capture(true).await["state"], "done");
    assert_eq!(capture(false).await["state"], "done");
}

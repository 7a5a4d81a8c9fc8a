//! Which QEMU is asked where a call names none: the one that the volume was opened for.

use super::*;
use crate::volumes::{
    executor::{BackedUp, BackupOrder},
    monitors::GuestMonitor,
};

/// Has the monitors of all backups noted.
fn noted_monitors(depot: &Depot) -> Arc<Mutex<Vec<Option<GuestMonitor>>>> {
    let all = Arc::<Mutex<Vec<_>>>::default();
    let of = Arc::clone(&all);
    let make = move |order: BackupOrder| {
        of.lock().unwrap().push(order.qmp);
        BackedUp::default()
    };
    *depot.noted.maker.lock().unwrap() = Some(Box::new(make));
    all
}

#[tokio::test]
async fn what_a_volume_was_opened_for_is_asked_by_calls_that_name_no_monitor() {
    let depot = Depot::open().await;
    for id in ["data", "web"] {
        depot.made(json!({ "id": id, "size": 1 << 20, "class": "synchronous" })).await;
        depot.open_for(id, "/run/web").await;
        assert_eq!(depot.show(id).await["qmp"], "/run/web");
    }
    let monitors = noted_monitors(&depot);
    let both = json!({ "volumes": ["web", "data"] });
    depot.done("backups", both.clone()).await;
    depot.done("backups", json!({ "volumes": ["web"], "qmp": "/run/other" })).await;
    let spec = json!({ "volumes": ["web"], "when": "every 1h" });
    let at = "/v1/projects/p/backup-schedules/hourly";
    assert_eq!(
        depot.plane().put(at, &[], spec.clone()).await.json()["spec"]["volumes"],
        json!(["web"])
    );
    depot.environment.advance_ms(60 * 60 * 1000);
    depot.schedules.tick().await;
    let job = depot.plane().get(at).await.json()["last"]["job"].as_str().unwrap().to_owned();
    depot.gallery.ended(&format!("/v1/projects/p/jobs/{job}")).await;
    let web = Some(GuestMonitor::Kept("/run/web".into()));
    let other = Some(GuestMonitor::Named("/run/other".into()));
    assert_eq!(std::mem::take(&mut *monitors.lock().unwrap()), [web.clone(), other, web]);

    let freeze = json!({ "guest_agent": "/run/web.qga" });
    depot.done("volumes/web/capture", json!({ "name": "now", "freeze": freeze })).await;
    depot.done("volumes/data/hydrate", json!({})).await;
    let pause = "/v1/projects/p/volumes/web/hydration/pause";
    assert_eq!(depot.plane().post(pause, json!({})).await.status, 204);

    // Volumes of two guests have no one monitor; to look at one again by an opening changes nothing.
    depot.open_for("data", "/run/db").await;
    let refused = depot.plane().post("/v1/projects/p/backups", both).await;
    assert_eq!((refused.status, &refused.problem()["faults"][0]["path"]), (422, &json!("qmp")));
    let open = "/v1/projects/p/volumes/data/open";
    assert_eq!(depot.plane().post(open, Value::Null).await.status, 200);
    assert_eq!(depot.show("data").await["qmp"], "/run/db");
}

#[tokio::test]
async fn without_a_monitor_that_is_known_a_running_guest_is_not_asked_and_a_schedules_is_off() {
    let depot = Depot::open().await;
    depot.made(json!({ "id": "web", "size": 1 << 20 })).await;
    let monitors = noted_monitors(&depot);
    let plane = depot.plane();
    let pause = "/v1/projects/p/volumes/web/hydration/pause";
    assert_eq!(plane.post(pause, json!({})).await.status, 422);
    let freeze = json!({ "guest_agent": "/run/web.qga" });
    let by_hand = json!({ "volumes": ["web"], "freeze": freeze });
    assert_eq!(plane.post("/v1/projects/p/backups", by_hand).await.status, 422);
    let spec = json!({ "volumes": ["web"], "when": "every 1h", "freeze": freeze });
    let at = "/v1/projects/p/backup-schedules/hourly";
    assert_eq!(plane.put(at, &[], spec).await.status, 200);
    depot.environment.advance_ms(60 * 60 * 1000);
    depot.schedules.tick().await;
    let job = plane.get(at).await.json()["last"]["job"].as_str().unwrap().to_owned();
    depot.gallery.ended(&format!("/v1/projects/p/jobs/{job}")).await;
    assert_eq!(std::mem::take(&mut *monitors.lock().unwrap()), [None]);
}

#[tokio::test]
async fn new_limits_reach_a_guest_that_nobody_sees_to_and_one_that_is_about_to_start() {
    let depot = Depot::open().await;
    depot.made(json!({ "id": "web", "size": 1 << 20, "class": "synchronous" })).await;
    let limits = |iops: u32| json!({ "limits": { "iops": iops } });
    let at = "/v1/projects/p/volumes/web/limits";
    depot.open_for("web", "/run/web").await;
    assert!(depot.show("web").await.get("flush").is_none());
    let set = depot.plane().put(at, &[], limits(5)).await;
    assert_eq!(set.json()["flush"]["state"], "waiting", "{}", set.text);
    depot.qemu("/run/web", true);
    depot.until("web", |it| it.get("flush").is_none()).await;
    assert_eq!(depot.told("web").unwrap().iops, Some(5));
    assert_eq!(depot.plane().put(at, &[], limits(7)).await.status, 200);
    assert_eq!(depot.told("web").unwrap().iops, Some(7));
    // It is off, and nobody waits for it.
    depot.qemu("/run/web", false);
    depot.environment.advance_ms(600_000);
    let set = depot.plane().put(at, &[], limits(9)).await;
    assert!(set.status == 200 && set.json().get("flush").is_none(), "{}", set.text);
    assert_eq!(depot.told("web").unwrap().iops, Some(7));
}

#[tokio::test]
async fn new_limits_reach_a_guest_whose_flushes_were_ended_and_begin_none() {
    let depot = Depot::open().await;
    depot.made(json!({ "id": "web", "size": 1 << 20 })).await;
    depot.open_for("web", "/run/web").await;
    depot.qemu("/run/web", true);
    depot.until("web", |it| it["flush"]["state"] == "kept").await;
    let flush = "/v1/projects/p/volumes/web/flush";
    assert_eq!(depot.plane().call("DELETE", flush, &[], Body::empty()).await.status, 200);
    let limits = json!({ "limits": { "iops": 5 } });
    let set = depot.plane().put("/v1/projects/p/volumes/web/limits", &[], limits).await;
    assert!(set.json().get("flush").is_none(), "{}", set.text);
    assert_eq!(depot.told("web").unwrap().iops, Some(5));
    // By the monitor that it was opened for they are begun again.
    let begun = depot.plane().put(flush, &[], json!({})).await.json();
    assert_eq!(begun["flush"]["state"], "kept", "{begun}");
}

#[tokio::test]
async fn a_guest_that_is_seen_to_is_not_taken_for_another_while_its_qemu_has_the_volume() {
    let depot = Depot::open().await;
    depot.made(json!({ "id": "web", "size": 1 << 20 })).await;
    depot.open_for("web", "/run/web").await;
    depot.qemu("/run/web", true);
    depot.until("web", |it| it["flush"]["state"] == "kept").await;
    let open = "/v1/projects/p/volumes/web/open";
    let refused = depot.plane().post(open, json!({ "qmp": "/run/typo" })).await;
    assert_eq!((refused.status, &refused.problem()["type"]), (409, &json!("volume-in-use")));
    assert!(refused.text.contains("/run/web"), "{}", refused.text);
    assert_eq!(depot.show("web").await["flush"]["state"], "kept");
    // By the same one it is told again, and another comes after its end.
    depot.open_for("web", "/run/web").await;
    depot.until("web", |it| it["flush"]["state"] == "kept").await;
    depot.qemu("/run/web", false);
    depot.open_for("web", "/run/next").await;
    assert_eq!(depot.show("web").await["qmp"], "/run/next");
}

#[tokio::test]
async fn where_a_guest_is_that_is_not_flushed_is_said_by_the_same_orders() {
    let depot = Depot::open().await;
    let new = json!({ "id": "web", "size": 1 << 20, "class": "synchronous" });
    depot.made(new).await;
    depot.qemu("/run/web", true);
    depot.qemu("/run/next", true);
    let flush = "/v1/projects/p/volumes/web/flush";
    let said = depot.plane().put(flush, &[], json!({ "qmp": "/run/web" })).await;
    assert!(said.status == 200 && said.json().get("flush").is_none(), "{}", said.text);
    assert_eq!(said.json()["qmp"], "/run/web");
    let limits = json!({ "limits": { "iops": 5 }, "qmp": "/run/next" });
    let set = depot.plane().put("/v1/projects/p/volumes/web/limits", &[], limits).await;
    assert_eq!(set.json()["qmp"], "/run/next", "{}", set.text);
}

#[tokio::test]
async fn a_running_guest_is_not_captured_as_a_sealed_one() {
    let depot = Depot::open().await;
    depot.made(json!({ "id": "web", "size": 1 << 20 })).await;
    let capture = json!({ "name": "now", "sealed": true, "qmp": "/run/web" });
    let refused = depot.plane().post("/v1/projects/p/volumes/web/capture", capture).await;
    assert_eq!((refused.status, &refused.problem()["faults"][0]["path"]), (422, &json!("sealed")));
}

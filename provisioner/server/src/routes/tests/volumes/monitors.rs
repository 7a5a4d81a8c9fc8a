//! Which QEMU is asked where a call names none: the one that the volume was opened for.

use super::*;
use crate::volumes::executor::{BackedUp, BackupOrder};

/// Has the monitors of all backups noted.
fn noted_monitors(depot: &Depot) -> Arc<Mutex<Vec<Option<PathBuf>>>> {
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
    let (web, other) = (Some("/run/web".into()), Some("/run/other".into()));
    assert_eq!(std::mem::take(&mut *monitors.lock().unwrap()), [web.clone(), other, web]);

    let freeze = json!({ "guest_agent": "/run/web.qga" });
    depot.done("volumes/web/capture", json!({ "name": "now", "freeze": freeze })).await;
    depot.done("volumes/data/hydrate", json!({})).await;
    let pause = "/v1/projects/p/volumes/web/hydration/pause";
    assert_eq!(depot.plane().post(pause, json!({})).await.status, 204);

    // Volumes of two guests have no one monitor, and one that was opened without has none.
    depot.open_for("data", "/run/db").await;
    let refused = depot.plane().post("/v1/projects/p/backups", both.clone()).await;
    assert_eq!((refused.status, &refused.problem()["faults"][0]["path"]), (422, &json!("qmp")));
    for id in ["data", "web"] {
        let open = format!("/v1/projects/p/volumes/{id}/open");
        assert_eq!(depot.plane().post(&open, Value::Null).await.status, 200);
        assert!(depot.show(id).await.get("qmp").is_none());
    }
    assert_eq!(depot.plane().post(pause, json!({})).await.status, 422);
    depot.done("backups", both).await;
    assert_eq!(std::mem::take(&mut *monitors.lock().unwrap()), [None]);
}

#[tokio::test]
async fn a_guest_that_nobody_sees_to_any_more_has_its_new_limits_too_if_it_is_there() {
    let depot = Depot::open().await;
    depot.made(json!({ "id": "web", "size": 1 << 20, "class": "synchronous" })).await;
    depot.open_for("web", "/run/web").await;
    assert!(depot.show("web").await.get("flush").is_none());
    let limits = |iops: u32| json!({ "limits": { "iops": iops } });
    let at = "/v1/projects/p/volumes/web/limits";
    // It is off: nobody waits for it.
    assert_eq!(depot.plane().put(at, &[], limits(5)).await.status, 200);
    depot.until("web", |it| it.get("flush").is_none()).await;
    assert_eq!(depot.told("web"), None);
    depot.qemu("/run/web", true);
    assert_eq!(depot.plane().put(at, &[], limits(7)).await.status, 200);
    depot.until("web", |it| it.get("flush").is_none()).await;
    assert_eq!(depot.told("web").unwrap().iops, Some(7));
}

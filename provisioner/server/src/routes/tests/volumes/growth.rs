//! Volumes made longer: what is refused, what is noted meanwhile, and what ends what was cut short.

use super::*;

const MIB: u64 = 1 << 20;

#[tokio::test]
async fn a_volume_is_made_longer_and_never_shorter() {
    let depot = Depot::open().await;
    depot.made(json!({ "id": "web", "size": 2 * MIB })).await;
    let job = depot.done("volumes/web/resize", json!({ "size": 8 * MIB })).await;
    assert_eq!((&job["state"], &job["what"]), (&json!("done"), &json!("resize-volume")));
    assert_eq!(job["figures"]["size"], json!(8 * MIB));
    let shown = depot.show("web").await;
    assert_eq!((&shown["size"], &shown["resizing"]), (&json!(8 * MIB), &Value::Null));
    let at = "/v1/projects/p/volumes/web/resize";
    for size in [0, 7 * MIB, 8 * MIB, 9 * MIB + 512, u64::MAX] {
        let refused = depot.plane().post(at, json!({ "size": size })).await;
        assert_eq!(refused.status, 422, "{size}");
        assert_eq!(refused.json()["faults"][0]["path"], "size");
    }
    assert_eq!(*depot.noted.grown.lock().unwrap(), [8 * MIB]);
}

#[tokio::test]
async fn what_the_quota_does_not_allow_is_refused_and_what_is_under_way_is_counted() {
    let depot = Depot::open().await;
    depot.made(json!({ "id": "web", "size": 2 * MIB })).await;
    depot.made(json!({ "id": "db", "size": 2 * MIB })).await;
    let quota = json!({ "bytes": 12 * MIB });
    depot.allow(quota).await;
    let grow = async |id: &str, size: u64| {
        let at = format!("/v1/projects/p/volumes/{id}/resize");
        depot.plane().post(&at, json!({ "size": size })).await
    };
    assert_ne!(grow("web", 11 * MIB).await.status, 202);
    depot.noted.refuse(Reason::Failed);
    let job = depot.done("volumes/web/resize", json!({ "size": 10 * MIB })).await;
    assert_eq!(job["state"], "failed");
    // It may be that long by now.
    assert_eq!(depot.show("web").await["resizing"], json!(10 * MIB));
    assert_ne!(grow("db", 3 * MIB).await.status, 202);
}

#[tokio::test]
async fn no_volume_is_left_to_become_longer_without_a_job_though_who_asked_goes() {
    let depot = Depot::open().await;
    let asked = json!({ "size": 8 * MIB });
    for looks in 1..=30 {
        let id = format!("web-{looks}");
        depot.made(json!({ "id": id, "size": 2 * MIB })).await;
        let at = format!("/v1/projects/p/volumes/{id}/resize");
        {
            let mut call = std::pin::pin!(depot.plane().post(&at, asked.clone()));
            for _ in 0..looks {
                if tokio::time::timeout(Duration::from_micros(100), &mut call).await.is_ok() {
                    break;
                }
            }
        }
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        // Begun and done, or not begun.
        while !depot.show(&id).await["resizing"].is_null() {
            assert!(std::time::Instant::now() < deadline, "left after {looks} looks");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

#[tokio::test]
async fn what_was_cut_short_is_ended_by_opening_the_volume_and_nothing_else_is_done_before() {
    let depot = Depot::open().await;
    depot.made(json!({ "id": "web", "size": 2 * MIB })).await;
    depot.noted.refuse(Reason::Failed);
    depot.done("volumes/web/resize", json!({ "size": 8 * MIB })).await;
    let plane = depot.plane();
    let shorter = json!({ "size": 4 * MIB });
    assert_eq!(plane.post("/v1/projects/p/volumes/web/resize", shorter).await.status, 422);
    let body = json!({ "volumes": ["web"] });
    let backup = plane.post("/v1/projects/p/backups", body).await;
    assert_eq!(backup.status, 422, "{}", backup.json());
    let opened = plane.post("/v1/projects/p/volumes/web/open", json!({})).await;
    assert_eq!(opened.status, 200, "{}", opened.json());
    let shown = depot.show("web").await;
    assert_eq!((&shown["size"], &shown["resizing"]), (&json!(8 * MIB), &Value::Null));
    // What nothing was done of is not noted.
    depot.noted.refuse(Reason::InUse);
    depot.done("volumes/web/resize", json!({ "size": 16 * MIB })).await;
    let shown = depot.show("web").await;
    assert_eq!((&shown["size"], &shown["resizing"]), (&json!(8 * MIB), &Value::Null));
}

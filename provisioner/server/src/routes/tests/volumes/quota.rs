//! What a project may have of volumes.

use super::*;

const MIB: u64 = 1 << 20;

impl Depot {
    /// Sets what the project `p` may have.
    pub(super) async fn allow(&self, quota: Value) {
        let document = json!({ "volume_quota": quota });
        let set = self.plane().put("/v1/projects/p", &[], document).await;
        assert_eq!(set.status, 200, "{}", set.text);
    }

    async fn refused(&self, path: &str, body: Value) -> String {
        let refused = self.plane().post(&format!("/v1/projects/p/{path}"), body).await;
        assert_eq!(refused.status, 409, "{}", refused.text);
        assert_eq!(refused.problem()["type"], "over-quota");
        refused.problem()["detail"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn a_project_gets_no_more_volumes_and_no_longer_ones_than_it_may_have() {
    let depot = Depot::open().await;
    depot.allow(json!({ "volumes": 2, "bytes": 4 * MIB })).await;
    let shown = depot.plane().get("/v1/projects/p").await.json();
    assert_eq!(shown["spec"]["volume_quota"], json!({ "volumes": 2, "bytes": 4 * MIB }));
    depot.made(json!({ "id": "web", "size": MIB })).await;
    let why = depot.refused("volumes", json!({ "id": "db", "size": 4 * MIB })).await;
    assert!(why.contains("1048576") && why.contains("4194304"), "{why}");
    assert_eq!(depot.plane().get("/v1/projects/p/volumes/db").await.status, 404);
    depot.made(json!({ "id": "db", "size": 2 * MIB })).await;
    let why = depot.refused("volumes", json!({ "id": "log", "size": MIB })).await;
    assert!(why.contains("has 2 volumes"), "{why}");
    // One that is restored may become longer, or shorter, by that.
    let long = depot.gallery.image("p", "long", vec![1; 3 << 20]).await;
    let short = depot.gallery.image("p", "short", vec![1; 1 << 20]).await;
    depot.refused("volumes/web/restore", json!({ "image": long })).await;
    let done = depot.done("volumes/web/restore", json!({ "image": short })).await;
    assert_eq!(done["state"], "done");
    // It is its own project's limit.
    let of_q = json!({ "id": "theirs", "size": 8 * MIB });
    assert_eq!(depot.plane().post("/v1/projects/q/volumes", of_q).await.status, 202);
}

#[tokio::test]
async fn a_limit_below_what_there_is_takes_nothing_away_and_is_gone_when_it_is_left_out() {
    let depot = Depot::open().await;
    depot.made(json!({ "id": "web", "size": 4 * MIB })).await;
    depot.allow(json!({ "bytes": MIB })).await;
    assert_eq!(depot.show("web").await["size"], json!(4 * MIB));
    depot.refused("volumes", json!({ "id": "db", "size": MIB })).await;
    let image = depot.gallery.image("p", "short", vec![1; 1 << 20]).await;
    let done = depot.done("volumes/web/restore", json!({ "image": image })).await;
    assert_eq!(done["state"], "done");
    depot.plane().put("/v1/projects/p", &[], json!({})).await;
    depot.made(json!({ "id": "db", "size": MIB })).await;
    for (quota, path) in [
        (json!({ "bytes": -1 }), "volume_quota.bytes"),
        (json!({ "volumes": 10_001 }), "volume_quota.volumes"),
        (json!({ "sizes": 1 }), "volume_quota.sizes"),
    ] {
        let document = json!({ "volume_quota": quota });
        let refused = depot.plane().put("/v1/projects/p", &[], document).await;
        assert_eq!((refused.status, &refused.problem()["faults"][0]["path"]), (422, &path.into()));
    }
}

//! Old contents that restores in place have kept.

use super::*;

impl Site {
    async fn leftovers(&self) -> Vec<(String, bool)> {
        let listed = self.plane().get("/v1/leftovers").await;
        assert_eq!(listed.status, 200, "{}", listed.text);
        let shown = |it: &Value| {
            assert!(it["bytes"].as_u64().unwrap() > 0, "{it}");
            (it["file"].as_str().unwrap().to_owned(), it["known"] == json!(true))
        };
        listed.json().as_array().unwrap().iter().map(shown).collect()
    }

    async fn delete_leftover(&self, file: &str) -> Answer {
        let path = format!("/v1/leftovers/fast/{file}");
        self.plane().call("DELETE", &path, &[], Body::empty()).await
    }
}

#[tokio::test]
async fn old_contents_are_told_of_and_deleted_and_what_a_volume_is_now_is_not() {
    let site = Site::open().await;
    let image = site.gallery.image("p", "debian", vec![1; 1 << 20]).await;
    site.made(json!({ "id": "web", "image": image })).await;
    for keep_old in [false, true] {
        let order = json!({ "image": image, "keep_old": keep_old });
        let done = site.done("volumes/web/restore", order).await;
        assert_eq!(done["state"], "done", "{done}");
    }
    // What a hydration has begun, or left, is none.
    site.made(json!({ "id": "db", "size": 2 << 20 })).await;
    std::fs::write(site.path("pool/db.raw"), vec![7; 4096]).unwrap();
    std::fs::write(site.path("pool/gone.raw"), vec![7; 4096]).unwrap();
    let old = "web.restored-0.raw".to_owned();
    assert_eq!(site.leftovers().await, [("gone.raw".into(), false), (old.clone(), true)]);
    for (file, status) in [
        ("web.restored-1.raw", 409),
        ("db.raw", 409),
        ("gone.raw", 409),
        ("web.restored-7.raw", 404),
        ("web.qcow2", 404),
        ("pool.json", 404),
        ("..%2fmasters", 404),
    ] {
        assert_eq!(site.delete_leftover(file).await.status, status, "{file}");
    }
    let deleted = site.delete_leftover(&old).await;
    assert_eq!((deleted.status, &deleted.json()["erased"]), (200, &json!("nothing")));
    assert_eq!(site.leftovers().await, [("gone.raw".to_owned(), false)]);
    assert!(site.path("pool/web.restored-1.raw").exists() && site.path("pool/db.raw").exists());
    assert_eq!(site.start("web").await["class"], "plain");
}

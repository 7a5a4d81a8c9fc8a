//! Volumes restored in place, and made images.

use super::*;

#[tokio::test]
async fn a_volume_is_restored_in_place_and_is_plain_and_as_long_as_the_image_then() {
    let depot = Depot::open().await;
    let image = depot.gallery.image("p", "debian", vec![1; 2 << 20]).await;
    depot.made(json!({ "id": "web", "size": 1 << 20 })).await;
    let at = "volumes/web/restore";
    let job = depot.done(at, json!({ "image": image })).await;
    assert_eq!((&job["state"], &job["what"]), (&json!("done"), &json!("restore-volume")));
    assert_eq!((&job["image"], &job["figures"]["written"]), (&json!(image), &json!(9)));
    let shown = depot.show("web").await;
    assert_eq!((&shown["class"], &shown["size"]), (&json!("plain"), &json!(2 << 20)));
    assert_eq!(shown["image"], json!(image));
    // It is plain now.
    depot.done(at, json!({ "image": image, "way": "over" })).await;
    let restored = depot.noted.restored.lock().unwrap().clone();
    assert_eq!(restored, [("web".to_owned(), false), ("web".to_owned(), true)]);
}

#[tokio::test]
async fn what_a_restore_has_kept_is_told_and_makes_a_deletion_unsure() {
    let depot = Depot::open().await;
    let image = depot.gallery.image("p", "debian", vec![1; 2 << 20]).await;
    for (id, encrypted) in [("web", true), ("clear", false)] {
        depot.made(json!({ "id": id, "size": 1 << 20, "encrypted": encrypted })).await;
        let asked = json!({ "image": image, "keep_old": true });
        depot.done(&format!("volumes/{id}/restore"), asked).await;
        assert_eq!(depot.show(id).await["kept"], json!([format!("/p/{id}.raw")]));
    }
    let delete = async |id: &str| {
        let path = format!("/v1/projects/p/volumes/{id}");
        depot.plane().call("DELETE", &path, &[], Body::empty()).await.json()
    };
    let deleted = delete("web").await;
    assert_eq!((&deleted["erased"], &deleted["kept"]), (&json!("unsure"), &json!(["/p/web.raw"])));
    assert!(deleted["doubt"].as_str().unwrap().contains("/p/web.raw"), "{deleted}");
    let deleted = delete("clear").await;
    assert_eq!((&deleted["erased"], &deleted["doubt"]), (&json!("nothing"), &Value::Null));
}

#[tokio::test]
async fn what_keeps_a_volume_from_being_opened_is_shown_before_it_is_tried() {
    let depot = Depot::open().await;
    let ids = ["half", "keys", "new", "other"];
    for id in ids {
        depot.made(json!({ "id": id, "size": 1 << 20, "encrypted": true })).await;
    }
    let id = |id: &str| VolumeId::parse(id).unwrap();
    *depot.noted.restoring.lock().unwrap() = vec![(id("half"), true), (id("new"), false)];
    depot.noted.refuse(Reason::Monitor);
    depot.done("volumes/keys/rotate-key", json!({ "qmp": "/run/x" })).await;
    depot.noted.is_held.store(true, Ordering::SeqCst);
    let body = json!({ "qmp": "/x" });
    let begun = depot.plane().post("/v1/projects/p/volumes/other/hydrate", body).await.json();
    let listed = depot.plane().get("/v1/projects/p/volumes").await.json();
    let all: Vec<Value> = listed.as_array().unwrap().clone();
    let of = |what: &str| all.iter().map(|it| it[what].clone()).collect::<Vec<_>>();
    assert_eq!(of("id"), ids);
    assert_eq!(of("restoring"), [json!("over"), Value::Null, json!("beside"), Value::Null]);
    assert_eq!(of("rotating"), [Value::Null, json!(true), Value::Null, Value::Null]);
    assert_eq!(of("job"), [Value::Null, Value::Null, Value::Null, begun["id"].clone()]);
    for it in &all {
        assert_eq!(depot.show(it["id"].as_str().unwrap()).await, *it);
    }
    depot.noted.is_held.store(false, Ordering::SeqCst);
}

#[tokio::test]
async fn a_restore_that_can_not_be_is_refused_at_once_and_says_of_which_field() {
    let depot = Depot::open().await;
    let image = depot.gallery.image("p", "debian", vec![1; 1 << 20]).await;
    let odd = depot.gallery.image("p", "odd", vec![1; (1 << 20) + 512]).await;
    let theirs = depot.gallery.image("q", "theirs", vec![1; 1 << 20]).await;
    depot.made(json!({ "id": "web", "size": 1 << 20 })).await;
    let at = "/v1/projects/p/volumes/web/restore";
    for (body, path) in [
        (json!({ "image": "img-1" }), "image"),
        (json!({ "image": theirs }), "image"),
        (json!({ "image": odd }), "image"),
        (json!({ "image": image, "way": "over" }), "way"),
    ] {
        let refused = depot.plane().post(at, body.clone()).await;
        assert_eq!(refused.status, 422, "{body} {}", refused.text);
        assert_eq!(refused.problem()["faults"][0]["path"], path, "{body}");
    }
    for body in [json!({}), json!({ "image": image, "way": "through" })] {
        assert_eq!(depot.plane().post(at, body).await.status, 400);
    }
    let of_q = at.replace("/p/", "/q/");
    assert_eq!(depot.plane().post(&of_q, json!({ "image": theirs })).await.status, 404);
    // What is encrypted is not written to a volume in the clear.
    let sealed = depot.gallery.image("vault", "sealed", vec![1; 1 << 20]).await;
    let plane = depot.plane();
    let body = json!({ "id": "open", "size": 1 << 20 });
    let begun = plane.post("/v1/projects/vault/volumes", body).await.json();
    let job = format!("/v1/projects/vault/jobs/{}", begun["id"].as_str().unwrap());
    depot.gallery.ended(&job).await;
    let path = "/v1/projects/vault/volumes/open/restore";
    let refused = plane.post(path, json!({ "image": sealed })).await;
    assert_eq!(refused.problem()["faults"][0]["path"], "image", "{}", refused.text);
    assert!(depot.noted.restored.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_half_restored_volume_is_not_opened_and_a_restore_is_cancelled_and_given_up() {
    let depot = Depot::open().await;
    let image = depot.gallery.image("p", "debian", vec![1; 1 << 20]).await;
    depot.made(json!({ "id": "web", "size": 1 << 20 })).await;
    let at = "/v1/projects/p/volumes/web";
    depot.noted.refuse(Reason::HalfRestored);
    let half = depot.plane().post(&format!("{at}/open"), Value::Null).await;
    assert_eq!((half.status, &half.problem()["type"]), (409, &json!("half-restored")));

    depot.noted.is_held.store(true, Ordering::SeqCst);
    let body = json!({ "image": image });
    let begun = depot.plane().post(&format!("{at}/restore"), body).await.json();
    let path = format!("{at}/restore");
    let busy = depot.plane().call("DELETE", &path, &[], Body::empty()).await;
    assert_eq!((busy.status, &busy.problem()["type"]), (409, &json!("busy")));
    let job = format!("/v1/projects/p/jobs/{}", begun["id"].as_str().unwrap());
    depot.plane().post(&format!("{job}/cancel"), Value::Null).await;
    assert_eq!(depot.gallery.ended(&job).await["state"], "cancelled");
    depot.noted.is_held.store(false, Ordering::SeqCst);
    assert_eq!(depot.show("web").await["class"], "recovered");
    let given_up = depot.plane().call("DELETE", &path, &[], Body::empty()).await;
    assert_eq!(given_up.status, 204, "{}", given_up.text);
}

#[tokio::test]
async fn a_volume_is_captured_by_who_asks_and_an_encrypted_one_into_no_clear_project() {
    let depot = Depot::open().await;
    depot.made(json!({ "id": "web", "size": 1 << 20 })).await;
    depot.made(json!({ "id": "sealed", "size": 1 << 20, "encrypted": true })).await;
    let job = depot.done("volumes/web/capture", json!({ "name": "golden" })).await;
    assert_eq!((&job["state"], &job["what"]), (&json!("done"), &json!("capture")));
    assert_eq!(job["image"], "img-0123456789abcdef0123456789abcdef");
    assert_eq!(*depot.noted.captured.lock().unwrap(), ["test golden web"]);
    for (id, body, path) in [
        ("web", json!({ "name": "" }), "name"),
        ("web", json!({ "name": "golden", "qmp": "qmp" }), "qmp"),
        ("sealed", json!({ "name": "golden" }), ""),
    ] {
        let at = format!("/v1/projects/p/volumes/{id}/capture");
        let refused = depot.plane().post(&at, body.clone()).await;
        assert_eq!(refused.status, 422, "{body} {}", refused.text);
        assert_eq!(refused.problem()["faults"][0]["path"], path, "{body}");
    }
    depot.noted.refuse(Reason::InUse);
    let failed = depot.done("volumes/web/capture", json!({ "name": "golden" })).await;
    assert_eq!((&failed["state"], &failed["image"]), (&json!("failed"), &Value::Null));
}

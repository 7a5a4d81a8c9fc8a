//! Pools of disks over the API: what is asked for of volumes there, and what is told of them.

use super::*;

#[tokio::test]
async fn a_volume_on_a_disk_of_its_own_is_plain_and_says_where_it_is() {
    let depot = Depot::open().await;
    let body = json!({ "id": "db", "pool": "disks", "size": 1 << 20 });
    depot.made(body).await;
    let shown = depot.plane().get("/v1/projects/p/volumes/db").await.json();
    assert_eq!((&shown["class"], &shown["place"]), (&json!("plain"), &json!("/dev/vdb")));
    // Devices may have blocks of 4096 bytes; its quota counts what its guest sees.
    let image = depot.gallery.image("p", "odd", vec![1; 1536]).await;
    depot.made(json!({ "id": "odd", "pool": "disks", "image": image })).await;
    assert_eq!(depot.show("odd").await["size"], 4096);
    depot.made(json!({ "id": "web", "size": 1 << 20 })).await;
    let shown = depot.plane().get("/v1/projects/p/volumes/web").await.json();
    assert_eq!((&shown["class"], shown.get("place")), (&json!("recovered"), None));
}

#[tokio::test]
async fn what_disks_can_not_do_is_refused_with_what_to_do_instead() {
    let depot = Depot::open().await;
    let path = "/v1/projects/p/volumes";
    let sync = json!({ "id": "db", "pool": "disks", "size": 1 << 20, "class": "synchronous" });
    let answer = depot.plane().post(path, sync).await;
    assert_eq!((answer.status, &answer.problem()["faults"][0]["path"]), (422, &json!("class")));
    let sealed = json!({ "id": "db", "pool": "san", "size": 1 << 20, "encrypted": true });
    let answer = depot.plane().post(path, sealed).await;
    assert_eq!(answer.status, 422);
    assert_eq!(answer.problem()["faults"][0]["path"], "encrypted");
    assert!(answer.text.contains("a pool of devices or a directory"), "{}", answer.text);
    assert_eq!(depot.plane().get(path).await.json(), json!([]));
}

#[tokio::test]
async fn disks_are_taken_over_by_their_names_alone_and_a_pool_is_made_without_any() {
    let depot = Depot::open().await;
    let none = depot.plane().call("POST", "/v1/pools/disks", &[], Body::empty()).await;
    assert_eq!((none.status, &none.json()["kind"]), (200, &json!("devices")));
    assert!(depot.noted.taken_over.lock().unwrap().is_empty());
    let named = json!({ "take_over": ["/dev/vdb"] });
    assert_eq!(depot.plane().post("/v1/pools/disks", named).await.status, 200);
    assert_eq!(*depot.noted.taken_over.lock().unwrap(), ["/dev/vdb"]);
    let odd = depot.plane().post("/v1/pools/disks", json!({ "force": true })).await;
    assert_eq!(odd.status, 400, "{}", odd.text);
}

#[tokio::test]
async fn a_volume_that_no_disk_is_left_for_is_forgotten_with_its_reason() {
    let depot = Depot::open().await;
    depot.noted.refuse(Reason::NoDisk);
    let body = json!({ "id": "db", "pool": "disks", "size": 1 << 20 });
    let job = depot.done("volumes", body).await;
    assert_eq!(job["state"], "failed");
    assert!(job.to_string().contains("add a disk to the pool"), "{job}");
    assert_eq!(depot.plane().get("/v1/projects/p/volumes/db").await.status, 404);
}

#[tokio::test]
async fn the_disk_of_a_volume_is_known_once_it_is_claimed_and_is_the_one_that_is_undone() {
    let depot = Depot::open().await;
    depot.noted.is_held.store(true, Ordering::SeqCst);
    let body = json!({ "id": "db", "pool": "disks", "size": 1 << 20 });
    let begun = depot.plane().post("/v1/projects/p/volumes", body).await.json();
    let begin = std::time::Instant::now();
    while depot.show("db").await["place"] != "/dev/vdb" {
        assert!(begin.elapsed() < Duration::from_secs(30), "no disk is told of");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    depot.noted.refuse(Reason::Failed);
    depot.noted.is_held.store(false, Ordering::SeqCst);
    let job = format!("/v1/projects/p/jobs/{}", begun["id"].as_str().unwrap());
    assert_eq!(depot.gallery.ended(&job).await["state"], "failed");
    assert_eq!(*depot.noted.undone.lock().unwrap(), [Some("/dev/vdb".to_owned())]);
    assert_eq!(depot.plane().get("/v1/projects/p/volumes/db").await.status, 404);
}

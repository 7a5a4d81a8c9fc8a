//! Masters that are listed, deleted, and made while others delete them.

use super::*;

impl Site {
    async fn masters(&self) -> Vec<Value> {
        let listed = self.plane().get("/v1/masters").await;
        assert_eq!(listed.status, 200, "{}", listed.text);
        listed.json().as_array().unwrap().clone()
    }

    async fn delete_master(&self, name: &str) -> Answer {
        self.plane().call("DELETE", &format!("/v1/masters/{name}"), &[], Body::empty()).await
    }
}

#[tokio::test]
async fn a_master_is_listed_with_its_volumes_and_deleted_once_it_has_none() {
    let site = Site::open().await;
    assert!(site.masters().await.is_empty());
    let image = site.gallery.image("p", "debian", vec![1; 1 << 20]).await;
    site.made(json!({ "id": "web", "image": image })).await;
    site.made(json!({ "id": "db", "size": 2 << 20 })).await;
    let listed = site.masters().await;
    let master = listed.iter().find(|it| it["name"] == json!(image)).unwrap();
    assert_eq!((&master["image"], &master["volumes"]), (&json!(image), &json!(1)));
    assert_eq!((&master["state"], &master["size"]), (&json!("whole"), &json!(1 << 20)));
    assert_eq!((&master["encrypted"], listed.len()), (&json!(false), 2));
    assert!(master["bytes"].as_u64().unwrap() > 0);
    let used = site.delete_master(&image).await;
    assert_eq!((used.status, &used.problem()["type"]), (409, &json!("master-in-use")));
    assert!(used.text.contains("web"), "{}", used.text);
    assert_eq!(site.delete("web").await.status, 200);
    assert_eq!(site.delete_master(&image).await.status, 204);
    for none in [&*image, "zeros-01", "..%2fpool", "masters.json"] {
        assert_eq!(site.delete_master(none).await.status, 404, "{none}");
    }
    assert_eq!(site.masters().await.len(), 1);
    // It is fetched anew.
    site.made(json!({ "id": "again", "image": image })).await;
}

#[tokio::test]
async fn a_volume_is_made_however_often_its_master_is_deleted_meanwhile() {
    let site = Site::open().await;
    for number in 0..6 {
        let id = format!("web{number}");
        let body = json!({ "id": id, "size": 2 << 20 });
        let asked = site.plane().post("/v1/projects/p/volumes", body).await;
        let job = format!("/v1/projects/p/jobs/{}", asked.json()["id"].as_str().unwrap());
        let mut statuses = BTreeSet::new();
        let state = loop {
            statuses.insert(site.delete_master("zeros-2097152").await.status);
            let state = site.plane().get(&job).await.json()["state"].clone();
            if !["queued", "running"].contains(&state.as_str().unwrap()) {
                break state;
            }
        };
        assert_eq!(state, "done");
        assert!(statuses.iter().all(|it| [204, 404, 409].contains(it)), "{statuses:?}");
        assert_eq!(site.delete_master("zeros-2097152").await.status, 409);
        assert_eq!(site.delete(&id).await.status, 200);
    }
}

#[tokio::test]
async fn what_a_killed_process_has_left_of_a_master_and_of_daemons_goes_when_the_next_one_begins() {
    let site = Site::open().await;
    site.made(json!({ "id": "db", "size": 2 << 20 })).await;
    let part = site.path("masters").join("zeros-4194304.raw");
    std::fs::write(&part, [1; 512]).unwrap();
    // No process has a number as high (proc(5), pid_max).
    let socket = site.path("run").join("storage-4194305-0.qmp");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    assert_eq!(site.masters().await.len(), 2);
    let site = site.again().await;
    let begin = Instant::now();
    while part.exists() || socket.exists() {
        assert!(begin.elapsed() < BOUND, "it is left");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let listed = site.masters().await;
    assert_eq!((listed.len(), &listed[0]["state"]), (1, &json!("whole")));
    site.start("db").await;
}

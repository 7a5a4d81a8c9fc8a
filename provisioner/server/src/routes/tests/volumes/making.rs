//! What is left of volumes that were not made, and what has to wait for other work.

use super::*;

#[tokio::test]
async fn a_volume_whose_job_was_cancelled_before_its_turn_leaves_its_id_to_others() {
    let depot = Depot::open().await;
    depot.noted.is_held.store(true, Ordering::SeqCst);
    let mut jobs = Vec::new();
    for number in 0..5 {
        let body = json!({ "id": format!("web{number}"), "size": 1 << 20 });
        let begun = depot.plane().post("/v1/projects/p/volumes", body).await.json();
        jobs.push(format!("/v1/projects/p/jobs/{}", begun["id"].as_str().unwrap()));
    }
    // The fifth has no thread yet.
    depot.plane().post(&format!("{}/cancel", jobs[4]), Value::Null).await;
    depot.noted.is_held.store(false, Ordering::SeqCst);
    assert_eq!(depot.gallery.ended(&jobs[4]).await["state"], "cancelled");
    assert_eq!(depot.plane().get("/v1/projects/p/volumes/web4").await.status, 404);
}

#[tokio::test]
async fn what_a_making_finds_there_is_not_removed_with_what_it_has_made() {
    let depot = Depot::open().await;
    depot.made(json!({ "id": "web", "size": 1 << 20 })).await;
    let (p, web) = (ProjectName::parse("p").unwrap(), VolumeId::parse("web").unwrap());
    depot.gallery.plane.control.forget_volume(&p, &web).await.unwrap();
    depot.noted.refuse(Reason::Exists);
    let job = depot.done("volumes", json!({ "id": "web", "size": 1 << 20 })).await;
    assert_eq!(job["state"], "failed");
    assert!(depot.noted.volumes.lock().unwrap().contains_key(&web));
    assert_eq!(depot.plane().get("/v1/projects/p/volumes/web").await.status, 404);
}

#[tokio::test]
async fn a_guest_is_backed_up_once_at_a_time_whichever_volumes_and_name_of_its_socket_are_told() {
    let depot = Depot::open().await;
    for id in ["web", "db"] {
        depot.made(json!({ "id": id, "size": 1 << 20 })).await;
    }
    let (socket, link) = (depot.gallery.folder.path().join("qmp"), "link");
    std::fs::write(&socket, "").unwrap();
    let link = socket.with_file_name(link);
    std::os::unix::fs::symlink(&socket, &link).unwrap();
    depot.noted.is_held.store(true, Ordering::SeqCst);
    let order = |id: &str, qmp: &PathBuf| json!({ "volumes": [id], "qmp": qmp });
    let at = "/v1/projects/p/backups";
    let first = depot.plane().post(at, order("web", &socket)).await;
    assert_eq!(first.status, 202, "{}", first.text);
    let second = depot.plane().post(at, order("db", &link)).await;
    assert_eq!((second.status, &second.problem()["type"]), (409, &json!("busy")));
    let other = depot.plane().post(at, order("db", &socket.with_file_name("other"))).await;
    assert_eq!(other.status, 202, "{}", other.text);
    depot.noted.is_held.store(false, Ordering::SeqCst);
}

#[tokio::test]
async fn calls_that_wait_for_monitors_keep_no_guest_from_being_opened() {
    let depot = Depot::open().await;
    depot.made(json!({ "id": "web", "size": 1 << 20 })).await;
    depot.noted.has_hung.store(true, Ordering::SeqCst);
    depot.qemu("/hung", true);
    let limits = json!({ "limits": { "iops": 5 }, "qmp": "/hung" });
    let mut waiting = Vec::new();
    for _ in 0..8 {
        let router = depot.plane().router.clone();
        let plane = Plane {
            control: Arc::clone(&depot.plane().control),
            router,
            ending: watch::channel(false).0,
        };
        let limits = limits.clone();
        waiting.push(tokio::spawn(async move {
            plane.put("/v1/projects/p/volumes/web/limits", &[], limits).await.status
        }));
    }
    let begin = std::time::Instant::now();
    while depot.noted.hung.load(Ordering::SeqCst) < 4 {
        assert!(begin.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let opened = depot.plane().post("/v1/projects/p/volumes/web/open", Value::Null);
    let opened = tokio::time::timeout(Duration::from_secs(30), opened).await;
    assert_eq!(opened.expect("it waits for other guests' QEMUs").status, 200);
    depot.noted.has_hung.store(false, Ordering::SeqCst);
    for call in waiting {
        assert_eq!(call.await.unwrap(), 200);
    }
}

impl Depot {
    /// Asks for work in the project `p`; where its job is.
    async fn begun(&self, path: &str, body: Value) -> String {
        let asked = self.plane().post(&format!("/v1/projects/p/{path}"), body).await;
        assert_eq!(asked.status, 202, "{}", asked.text);
        format!("/v1/projects/p/jobs/{}", asked.json()["id"].as_str().unwrap())
    }

    async fn state_of(&self, job: &str) -> String {
        self.plane().get(job).await.json()["state"].as_str().unwrap().to_owned()
    }

    async fn runs(&self, job: &str) {
        let begin = std::time::Instant::now();
        while self.state_of(job).await != "running" {
            assert!(begin.elapsed() < Duration::from_secs(30), "{job}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn opened(&self, id: &str) -> u16 {
        self.plane().post(&format!("/v1/projects/p/volumes/{id}/open"), Value::Null).await.status
    }
}

#[tokio::test]
async fn a_guest_is_started_while_its_backup_waits_for_its_turn_unless_the_job_wants_it_stopped() {
    let depot = Depot::open().await;
    for id in ["v0", "v1", "v2", "v3", "web", "db"] {
        depot.made(json!({ "id": id, "size": 1 << 20 })).await;
    }
    depot.noted.is_held.store(true, Ordering::SeqCst);
    let order = |id: &str| json!({ "volumes": [id], "qmp": format!("/{id}") });
    for id in ["v0", "v1", "v2", "v3"] {
        depot.runs(&depot.begun("backups", order(id)).await).await;
    }
    let waiting = depot.begun("backups", order("web")).await;
    let image = depot.gallery.image("p", "debian", vec![1; 1 << 20]).await;
    let stopped = depot.begun("volumes/db/restore", json!({ "image": image })).await;
    assert_eq!(depot.state_of(&waiting).await, "queued");
    assert_eq!([depot.opened("web").await, depot.opened("web").await], [200, 200]);
    assert_eq!([depot.opened("db").await, depot.opened("v0").await], [409, 409]);
    // Other work is refused before its turn, too.
    let hydrate = json!({ "qmp": "/web" });
    let hydrate = depot.plane().post("/v1/projects/p/volumes/web/hydrate", hydrate).await;
    assert_eq!((hydrate.status, &hydrate.problem()["type"]), (409, &json!("busy")));
    depot.noted.is_held.store(false, Ordering::SeqCst);
    depot.gallery.ended(&waiting).await;
    assert_eq!(depot.gallery.ended(&stopped).await["state"], "done");
    assert_eq!([depot.opened("web").await, depot.opened("db").await], [200, 200]);
}

#[tokio::test]
async fn hydrations_are_so_many_at_once_and_take_no_other_job_s_turn() {
    let depot = Depot::open().await;
    let ids = ["v0", "v1", "v2", "web", "db", "log", "tmp"];
    for id in ids {
        depot.made(json!({ "id": id, "size": 1 << 20 })).await;
    }
    depot.noted.is_held.store(true, Ordering::SeqCst);
    let mut jobs = Vec::new();
    for id in &ids[..3] {
        let path = format!("volumes/{id}/hydrate");
        jobs.push(depot.begun(&path, json!({ "qmp": format!("/{id}") })).await);
    }
    for id in &ids[3..] {
        let order = json!({ "volumes": [id], "qmp": format!("/{id}") });
        depot.runs(&depot.begun("backups", order).await).await;
    }
    depot.runs(&jobs[0]).await;
    depot.runs(&jobs[1]).await;
    assert_eq!(depot.state_of(&jobs[2]).await, "queued");
    depot.noted.is_held.store(false, Ordering::SeqCst);
    for job in jobs {
        assert_eq!(depot.gallery.ended(&job).await["state"], "done");
    }
}

//! Volumes over the API, with a real archive and real records, and pools that are only noted down.

mod deleting;
mod flushes;
mod freezing;
mod growth;
mod making;
mod monitors;
mod noted;
mod parts;
mod places;
mod quota;
mod real;
mod restores;
mod schedules;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use mezame_images::{
    archive::{ImageId, Watch},
    encryption::KeyNumber,
    volume::VolumeId,
};
use mezame_model::{
    ProjectName,
    api::volumes::{Leftover, Limits, Master, Pool, PoolKind, VolumeStart},
};

use self::noted::Noted;
use super::{images::Gallery, *};
use crate::{
    schedules::Schedules,
    volumes::{
        Manner,
        executor::{
            Attended, BackedUp, BackupOrder, Beginning, CaptureOrder, Captured, Erasure, Executor,
            ExecutorError, Facts, Flushed, FreezeOrder, Reason, RestoreOrder, Restored,
        },
        part::VolumePart,
    },
};

/// The gallery of images' tests, with volumes.
struct Depot {
    gallery: Gallery,
    noted: Arc<Noted>,
    volumes: Arc<VolumePart>,
    schedules: Arc<Schedules>,
    /// The clock of schedules.
    environment: Arc<FixedEnvironment>,
}

impl Depot {
    async fn open() -> Self {
        let mut gallery = Gallery::open().await;
        let noted = Arc::new(Noted::default());
        let manner =
            Manner { default_pool: "fast".into(), jobs: 4, hydrations: 2, jobs_waiting: 8 };
        let (control, images) = (Arc::clone(&gallery.plane.control), Arc::clone(&gallery.part));
        let executor: Arc<dyn Executor> = noted.clone();
        let open = Box::new(move |_| Ok(Arc::clone(&executor)));
        let environment = Arc::new(FixedEnvironment::new());
        let (at, clock) = (Arc::clone(&control), Arc::clone(&environment));
        let volumes = VolumePart::open(Arc::clone(&images), open, at, clock, manner).await;
        let (of, at, clock) = (Arc::clone(&images), Arc::clone(&volumes), environment.clone());
        let schedules = Schedules::new(Arc::clone(&control), of, at, clock);
        let (ending, end) = watch::channel(false);
        let (of, by) = (Some(Arc::clone(&volumes)), Some(Arc::clone(&schedules)));
        let router = router(control, Some(images), of, by, 8 << 20, end);
        gallery.plane.router = router;
        gallery.plane.ending = ending;
        Self { gallery, noted, volumes, schedules, environment }
    }

    fn plane(&self) -> &Plane {
        &self.gallery.plane
    }

    /// Asks for work in the project `p`; its job once it has ended.
    async fn done(&self, path: &str, body: Value) -> Value {
        let asked = self.plane().post(&format!("/v1/projects/p/{path}"), body).await;
        assert_eq!(asked.status, 202, "{}", asked.text);
        let id = asked.json()["id"].as_str().unwrap().to_owned();
        self.gallery.ended(&format!("/v1/projects/p/jobs/{id}")).await
    }

    async fn made(&self, body: Value) {
        let job = self.done("volumes", body).await;
        assert_eq!(job["state"], "done", "{job}");
    }

    async fn show(&self, id: &str) -> Value {
        self.plane().get(&format!("/v1/projects/p/volumes/{id}")).await.json()
    }

    async fn fault(&self, body: Value) -> String {
        let refused = self.plane().post("/v1/projects/p/volumes", body).await;
        assert_eq!(refused.status, 422, "{}", refused.text);
        refused.problem()["faults"][0]["path"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn a_volume_is_made_shown_limited_opened_and_deleted_by_its_own_project_alone() {
    let depot = Depot::open().await;
    let image = depot.gallery.image("p", "debian", vec![1; 3 << 20]).await;
    depot.made(json!({ "id": "web", "image": image, "encrypted": true })).await;
    let shown = depot.show("web").await;
    assert_eq!((&shown["state"], &shown["size"]), (&json!("ready"), &json!(3 << 20)));
    assert_eq!((&shown["owner"], &shown["pool"]), (&json!("test"), &json!("fast")));
    assert_eq!((&shown["keys"], &shown["host"]), (&json!([1]), &json!("here")));
    assert!(!shown.to_string().contains("master"));

    let plane = depot.plane();
    for path in ["volumes/web", "volumes/none", "volumes/NONE"] {
        assert_eq!(plane.get(&format!("/v1/projects/q/{path}")).await.status, 404);
    }
    let listed = plane.get("/v1/projects/q/volumes").await.json();
    assert_eq!(listed, json!([]));
    let of_q = plane.post("/v1/projects/q/volumes", json!({ "id": "web", "size": 1 << 20 })).await;
    assert_eq!((of_q.status, &of_q.problem()["faults"][0]["path"]), (422, &json!("id")));

    let at = "/v1/projects/p/volumes/web";
    let limited = json!({ "limits": { "iops": 5 } });
    let limited = plane.put(&format!("{at}/limits"), &[], limited).await.json();
    assert_eq!(limited["limits"], json!({ "iops": 5 }));
    let start = plane.post(&format!("{at}/open"), Value::Null).await.json();
    assert_eq!((&start["limits"]["iops"], &start["recovered_bytes"]), (&json!(5), &json!(7)));

    // A project that has volumes stays, or a later one of its name would have them.
    let busy = plane.call("DELETE", "/v1/projects/p", &[], Body::empty()).await;
    assert_eq!(busy.status, 409, "{}", busy.text);
    depot.noted.refuse(Reason::InUse);
    let in_use = plane.call("DELETE", at, &[], Body::empty()).await;
    assert_eq!((in_use.status, &in_use.problem()["type"]), (409, &json!("volume-in-use")));
    assert_eq!(depot.show("web").await["state"], "ready");
    let deleted = plane.call("DELETE", at, &[], Body::empty()).await.json();
    assert_eq!(deleted, json!({ "id": "web", "erased": "in-place", "keys_forgotten": 1 }));
    assert_eq!(plane.get(at).await.status, 404);
}

#[tokio::test]
async fn what_can_not_be_made_is_told_at_once_with_its_field() {
    let depot = Depot::open().await;
    let image = depot.gallery.image("p", "debian", vec![1; 3 << 20]).await;
    let theirs = depot.gallery.image("q", "theirs", vec![1; 1 << 20]).await;
    for (body, path) in [
        (json!({ "id": "Web", "size": 1 << 20 }), "id"),
        (json!({ "id": "web" }), "size"),
        (json!({ "id": "web", "size": 1000 }), "size"),
        (json!({ "id": "web", "image": image, "size": 1 << 20 }), "size"),
        (json!({ "id": "web", "image": theirs }), "image"),
        (json!({ "id": "web", "image": "img-1" }), "image"),
        (json!({ "id": "web", "size": 1 << 20, "pool": "none" }), "pool"),
        (json!({ "id": "web", "size": 1 << 20, "class": "plain" }), "class"),
        (json!({ "id": "web", "size": 1 << 20, "limits": { "iops": 0 } }), "limits"),
        (json!({ "id": "web", "size": 1 << 20, "limits": { "bytes": 1u64 << 50 } }), "limits"),
    ] {
        assert_eq!(depot.fault(body.clone()).await, path, "{body}");
    }
    let away = json!({ "id": "web", "size": 1 << 20, "pool": "away" });
    let away = depot.plane().post("/v1/projects/p/volumes", away).await;
    assert_eq!((away.status, &away.problem()["type"]), (409, &json!("no-pool-there")));
    // An encrypted project's image is not laid down in the clear.
    let sealed = depot.gallery.image("vault", "sealed", vec![1; 1 << 20]).await;
    let body = json!({ "id": "web", "image": sealed });
    let refused = depot.plane().post("/v1/projects/vault/volumes", body).await.problem();
    assert_eq!(refused["faults"][0]["path"], "encrypted");
    assert_eq!(depot.plane().get("/v1/projects/p/volumes").await.json(), json!([]));
}

#[tokio::test]
async fn volumes_of_one_encrypted_master_have_its_key_and_no_other_volume_has_it() {
    let depot = Depot::open().await;
    let sealed = depot.gallery.image("vault", "sealed", vec![1; 1 << 20]).await;
    let vault = ProjectName::parse("vault").unwrap();
    let record = |project: &ProjectName, id: &str| {
        let id = VolumeId::parse(id).unwrap();
        depot.plane().control.volume(project, &id).unwrap()
    };
    for (id, size) in [("one", 1), ("two", 1), ("long", 2)] {
        let body = json!({ "id": id, "image": sealed, "size": size << 20, "encrypted": true });
        let begun = depot.plane().post("/v1/projects/vault/volumes", body).await.json();
        let job = format!("/v1/projects/vault/jobs/{}", begun["id"].as_str().unwrap());
        assert_eq!(depot.gallery.ended(&job).await["state"], "done");
    }
    let key = |id: &str| record(&vault, id).master_key.clone();
    assert!(key("one").is_some() && key("one") == key("two"));
    assert!(key("long").is_some() && key("long") != key("one"));
    assert!(record(&vault, "one").keys[&1] != key("one").unwrap());
    // Neither a volume of zeros nor one of an image in the clear has such a key.
    let clear = depot.gallery.image("p", "debian", vec![1; 1 << 20]).await;
    depot.made(json!({ "id": "zeros", "size": 1 << 20, "encrypted": true })).await;
    depot.made(json!({ "id": "clear", "image": clear, "encrypted": true })).await;
    let project = ProjectName::parse("p").unwrap();
    assert!(["zeros", "clear"].iter().all(|id| record(&project, id).master_key.is_none()));
}

#[tokio::test]
async fn a_volume_that_could_not_be_made_leaves_nothing_and_one_at_a_time_is_done() {
    let depot = Depot::open().await;
    depot.noted.refuse(Reason::Failed);
    let job = depot.done("volumes", json!({ "id": "web", "size": 1 << 20 })).await;
    assert_eq!((&job["state"], &job["volumes"]), (&json!("failed"), &json!(["web"])));
    assert_eq!(depot.plane().get("/v1/projects/p/volumes/web").await.status, 404);

    depot.noted.is_held.store(true, Ordering::SeqCst);
    let body = json!({ "id": "web", "size": 1 << 20 });
    let begun = depot.plane().post("/v1/projects/p/volumes", body).await.json();
    let early = depot.plane().post("/v1/projects/p/volumes/web/open", Value::Null).await;
    assert_eq!((early.status, &early.problem()["type"]), (409, &json!("busy")));
    // To another project it is not there, and not busy.
    let theirs = "/v1/projects/q/volumes/web";
    for (path, body) in [
        (format!("{theirs}/open"), Value::Null),
        (format!("{theirs}/hydrate"), json!({ "qmp": "/x" })),
        (format!("{theirs}/rotate-key"), json!({})),
        (format!("{theirs}/capture"), json!({ "name": "x" })),
        (format!("{theirs}/restore"), json!({ "image": "img-1" })),
    ] {
        let theirs = depot.plane().post(&path, body).await;
        assert_eq!(theirs.status, 404, "{path}: {}", theirs.text);
    }
    let order = json!({ "volumes": ["web"], "qmp": "/x" });
    let other = depot.plane().post("/v1/projects/q/backups", order).await;
    assert!(other.status == 422 && other.text.contains("no volume"), "{}", other.text);
    for path in [theirs.to_owned(), format!("{theirs}/restore")] {
        let theirs = depot.plane().call("DELETE", &path, &[], Body::empty()).await;
        assert_eq!(theirs.status, 404, "{path}: {}", theirs.text);
    }
    depot.noted.is_held.store(false, Ordering::SeqCst);
    let id = begun["id"].as_str().unwrap();
    depot.gallery.ended(&format!("/v1/projects/p/jobs/{id}")).await;
    let open = depot.plane().post("/v1/projects/p/volumes/web/open", Value::Null).await;
    assert_eq!(open.status, 200, "{}", open.text);
}

#[tokio::test]
async fn a_key_is_kept_until_the_header_is_known_to_be_without_it() {
    let depot = Depot::open().await;
    depot.made(json!({ "id": "web", "size": 1 << 20, "encrypted": true })).await;
    depot.noted.refuse(Reason::Monitor);
    let failed = depot.done("volumes/web/rotate-key", json!({ "qmp": "/run/x" })).await;
    assert_eq!(failed["state"], "failed");
    assert_eq!(depot.show("web").await["keys"], json!([1, 2]));
    // What was begun is ended, with the same key.
    let done = depot.done("volumes/web/rotate-key", json!({})).await;
    assert_eq!((&done["state"], &done["figures"]["forgotten"]), (&json!("done"), &json!(1)));
    assert_eq!(depot.show("web").await["keys"], json!([2]));
    depot.done("volumes/web/rotate-key", json!({})).await;
    assert_eq!(depot.show("web").await["keys"], json!([3]));
    depot.made(json!({ "id": "clear", "size": 1 << 20 })).await;
    let clear = depot.plane().post("/v1/projects/p/volumes/clear/rotate-key", json!({})).await;
    assert_eq!(clear.status, 422);
}

#[tokio::test]
async fn a_hydration_is_cancelled_and_one_that_ends_makes_the_volume_plain() {
    let depot = Depot::open().await;
    depot.made(json!({ "id": "web", "size": 1 << 20 })).await;
    let at = "/v1/projects/p/volumes/web";
    let relative = depot.plane().post(&format!("{at}/hydrate"), json!({ "qmp": "x" })).await;
    assert_eq!(relative.status, 422);
    depot.noted.is_held.store(true, Ordering::SeqCst);
    let begun = depot.plane().post(&format!("{at}/hydrate"), json!({ "qmp": "/x" })).await.json();
    let job = format!("/v1/projects/p/jobs/{}", begun["id"].as_str().unwrap());
    for what in ["pause", "resume"] {
        let path = format!("{at}/hydration/{what}");
        assert_eq!(depot.plane().post(&path, json!({ "qmp": "/x" })).await.status, 204);
        assert_eq!(depot.plane().post(&path, json!({})).await.status, 422);
    }
    depot.plane().post(&format!("{job}/cancel"), Value::Null).await;
    assert_eq!(depot.gallery.ended(&job).await["state"], "cancelled");
    depot.noted.is_held.store(false, Ordering::SeqCst);
    assert_eq!(depot.show("web").await["class"], "recovered");
    depot.done("volumes/web/hydrate", json!({ "qmp": "/x" })).await;
    assert_eq!(depot.show("web").await["class"], "plain");
    let again = depot.plane().post(&format!("{at}/hydrate"), json!({ "qmp": "/x" })).await;
    assert_eq!(again.status, 422);
}

#[tokio::test]
async fn a_backup_names_each_volume_once_and_tells_what_it_lacks() {
    let depot = Depot::open().await;
    depot.made(json!({ "id": "web", "size": 1 << 20 })).await;
    for volumes in [json!([]), json!(["web", "web"]), json!(["W"])] {
        let body = json!({ "volumes": volumes, "qmp": "/x" });
        assert_eq!(depot.plane().post("/v1/projects/p/backups", body).await.status, 422);
    }
    let body = json!({ "volumes": ["web", "none"], "qmp": "/x" });
    let refused = depot.plane().post("/v1/projects/p/backups", body).await;
    let fault = &refused.problem()["faults"][0];
    assert_eq!((refused.status, &fault["path"]), (422, &json!("volumes[1]")));
    assert_eq!(fault["message"], "the project has no volume 'none'");
    // What is encrypted here does not come to lie in the archive in the clear.
    depot.made(json!({ "id": "sealed", "size": 1 << 20, "encrypted": true })).await;
    let body = json!({ "volumes": ["web", "sealed"], "qmp": "/x" });
    let refused = depot.plane().post("/v1/projects/p/backups", body).await;
    assert_eq!((refused.status, &refused.problem()["faults"][0]["path"]), (422, &json!("volumes")));
    let job = depot.done("backups", json!({ "volumes": ["web"], "qmp": "/x" })).await;
    assert_eq!(job["state"], "failed");
    assert_eq!(job["faults"][0]["path"], "volumes.web");
    assert_eq!(depot.plane().get("/v1/projects/p/backups").await.json(), json!([]));
    // An image that is no backup is none here, and is not deleted so.
    let image = depot.gallery.image("p", "debian", vec![1; 1 << 20]).await;
    let path = format!("/v1/projects/p/backups/{image}");
    assert_eq!(depot.plane().get(&path).await.status, 404);
    assert_eq!(depot.plane().call("DELETE", &path, &[], Body::empty()).await.status, 404);
    assert_eq!(depot.plane().get(&format!("/v1/projects/p/images/{image}")).await.status, 200);
}

#[tokio::test]
async fn a_site_without_pools_and_a_volume_of_another_host_are_told() {
    let plane = Plane::seeded().await;
    let none = plane.get("/v1/pools").await;
    assert_eq!((none.status, &none.problem()["type"]), (404, &json!("no-volumes")));

    let depot = Depot::open().await;
    for (pool, status) in [("fast", 200), ("away", 201), ("nowhere", 404)] {
        let made = depot.plane().post(&format!("/v1/pools/{pool}"), Value::Null).await;
        assert_eq!(made.status, status, "{pool}: {}", made.text);
    }
    depot.made(json!({ "id": "web", "size": 1 << 20 })).await;
    let (project, id) = (ProjectName::parse("p").unwrap(), VolumeId::parse("web").unwrap());
    let control = &depot.plane().control;
    control.change_volume(&project, &id, |it| it.host = "there".into()).await.unwrap();
    let open = depot.plane().post("/v1/projects/p/volumes/web/open", Value::Null).await;
    assert_eq!((open.status, &open.problem()["type"]), (409, &json!("other-host")));
    let gone = depot.plane().call("DELETE", "/v1/projects/p/volumes/web", &[], Body::empty()).await;
    assert_eq!(gone.status, 409);
}

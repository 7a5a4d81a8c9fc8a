//! Volumes over the API in pools that are directories, with QEMU as whoever runs guests starts it, and
//! with what is left where this process, or QEMU, ended in the middle.

mod flushed;
mod frozen;
mod leftovers;
mod machine;
mod masters;
mod stopped;

use std::time::Instant;

use self::machine::Machine;
use super::*;
use crate::{
    images::part::Part,
    settings::{images::ImageSettings, volumes::VolumeSettings},
    volumes::local::Local,
};

const BOUND: Duration = Duration::from_secs(60);

/// A site with one pool, `fast`.
struct Site {
    gallery: Gallery,
}

impl Site {
    async fn open() -> Self {
        let mut site = Self { gallery: Gallery::open().await };
        site.route().await;
        let made = site.plane().post("/v1/pools/fast", Value::Null).await;
        assert!(made.status < 300, "{}", made.text);
        site
    }

    /// The same after its process has ended and another was started.
    async fn again(mut self) -> Self {
        let archive = Some(self.path("archive"));
        let settings = ImageSettings { directory: archive, ..ImageSettings::default() };
        let (uploads, jobs) = (self.path("uploads"), self.path("jobs"));
        let control = Arc::clone(&self.gallery.plane.control);
        let environment = Arc::new(FixedEnvironment::new());
        let part = Part::open(settings, uploads, Some(jobs), control, environment).await;
        self.gallery.images = part.begun().unwrap();
        self.gallery.part = part;
        self.route().await;
        self
    }

    /// Has what works with volumes begin, and be called.
    async fn route(&mut self) {
        let part = begin(&self.gallery).await;
        let gallery = &mut self.gallery;
        let (control, images) = (Arc::clone(&gallery.plane.control), Arc::clone(&gallery.part));
        let (ending, end) = watch::channel(false);
        let router = router(control, Some(images), Some(part), None, 8 << 20, end);
        (gallery.plane.router, gallery.plane.ending) = (router, ending);
    }

    fn plane(&self) -> &Plane {
        &self.gallery.plane
    }

    fn path(&self, name: &str) -> PathBuf {
        self.gallery.folder.path().join(name)
    }

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

    async fn start(&self, id: &str) -> Value {
        let path = format!("/v1/projects/p/volumes/{id}/open");
        let answer = self.plane().post(&path, Value::Null).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()
    }

    async fn delete(&self, id: &str) -> Answer {
        let path = format!("/v1/projects/p/volumes/{id}");
        self.plane().call("DELETE", &path, &[], Body::empty()).await
    }

    async fn show(&self, id: &str) -> Value {
        self.plane().get(&format!("/v1/projects/p/volumes/{id}")).await.json()
    }

    /// Changes what a master has noted of a clone, as a process that ended has left it.
    fn note(&self, id: &str, change: impl FnOnce(&mut Value)) {
        let masters = std::fs::read_dir(self.path("masters")).unwrap();
        let records = masters.map(|it| it.unwrap().path().join(format!("clones/{id}.json")));
        let path = records.into_iter().find(|path| path.exists()).unwrap();
        let mut record = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        change(&mut record);
        std::fs::write(&path, record.to_string()).unwrap();
    }
}

/// What works with volumes, as a process that starts has it.
async fn begin(gallery: &Gallery) -> Arc<VolumePart> {
    let at = |name: &str| gallery.folder.path().join(name);
    let settings = VolumeSettings {
        pools: [("fast".to_owned(), at("pool").into())].into(),
        masters: Some(at("masters")),
        freeze_socket: Some(at("freeze.sock")),
        ..VolumeSettings::default()
    };
    let (run, records) = (at("run"), at("restores"));
    let open = move |images| {
        let local = Local::open(settings.clone(), run.clone(), &records, images)?;
        Ok(Arc::new(local) as Arc<dyn Executor>)
    };
    let manner = Manner { default_pool: "fast".into(), jobs: 4, hydrations: 2, jobs_waiting: 8 };
    let (control, images) = (Arc::clone(&gallery.plane.control), Arc::clone(&gallery.part));
    let environment = Arc::new(FixedEnvironment::new());
    VolumePart::open(images, Box::new(open), control, environment, manner).await
}

#[tokio::test]
async fn a_hydration_that_was_left_at_any_step_of_its_end_is_ended_and_its_guest_goes_on() {
    let site = Site::open().await;
    // After the guest was stopped; after QEMU was told to go over; after that was recorded.
    for step in 0..3 {
        let id = format!("web{step}");
        site.made(json!({ "id": id, "size": 2 << 20 })).await;
        let start = site.start(&id).await;
        let mut machine = Machine::start(&site.path(""), &id, &[&start]);
        let target = site.path("pool").canonicalize().unwrap().join(format!("{id}.raw"));
        std::fs::File::create(&target).unwrap().set_len(2 << 20).unwrap();
        machine.copied(&id, &target);
        let place = json!({ "file": target });
        let stage = match step {
            0 => json!("overlay"),
            1 => json!({ "handing-over": place }),
            _ => json!({ "plain": place }),
        };
        site.note(&id, |record| {
            record["stage"] = stage;
            record["is_held"] = true.into();
        });
        machine.tell("stop", json!({}));
        if step > 0 {
            machine.tell("job-complete", json!({ "id": format!("{id}.hydrate") }));
            machine.until("concluded");
        }
        let asked = json!({ "qmp": machine.socket });
        let job = site.done(&format!("volumes/{id}/hydrate"), asked).await;
        assert_eq!(job["state"], "done", "step {step}: {job}");
        assert!(machine.is_running(), "step {step}");
        assert_eq!(site.show(&id).await["class"], "plain");
    }
}

#[tokio::test]
async fn a_hydration_that_ended_before_that_was_noted_is_told_so_by_who_asks_again_or_opens_it() {
    let site = Site::open().await;
    site.made(json!({ "id": "web", "size": 2 << 20 })).await;
    let target = site.path("pool").canonicalize().unwrap().join("web.raw");
    std::fs::File::create(&target).unwrap().set_len(2 << 20).unwrap();
    site.note("web", |record| record["stage"] = json!({ "plain": { "file": target } }));
    assert_eq!(site.show("web").await["class"], "recovered");
    let start = site.start("web").await;
    assert_eq!(site.show("web").await["class"], "plain");
    // The one whose record is behind while its QEMU ended in the middle.
    site.made(json!({ "id": "db", "size": 2 << 20 })).await;
    let target = target.with_file_name("db.raw");
    std::fs::File::create(&target).unwrap().set_len(2 << 20).unwrap();
    let stage = json!({ "handing-over": { "file": target } });
    site.note("db", |record| record["stage"] = stage);
    let mut db = start.clone();
    db["blockdev"]["node-name"] = "db".into();
    db["blockdev"]["file"]["node-name"] = "db.file".into();
    db["blockdev"]["file"]["filename"] = json!(target);
    (db["device"]["drive"], db["device"]["id"]) = ("db".into(), "db.disk".into());
    let machine = Machine::start(&site.path(""), "db", &[&db]);
    let job = site.done("volumes/db/hydrate", json!({ "qmp": machine.socket })).await;
    assert_eq!(job["state"], "done", "{job}");
    assert_eq!(site.show("db").await["class"], "plain");
}

#[tokio::test]
async fn another_guests_monitor_ends_no_hydration_and_forgets_no_key_of_one() {
    let site = Site::open().await;
    let body = |id: &str| json!({ "id": id, "size": 8 << 20, "encrypted": true });
    site.made(body("web")).await;
    site.made(body("db")).await;
    let (web, db) = (site.start("web").await, site.start("db").await);
    let mut machine = Machine::start(&site.path(""), "web", &[&web]);
    let other = Machine::start(&site.path(""), "db", &[&db]);
    // It is slow, so that it goes on; then whoever follows it ends.
    let asked = json!({ "qmp": machine.socket, "speed": 1 << 20 });
    let begun = site.plane().post("/v1/projects/p/volumes/web/hydrate", asked).await.json();
    machine.until("running");
    machine.tell("job-pause", json!({ "id": "web.hydrate" }));
    site.gallery.images.table().end();
    let id = begun["id"].as_str().unwrap();
    site.gallery.ended(&format!("/v1/projects/p/jobs/{id}")).await;
    let site = site.again().await;
    let wrong = site.done("volumes/web/hydrate", json!({ "qmp": other.socket })).await;
    assert_eq!(wrong["state"], "failed");
    assert!(wrong["faults"][0]["mend"].as_str().unwrap().contains("QMP socket"), "{wrong}");
    machine.tell("job-resume", json!({ "id": "web.hydrate" }));
    machine.tell("block-job-set-speed", json!({ "device": "web.hydrate", "speed": 0 }));
    let right = site.done("volumes/web/hydrate", json!({ "qmp": machine.socket })).await;
    assert_eq!(right["state"], "done", "{right}");
    let start = site.start("web").await;
    assert_eq!((&start["class"], &start["blockdev"]["driver"]), (&json!("plain"), &json!("luks")));
}

#[tokio::test]
async fn a_volume_that_is_deleted_leaves_nothing_of_a_hydration_that_was_not_ended() {
    let site = Site::open().await;
    site.made(json!({ "id": "web", "size": 2 << 20 })).await;
    let target = site.path("pool/web.raw");
    std::fs::write(&target, vec![7; 2 << 20]).unwrap();
    let deleted = site.delete("web").await;
    assert_eq!(deleted.status, 200, "{}", deleted.text);
    assert!(!target.exists());
    assert_eq!(site.show("web").await["status"], 404);
}

#[tokio::test]
async fn a_volume_that_is_not_seen_is_not_deleted_and_its_keys_are_kept() {
    let site = Site::open().await;
    let web = "/v1/projects/p/volumes/web";
    site.made(json!({ "id": "web", "size": 2 << 20, "encrypted": true })).await;
    let (masters, pool) = (site.path("masters"), site.path("pool"));
    let away = site.path("away");
    // As an unmounted file system shows itself: nothing, and an empty directory; then one that was
    // made a pool's since.
    for place in [&masters, &pool] {
        std::fs::rename(place, &away).unwrap();
        for is_there in [false, true] {
            if is_there {
                std::fs::create_dir(place).unwrap();
            }
            let opened = site.plane().post(&format!("{web}/open"), Value::Null).await;
            for answer in [opened, site.delete("web").await] {
                let told = (answer.status, answer.problem()["type"].clone());
                assert_eq!(told, (409, json!("no-pool-there")), "{}", answer.text);
            }
            assert_eq!(site.show("web").await["keys"], json!([1]));
        }
        let made = site.plane().post("/v1/pools/fast", Value::Null).await;
        let answer = site.delete("web").await;
        assert_eq!(answer.problem()["type"], "no-pool-there", "{} {}", made.text, answer.text);
        std::fs::remove_dir_all(place).unwrap();
        std::fs::rename(&away, place).unwrap();
    }
    // A file that no master knows of is no volume that is gone.
    let record = site.path("masters/zeros-2097152/clones/web.json");
    std::fs::rename(&record, &away).unwrap();
    assert_eq!(site.delete("web").await.problem()["type"], "volume-conflict");
    std::fs::rename(&away, &record).unwrap();
    let deleted = site.delete("web").await;
    assert_eq!(deleted.status, 200, "{}", deleted.text);
    assert_ne!(deleted.json()["erased"], "nothing");
    assert_eq!(site.show("web").await["status"], 404);
}

#[tokio::test]
async fn a_volume_that_the_records_have_lost_is_not_removed_by_one_of_its_name() {
    let site = Site::open().await;
    let body = json!({ "id": "web", "size": 2 << 20 });
    site.made(body.clone()).await;
    std::fs::write(site.path("pool/web.raw"), "plain").unwrap();
    let (p, web) = (ProjectName::parse("p").unwrap(), VolumeId::parse("web").unwrap());
    site.gallery.plane.control.forget_volume(&p, &web).await.unwrap();
    let job = site.done("volumes", body).await;
    assert_eq!(job["state"], "failed", "{job}");
    assert!(site.path("pool/web.qcow2").exists() && site.path("pool/web.raw").exists());
    assert!(site.path("masters/zeros-2097152/clones/web.json").exists());
    assert_eq!(site.show("web").await["status"], 404);
}

#[tokio::test]
async fn a_guest_that_a_killed_process_has_left_standing_still_goes_on_with_the_next_one() {
    let site = Site::open().await;
    for id in ["web", "db", "hyd"] {
        site.made(json!({ "id": id, "size": 2 << 20 })).await;
    }
    let (web, db, hyd) = (site.start("web").await, site.start("db").await, site.start("hyd").await);
    // Between `stop` and `cont` of a backup of two volumes.
    let mut saved = Machine::start(&site.path(""), "saved", &[&web, &db]);
    let mark = json!({ "driver": "null-co", "node-name": "backup_stopped", "size": 0 });
    saved.tell("blockdev-add", mark);
    saved.tell("stop", json!({}));
    // In the middle of a handing over.
    let mut copied = Machine::start(&site.path(""), "copied", &[&hyd]);
    let target = site.path("pool").canonicalize().unwrap().join("hyd.raw");
    std::fs::File::create(&target).unwrap().set_len(2 << 20).unwrap();
    copied.copied("hyd", &target);
    site.note("hyd", |record| {
        record["stage"] = json!({ "handing-over": { "file": target } });
        record["is_held"] = true.into();
    });
    copied.tell("stop", json!({}));
    let left = |what: &str, volumes: &[&str], qmp: &Path| {
        let note = json!({ "what": what, "volumes": volumes, "qmp": qmp });
        let name = format!("run/{what}-{}.left", volumes[0]);
        std::fs::write(site.path(&name), note.to_string()).unwrap();
    };
    left("backup", &["db", "web"], &saved.socket);
    left("hydration", &["hyd"], &copied.socket);
    // One whose QEMU is gone.
    left("backup", &["web"], Path::new("/nowhere/qmp"));
    let site = site.again().await;
    let begin = Instant::now();
    let notes = || {
        let entries = std::fs::read_dir(site.path("run")).unwrap().map(|it| it.unwrap().path());
        entries.filter(|path| path.extension().is_some_and(|it| it == "left")).count()
    };
    while notes() > 0 {
        assert!(begin.elapsed() < BOUND, "what was left is not ended");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(saved.is_running() && copied.is_running());
    while site.show("hyd").await["class"] != "plain" {
        assert!(begin.elapsed() < BOUND);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_hydration_and_a_backup_that_end_leave_no_note_of_themselves() {
    let site = Site::open().await;
    site.made(json!({ "id": "web", "size": 2 << 20 })).await;
    let start = site.start("web").await;
    let machine = Machine::start(&site.path(""), "web", &[&start]);
    let order = json!({ "volumes": ["web"], "qmp": machine.socket });
    let saved = site.done("backups", order).await;
    assert_eq!(saved["state"], "done", "{saved}");
    let job = site.done("volumes/web/hydrate", json!({ "qmp": machine.socket })).await;
    assert_eq!(job["state"], "done", "{job}");
    assert_eq!(std::fs::read_dir(site.path("run")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_hydration_that_would_take_a_pools_last_byte_is_refused_before_it_begins() {
    let site = Site::open().await;
    let free = mezame_images::room::free(&site.path("")).unwrap();
    if free > 200 << 30 {
        eprintln!("skipped, too large a disk: the volume has to be longer than what is free");
        return;
    }
    // By so much more as nobody frees meanwhile.
    let size = (free + (64 << 30)).next_multiple_of(1 << 20);
    site.made(json!({ "id": "web", "size": size })).await;
    let start = site.start("web").await;
    let machine = Machine::start(&site.path(""), "web", &[&start]);
    let job = site.done("volumes/web/hydrate", json!({ "qmp": machine.socket })).await;
    assert_eq!(job["state"], "failed", "{job}");
    assert!(job["faults"][0]["mend"].as_str().unwrap().contains("make room"), "{job}");
    assert!(!site.path("pool/web.raw").exists());
}

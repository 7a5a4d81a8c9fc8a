//! Schedules over the API: what is begun when, what waits, and what is deleted after it.

mod pages;
mod turns;

use mezame_images::{
    archive::{
        Detail, Kind, NewImage, Unwatched,
        source::{Extent, Source},
    },
    backup::pull::{CONSISTENCY, POINT, READ, TAKEN, VOLUME},
};

use super::*;
use crate::volumes::executor::SCHEDULE;

const HOUR: u64 = 60 * 60 * 1000;
const AT: &str = "/v1/projects/p/backup-schedules";

/// A disk of one block.
struct Block;

impl Source for Block {
    fn size(&self) -> u64 {
        4096
    }

    fn extents(&self) -> std::io::Result<Vec<Extent>> {
        Ok(Vec::new())
    }

    fn read_at(&self, buffer: &mut [u8], _: u64) -> std::io::Result<()> {
        buffer.fill(7);
        Ok(())
    }
}

impl Depot {
    /// One whose backups come to be, with the volumes `web` and `data`.
    async fn with_backups() -> Self {
        let depot = Self::open().await;
        let (images, clock) = (Arc::clone(&depot.gallery.images), Arc::clone(&depot.environment));
        let make = move |order: BackupOrder| {
            use crate::environment::Environment;
            let archive = images.archive().unwrap();
            let now = clock.now_ms();
            let made = order.volumes.iter().map(|facts| {
                let mut labels: BTreeMap<String, String> = [
                    (VOLUME, facts.id.to_string()),
                    (POINT, format!("point-{now}")),
                    (TAKEN, now.to_string()),
                    (CONSISTENCY, "crash".into()),
                    (READ, "incremental".into()),
                ]
                .map(|(name, value)| (name.to_owned(), value))
                .into();
                labels.extend(order.schedule.iter().map(|it| (SCHEDULE.into(), it.to_string())));
                let name = order.name.clone().unwrap_or_else(|| "by hand".into());
                let detail = Detail { name, labels, ..Detail::default() };
                let (project, kind) = (&order.project, Kind::Backup);
                let new = NewImage { project, kind, detail, key: None, base: None };
                archive.import(&new, &Block, &Unwatched).unwrap().image.id
            });
            BackedUp { images: made.collect(), ..BackedUp::default() }
        };
        *depot.noted.maker.lock().unwrap() = Some(Box::new(make));
        for id in ["web", "data"] {
            depot.made(json!({ "id": id, "size": 1 << 20 })).await;
        }
        depot
    }

    async fn set(&self, name: &str, spec: Value) -> Value {
        let set = self.plane().put(&format!("{AT}/{name}"), &[], spec).await;
        assert_eq!(set.status, 200, "{}", set.text);
        set.json()
    }

    async fn schedule(&self, name: &str) -> Value {
        self.plane().get(&format!("{AT}/{name}")).await.json()
    }

    /// Looks at the clock until what was begun has ended; the schedule then.
    async fn settled(&self, name: &str) -> Value {
        for _ in 0..3000 {
            self.schedules.tick().await;
            let schedule = self.schedule(name).await;
            if schedule["last"]["outcome"] != "running" && schedule["waiting"].is_null() {
                return schedule;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{} does not end", self.schedule(name).await);
    }

    /// The times of the backups that there are, in hours since it began.
    async fn backups(&self, volume: &str) -> Vec<u64> {
        let path = format!("/v1/projects/p/backups?volume={volume}");
        let all = self.plane().get(&path).await.json();
        let taken = all.as_array().unwrap().iter().map(|it| it["taken_ms"].as_u64().unwrap());
        taken.map(|ms| (ms - 1_767_225_600_000) / HOUR).collect()
    }

    fn pass(&self, hours: u64) {
        self.environment.advance_ms(hours * HOUR);
    }
}

fn every(hours: u64, volumes: &[&str], keep: Value) -> Value {
    json!({
        "volumes": volumes, "qmp": "/run/x", "when": format!("every {hours}h"), "keep": keep,
    })
}

#[tokio::test]
async fn a_schedule_is_made_shown_paused_resumed_and_deleted_by_its_own_project_alone() {
    let depot = Depot::open().await;
    depot.made(json!({ "id": "web", "size": 1 << 20 })).await;
    let made = depot.set("nightly", every(2, &["web"], json!({ "daily": 7 }))).await;
    assert_eq!(made["next_ms"], json!(1_767_225_600_000 + 2 * HOUR));
    assert_eq!((&made["name"], &made["failures"]), (&json!("nightly"), &json!(0)));
    let plane = depot.plane();
    assert_eq!(plane.get(AT).await.json(), json!([made]));
    assert_eq!(plane.get("/v1/projects/q/backup-schedules").await.json(), json!([]));
    for path in ["/v1/projects/q/backup-schedules/nightly", "/v1/projects/p/backup-schedules/no"] {
        assert_eq!(plane.get(path).await.status, 404);
        assert_eq!(plane.call("DELETE", path, &[], Body::empty()).await.status, 404);
        assert_eq!(plane.post(&format!("{path}/pause"), Value::Null).await.status, 404);
    }
    let nightly = format!("{AT}/nightly");
    for (method, path) in [("PUT", nightly.clone()), ("POST", format!("{nightly}/pause"))] {
        let refused = plane.call_as(Some(Role::Read), method, &path, &[], "{}").await;
        assert_eq!(refused.status, 403);
    }
    let paused = plane.post(&format!("{nightly}/pause"), Value::Null).await.json();
    assert_eq!((&paused["spec"]["paused"], &paused["next_ms"]), (&json!(true), &Value::Null));
    depot.pass(9);
    depot.schedules.tick().await;
    assert_eq!(depot.schedule("nightly").await, paused);
    let resumed = plane.post(&format!("{nightly}/resume"), Value::Null).await.json();
    assert_eq!(resumed["next_ms"], json!(1_767_225_600_000 + 10 * HOUR));
    // A project that has schedules stays.
    let busy = plane.call("DELETE", "/v1/projects/p", &[], Body::empty()).await;
    assert!(busy.status == 409 && busy.text.contains("the backup schedule"), "{}", busy.text);
    assert_eq!(plane.call("DELETE", &nightly, &[], Body::empty()).await.status, 204);
    assert_eq!(plane.get(&nightly).await.status, 404);
    let web = "/v1/projects/p/volumes/web";
    assert_eq!(plane.call("DELETE", web, &[], Body::empty()).await.status, 200);
    assert_eq!(plane.call("DELETE", "/v1/projects/p", &[], Body::empty()).await.status, 204);
}

#[tokio::test]
async fn a_name_in_use_is_not_taken_over_by_who_makes_a_schedule_nor_made_by_who_changes_one() {
    let depot = Depot::open().await;
    for id in ["web", "data"] {
        depot.made(json!({ "id": id, "size": 1 << 20 })).await;
    }
    let (plane, nightly) = (depot.plane(), format!("{AT}/nightly"));
    let absent = [("if-none-match", "*")];
    let made = plane.put(&nightly, &absent, every(2, &["web"], json!({ "daily": 7 }))).await;
    assert_eq!(made.status, 200, "{}", made.text);
    let again = plane.put(&nightly, &absent, every(2, &["data"], json!({}))).await;
    assert_eq!((again.status, &again.problem()["type"]), (412, &json!("precondition-failed")));
    assert_eq!(depot.schedule("nightly").await, made.json());
    let changed = plane.put(&nightly, &[("if-match", "*")], every(3, &["web"], json!({}))).await;
    assert_eq!((changed.status, &changed.json()["spec"]["when"]), (200, &json!("every 3h")));
    let (path, there) = (format!("{AT}/no"), [("if-match", "*")]);
    assert_eq!(plane.put(&path, &there, every(3, &["web"], json!({}))).await.status, 404);
    // A schedule has no revision to be at.
    let at = plane.put(&nightly, &[("if-match", "\"7\"")], every(3, &["web"], json!({}))).await;
    assert_eq!(at.status, 400);
    assert_eq!(plane.get(AT).await.json(), json!([changed.json()]));
}

#[tokio::test]
async fn what_is_no_schedule_is_told_with_its_field() {
    let depot = Depot::open().await;
    for (name, spec, path) in [
        ("UPPER", every(1, &["web"], json!({})), "name"),
        ("x", every(1, &[], json!({})), "volumes"),
        ("x", every(1, &["web", "web"], json!({})), "volumes[1]"),
        ("x", every(1, &["W"], json!({})), "volumes[0]"),
        ("x", every(1, &["none"], json!({})), "volumes[0]"),
        ("x", every(0, &["web"], json!({})), "when"),
        ("x", json!({ "volumes": ["web"], "qmp": "/x", "when": "24:00" }), "when"),
        ("x", json!({ "volumes": ["web"], "qmp": "x", "when": "02:30" }), "qmp"),
    ] {
        let refused = depot.plane().put(&format!("{AT}/{name}"), &[], spec).await;
        assert_eq!(refused.status, 422, "{}", refused.text);
        assert_eq!(refused.problem()["faults"][0]["path"], path);
    }
    let unknown = json!({ "volumes": ["web"], "qmp": "/x", "when": "02:30", "often": true });
    assert_eq!(depot.plane().put(&format!("{AT}/x"), &[], unknown).await.status, 400);
    assert_eq!(depot.plane().get(AT).await.json(), json!([]));
    let plane = Plane::seeded().await;
    assert_eq!(plane.get(AT).await.problem()["type"], "no-volumes");
}

#[tokio::test]
async fn backups_are_made_at_their_times_and_the_older_of_its_own_deleted() {
    let depot = Depot::with_backups().await;
    let by_hand = json!({ "volumes": ["web"], "qmp": "/run/x" });
    assert_eq!(depot.done("backups", by_hand).await["state"], "done");
    depot.set("often", every(1, &["web", "data"], json!({ "last": 2 }))).await;
    for hour in 1..=4 {
        depot.pass(1);
        let schedule = depot.settled("often").await;
        assert_eq!(schedule["last"]["outcome"], "done", "{schedule}");
        let dropped = if hour > 2 { 2 } else { 0 };
        assert_eq!(schedule["last"]["dropped"], dropped, "{schedule}");
        assert!(schedule["last"]["job"].as_str().unwrap().starts_with("job-"));
    }
    assert_eq!(depot.backups("data").await, [4, 3]);
    // What was made by hand stays.
    assert_eq!(depot.backups("web").await, [4, 3, 0]);
    let all = depot.plane().get("/v1/projects/p/backups?volume=data").await.json();
    assert_eq!((&all[0]["schedule"], &all[0]["name"]), (&json!("often"), &json!("schedule often")));
    // However many times were missed, one is made.
    depot.pass(50);
    depot.settled("often").await;
    depot.schedules.tick().await;
    assert_eq!(depot.backups("data").await, [54, 4]);
}

#[tokio::test]
async fn what_is_deleted_is_what_the_schedule_does_not_keep_by_now_and_not_when_it_was_looked_at() {
    let depot = Depot::with_backups().await;
    for _ in 0..3 {
        depot.set("often", every(1, &["web"], json!({ "last": 9 }))).await;
        depot.pass(1);
        depot.settled("often").await;
    }
    let all = depot.plane().get("/v1/projects/p/backups?volume=web").await.json();
    let newest = [all[0]["id"].as_str().unwrap().to_owned()];
    depot.set("often", every(1, &["web"], json!({ "last": 1 }))).await;
    let control = &depot.gallery.plane.control;
    let looked_at = control.schedule(&ProjectName::parse("p").unwrap(), "often").unwrap();
    depot.set("often", every(1, &["web"], json!({ "last": 2 }))).await;
    depot.schedules.prune(&looked_at, &newest).await.unwrap();
    assert_eq!(depot.backups("web").await, [3, 2]);
    depot.plane().call("DELETE", &format!("{AT}/often"), &[], Body::empty()).await;
    depot.schedules.prune(&looked_at, &newest).await.unwrap();
    assert_eq!(depot.backups("web").await, [3, 2]);
}

#[tokio::test]
async fn after_a_backup_that_failed_nothing_is_deleted_and_the_next_time_is_tried() {
    let depot = Depot::with_backups().await;
    depot.set("often", every(1, &["web"], json!({ "last": 1 }))).await;
    depot.pass(1);
    depot.settled("often").await;
    for failures in 1..=2 {
        depot.noted.refuse(Reason::Monitor);
        depot.pass(1);
        let schedule = depot.settled("often").await;
        assert_eq!(
            (&schedule["last"]["outcome"], &schedule["failures"]),
            (&json!("failed"), &json!(failures))
        );
        assert_eq!(schedule["last"]["why"], "refused, as the test wants");
        assert_eq!(schedule["done_ms"], json!(1_767_225_600_000 + HOUR));
        assert_eq!(depot.backups("web").await, [1]);
    }
    depot.pass(1);
    let schedule = depot.settled("often").await;
    assert_eq!((&schedule["last"]["outcome"], &schedule["failures"]), (&json!("done"), &json!(0)));
    assert_eq!(depot.backups("web").await, [4]);
    // One whose volume is gone is told so, and stops nothing.
    depot.made(json!({ "id": "none", "size": 1 << 20 })).await;
    depot.set("gone", every(1, &["none"], json!({}))).await;
    let path = "/v1/projects/p/volumes/none";
    assert_eq!(depot.plane().call("DELETE", path, &[], Body::empty()).await.status, 200);
    depot.pass(1);
    let gone = depot.settled("gone").await;
    assert_eq!(gone["last"]["why"], "the project has no volume 'none'");
    // It can be changed, and not by what is not there either.
    depot.set("gone", every(2, &["none"], json!({}))).await;
    let path = format!("{AT}/gone");
    let other = depot.plane().put(&path, &[], every(2, &["none", "nor"], json!({}))).await;
    assert_eq!((other.status, &other.problem()["faults"][0]["path"]), (422, &json!("volumes[1]")));
    assert_eq!(depot.settled("often").await["last"]["outcome"], "done");
}

#[tokio::test]
async fn a_backup_that_failed_since_the_archive_or_a_pool_was_away_is_made_once_it_is_back() {
    let depot = Depot::with_backups().await;
    depot.set("nightly", every(24, &["web"], json!({}))).await;
    depot.pass(24);
    for (tries, reason) in [Reason::Archive, Reason::NoPool].into_iter().enumerate() {
        depot.noted.refuse(reason);
        let away = depot.settled("nightly").await;
        assert_eq!(away["last"]["outcome"], "failed", "{away}");
        let minutes = 24 * 60 + 10 * (tries as u64 + 1);
        assert_eq!(away["next_ms"], json!(1_767_225_600_000 + minutes * HOUR / 60), "{away}");
        depot.environment.advance_ms(HOUR / 6);
    }
    let back = depot.settled("nightly").await;
    assert_eq!((&back["last"]["outcome"], &back["failures"]), (&json!("done"), &json!(0)));
    assert_eq!(back["next_ms"], json!(1_767_225_600_000 + 48 * HOUR));
    assert_eq!(depot.backups("web").await, [24]);
}

#[tokio::test]
async fn a_backup_whose_job_was_lost_by_a_restart_is_made_once_more() {
    let depot = Depot::with_backups().await;
    depot.set("often", every(2, &["web"], json!({}))).await;
    let (project, lost) = (ProjectName::parse("p").unwrap(), Some("job-lost".to_owned()));
    depot.pass(2);
    let now = 1_767_225_600_000 + 2 * HOUR;
    let control = &depot.plane().control;
    control.change_schedule(&project, "often", move |it| it.begin(now, lost)).await.unwrap();
    depot.schedules.tick().await;
    let interrupted = depot.schedule("often").await;
    assert_eq!(interrupted["last"]["why"], "its job is not known any more");
    assert_eq!((&interrupted["next_ms"], &interrupted["failures"]), (&json!(now), &json!(1)));
    let again = depot.settled("often").await;
    assert_eq!(again["last"]["outcome"], "done");
    assert_eq!(again["next_ms"], json!(now + 2 * HOUR));
    depot.settled("often").await;
    assert_eq!(depot.backups("web").await, [2]);
}

#[tokio::test]
async fn a_schedule_waits_for_volumes_that_are_away_and_tells_so() {
    let depot = Depot::with_backups().await;
    let is_there = Arc::new(AtomicBool::new(false));
    let (executor, there) = (Arc::clone(&depot.noted), Arc::clone(&is_there));
    let open = move |_| {
        if !there.load(Ordering::SeqCst) {
            let source = std::io::Error::other("it is not mounted");
            return Err(crate::images::StartError::Folder { path: "/mnt/run".into(), source });
        }
        Ok(Arc::clone(&executor) as Arc<dyn Executor>)
    };
    let manner = Manner { default_pool: "fast".into(), jobs: 1, hydrations: 2, jobs_waiting: 8 };
    let (control, images) = (Arc::clone(&depot.plane().control), Arc::clone(&depot.gallery.part));
    let environment = Arc::clone(&depot.environment);
    let (at, of, clock) = (Arc::clone(&control), Arc::clone(&images), environment.clone());
    let volumes = VolumePart::open(of, Box::new(open), at, clock, manner).await;
    let schedules = Schedules::new(control, images, volumes, environment);

    depot.set("often", every(1, &["web"], json!({}))).await;
    depot.set("other", every(1, &["data"], json!({}))).await;
    depot.pass(1);
    let project = ProjectName::parse("p").unwrap();
    let rest = schedules.tick().await;
    assert_eq!(rest, Duration::from_secs(10));
    for name in ["often", "other"] {
        let waits = schedules.show(&project, name).unwrap();
        assert!(waits.waiting.unwrap().contains("it is not mounted"));
        assert_eq!((waits.last, waits.next_ms), (None, Some(1_767_225_600_000 + HOUR)));
    }
    is_there.store(true, Ordering::SeqCst);
    assert_eq!(schedules.tick().await, Duration::from_secs(1));
    let begun = schedules.show(&project, "often").unwrap();
    assert!(begun.waiting.is_none() && begun.last.unwrap().job.is_some());
    assert_eq!(
        schedules.show(&project, "other").unwrap().waiting.unwrap(),
        "others, which are due before it"
    );
}

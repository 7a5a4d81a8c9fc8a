//! Who is to freeze a guest, over the API: an instance of the project's own, or a socket; and what is
//! told where nobody could.

use mezame_model::InstanceId;

use super::*;
use crate::volumes::executor::Agent;

impl Depot {
    /// One whose project `p` has the instance `web` and the volume `web`; the instance's id.
    async fn with_instance() -> (Self, InstanceId) {
        let depot = Self::open().await;
        depot.plane().apply(seed()).await;
        depot.made(json!({ "id": "web", "size": 1 << 20 })).await;
        let shown = depot.plane().get("/v1/projects/p/instances/web").await.json();
        let id = shown["status"]["id"].as_str().unwrap_or_else(|| panic!("{shown}"));
        let id = InstanceId::parse(id).unwrap();
        (depot, id)
    }

    fn asked(&self) -> Vec<Option<FreezeOrder>> {
        std::mem::take(&mut *self.noted.freezes.lock().unwrap())
    }
}

fn backup(freeze: &Value) -> Value {
    json!({ "volumes": ["web"], "qmp": "/run/web.qmp", "freeze": freeze })
}

#[tokio::test]
async fn an_instance_is_found_by_its_name_or_id_for_a_backup_a_capture_and_a_schedule() {
    let (depot, id) = Depot::with_instance().await;
    let ours = |seconds, is_required| {
        let (agent, bound) = (Agent::Instance(id.clone()), Duration::from_secs(seconds));
        Some(FreezeOrder { agent, bound, is_required })
    };
    depot.done("backups", backup(&json!({ "instance": "web" }))).await;
    depot.done("backups", backup(&json!({ "instance": id, "within_ms": 60_000 }))).await;
    depot.done("backups", json!({ "volumes": ["web"], "qmp": "/run/web.qmp" })).await;
    assert_eq!(depot.asked(), [ours(10, false), ours(60, false), None]);

    let by_qemu = json!({ "guest_agent": "/run/web.qga", "required": true });
    let capture = json!({ "name": "golden", "qmp": "/run/web.qmp", "freeze": by_qemu });
    depot.done("volumes/web/capture", capture).await;
    let agent = Agent::QemuGa("/run/web.qga".into());
    let wanted = FreezeOrder { agent, bound: Duration::from_secs(10), is_required: true };
    assert_eq!(depot.asked(), [Some(wanted)]);

    let freeze = json!({ "instance": "web", "required": true });
    let spec = json!({ "volumes": ["web"], "qmp": "/run/x", "when": "every 1h", "freeze": freeze });
    let at = "/v1/projects/p/backup-schedules/hourly";
    let set = depot.plane().put(at, &[], spec).await;
    assert_eq!(set.status, 200, "{}", set.text);
    assert_eq!(set.json()["spec"]["freeze"], freeze);
    depot.environment.advance_ms(60 * 60 * 1000);
    depot.schedules.tick().await;
    let run = depot.plane().get(at).await.json();
    let job = run["last"]["job"].as_str().unwrap().to_owned();
    depot.gallery.ended(&format!("/v1/projects/p/jobs/{job}")).await;
    assert_eq!(depot.asked(), [ours(10, true)]);
}

#[tokio::test]
async fn another_projects_instance_is_not_frozen_and_what_makes_no_sense_is_told_with_its_field() {
    let (depot, id) = Depot::with_instance().await;
    let plane = depot.plane();
    let of_q = json!({ "id": "theirs", "size": 1 << 20 });
    let begun = plane.post("/v1/projects/q/volumes", of_q).await.json();
    let job = format!("/v1/projects/q/jobs/{}", begun["id"].as_str().unwrap());
    depot.gallery.ended(&job).await;
    // The project `q` has a volume of its own, and asks for the guest of `p`.
    for instance in ["web", id.as_str()] {
        let freeze = json!({ "instance": instance });
        let body = json!({ "volumes": ["theirs"], "qmp": "/run/x", "freeze": freeze });
        let refused = plane.post("/v1/projects/q/backups", body).await;
        assert_eq!(refused.status, 422, "{}", refused.text);
        assert_eq!(refused.problem()["faults"][0]["path"], "freeze.instance");
        let capture = json!({ "name": "x", "qmp": "/run/x", "freeze": freeze });
        let refused = plane.post("/v1/projects/q/volumes/theirs/capture", capture).await;
        assert_eq!(refused.problem()["faults"][0]["path"], "freeze.instance");
    }
    for (freeze, path) in [
        (json!({}), "freeze"),
        (json!({ "instance": "web", "guest_agent": "/run/qga" }), "freeze"),
        (json!({ "guest_agent": "qga" }), "freeze.guest_agent"),
        (json!({ "instance": "web", "within_ms": 60_001 }), "freeze.within_ms"),
        (json!({ "instance": "WEB/.." }), "freeze.instance"),
    ] {
        let refused = plane.post("/v1/projects/p/backups", backup(&freeze)).await;
        assert_eq!(refused.status, 422, "{freeze} {}", refused.text);
        assert_eq!(refused.problem()["faults"][0]["path"], path, "{freeze}");
    }
    let spec = json!({ "volumes": ["web"], "qmp": "/x", "when": "02:30", "freeze": {} });
    let refused = plane.put("/v1/projects/p/backup-schedules/s", &[], spec).await;
    assert_eq!((refused.status, &refused.problem()["faults"][0]["path"]), (422, &json!("freeze")));
    // Of a volume that no guest runs on nobody is frozen.
    let capture = json!({ "name": "x", "freeze": { "instance": "web" } });
    let refused = plane.post("/v1/projects/p/volumes/web/capture", capture).await;
    assert_eq!((refused.status, &refused.problem()["faults"][0]["path"]), (422, &json!("freeze")));
    assert!(depot.asked().is_empty());
}

#[tokio::test]
async fn a_guest_that_had_to_be_frozen_and_was_not_fails_the_job_with_a_fault_of_its_own() {
    let (depot, _) = Depot::with_instance().await;
    let why = "no agent in the guest asks for orders";
    let make = move |_| BackedUp {
        not_frozen: Some(ExecutorError::new(Reason::NotFrozen, why)),
        ..BackedUp::default()
    };
    *depot.noted.maker.lock().unwrap() = Some(Box::new(make));
    let freeze = json!({ "instance": "web", "required": true });
    let job = depot.done("backups", backup(&freeze)).await;
    assert_eq!((&job["state"], &job["backups"]), (&json!("failed"), &Value::Null), "{job}");
    let faults = job["faults"].as_array().unwrap();
    assert_eq!((faults.len(), &faults[0]["path"]), (1, &json!("freeze")));
    assert_eq!(faults[0]["message"], why);
    let backups = depot.plane().get("/v1/projects/p/backups").await.json();
    assert_eq!(backups, json!([]));

    let spec = json!({ "volumes": ["web"], "qmp": "/run/x", "when": "every 1h", "freeze": freeze });
    let at = "/v1/projects/p/backup-schedules/hourly";
    depot.plane().put(at, &[], spec).await;
    depot.environment.advance_ms(60 * 60 * 1000);
    depot.schedules.tick().await;
    let job = depot.plane().get(at).await.json()["last"]["job"].as_str().unwrap().to_owned();
    depot.gallery.ended(&format!("/v1/projects/p/jobs/{job}")).await;
    depot.schedules.tick().await;
    let last = depot.plane().get(at).await.json()["last"].clone();
    assert_eq!((&last["outcome"], &last["why"]), (&json!("failed"), &json!(why)), "{last}");

    depot.noted.refuse(Reason::NotFrozen);
    let capture = json!({ "name": "golden", "qmp": "/run/x", "freeze": freeze });
    let failed = depot.done("volumes/web/capture", capture).await;
    assert_eq!((&failed["state"], &failed["image"]), (&json!("failed"), &Value::Null));
    assert_eq!(failed["faults"][0]["path"], "freeze");
}

//! Order of writes, and what a failure leaves behind.

mod passwords;
mod users;
mod windows;

use mezame_model::{Document, Report, SecretName, SecretString, report::SealedPassword};
use serde_json::json;

mod reboots;

use super::{reboot::REBOOTS, *};
use crate::{
    facts::System,
    ledger::Past,
    plan::{self, Mode},
    platform::{ScriptEnd, fake::Fake},
    source::{FetchedSecret, SourceError},
    user_data,
};

#[derive(Default)]
struct Service {
    secrets: Vec<(String, String)>,
    acknowledged: Vec<String>,
    passwords: Vec<SealedPassword>,
    away: bool,
    /// It is not reached any more.
    lost: bool,
    reopened: u32,
    /// Other values, each set right after the one before was read.
    operator_sets: Vec<&'static str>,
}

impl Service {
    fn waiting(&self, name: &SecretName) -> Option<String> {
        let of_name = self.secrets.iter().rfind(|(known, _)| known == name.as_str());
        of_name.map(|(_, value)| value.clone())
    }
}

impl Upstream for Service {
    fn secret(&mut self, name: &SecretName) -> Result<Option<FetchedSecret>, SourceError> {
        let Some(value) = self.waiting(name) else { return Ok(None) };
        let (etag, value) = (Some(format!("\"{value}\"")), SecretString::new(value));
        if !self.operator_sets.is_empty() {
            let next = self.operator_sets.remove(0);
            self.secrets.push((name.to_string(), next.into()));
        }
        Ok(Some(FetchedSecret { value, etag }))
    }

    fn acknowledge(&mut self, name: &SecretName, etag: Option<&str>) -> Result<(), SourceError> {
        let now = self.waiting(name).map(|value| format!("\"{value}\""));
        if etag.is_some() && now.is_some() && etag != now.as_deref() {
            return Err(SourceError::Status { status: 412, error: "other-value".into() });
        }
        self.acknowledged.push(name.to_string());
        Ok(())
    }

    fn post_password(&mut self, password: &SealedPassword) -> Result<(), SourceError> {
        if self.away {
            return Err(SourceError::NotReady { retry_after: None });
        }
        self.passwords.push(password.clone());
        Ok(())
    }

    fn post_report(&mut self, _report: &Report) -> Result<(), SourceError> {
        Ok(())
    }

    fn configured(&mut self, _platform: &dyn Platform, _network_changed: bool) {}

    fn is_reached(&mut self) -> bool {
        !self.lost
    }

    fn rolled_back(&mut self, _platform: &dyn Platform) {
        self.reopened += 1;
    }
}

struct World {
    fake: Fake,
    state: tempfile::TempDir,
    service: Service,
    document: Document,
    user: String,
}

impl World {
    fn new(extra: serde_json::Value, user: &str) -> Self {
        let mut value = json!({
            "version": 1, "generation": 7, "instance_id": "i-0123456789abcdef0", "name": "web",
            "hostname": "web.example",
        });
        for (key, field) in extra.as_object().unwrap() {
            value[key] = field.clone();
        }
        Self {
            fake: Fake::new("boot-1", Vec::new()),
            state: tempfile::tempdir().unwrap(),
            service: Service::default(),
            document: serde_json::from_value(value).unwrap(),
            user: user.to_owned(),
        }
    }

    fn run(&mut self) -> Applied {
        let mut ledger = Ledger::open(self.state.path()).unwrap();
        let outbox = Outbox::open(self.state.path()).unwrap();
        let facts = self.fake.facts().unwrap();
        let instance = self.document.instance_id.clone();
        ledger.begin_run(&instance, &facts.boot_id).unwrap();
        let user = user_data::parse(self.user.as_bytes());
        let plan = plan::plan(&self.document, &[], &user, &facts, ledger.history(), Mode::Boot);
        Applier {
            platform: &self.fake,
            ledger: &mut ledger,
            outbox: &outbox,
            upstream: &mut self.service,
            instance,
            mode: Mode::Boot,
        }
        .apply(&plan)
        .unwrap()
    }
}

fn step<'a>(applied: &'a Applied, key: &str) -> &'a StepReport {
    applied.steps.iter().find(|step| step.step == key).unwrap()
}

const ED25519: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPpXG22sRc5YmIMbnonNQcfUy6rvy68yRHcKbFwhMdin me";

#[test]
fn a_second_run_changes_nothing_and_runs_nothing() {
    let keys = json!({"ssh_keys": [ED25519], "users": [{"name": "ops", "sudo": true}]});
    let mut world = World::new(keys, "#!/bin/sh\necho\n");
    assert_eq!(world.run().outcome(), Outcome::Done);
    let again = world.run();
    assert_eq!(again.outcome(), Outcome::Unchanged, "{:?}", again.steps);
    assert_eq!(world.fake.state().ran, ["user-data-script-1"]);
}

#[test]
fn a_failing_script_is_reported_once_and_the_rest_is_done() {
    let mut world = World::new(json!({"ssh_keys": [ED25519]}), "#!/bin/sh\nfalse\n");
    world.fake.change(|state| {
        state.ends.insert("user-data-script-1".into(), ScriptEnd::Exited(7));
    });
    let applied = world.run();
    let failed = step(&applied, "user-data script 1");
    assert_eq!((failed.outcome, failed.reason.as_str()), (Outcome::Failed, "script-exit"));
    assert_eq!(step(&applied, "keys root").outcome, Outcome::Done);
    let again = world.run();
    let kept = step(&again, "user-data script 1");
    assert_eq!((kept.outcome, kept.reason.as_str()), (Outcome::Unchanged, "script-exit"));
    assert_eq!(world.fake.state().ran.len(), 1);
}

#[test]
fn a_made_password_is_the_same_one_until_it_was_posted_and_is_made_once() {
    let user = json!({"users": [{"name": "ops", "ssh_keys": [ED25519], "password": "generate"}]});
    let mut world = World::new(user, "");
    world.service.away = true;
    world.run();
    let hash = world.fake.state().passwords["ops"].clone();
    // As after a crash: the guest forgot the hash, the outbox did not.
    world.fake.change(|state| state.passwords.clear());
    std::fs::remove_file(world.state.path().join("ledger")).unwrap();
    world.service.away = false;
    world.run();
    assert_eq!(world.fake.state().passwords["ops"], hash);
    assert_eq!(world.service.passwords.len(), 1);
    world.run();
    assert_eq!(world.fake.state().passwords["ops"], hash);
    assert_eq!(world.service.passwords.len(), 1);
}

#[test]
fn a_user_without_a_key_that_can_be_sealed_to_gets_no_password() {
    let mut world = World::new(json!({"users": [{"name": "ops", "password": "generate"}]}), "");
    let applied = world.run();
    let failed = step(&applied, "generated password ops");
    assert_eq!((failed.outcome, failed.reason.as_str()), (Outcome::Failed, "no-recipient"));
    assert!(world.fake.state().passwords.is_empty());
}

#[test]
fn a_secret_is_stored_before_it_is_acknowledged() {
    let mut world = World::new(json!({"secrets": ["token", "gone"]}), "");
    world.service.secrets.push(("token".into(), "hunter2".into()));
    let applied = world.run();
    assert_eq!(world.service.acknowledged, ["token"]);
    let name = SecretName::parse("token").unwrap();
    assert_eq!(world.fake.state().secrets[&name].expose(), "hunter2");
    assert!(!format!("{:?}", applied.steps).contains("hunter2"));
}

#[test]
fn a_value_that_was_set_between_read_and_acknowledgement_is_read_too() {
    let mut world = World::new(json!({"secrets": ["token"]}), "");
    world.service.secrets.push(("token".into(), "first".into()));
    world.service.operator_sets = vec!["second"];
    world.run();
    assert_eq!(world.service.acknowledged, ["token"]);
    let name = SecretName::parse("token").unwrap();
    assert_eq!(world.fake.state().secrets[&name].expose(), "second");
}

#[test]
fn a_secret_that_changes_all_the_time_is_left_for_the_next_run() {
    let mut world = World::new(json!({"secrets": ["token"]}), "");
    world.service.secrets.push(("token".into(), "first".into()));
    world.service.operator_sets = vec!["second", "third", "fourth", "fifth"];
    let applied = world.run();
    assert_eq!(step(&applied, "secret token").outcome, Outcome::Failed);
    assert!(world.service.acknowledged.is_empty());
    world.service.operator_sets.clear();
    world.run();
    assert_eq!(world.service.acknowledged, ["token"]);
}

#[test]
fn a_script_is_noted_as_begun_before_it_runs() {
    let mut world = World::new(json!({}), "#!/bin/sh\n");
    world.run();
    let text = std::fs::read_to_string(world.state.path().join("ledger")).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| line.contains("script 1")).collect();
    assert_eq!(lines.len(), 2);
    assert!(!lines[0].contains("outcome") && lines[1].contains("outcome"));
    let history = Ledger::look(world.state.path()).unwrap();
    let facts = world.fake.facts().unwrap();
    let user = user_data::parse(world.user.as_bytes());
    let entered = history.entering(&world.document.instance_id, "boot-1");
    let fresh = plan::plan(
        &world.document,
        &[],
        &user,
        &facts,
        &crate::ledger::History::default().entering(&world.document.instance_id, "boot-1"),
        Mode::Boot,
    );
    let step = fresh.steps.iter().find_map(|planned| match planned {
        Planned::Do { step, .. } if step.key == "user-data script 1" => Some(step.clone()),
        _ => None,
    });
    assert!(matches!(entered.past(&step.unwrap()), Past::Ended(_)));
}

#[test]
fn a_network_with_which_the_service_is_lost_is_taken_back_and_not_written_down() {
    let interfaces =
        |address: &str| json!([{"mac": "52:54:00:00:00:01", "mtu": 1450, "addresses": [address]}]);
    let mut world = World::new(json!({"interfaces": interfaces("10.0.0.1/24")}), "");
    let link = crate::facts::Link {
        name: "eth0".into(),
        index: 2,
        mac: "52:54:00:00:00:01".parse().unwrap(),
        up: true,
        addresses: Vec::new(),
        kind: crate::facts::LinkKind::Card,
        bond: None,
    };
    world.fake = Fake::new("boot-1", vec![link]);
    assert_eq!(world.run().outcome(), Outcome::Done);
    let good = world.fake.state().interfaces.clone();
    assert_eq!((world.fake.state().persisted.len(), world.service.reopened), (1, 0));
    assert!(world.fake.state().before.is_none(), "what is good is kept");
    world.document.interfaces = serde_json::from_value(interfaces("10.9.9.9/24")).unwrap();
    world.document.hostname = "renamed".into();
    world.service.lost = true;
    let applied = world.run();
    assert!(applied.rolled_back, "it is to be tried again");
    for key in ["interface eth0", "network configuration"] {
        let step = step(&applied, key);
        assert_eq!((step.outcome, step.reason.as_str()), (Outcome::Failed, "rolled-back"), "{key}");
    }
    assert_eq!(world.fake.state().interfaces, good);
    assert_eq!(world.fake.state().persisted[0].1.addresses[0].to_string(), "10.0.0.1/24");
    assert_eq!((world.service.reopened, world.fake.state().hostname.as_str()), (1, "renamed"));
    // A run that is killed before it knows leaves the next one to take it back.
    world.fake.guard_network(&[]).unwrap();
    world.fake.change(|state| state.interfaces.clear());
    assert!(world.fake.recover_network().unwrap());
    assert_eq!(world.fake.state().interfaces, good);
}

#[test]
fn a_network_that_a_step_has_cut_off_half_way_is_taken_back_though_the_service_is_reached() {
    let one = |mac: u8, address: &str| {
        let mac = format!("52:54:00:00:00:0{mac}");
        json!({"mac": mac, "mtu": 1450, "addresses": [address]})
    };
    let mut world = World::new(json!({"interfaces": [one(1, "10.0.0.1/24")]}), "");
    let link = |index: u8| crate::facts::Link {
        name: format!("eth{}", index - 1),
        index: index.into(),
        mac: mezame_model::MacAddress([0x52, 0x54, 0, 0, 0, index]),
        up: true,
        addresses: Vec::new(),
        kind: crate::facts::LinkKind::Card,
        bond: None,
    };
    world.fake = Fake::new("boot-1", vec![link(1), link(2)]);
    assert_eq!(world.run().outcome(), Outcome::Done);
    let good = world.fake.state().interfaces.clone();
    world.document.interfaces = serde_json::from_value(json!([one(2, "10.9.9.9/24")])).unwrap();
    for (gone, is_back) in [("eth0", true), ("eth7", false)] {
        world.fake.change(|state| state.half_done = [("eth1".into(), gone.into())].into());
        let applied = world.run();
        assert_eq!(applied.rolled_back, is_back, "{gone}");
        let failed = step(&applied, "interface eth1");
        assert_eq!((failed.outcome, failed.reason.as_str()), (Outcome::Failed, "network"));
        assert_eq!(world.fake.state().interfaces, good, "{gone}");
        assert!(world.fake.state().before.is_none());
        let written = step(&applied, "network configuration");
        assert_eq!(written.reason == "rolled-back", is_back, "{written:?}");
    }
}

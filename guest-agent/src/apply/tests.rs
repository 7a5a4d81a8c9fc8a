//! Order of writes, and what a failure leaves behind.

use mezame_model::{Document, Report, SecretName, SecretString, report::SealedPassword};
use serde_json::json;

use super::{reboot::REBOOTS, *};
use crate::{
    facts::System,
    ledger::Past,
    plan::{self, Mode},
    platform::fake::Fake,
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
fn keys_of_a_user_that_is_named_no_more_are_taken_back() {
    let keys = json!({"users": [{"name": "ops", "ssh_keys": [ED25519], "sudo": true}]});
    let mut world = World::new(keys, "");
    world.run();
    assert!(!world.fake.state().keys["ops"].is_empty());
    world.document.users.clear();
    world.run();
    assert!(world.fake.state().keys["ops"].is_empty());
    assert!(world.fake.state().sudo.is_empty());
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

fn users(world: &mut World, users: serde_json::Value) -> Applied {
    world.document.users = serde_json::from_value(users).unwrap();
    world.run()
}

#[test]
fn a_user_who_is_stopped_gets_in_by_nothing_and_gets_all_back_when_started() {
    let hash = "$6$salt$hash";
    let of = |stopped: bool| {
        json!([{"name": "ops", "sudo": true, "ssh_keys": [ED25519], "password": {"hash": hash},
            "stopped": stopped}])
    };
    let mut world = World::new(json!({}), "");
    users(&mut world, of(false));
    let keys = |world: &World| world.fake.state().keys["ops"].len();
    assert!(keys(&world) > 0 && world.fake.state().sudo.contains_key("ops"));
    users(&mut world, of(true));
    assert!(world.fake.state().stopped.contains("ops"));
    assert_eq!((keys(&world), world.fake.state().sudo.len()), (0, 0));
    assert_eq!(users(&mut world, of(true)).outcome(), Outcome::Unchanged);
    users(&mut world, of(false));
    assert!(world.fake.state().stopped.is_empty());
    assert!(keys(&world) > 0 && world.fake.state().sudo.contains_key("ops"));
    assert_eq!(users(&mut world, of(false)).outcome(), Outcome::Unchanged);
}

#[test]
fn the_account_of_a_removed_user_is_shut_if_the_agent_made_it_and_opened_when_named_again() {
    let named = || json!([{"name": "ops", "ssh_keys": [ED25519]}]);
    let mut world = World::new(json!({}), "");
    users(&mut world, named());
    let removed = users(&mut world, json!([]));
    assert_eq!(step(&removed, "stop ops").outcome, Outcome::Done);
    assert!(
        world.fake.state().stopped.contains("ops") && world.fake.state().keys["ops"].is_empty()
    );
    assert!(world.fake.state().users.contains_key("ops"), "what it owns keeps its owner");
    let again = users(&mut world, json!([]));
    assert!(!again.steps.iter().any(|step| step.step == "stop ops"), "once is enough");
    users(&mut world, named());
    assert!(world.fake.state().stopped.is_empty() && !world.fake.state().keys["ops"].is_empty());
}

#[test]
fn an_account_of_the_images_loses_what_the_agent_gave_and_no_more() {
    let named = || json!([{"name": "debian", "sudo": true, "password": {"hash": "$6$a$b"}}]);
    let mut world = World::new(json!({}), "");
    world.fake.ensure_account(&crate::step::Account::named("debian")).unwrap();
    users(&mut world, named());
    users(&mut world, json!([]));
    assert!(world.fake.state().stopped.is_empty() && world.fake.state().sudo.is_empty());
    let hash = |world: &World| world.fake.state().passwords["debian"].expose().to_owned();
    assert_eq!(hash(&world), "!$6$a$b");
    // Named again, it has the password of its record again.
    users(&mut world, named());
    assert_eq!(hash(&world), "$6$a$b");
    assert_eq!(users(&mut world, named()).outcome(), Outcome::Unchanged);
}

#[test]
fn another_instance_shuts_the_accounts_that_were_made_for_the_former_one() {
    let mut world = World::new(json!({}), "");
    users(&mut world, json!([{"name": "ops"}]));
    world.document.instance_id = InstanceId::parse("i-0123456789abcdef1").unwrap();
    users(&mut world, json!([{"name": "eve"}]));
    assert_eq!(world.fake.state().stopped.iter().collect::<Vec<_>>(), ["ops"]);
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

/// A world of Windows, with a batch script and one that follows it.
fn windows(script: &str) -> World {
    let user = json!({
        "hostname": "web", "tags": {"windows-startup-script-cmd": "echo tag"},
        "users": [{"name": "ops", "ssh_keys": [ED25519], "password": "generate"}],
    });
    let mut world = World::new(user, script);
    world.fake = Fake::of(System::Windows, "boot-1", Vec::new());
    world
}

const BATCH: &str = "<script>echo one</script><powershell>echo two</powershell>";

#[test]
fn a_new_host_name_has_windows_rebooted_before_any_script_and_not_for_ever() {
    let mut world = windows(BATCH);
    let applied = world.run();
    assert_eq!(applied.reboot.as_deref(), Some("the host name becomes web"));
    assert_eq!(step(&applied, "user-data script 1").reason, "after-reboot");
    assert!(world.fake.state().ran.is_empty());
    // The password was noted and posted before.
    assert_eq!(world.service.passwords.len(), 1);
    world.fake.boot("boot-2");
    let applied = world.run();
    assert_eq!(applied.reboot, None);
    let ran = ["tag-windows-startup-script-cmd", "user-data-script-1", "user-data-script-2"];
    assert_eq!(world.fake.state().ran, ran);

    // A system that never takes the name.
    let mut world = windows(BATCH);
    for boot in 0..REBOOTS {
        assert!(world.run().reboot.is_some());
        world.fake.boot(&format!("boot-{boot}"));
        world.fake.change(|state| state.hostname = "other".into());
    }
    let applied = world.run();
    assert_eq!(applied.reboot, None);
    assert_eq!(step(&applied, "reboot for the host name web").reason, "reboot-in-vain");
    assert_eq!(world.fake.state().ran.len(), 3);
}

#[test]
fn a_scripts_exit_code_asks_for_a_reboot_and_for_another_run() {
    for (status, again, reboot) in [(1001, false, true), (1002, true, false), (1003, true, true)] {
        let mut world = windows(BATCH);
        world.fake.change(|state| {
            state.hostname = "web".into();
            state.ends.insert("user-data-script-1".into(), ScriptEnd::Exited(status));
        });
        let applied = world.run();
        assert_eq!(applied.reboot.is_some(), reboot, "{status}");
        assert_eq!(applied.outcome(), Outcome::Done, "{status}");
        let left = step(&applied, "user-data script 2");
        assert_eq!(left.outcome == Outcome::Skipped, reboot, "{status}: {left:?}");
        let runs = |world: &World, name: &str| {
            world.fake.state().ran.iter().filter(|known| *known == name).count()
        };
        // In the same boot it is not run again.
        world.run();
        assert_eq!(runs(&world, "user-data-script-1"), 1, "{status}");
        world.fake.boot("boot-2");
        world.fake.change(|state| state.ends.clear());
        world.run();
        assert_eq!(runs(&world, "user-data-script-1"), 1 + usize::from(again), "{status}");
        assert_eq!(runs(&world, "user-data-script-2"), 1, "{status}");
        world.fake.boot("boot-3");
        world.run();
        assert_eq!(runs(&world, "user-data-script-1"), 1 + usize::from(again), "{status}");
        assert_eq!(runs(&world, "tag-windows-startup-script-cmd"), 3, "{status}: each boot");
    }
}

#[test]
fn a_script_that_always_asks_to_be_run_again_comes_to_an_end() {
    let mut world = windows(BATCH);
    world.fake.change(|state| {
        state.hostname = "web".into();
        state.ends.insert("user-data-script-1".into(), ScriptEnd::Exited(1003));
    });
    let mut reboots = 0;
    for boot in 0..40 {
        world.fake.boot(&format!("boot-{boot}"));
        reboots += usize::from(world.run().reboot.is_some());
    }
    assert_eq!(reboots, 16);
    let last = world.run();
    assert_eq!(step(&last, "user-data script 1").reason, "runs-for-ever");
}

#[test]
fn a_password_that_windows_refuses_is_never_posted_and_another_one_is_made() {
    let mut world = windows("");
    world.fake.change(|state| state.refuses_texts = true);
    let applied = world.run();
    assert_eq!(step(&applied, "generated password ops").reason, "tool-failed");
    assert!(world.service.passwords.is_empty());
    let outbox = Outbox::open(world.state.path()).unwrap();
    assert!(outbox.is_empty());
    world.fake.change(|state| state.refuses_texts = false);
    world.run();
    assert_eq!(world.service.passwords.len(), 1);
    assert_eq!(world.fake.state().texts.len(), 1);
    assert!(world.fake.state().passwords.is_empty(), "no hash was made for Windows");
}

#[test]
fn a_script_for_another_system_is_told_and_not_run() {
    let mut world = windows("#!/bin/sh\n");
    world.fake.change(|state| state.hostname = "web".into());
    assert_eq!(step(&world.run(), "user-data script 1").reason, "other-system");
    let mut world = World::new(json!({}), BATCH);
    let applied = world.run();
    for key in ["user-data script 1", "user-data script 2"] {
        assert_eq!(step(&applied, key).reason, "other-system");
    }
    assert!(world.fake.state().ran.is_empty());
}

#[test]
fn a_licence_is_activated_once_an_instance_and_again_where_it_failed() {
    let mut world = windows("");
    world.fake.want_licence(crate::licence::Licence { key: None, host: None });
    world.fake.change(|state| state.hostname = "web".into());
    assert_eq!(step(&world.run(), "licence").outcome, Outcome::Done);
    assert_eq!(step(&world.run(), "licence").outcome, Outcome::Unchanged);
}

//! Reboots that scripts ask for come to an end, and users of Windows have one spelling.

use super::{windows::BATCH, *};
use crate::apply::reboot::ASKED;

/// A guest whose script of each boot ends with this status, and whose name is set already.
fn looping(status: i32) -> World {
    let mut world = World::new(json!({"tags": {"windows-startup-script-cmd": "exit"}}), BATCH);
    world.fake = Fake::of(System::Windows, "boot-0", Vec::new());
    world.fake.change(|state| {
        state.hostname = "web".into();
        state.ends.insert(SCRIPT.into(), ScriptEnd::Exited(status));
    });
    world
}

const SCRIPT: &str = "tag-windows-startup-script-cmd";
const STEP: &str = "tag windows-startup-script-cmd";

fn runs(world: &World) -> usize {
    world.fake.state().ran.iter().filter(|name| *name == SCRIPT).count()
}

#[test]
fn a_script_of_each_boot_that_always_asks_for_a_reboot_is_not_heard_for_ever() {
    for status in [1001, 1003] {
        let mut world = looping(status);
        let mut reboots = 0;
        for boot in 0..ASKED + 10 {
            world.fake.boot(&format!("boot-{boot}"));
            reboots += u32::from(world.run().reboot.is_some());
            // The same boot once more: neither run again nor forgotten that it asked.
            assert_eq!(world.run().reboot, None, "{status}");
        }
        assert_eq!(reboots, ASKED, "{status}");
        world.fake.boot("boot-last");
        let last = world.run();
        let failed = step(&last, STEP);
        assert_eq!((failed.outcome, &*failed.reason), (Outcome::Failed, "reboot-in-vain"));
        // What comes after it is done all the same.
        assert!(world.fake.state().ran.contains(&"user-data-script-2".to_owned()), "{status}");
        assert_eq!(runs(&world), ASKED as usize + 11, "{status}: once a boot");
    }
}

#[test]
fn a_boot_in_which_no_script_asks_begins_the_count_anew() {
    let mut world = looping(1001);
    for boot in 0..ASKED + 2 {
        world.fake.boot(&format!("boot-{boot}"));
        world.run();
    }
    assert_eq!(step(&world.run(), STEP).reason, "reboot-in-vain");
    world.fake.boot("mended");
    world.fake.change(|state| state.ends.clear());
    assert_eq!(step(&world.run(), STEP).outcome, Outcome::Done);
    world.fake.boot("again");
    world.fake.change(|state| {
        state.ends.insert(SCRIPT.into(), ScriptEnd::Exited(1001));
    });
    assert!(world.run().reboot.is_some());
}

#[test]
fn two_spellings_of_a_windows_user_are_one_who_is_not_shut_out_by_the_other() {
    let list = "#cloud-config\nusers:\n- default\n- name: Dev\n- {name: DEV, groups: [crew]}\n";
    let mut world = World::new(json!({}), list);
    world.fake = Fake::of(System::Windows, "boot-1", Vec::new());
    world.fake.change(|state| state.hostname = "web".into());
    let applied = world.run();
    let accounts: Vec<&str> = applied
        .steps
        .iter()
        .filter_map(|step| step.step.strip_prefix("user "))
        .filter(|name| name.eq_ignore_ascii_case("dev"))
        .collect();
    assert_eq!(accounts, ["Dev"]);
    // The record names the same account otherwise: it keeps what it has.
    let user = json!({"users": [{"name": "dev", "ssh_keys": [ED25519]}]});
    world.document = World::new(user, "").document;
    world.user.clear();
    world.fake.change(|state| {
        let account = state.users.remove("Dev").unwrap();
        state.users.insert("dev".into(), account);
    });
    let applied = world.run();
    let shut: Vec<&StepReport> =
        applied.steps.iter().filter(|step| step.step.starts_with("stop ")).collect();
    assert!(shut.is_empty(), "{shut:?}");
    let ledger = std::fs::read_to_string(world.state.path().join("ledger")).unwrap();
    let history = Ledger::look(world.state.path()).unwrap();
    assert!(history.rights().all(|(name, _)| name != "Dev"), "{ledger}");
    // Gone for good, it is shut once.
    world.document = World::new(json!({}), "").document;
    assert_eq!(step(&world.run(), "stop dev").outcome, Outcome::Done);
    assert!(world.run().steps.iter().all(|step| !step.step.starts_with("stop ")));
}

/// Has the guest call an account otherwise, as a Windows does that knows no cases.
fn rename(world: &World, from: &str, to: &str) {
    world.fake.change(|state| {
        let account = state.users.remove(from).unwrap();
        state.users.insert(to.into(), account);
    });
}

#[test]
fn what_was_done_once_for_a_windows_user_is_done_whatever_the_record_calls_it() {
    let list = "#cloud-config\nusers: [default, {name: Ops}]\nchpasswd: {list: ['Ops:Corr3ct']}\n";
    let mut world = World::new(json!({}), list);
    world.fake = Fake::of(System::Windows, "boot-1", Vec::new());
    world.fake.change(|state| state.hostname = "web".into());
    for name in ["password Ops", "expire password Ops"] {
        assert_eq!(step(&world.run(), name).reason, "", "{name}");
    }
    let user = json!({"users": [{"name": "ops", "ssh_keys": [ED25519]}]});
    world.document = World::new(user, "").document;
    rename(&world, "Ops", "ops");
    let applied = world.run();
    for name in ["password ops", "expire password ops"] {
        assert_eq!(step(&applied, name).outcome, Outcome::Unchanged, "{:?}", applied.steps);
    }
}

#[test]
fn the_built_in_administrator_is_the_superuser_whatever_the_record_calls_it() {
    let users = json!([{"name": "administrator", "ssh_keys": [ED25519], "stopped": true}]);
    let mut world = World::new(json!({"users": users, "ssh_keys": [ED25519]}), "");
    world.fake = Fake::of(System::Windows, "boot-1", Vec::new());
    world.fake.facts.default_user = "web".into();
    world.fake.change(|state| state.hostname = "web".into());
    world.user = "#cloud-config\ndisable_root: false\n".into();
    rename(&world, "Administrator", "administrator");
    let applied = world.run();
    let about: Vec<&str> = applied.steps.iter().map(|it| &*it.step).collect();
    assert!(!about.contains(&"stop administrator"), "{about:?}");
    assert!(about.contains(&"keys administrator"), "{about:?}");
    assert!(!about.iter().any(|name| name.contains("Administrator")), "{about:?}");
}

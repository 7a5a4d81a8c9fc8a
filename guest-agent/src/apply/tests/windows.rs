//! A guest of Windows: reboots that a name or a script asks for, its passwords, its licence.

use super::*;

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

pub(super) const BATCH: &str = "<script>echo one</script><powershell>echo two</powershell>";

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

#[test]
fn ways_in_are_set_in_a_windows_alone_and_the_thumbprint_is_told_each_time() {
    let desktop = json!({"enabled": true, "port": 3390});
    let document = json!({
        "hostname": "web.example", "remote_desktop": desktop, "winrm": {"https": true},
    });
    let mut world = World::new(document.clone(), "");
    let applied = world.run();
    for key in ["remote desktop", "winrm"] {
        let step = step(&applied, key);
        assert_eq!((step.outcome, step.reason.as_str()), (Outcome::Skipped, "other-system"));
    }
    let mut world = World::new(document, "");
    world.fake = Fake::of(System::Windows, "boot-1", Vec::new());
    for outcome in [Outcome::Done, Outcome::Unchanged] {
        let applied = world.run();
        assert_eq!(step(&applied, "remote desktop").outcome, outcome);
        let winrm = step(&applied, "winrm");
        assert_eq!(winrm.outcome, outcome);
        let print = winrm.detail.strip_prefix("certificate ").unwrap();
        assert_eq!(print.len(), 40, "{winrm:?}");
        assert_eq!(world.fake.state().winrm.as_ref().unwrap().1, "web");
    }
    assert!(world.fake.state().remote_desktop.unwrap().nla);
    // Gone from the record: as it is.
    (world.document.remote_desktop, world.document.winrm) = (None, None);
    let applied = world.run();
    assert!(!applied.steps.iter().any(|step| step.step == "winrm"));
    assert!(world.fake.state().winrm.is_some());
}

//! Runs one after another, cut off, and at once: the guest follows its seed, and what says once is done
//! once.

use std::{fs, time::Instant};

use mezame_model::report::Outcome;
use mezame_tests::{
    process::Background,
    wait::{self, SOON},
};
use serde_json::json;

use super::{
    AGENT, Appliance, BEGIN, BOUND, END, HASH, KEY, STATE, Tool, assert_configured,
    assert_nothing_left, run, succeed,
};
use crate::seeds::MAC;

#[test]
fn it_follows_the_seed_and_leaves_alone_what_is_the_users() {
    let mut appliance = Appliance::new(&json!({}));
    let machine = appliance.machine(&[Tool::Curl]);
    succeed(&machine, &["dash"]);
    let path = "/home/ada/.ssh/authorized_keys";
    // A key of her own, and a password that she has set herself.
    let own =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHVX0ZgvF5mRN0E7jMUbV4ZRHpPYHx7HAzn7dUUuSl2n own";
    let with_own = format!("{own}\n{}no newline at its end", machine.read(path).unwrap());
    fs::write(machine.path(path), with_own).unwrap();
    machine.output(BOUND, &["sh", "-c", "echo 'ada:$6$her$own' | chpasswd -e"]).unwrap();
    let ada = json!({"name": "ada", "ssh_keys": [KEY], "password": {"hash": HASH}});
    appliance.change(&json!({"users": [ada], "hostname": "other"}));
    succeed(&machine, &["dash"]);
    let expected = format!("{own}\nno newline at its end\n{BEGIN}\n{KEY}\n{END}\n");
    assert_eq!(machine.read(path).unwrap(), expected);
    assert_eq!(machine.read("/etc/hostname").unwrap(), "other\n");
    let shadow = |what: &str| machine.read("/etc/shadow").unwrap().contains(what);
    assert!(shadow("\nada:$6$her$own:"), "her password is not hers any more");
    // Another hash in the seed is set; a user who is not named loses the seed's keys and no more.
    let ada = json!({"name": "ada", "password": {"hash": HASH.replace("saltsalt", "othersalt")}});
    appliance.change(&json!({"users": [ada]}));
    succeed(&machine, &["dash"]);
    assert!(shadow("\nada:$6$othersalt$"));
    appliance.change(&json!({"users": []}));
    succeed(&machine, &["dash"]);
    assert_eq!(machine.read(path).unwrap(), format!("{own}\nno newline at its end\n"));
    assert!(machine.read("/etc/passwd").unwrap().contains("\nada:"));
    assert_eq!(machine.read("/root/ran").unwrap().lines().count(), 1);
}

#[test]
fn another_instance_is_another_first_boot_and_an_interrupted_script_is_not_run_again() {
    let mut appliance = Appliance::new(&json!({}));
    let machine = appliance.machine(&[Tool::Curl]);
    succeed(&machine, &["dash"]);
    let kept = fs::read_dir(machine.path(&format!("{STATE}/instances"))).unwrap().next().unwrap();
    // As a power cut in the script's middle would leave it.
    fs::remove_file(kept.unwrap().path().join("user-data.ended")).unwrap();
    let before = appliance.reports().len();
    let ended = run(&machine, &["dash"]);
    assert_eq!(ended.status.code(), Some(1), "{}", ended.stderr);
    let report = appliance.report_after(before).report;
    let step = report.steps.iter().find(|it| it.step == "user-data").unwrap();
    assert_eq!((step.outcome, step.reason.as_str()), (Outcome::Failed, "interrupted"));
    appliance.change(&json!({"user_data": "#!/bin/sh\nexit 7\n"}));
    assert!(succeed(&machine, &["dash"]).contains("user-data: skipped, changed-after-run"));
    assert_eq!(machine.read("/root/ran").unwrap().lines().count(), 1);
    appliance.lab.operator.delete("instance", "tenant-a", "guest").unwrap();
    appliance.change(&json!({"name": "next"}));
    let ended = run(&machine, &["dash"]);
    assert_eq!(ended.status.code(), Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("user-data: failed, script-exit: status 7"), "{}", ended.stderr);
}

#[test]
fn however_often_it_is_killed_the_guest_comes_to_be_the_same() {
    // How long a run takes here, so that it is killed in its midst however fast the machine is.
    let whole = {
        let appliance = Appliance::new(&json!({}));
        let machine = appliance.machine(&[Tool::Curl]);
        let began = Instant::now();
        succeed(&machine, &["dash"]);
        began.elapsed()
    };
    let appliance = Appliance::new(&json!({}));
    let machine = appliance.machine(&[Tool::Curl]);
    let log = appliance.lab.directory().join("killed.log");
    let mut cut_off = 0;
    for attempt in 0..40 {
        // With the number that the last one has, as it would have one of its own on a machine.
        let mut command = machine.command(&["timeout", "60", "dash", AGENT, "run"]);
        let mut agent = Background::start("the agent", &mut command, &log).unwrap();
        std::thread::sleep(whole * attempt / 40);
        cut_off += u32::from(agent.ended().unwrap().is_none());
        agent.kill().unwrap();
        // What it had started goes with its process namespace.
        drop(agent);
        // As Debian does at each boot (passwd.conf of tmpfiles.d): the process that one of these names is
        // gone, and by chance the next one here would have its number.
        for name in ["passwd", "shadow", "group", "gshadow", "subuid", "subgid"] {
            let _ = fs::remove_file(machine.path(&format!("/etc/{name}.lock")));
        }
    }
    assert!(cut_off > 10, "only {cut_off} were killed in their midst");
    let ended = run(&machine, &["dash"]);
    let ran = machine.read("/root/ran").unwrap_or_default();
    if ended.status.success() {
        assert_configured(&machine);
    } else {
        // It was killed between the script's beginning and its end.
        assert!(ended.stderr.contains("user-data: failed, interrupted"), "{}", ended.stderr);
        assert!(ran.lines().count() <= 1, "{ran}");
    }
    assert_nothing_left(&machine);
}

#[test]
fn two_at_once_are_one() {
    let appliance = Appliance::new(
        &json!({"user_data": "#!/bin/sh\nwhile [ ! -e /root/go ]; do sleep 0.1; done\n"}),
    );
    let machine = appliance.machine(&[Tool::Curl]);
    let log = appliance.lab.directory().join("first.log");
    let mut command = machine.command(&["dash", AGENT, "run"]);
    let mut first = Background::start("the first agent", &mut command, &log).unwrap();
    wait::until("the first one's script", SOON, || {
        let instances = fs::read_dir(machine.path(&format!("{STATE}/instances")))?;
        let started = instances.flatten().any(|it| it.path().join("user-data.started").exists());
        anyhow::ensure!(started, "it has not begun: {}", first.log());
        Ok(())
    })
    .unwrap();
    // In the same process namespace, as on one machine; there the first has a number of its own.
    let mut second = machine.beside(&first, &["dash", AGENT, "run"]).unwrap();
    let second = mezame_tests::process::run(&mut second).unwrap();
    assert_eq!(second.status.code(), Some(4), "{}", second.stderr);
    assert!(second.stderr.contains("already-running"), "{}", second.stderr);
    fs::write(machine.path("/root/go"), "").unwrap();
    assert!(first.wait(SOON).unwrap().success(), "{}", first.log());
    assert_nothing_left(&machine);
}

#[test]
fn get_prints_a_text_and_tells_what_is_not_there_from_what_can_t_be_asked() {
    let appliance = Appliance::new(&json!({"tokens": "required"}));
    let machine = appliance.machine(&[Tool::Curl]);
    let get = |path: &str| machine.run(BOUND, &["dash", AGENT, "get", path]).unwrap();
    assert_eq!(get("tags/role").stdout, "front\n");
    assert_eq!(get(&format!("interfaces/{MAC}/network")).stdout, "lan\n");
    let none = get("tags/none");
    assert_eq!((none.status.code(), none.stdout.as_str()), (Some(1), ""));
    appliance.guest.namespace().ip("route delete 169.254.169.254/32").unwrap();
    appliance.guest.namespace().ip("route add unreachable 169.254.169.254/32").unwrap();
    let mut words = machine.command(&["dash", AGENT, "get", "tags/role"]);
    let unreachable = mezame_tests::process::run(words.env("MEZAME_TIMEOUT", "1")).unwrap();
    assert_eq!(unreachable.status.code(), Some(3), "{}", unreachable.stderr);
}

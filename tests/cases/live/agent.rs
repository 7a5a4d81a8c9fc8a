//! Our own agent, which watches: what it makes of a change, and what it costs.

use mezame_tests::{
    process::Background,
    wait::{self, SOON},
};
use serde_json::{Value, json};

use super::{KEY, OTHER_KEY, Running};

/// Of some password.
const HASH: &str = "$6$saltsalt$h337WrbB304zm.Vi/mdORfrTq9.pFFDsZIGTWoLR8y4wdW4oRyQpMklbMufzcrrhGighGuToeH9/\
    Vi2PYWLsJ1";

/// An agent that follows its document, and writes below a folder of its own.
pub(super) fn watching(running: &Running) -> (Background, std::path::PathBuf) {
    let root = running.lab.directory().join("guest");
    for (file, text) in [
        ("passwd", "root:x:0:0:root:/root:/bin/sh\n"),
        ("group", "root:x:0:\n"),
        ("shadow", "root:*:19000:0:99999:7:::\n"),
    ] {
        std::fs::create_dir_all(root.join("etc")).unwrap();
        std::fs::write(root.join("etc").join(file), text).unwrap();
    }
    watching_again(running)
}

/// The same on the disk that there is.
pub(super) fn watching_again(running: &Running) -> (Background, std::path::PathBuf) {
    let root = running.lab.directory().join("guest");
    let mut command = running.guest.namespace().command(&running.lab.binaries.agent);
    command.arg("--root").arg(&root).arg("watch");
    let log = running.lab.directory().join("agent.log");
    (Background::start("guest-agent", &mut command, &log).unwrap(), root)
}

#[test]
fn reports_stream_to_an_operator_who_follows_them_and_a_stopped_user_is_out_and_in_again() {
    let mut running = Running::with(&["mezame"]);
    let log = running.lab.directory().join("reports.log");
    let words = ["reports", "guest", "-p", "tenant-a", "-f", "-o", "json"];
    let mut command = running.lab.operator.command(&words);
    let mut following = Background::start("mezame reports", &mut command, &log).unwrap();
    let (mut agent, root) = watching(&running);
    let mut until_reported = |count: usize| -> Value {
        wait::until("a report", SOON, || {
            agent.ensure_running()?;
            following.ensure_running()?;
            let log = following.log();
            let reports: Vec<&str> = log.lines().filter(|line| line.starts_with('{')).collect();
            anyhow::ensure!(reports.len() >= count, "{log}");
            Ok(serde_json::from_str(reports[count - 1])?)
        })
        .unwrap()
    };
    until_reported(1);
    let ada = |stopped: bool| {
        json!({"users": [{"name": "ada", "ssh_keys": [KEY], "sudo": true, "stopped": stopped,
            "password": {"hash": HASH}}]})
    };
    let text = |path: &str| std::fs::read_to_string(root.join(path)).unwrap_or_default();
    let shadow =
        || text("etc/shadow").lines().find(|it| it.starts_with("ada:")).unwrap().to_owned();
    running.apply("Instance", &ada(false));
    until_reported(2);
    assert!(text("home/ada/.ssh/authorized_keys").contains(KEY));
    assert!(shadow().starts_with("ada:$6$"), "{}", shadow());
    running.apply("Instance", &ada(true));
    let report = until_reported(3);
    assert!(report["report"]["steps"].to_string().contains("stop ada"), "{report}");
    assert!(!text("home/ada/.ssh/authorized_keys").contains(KEY));
    assert!(!root.join("etc/sudoers.d/90-mezame-ada").exists());
    let shut = shadow();
    assert!(shut.starts_with("ada:!$6$") && shut.ends_with(":1:"), "{shut}");
    running.apply("Instance", &ada(false));
    until_reported(4);
    assert!(text("home/ada/.ssh/authorized_keys").contains(KEY));
    assert!(shadow().starts_with("ada:$6$") && !shadow().ends_with(":1:"), "{}", shadow());
    running.apply("Instance", &json!({"users": []}));
    until_reported(5);
    assert!(shadow().ends_with(":1:") && text("etc/passwd").contains("ada:"), "{}", shadow());
}

#[test]
fn an_agent_that_watches_holds_six_mebibytes_at_most() {
    let mut running = Running::with(&["mezame"]);
    let (mut agent, root) = watching(&running);
    let reported = |run: u32| {
        let path = root.join("var/lib/mezame-agent/last-report.json");
        let report: Value = serde_json::from_slice(&std::fs::read(path)?)?;
        anyhow::ensure!(report["run"] == run, "run {}", report["run"]);
        Ok(())
    };
    wait::until("the first run", SOON, || reported(1)).unwrap();
    // A long script: what a run needs must not stay.
    let script = format!("#!/bin/sh\n# {}\n", "x".repeat(256 << 10));
    for (run, more) in [(2, json!({"user_data": script})), (3, json!({"ssh_keys": [OTHER_KEY]}))] {
        running.apply("Instance", &more);
        wait::until("the next run", SOON, || reported(run)).unwrap();
    }
    agent.ensure_running().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kibibytes: u64 = line.split_whitespace().next().unwrap().parse().unwrap();
    println!("{kibibytes} KiB are resident");
    assert!(kibibytes <= 6 << 10, "{kibibytes} KiB are resident");
}

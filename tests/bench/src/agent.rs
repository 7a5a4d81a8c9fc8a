//! `agent.configure`: from the agent's first reply to a configured guest, scripts excepted.
//! `agent.memory`: what it holds in memory while it watches.
//!
//! The agent itself, in a guest's namespace behind a tap, against the real server; it writes below
//! a folder of its own, a new one for each run, and says what it took.

use std::{fs, path::Path};

use anyhow::{Context, ensure};
use mezame_tests::{
    Lab,
    namespace_guest::NamespaceGuest,
    process::{self, Background},
    wait::{self, SOON},
};

use crate::{pinned::Cpu, population, row::Row, sample::median, seed};

const ROUNDS: usize = 11;

/// Measures the row.
pub fn measure(_: Cpu) -> anyhow::Result<Vec<Row>> {
    let lab = Lab::start()?;
    ensure!(lab.binaries.agent.exists(), "{} is not there", lab.binaries.agent.display());
    population::make(&lab.place.operator_socket(), 0, 10)?;
    let address = format!("{}/14", seed::address(0));
    let guest = lab.guest(&seed::device(0), &seed::mac(0), &[&address])?;
    let mut times = Vec::new();
    for round in 0..=ROUNDS {
        let root = lab.directory().join(format!("guest-{round}"));
        furnish(&root)?;
        let mut command = guest.namespace().command(&lab.binaries.agent);
        command.args(["--json", "--root"]).arg(&root).args(["run", "--timeout", "30"]);
        let ended = process::run(&mut command)?;
        ensure!(
            ended.status.success(),
            "the agent ended with {}: {}{}",
            ended.status,
            ended.stdout,
            ended.stderr
        );
        let report: serde_json::Value = serde_json::from_str(&ended.stdout)?;
        let time = report["reply_to_configured_ms"].as_f64().context("no time in the report")?;
        // The first warms up.
        if round > 0 {
            times.push(time);
        }
    }
    let value = median(&times).context("no round")?;
    let memory = watching(&lab, &guest)?;
    Ok(vec![Row::alone("agent.configure", value, "ms"), Row::alone("agent.memory", memory, "MiB")])
}

/// The resident memory of an agent that has configured its guest and waits for a change.
fn watching(lab: &Lab, guest: &NamespaceGuest) -> anyhow::Result<f64> {
    let root = lab.directory().join("guest-watching");
    furnish(&root)?;
    let mut command = guest.namespace().command(&lab.binaries.agent);
    command.arg("--root").arg(&root).arg("watch");
    let log = lab.directory().join("watch.log");
    let mut agent = Background::start("guest-agent", &mut command, &log)?;
    wait::until("the agent's report", SOON, || {
        agent.ensure_running()?;
        ensure!(root.join("var/lib/mezame-agent/last-report.json").exists(), "there is none");
        let waits = fs::read_dir(root.join("var/lib/mezame-agent/outbox"))?.count();
        ensure!(waits == 0, "it was not sent");
        Ok(())
    })?;
    resident(agent.pid())
}

/// What of a process is in memory, in MiB (proc_pid_status(5), VmRSS).
fn resident(pid: u32) -> anyhow::Result<f64> {
    let status = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let text = line.and_then(|line| line.split_whitespace().next()).context("no VmRSS")?;
    Ok(text.parse::<f64>()? / 1024.0)
}

/// What of a guest's files the agent looks at.
fn furnish(root: &std::path::Path) -> anyhow::Result<()> {
    fs::create_dir_all(root.join("etc"))?;
    fs::create_dir_all(root.join("root"))?;
    for (file, text) in [
        ("passwd", "root:x:0:0:root:/root:/bin/sh\n"),
        ("group", "root:x:0:\nsudo:x:27:\n"),
        ("shadow", "root:*:19000:0:99999:7:::\n"),
        ("hostname", "guest\n"),
        ("hosts", "127.0.0.1 localhost\n"),
    ] {
        fs::write(root.join("etc").join(file), text)?;
    }
    Ok(())
}

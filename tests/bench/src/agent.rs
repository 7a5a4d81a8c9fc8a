//! `agent.configure`: from the agent's first reply to a configured guest, scripts excepted.
//!
//! The agent itself, in a guest's namespace behind a tap, against the real server; it writes below
//! a folder of its own, a new one for each run, and says what it took.

use std::fs;

use anyhow::{Context, ensure};
use mezame_tests::{Lab, process};

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
    Ok(vec![Row::alone("agent.configure", value, "ms")])
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

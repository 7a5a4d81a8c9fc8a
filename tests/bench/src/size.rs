//! `memory.*` and `start.*`: what a metadata-server with many instances takes, and how soon it
//! serves.
//!
//! The instances are written by the API to a server with the control plane inside; that one is
//! ended, and what it left on disk is started anew. `memory.instance` and `start.100000` are of
//! the service alone, the control plane being away, as on a hypervisor that starts cold: all it
//! has is its ledger. `memory.standalone` and `start.standalone` are of one process with both.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use mezame_tests::{Lab, server::Server};

use crate::{
    pinned::Cpu,
    population,
    row::Row,
    sample::{median, slope},
    seed,
};

/// How many instances there are when memory is looked at.
const STEPS: [u32; 3] = [0, 10_000, 100_000];
/// How often a start is timed.
const STARTS: usize = 5;
/// More than any start may take.
const PATIENCE: Duration = Duration::from_secs(60);

const SERVICE: &[&str] = &[];
const STANDALONE: &[&str] = &["--standalone"];

/// Measures the rows.
pub fn measure(cpu: Cpu) -> anyhow::Result<Vec<Row>> {
    let mut lab = Lab::prepare()?;
    let (mut alone, mut both) = (Vec::new(), Vec::new());
    let mut made = 0;
    for count in STEPS {
        let mut writer = start(&mut lab, STANDALONE)?.server;
        population::make(&lab.place.operator_socket(), made, count)?;
        made = count;
        stop(&mut writer)?;
        alone.push((f64::from(count), memory(&mut lab, SERVICE)?));
        both.push((f64::from(count), memory(&mut lab, STANDALONE)?));
    }
    cpu.release()?;
    let mut rows = Vec::new();
    for (name, points) in [("memory.instance", &alone), ("memory.standalone", &both)] {
        let each = slope(points).context("no slope")?;
        let beyond = each - seed::USER_DATA_LENGTH as f64;
        let seen =
            points.iter().map(|(count, bytes)| format!("{:.1} MB with {count}", bytes / 1e6));
        let mut row = Row::alone(name, beyond, "bytes");
        row.against = Some(format!("resident: {}", seen.collect::<Vec<_>>().join(", ")));
        rows.push(row);
    }
    for (name, flags) in [("start.100000", SERVICE), ("start.standalone", STANDALONE)] {
        let mut times = Vec::new();
        for _ in 0..STARTS {
            let mut started = start(&mut lab, flags)?;
            times.push(started.time.as_secs_f64());
            stop(&mut started.server)?;
        }
        rows.push(Row::alone(name, median(&times).context("no start")?, "s"));
    }
    Ok(rows)
}

struct Started {
    server: Server,
    /// From exec to the first answer that says that guests are served.
    time: Duration,
}

fn start(lab: &mut Lab, flags: &[&str]) -> anyhow::Result<Started> {
    let begin = Instant::now();
    let mut server = lab.place.spawn(flags)?;
    loop {
        let answer = server.local("/healthz/ready");
        if answer.as_ref().is_ok_and(|reply| reply.status == 200) {
            return Ok(Started { server, time: begin.elapsed() });
        }
        server.process.ensure_running()?;
        ensure!(begin.elapsed() < PATIENCE, "the server does not become ready: {answer:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn stop(server: &mut Server) -> anyhow::Result<()> {
    let status = server.process.terminate(PATIENCE)?;
    ensure!(status.success(), "the server ended with {status}");
    Ok(())
}

/// The resident memory of a server that was just started from what is on disk, in bytes.
fn memory(lab: &mut Lab, flags: &[&str]) -> anyhow::Result<f64> {
    let mut server = start(lab, flags)?.server;
    let status = fs::read_to_string(format!("/proc/{}/status", server.process.pid()))?;
    let kibibytes = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_whitespace().next())
        .context("no VmRSS")?
        .parse::<f64>()?;
    stop(&mut server)?;
    Ok(kibibytes * 1024.0)
}

//! Measures a cold start from the ledger: seconds and memory for many instances.
//!
//! `measure make DIR N` writes a ledger of N instances; `measure start DIR` reads it in a fresh
//! process, as a start does, and prints one JSON line a figure. Apart, so that the memory of
//! making it is not counted.

use std::{path::Path, sync::Arc, time::Instant};

use anyhow::{Context, bail};
use mezame_model::{DeviceName, Instance, InstanceId, Port, PortId, Snapshot};
use mezame_server::{
    cache::Cache,
    ledger::{seal::LedgerKey, snapshot_file},
};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["make", directory, count] => make(Path::new(directory), count.parse()?),
        ["start", directory] => start(Path::new(directory)),
        _ => bail!("measure make DIR N | measure start DIR"),
    }
}

fn make(directory: &Path, count: usize) -> anyhow::Result<()> {
    let template = include_str!("../../protocol/testdata/snapshot-with-test-keys.json");
    let world: Snapshot = serde_json::from_str(template)?;
    let mut instance = Instance::clone(&world.instances[0]);
    (instance.user_data, instance.vendor_data) = (None, None);
    let mut snapshot = Snapshot { ports: Vec::new(), instances: Vec::new(), ..world.clone() };
    for number in 0..count {
        let mut port = Port::clone(&world.ports[0]);
        port.id = PortId::parse(&format!("eni-{number:017x}"))?;
        port.device = DeviceName::parse(&format!("vnet{number}"))?;
        instance.id = InstanceId::parse(&format!("i-{number:017x}"))?;
        instance.ports = vec![port.id.clone()];
        port.instance = Some(instance.id.clone());
        snapshot.ports.push(Arc::new(port));
        snapshot.instances.push(Arc::new(instance.clone()));
    }
    let key = LedgerKey::open(&directory.join("ledger.key"))?;
    snapshot_file::write(&directory.join("snapshot.ledger"), &key, &snapshot)?;
    Ok(())
}

fn start(directory: &Path) -> anyhow::Result<()> {
    let before = resident()?;
    let began = Instant::now();
    let key = LedgerKey::open(&directory.join("ledger.key"))?;
    let snapshot = snapshot_file::read(&directory.join("snapshot.ledger"), &key)?
        .context("there is no ledger; make one first")?;
    let read = began.elapsed();
    let count = snapshot.instances.len();
    let mut cache = Cache::empty();
    cache.swap(Arc::new(snapshot));
    let started = began.elapsed();
    let memory = resident()?.saturating_sub(before);
    println!("{{\"name\":\"read.{count}\",\"value\":{},\"unit\":\"s\"}}", read.as_secs_f64());
    println!("{{\"name\":\"start.{count}\",\"value\":{},\"unit\":\"s\"}}", started.as_secs_f64());
    println!(
        "{{\"name\":\"memory.instance\",\"value\":{},\"unit\":\"bytes\"}}",
        memory / count.max(1)
    );
    Ok(())
}

/// Resident memory of this process, in bytes (proc(5)).
fn resident() -> anyhow::Result<usize> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kibibytes: usize = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kibibytes * 1024)
}

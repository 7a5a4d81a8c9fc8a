//! Taking a point in time down: all of it, or what is left of it.
//!
//! It asks QEMU what is there and remembers nothing, so it does the same for a point in time that
//! is closed, for one that could not be opened, and for one whose process was killed. The guest
//! comes first: it goes on before anything is removed.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use super::PointError;
use crate::{
    backup::{
        disk::Disk,
        freeze::{self, Freeze},
        mark::Mark,
    },
    qmp::{Qmp, QmpError},
};

/// How long an export may take to go: the reads that are under way.
const EXPORT: Duration = Duration::from_secs(30);

/// What is left of a point in time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Leftover {
    /// An export.
    #[error("the export {0}")]
    Export(String),
    /// A node.
    #[error("the node {0}")]
    Node(String),
    /// A frozen guest that nobody can thaw, since no agent was given.
    #[error("the frozen guest")]
    Frozen,
}

/// Takes down what there is of a point in time of these disks.
pub(super) fn take_down(
    qmp: &mut Qmp,
    disks: &[Disk],
    agent: Option<&dyn Freeze>,
) -> Result<(), PointError> {
    let nodes = qmp.nodes()?;
    if Mark::Stopped.is_in(&nodes) {
        qmp.execute("cont", json!({}))?;
        Mark::Stopped.clear(qmp)?;
    }
    if Mark::Frozen.is_in(&nodes) {
        let agent = agent.ok_or(PointError::Stays(Leftover::Frozen))?;
        freeze::thaw(agent).map_err(PointError::Thaw)?;
        Mark::Frozen.clear(qmp)?;
    }
    for disk in disks {
        end_export(qmp, &disk.point())?;
    }
    if Mark::Serving.is_in(&nodes) {
        go_on(qmp.execute("nbd-server-stop", json!({})))?;
        Mark::Serving.clear(qmp)?;
    }
    for disk in disks {
        let is_there = |name: &String| nodes.iter().any(|node| node.name == *name);
        if is_there(&disk.before()) {
            // Reads through the filter end before the filter goes.
            delete(qmp, &disk.point())?;
            // Where the device is gone, nothing goes through the filter any more.
            go_on(switch(qmp, disk, disk.node()))?;
        }
        for node in [disk.point(), disk.before(), disk.scratch()].iter().filter(|n| is_there(n)) {
            delete(qmp, node)?;
        }
    }
    let nodes = qmp.nodes()?;
    let ours = disks.iter().flat_map(|disk| [disk.point(), disk.before(), disk.scratch()]);
    match ours.into_iter().find(|name| nodes.iter().any(|node| node.name == *name)) {
        Some(left) => Err(PointError::Stays(Leftover::Node(left))),
        None => Ok(()),
    }
}

/// Lets the guest's disk be this node.
pub(super) fn switch(qmp: &mut Qmp, disk: &Disk, node: &str) -> Result<(), QmpError> {
    let drive = json!({ "path": disk.device(), "property": "drive", "value": node });
    qmp.execute("qom-set", drive).map(drop)
}

fn end_export(qmp: &mut Qmp, export: &str) -> Result<(), PointError> {
    let begin = Instant::now();
    let mut is_asked = false;
    while qmp.exports()?.iter().any(|id| id == export) {
        if !is_asked {
            // Those who read it are cut off.
            let end = json!({ "id": export, "mode": "hard" });
            go_on(qmp.execute("block-export-del", end))?;
            is_asked = true;
        }
        if begin.elapsed() > EXPORT {
            return Err(PointError::Stays(Leftover::Export(export.into())));
        }
        thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

fn delete(qmp: &mut Qmp, node: &str) -> Result<(), QmpError> {
    go_on(qmp.execute("blockdev-del", json!({ "node-name": node })))
}

/// Goes on where QEMU refuses: what is still there in the end is found then.
fn go_on<T>(result: Result<T, QmpError>) -> Result<(), QmpError> {
    match result {
        Ok(_) | Err(QmpError::Refused { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

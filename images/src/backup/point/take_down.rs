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

use super::{PointError, admission};
use crate::{
    backup::{
        disk::Disk,
        freeze::{self, Freeze},
        mark::Mark,
    },
    qmp::{Qmp, QmpError, block::Node},
};

/// How long an export may take to go: the reads that are under way.
const EXPORT: Duration = Duration::from_secs(30);
/// QEMU's word for a guest that begins anew, by itself or by somebody's will.
pub(super) const RESET: &str = "RESET";

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
    // A guest that will not thaw is no reason to leave the rest; it is what is told in the end.
    let thawed = if Mark::Frozen.is_in(&nodes) { thaw(qmp, agent) } else { Ok(()) };
    let removed = remove(qmp, disks, &nodes);
    thawed.and(removed)
}

/// Thaws a guest that was frozen, unless it was reset since: no agent of what runs in it now knows of
/// a freeze.
fn thaw(qmp: &mut Qmp, agent: Option<&dyn Freeze>) -> Result<(), PointError> {
    if !qmp.take_events(RESET) {
        let agent = agent.ok_or(PointError::Stays(Leftover::Frozen))?;
        freeze::thaw(agent).map_err(PointError::Thaw)?;
    }
    Ok(Mark::Frozen.clear(qmp)?)
}

/// Removes exports and nodes; the guest's disks are on their own nodes first.
fn remove(qmp: &mut Qmp, disks: &[Disk], nodes: &[Node]) -> Result<(), PointError> {
    for disk in disks {
        end_export(qmp, &disk.point())?;
    }
    if Mark::Serving.is_in(nodes) {
        go_on(qmp.execute("nbd-server-stop", json!({})))?;
        Mark::Serving.clear(qmp)?;
    }
    go_on(admission::forget(qmp))?;
    for disk in disks {
        let is_there = |name: &String| nodes.iter().any(|node| node.name == *name);
        for (before, below) in disk.filters().iter().filter(|(before, _)| is_there(before)) {
            // Reads through the filter end before the filter goes.
            delete(qmp, &disk.point())?;
            match switch(qmp, disk, before, below) {
                // Where the device is gone or has another drive, nothing goes through the filter.
                Err(PointError::Elsewhere { .. }) => {}
                Err(PointError::Qmp(error)) => go_on::<()>(Err(error))?,
                other => other?,
            }
        }
        for node in nodes_of(disk).filter(is_there) {
            delete(qmp, &node)?;
        }
        go_on(qmp.remove_objects([disk.scratch_key().as_str()]))?;
    }
    let nodes = qmp.nodes()?;
    match disks.iter().flat_map(nodes_of).find(|name| nodes.iter().any(|node| node.name == *name)) {
        Some(left) => Err(PointError::Stays(Leftover::Node(left))),
        None => Ok(()),
    }
}

/// Our nodes of a disk, those above others first.
fn nodes_of(disk: &Disk) -> impl Iterator<Item = String> + use<> {
    let [(over_one, _), (over_other, _)] = disk.filters();
    [disk.point(), over_one, over_other, disk.scratch()].into_iter()
}

/// Lets the guest's disk be another node, if it is the one that it is thought to be: what a guest
/// would be moved to otherwise is not what it has written.
pub(super) fn switch(qmp: &mut Qmp, disk: &Disk, from: &str, to: &str) -> Result<(), PointError> {
    check_drive(qmp, disk, from)?;
    let drive = json!({ "path": disk.device(), "property": "drive", "value": to });
    Ok(qmp.execute("qom-set", drive).map(drop)?)
}

/// Whether the guest's disk is this node.
pub(super) fn check_drive(qmp: &mut Qmp, disk: &Disk, node: &str) -> Result<(), PointError> {
    let found = qmp.drive(disk.device())?;
    if found == node {
        return Ok(());
    }
    Err(PointError::Elsewhere { volume: disk.id().clone(), node: found })
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

//! The gate: what keeps a guest from going over while its memory is copied, for as long as is wanted.
//!
//! QEMU lets a guest go over once what is left can be sent within its downtime limit. A limit of zero
//! alone does not keep it: an idle guest has nothing left. So an empty node with a dirty bitmap of one
//! bit is sent with it, which is never sent before the guest stands still: something is always
//! left. The gate is opened by giving a limit.
//!
//! The bitmap's name says whether the guest ran, and it comes with the guest: so whoever finds it, on
//! either side, knows whether the guest is to go on.
//!
//! After QEMU's migration/migration.c (`migration_iteration_run`) and
//! migration/block-dirty-bitmap.c (`dirty_bitmap_state_pending`).

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::qmp::{Qmp, QmpError, block::BitmapChange};

/// The node. No volume's id has a `_`.
pub(super) const NODE: &str = "migration_gate";
const RAN: &str = "ran";
const STOOD: &str = "stood";
/// A node's least length, and a bitmap's least granularity: one bit.
const LENGTH: u32 = 512;

/// Whether a QEMU has one, and then whether the guest ran; None too where the bitmap has not come yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) did_run: Option<bool>,
}

pub(super) fn find(qmp: &mut Qmp) -> Result<Option<Found>, QmpError> {
    let nodes = qmp.nodes()?;
    let node = nodes.iter().find(|node| node.name == NODE);
    Ok(node.map(|node| {
        let mut names = node.bitmaps.iter().filter_map(|bitmap| bitmap.name.as_deref());
        let did_run = names.find_map(|name| match name {
            RAN => Some(true),
            STOOD => Some(false),
            _ => None,
        });
        Found { did_run }
    }))
}

/// Adds the node, into which the bitmap can come.
pub(super) fn add_node(qmp: &mut Qmp) -> Result<(), QmpError> {
    let node = json!({ "driver": "null-co", "node-name": NODE, "size": LENGTH });
    qmp.execute("blockdev-add", node).map(drop)
}

/// Adds the bitmap, and says how QEMU is told to send it.
pub(super) fn add_bitmap(qmp: &mut Qmp, does_run: bool) -> Result<Value, QmpError> {
    let name = if does_run { RAN } else { STOOD };
    let add = BitmapChange::Add { name: name.into(), granularity: LENGTH, persistent: false };
    qmp.change_bitmaps([(NODE, &add)])?;
    Ok(json!({ "node-name": NODE, "alias": NODE, "bitmaps": [{ "name": name, "alias": name }] }))
}

/// Removes all of it, once QEMU has let go of the bitmap.
pub(super) fn remove(qmp: &mut Qmp) -> Result<(), QmpError> {
    const BOUND: Duration = Duration::from_secs(10);
    let begin = Instant::now();
    while let Some(found) = find(qmp)? {
        let removed = match found.did_run {
            Some(did_run) => {
                let name = if did_run { RAN } else { STOOD };
                qmp.change_bitmaps([(NODE, &BitmapChange::Remove(name.into()))])
            }
            None => qmp.execute("blockdev-del", json!({ "node-name": NODE })).map(drop),
        };
        match removed {
            Err(QmpError::Refused { .. }) if begin.elapsed() < BOUND => {
                thread::sleep(Duration::from_millis(5));
            }
            removed => removed?,
        }
    }
    Ok(())
}

//! Which dirty bitmaps go with a guest, and how.
//!
//! Those of overlays are stored in the file when the source gives it up, and the destination loads
//! them. A raw volume has no place for any: they are sent with the guest (`dirty-bitmaps`), which
//! QEMU does of nodes that `block-bitmap-mapping` names, and only where nothing uses them when it
//! begins.
//!
//! They are sent while the guest stands still, and not after it (`migrate-start-postcopy`): the
//! destination of QEMU 7.2 ends with a failed assertion then (`bdrv_lookup_bs` outside of its main
//! thread).

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    backup::{disk::Disk, name::BitmapName},
    qmp::block::Node,
    volume::VolumeId,
};

/// What was known of a disk's changes on the source when the guest left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// The disk.
    pub volume: VolumeId,
    /// The bitmaps that recorded.
    pub bitmaps: Vec<BitmapName>,
}

/// What is sent.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// As QEMU is told.
    pub(super) mapping: Vec<Value>,
    /// How many bits.
    pub(super) bits: u64,
}

/// Whether a disk's bitmaps have to be sent.
pub(super) fn has_any_to_send(disks: &[Disk], nodes: &[Node]) -> bool {
    disks.iter().any(|disk| {
        let known = known(disk, nodes);
        !disk.keeps_bitmaps() && known.is_some_and(|known| !known.bitmaps.is_empty())
    })
}

/// The bitmaps that can be sent, of disks that have no place for them. On the other side a disk is its
/// volume's own node, also if it went over to a plain volume here.
pub(super) fn to_send(disks: &[Disk], nodes: &[Node]) -> Sent {
    let mut sent = Sent::default();
    for disk in disks.iter().filter(|disk| !disk.keeps_bitmaps()) {
        let Some(node) = nodes.iter().find(|node| node.name == disk.node()) else { continue };
        let named = || node.bitmaps.iter().filter(|bitmap| bitmap.name.is_some());
        // QEMU refuses to begin at all if one of the node's, wanted or not, can't be sent.
        if named().any(|bitmap| bitmap.busy || bitmap.inconsistent) {
            continue;
        }
        let ours = || {
            named().filter(|bitmap| {
                let name = bitmap.name.as_deref().and_then(BitmapName::parse);
                name.is_some() && bitmap.granularity > 0
            })
        };
        let one = |name: &String| json!({ "name": name, "alias": name });
        let all: Vec<Value> = ours().filter_map(|bitmap| bitmap.name.as_ref().map(one)).collect();
        if all.is_empty() {
            continue;
        }
        sent.bits += ours().map(|b| node.image.size.div_ceil(b.granularity)).sum::<u64>();
        let alias = disk.id().node("");
        sent.mapping.push(json!({ "node-name": disk.node(), "alias": alias, "bitmaps": all }));
    }
    sent
}

/// What is known of a disk's changes; None where QEMU has no such disk.
pub(super) fn known(disk: &Disk, nodes: &[Node]) -> Option<Known> {
    let survey = disk.survey(nodes)?;
    let sound = survey.bitmaps.iter().filter(|b| b.is_recording && !b.is_inconsistent);
    Some(Known { volume: disk.id().clone(), bitmaps: sound.map(|b| b.name).collect() })
}

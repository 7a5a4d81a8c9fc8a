//! A guest's disk as a backup sees it: the node and the device in QEMU, and what our nodes beside
//! them are called.
//!
//! ```text
//!  device ──► disk                               at rest
//!
//!  device ──► ID.before ──► disk                 a point in time is open: what is about to be
//!             │    ▲   └──► ID.scratch           overwritten is copied to the scratch file before
//!             │  ID.point ◄── NBD                what it was then is read here
//! ```
//! The filter over the plain volume of a guest that went over to it is called otherwise, so that
//! whoever takes it away knows what is below. The filter is above what deciphers an encrypted volume, so
//! what it copies is in the clear; the scratch file of such a disk is encrypted by itself. Pure.

use std::fmt;

use super::{
    name::{BitmapName, PointId},
    plan::{Bitmap, Survey},
};
use crate::{
    encryption::VolumeKeys,
    qmp::block::{Node, NodeBitmap},
    volume::{Data, Volume, VolumeId},
};

/// The plain volume's node, as a hydration calls it.
const PLAIN: &str = "plain";
/// The filters over a volume's own node, and over that one.
const BEFORE: &str = "before";
const OVER_PLAIN: &str = "over-plain";

/// A disk that a running guest has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    id: VolumeId,
    node: String,
    device: String,
    before: String,
    keeps_bitmaps: bool,
    is_encrypted: bool,
    keys: Keys,
}

/// The keys that its QEMU was started with, as far as they were given.
#[derive(Clone, PartialEq, Eq, Default)]
struct Keys(VolumeKeys);

impl fmt::Debug for Keys {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Keys(..)")
    }
}

impl Disk {
    /// A volume's disk, where its guest was started with [`Volume::blockdev`] and
    /// [`Volume::device`].
    pub fn of(volume: &Volume) -> Self {
        let id = volume.id();
        Self {
            id: id.clone(),
            node: id.node(""),
            device: device_of(id),
            before: id.node(BEFORE),
            // A raw file has no place for them.
            keeps_bitmaps: matches!(volume.data(), Data::Overlay { .. }),
            is_encrypted: volume.is_encrypted(),
            keys: Keys::default(),
        }
    }

    /// The disk of a plain volume that is not looked at: QEMU has it by its id, wherever it lies.
    pub fn plain(id: &VolumeId, is_encrypted: bool) -> Self {
        Self {
            id: id.clone(),
            node: id.node(""),
            device: device_of(id),
            before: id.node(BEFORE),
            keeps_bitmaps: false,
            is_encrypted,
            keys: Keys::default(),
        }
    }

    /// The same with the keys of an encrypted volume: one of those that its QEMU has now is among
    /// them. By that one QEMU is told the key of the scratch file; the volume's own is not needed.
    #[must_use]
    pub fn with_keys(self, keys: &VolumeKeys) -> Self {
        Self { keys: Keys(keys.clone()), ..self }
    }

    /// The disk of a guest that went over to a plain volume while it ran, until it is started anew:
    /// the volume is as it was before the hydration.
    pub fn hydrated(volume: &Volume) -> Self {
        let (node, before) = (volume.id().node(PLAIN), volume.id().node(OVER_PLAIN));
        Self { node, before, keeps_bitmaps: false, ..Self::of(volume) }
    }

    /// Its volume's id.
    pub fn id(&self) -> &VolumeId {
        &self.id
    }

    /// The node that the guest's disk is at rest.
    pub(crate) fn node(&self) -> &str {
        &self.node
    }

    /// The device's path among QEMU's objects.
    pub(crate) fn device(&self) -> &str {
        &self.device
    }

    /// Whether its bitmaps outlive QEMU.
    pub(crate) fn keeps_bitmaps(&self) -> bool {
        self.keeps_bitmaps
    }

    /// The filter that copies before it writes.
    pub(super) fn before(&self) -> &str {
        &self.before
    }

    /// The keys that were given.
    pub(super) fn keys(&self) -> &VolumeKeys {
        &self.keys.0
    }

    /// All filters that this volume's disk may have, and the node below each: whoever opened a point
    /// in time knew which one the guest was on, and who takes it down may not.
    pub(super) fn filters(&self) -> [(String, String); 2] {
        [("", BEFORE), (PLAIN, OVER_PLAIN)]
            .map(|(below, filter)| (self.id.node(filter), self.id.node(below)))
    }

    /// What it copies to.
    pub(super) fn scratch(&self) -> String {
        self.id.node("scratch")
    }

    /// What that is opened with, if it is encrypted.
    pub(super) fn scratch_key(&self) -> String {
        self.id.node("scratch-key")
    }

    /// The disk as it was at the point in time; the export's id is the same.
    pub(super) fn point(&self) -> String {
        self.id.node("point")
    }

    /// What the export is called by who reads it. Of another point in time it is another name, so
    /// that nobody who comes late reads that one instead. (A node's name has no room for it.)
    pub(super) fn export(&self, point: PointId) -> String {
        format!("{}-{point}", self.point())
    }

    /// What QEMU says of it; None where it has no such node.
    pub(crate) fn survey(&self, nodes: &[Node]) -> Option<Survey> {
        let node = nodes.iter().find(|node| node.name == self.node)?;
        let bitmaps = node.bitmaps.iter().filter_map(bitmap).collect();
        // QEMU knows too what a guest went over to while it ran.
        let is_encrypted = self.is_encrypted || node.encrypted;
        Some(Survey { size: node.image.size, bitmaps, is_encrypted })
    }
}

/// What has the drive is the disk behind the PCI card.
fn device_of(id: &VolumeId) -> String {
    format!("/machine/peripheral/{}/virtio-backend", id.node("disk"))
}

fn bitmap(bitmap: &NodeBitmap) -> Option<Bitmap> {
    Some(Bitmap {
        name: BitmapName::parse(bitmap.name.as_ref()?)?,
        is_recording: bitmap.recording,
        is_busy: bitmap.busy,
        is_inconsistent: bitmap.inconsistent,
        granularity: bitmap.granularity,
        dirty: bitmap.count,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        encryption::KeyNumber,
        volume::{Durability, HostCache, Place},
    };

    #[test]
    fn a_plain_volume_is_the_same_disk_whether_it_was_looked_at_or_not() {
        let (id, place) = (VolumeId::parse("web").unwrap(), Place::Device("/dev/sdx".into()));
        let volume =
            Volume::new(id.clone(), Data::Plain(place), Durability::Plain, HostCache::Direct);
        let volume = volume.unwrap();
        assert_eq!(Disk::plain(&id, false), Disk::of(&volume));
        assert_eq!(Disk::plain(&id, true), Disk::of(&volume.encrypted(KeyNumber(1))));
    }
}

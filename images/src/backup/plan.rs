//! Which backup comes next: what has changed since which image, or all, and then why. Pure.
//!
//! A disk's bitmaps, as they follow each other (each is named after the point it records from):
//!
//! ```text
//!            open a point q            the image of q is there
//!  p records ─────────────► p stopped ─────────────────────────► q records
//!      ▲                    q records                            (p is removed)
//!      │                        │
//!      └────────────────────────┘  it failed, or nobody knows: q is added to p,
//!                                  p records again, q is removed
//! ```
//! q begins to record before p stops, so no write is in neither. Whether the image of a point is
//! there only the archive knows, since its image names its point; so a process may end anywhere in
//! this, and the next one goes on from what QEMU and the archive say. What can't be followed so is
//! not trusted: all is read then, and the reason is told.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::name::{BitmapName, PointId};
use crate::{archive::ImageId, qmp::block::BitmapChange};

/// Bytes of the disk for each bit of our bitmaps, of a disk of up to 1 TiB: what guests' file systems
/// and page caches write at once, so that little is moved that was not written.
pub const GRANULARITY: u32 = 4 << 10;
/// Bits of a bitmap: 32 MiB of memory in QEMU for each.
const MOST_BITS: u64 = 1 << 28;

/// The same for a disk of this length: twice as much for each doubling behind 1 TiB, so 64 KiB for
/// 16 TiB.
pub fn granularity(size: u64) -> u32 {
    let mut granularity = GRANULARITY;
    // Up to what QEMU takes as one.
    while size.div_ceil(granularity.into()) > MOST_BITS && granularity < 1 << 30 {
        granularity *= 2;
    }
    granularity
}

/// What QEMU says of a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survey {
    /// Its length in bytes.
    pub size: u64,
    /// Our bitmaps.
    pub bitmaps: Vec<Bitmap>,
    /// Whether its volume is encrypted at the hypervisor.
    #[serde(default)]
    pub is_encrypted: bool,
}

/// A bitmap of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bitmap {
    /// Its name.
    pub name: BitmapName,
    /// Whether it records.
    pub is_recording: bool,
    /// Whether something uses it.
    pub is_busy: bool,
    /// Whether it may lack writes: QEMU was killed.
    pub is_inconsistent: bool,
    /// Bytes of the disk for each bit.
    pub granularity: u64,
    /// Bytes that it says were written.
    pub dirty: u64,
}

impl Bitmap {
    fn is_sound(&self) -> bool {
        !self.is_busy && !self.is_inconsistent
    }
}

/// A backup of the disk that is in the archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Its image.
    pub image: ImageId,
    /// The point in time.
    pub point: PointId,
    /// Its length in bytes.
    pub size: u64,
    /// When its import began, in milliseconds since 1970.
    pub created_ms: u64,
}

/// What a backup reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Plan {
    /// What was written since the base's point in time. All else is that image's.
    Incremental {
        /// The base.
        base: ImageId,
        /// Its point in time.
        since: PointId,
    },
    /// Everything but holes.
    Full(FullReason),
}

/// Why all is read. To be told to whoever wonders that a backup takes long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FullReason {
    /// There is no backup of this disk.
    First,
    /// It was asked for.
    Wanted,
    /// The image that the bitmap begins at is not in the archive, or can't be opened with the
    /// project's key: it is encrypted otherwise since.
    BaseGone,
    /// QEMU has no bitmap that begins at the last backup. That is so as well where the disk was
    /// cut and made as long again.
    BitmapMissing,
    /// QEMU was killed while it used the bitmap.
    BitmapInconsistent,
    /// Something else uses the bitmap.
    BitmapBusy,
    /// The bitmap was stopped, and what was written since then is not known.
    BitmapStopped,
    /// The disk has another length than its last backup.
    SizeChanged,
}

impl fmt::Display for FullReason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::First => "it is the first backup",
            Self::Wanted => "it was asked for",
            Self::BaseGone => {
                "the last backup is not in the archive any more, or encrypted with another key"
            }
            Self::BitmapMissing => {
                "what has changed is not known: QEMU was started anew, or killed before it stored it, or the disk's length was changed"
            }
            Self::BitmapInconsistent => {
                "what has changed is not known: QEMU was killed, so its bitmap may lack writes"
            }
            Self::BitmapBusy => "something else uses the bitmap of what has changed",
            Self::BitmapStopped => "what has changed was not recorded all of the time",
            Self::SizeChanged => "the disk has another length than its last backup",
        })
    }
}

/// What is to be done about a disk, for its next backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// What is read.
    pub plan: Plan,
    /// The bitmap that has to outlive the backup, in case it fails.
    kept: Option<BitmapName>,
    /// What is added to it before: the bitmap of a backup that failed.
    added: Option<BitmapName>,
    /// Bitmaps that are of no use any more.
    removed: Vec<BitmapName>,
    /// Bytes for each bit of the bitmap that begins.
    granularity: u32,
}

/// What the next backup of a disk reads, where these backups of it are in the archive and can be
/// opened. With `all`, everything is read whatever is known.
pub fn decide(survey: &Survey, published: &[Published], all: bool) -> Decision {
    let mut newest: Vec<&Published> = published.iter().collect();
    newest.sort_by_key(|image| std::cmp::Reverse((image.created_ms, image.image)));
    let mut reason = None;
    let mut found = None;
    for image in newest {
        match usable(survey, published, image) {
            Ok(bitmaps) => {
                found = Some((image, bitmaps));
                break;
            }
            // That of the newest one is told.
            Err(why) => reason = reason.or(Some(why)),
        }
    }
    let is_first = survey.bitmaps.is_empty();
    let without = if is_first { FullReason::First } else { FullReason::BaseGone };
    let (plan, kept, added) = match found {
        Some((image, (kept, added))) => {
            let base = Plan::Incremental { base: image.image, since: image.point };
            let plan = if all { Plan::Full(FullReason::Wanted) } else { base };
            (plan, Some(kept), added)
        }
        None => {
            let reason = if all { FullReason::Wanted } else { reason.unwrap_or(without) };
            (Plan::Full(reason), None, None)
        }
    };
    let is_removed =
        |bitmap: &&Bitmap| !bitmap.is_busy && ![kept, added].contains(&Some(bitmap.name));
    let removed = survey.bitmaps.iter().filter(is_removed).map(|bitmap| bitmap.name).collect();
    Decision { plan, kept, added, removed, granularity: granularity(survey.size) }
}

/// The bitmap that says what has changed since this image, and the one that has to be added to it.
fn usable(
    survey: &Survey,
    published: &[Published],
    image: &Published,
) -> Result<(BitmapName, Option<BitmapName>), FullReason> {
    if image.size != survey.size {
        return Err(FullReason::SizeChanged);
    }
    let is_published = |bitmap: &Bitmap| published.iter().any(|p| p.point == bitmap.name.since);
    let bitmaps = &survey.bitmaps;
    let Some(bitmap) = bitmaps.iter().find(|bitmap| bitmap.name.since == image.point) else {
        // One that goes on from an image that is gone says so.
        let is_orphan = bitmaps.iter().any(|b| b.is_sound() && b.is_recording && !is_published(b));
        return Err(if is_orphan { FullReason::BaseGone } else { FullReason::BitmapMissing });
    };
    if bitmap.is_inconsistent {
        return Err(FullReason::BitmapInconsistent);
    }
    if bitmap.is_busy {
        return Err(FullReason::BitmapBusy);
    }
    if bitmap.is_recording {
        return Ok((bitmap.name, None));
    }
    let mut after = bitmaps.iter().filter(|b| b.name.previous == Some(image.point));
    let next = after.find(|b| b.is_recording && b.is_sound());
    next.map(|next| (bitmap.name, Some(next.name))).ok_or(FullReason::BitmapStopped)
}

impl Decision {
    /// Whether this is still to be done, by what QEMU says now: since it was decided, another point
    /// in time may have stopped the bitmap that was to go on, and then what was written since would
    /// be taken for unchanged.
    pub(super) fn fits(&self, survey: &Survey) -> bool {
        let find = |name| survey.bitmaps.iter().find(|bitmap| bitmap.name == name);
        let records = |name| find(name).is_some_and(|b| b.is_sound() && b.is_recording);
        let is_kept = match (self.kept, self.added) {
            (None, _) => true,
            (Some(kept), None) => records(kept),
            (Some(kept), Some(added)) => {
                let goes_on = added.previous == Some(kept.since) && records(added);
                goes_on && find(kept).is_some_and(|b| b.is_sound() && !b.is_recording)
            }
        };
        is_kept && self.removed.iter().all(|name| find(*name).is_some())
    }

    /// The bitmap that says what has changed, where that is read.
    pub(super) fn changes(&self) -> Option<BitmapName> {
        self.kept.filter(|_| matches!(self.plan, Plan::Incremental { .. }))
    }

    /// The bitmap that begins at this point.
    fn begun(&self, point: PointId) -> BitmapName {
        BitmapName { since: point, previous: self.kept.map(|kept| kept.since) }
    }

    /// What is done to the bitmaps before the point in time: order is brought in, and the next
    /// one begins.
    pub(super) fn before(&self, point: PointId, persistent: bool) -> Vec<BitmapChange> {
        let mut changes = Vec::new();
        if let (Some(kept), Some(added)) = (self.kept, self.added) {
            changes.extend(merge(kept, added));
        }
        changes.extend(self.removed.iter().map(|name| BitmapChange::Remove(name.to_string())));
        let name = self.begun(point).to_string();
        changes.push(BitmapChange::Add { name, granularity: self.granularity, persistent });
        changes
    }

    /// What is done after it: the one before stops.
    pub(super) fn after(&self) -> Vec<BitmapChange> {
        self.kept.iter().map(|kept| BitmapChange::Disable(kept.to_string())).collect()
    }

    /// What is done when the image is there.
    pub(super) fn succeeded(&self) -> Vec<BitmapChange> {
        self.kept.iter().map(|kept| BitmapChange::Remove(kept.to_string())).collect()
    }

    /// What is done when there will be none.
    pub(super) fn failed(&self, point: PointId) -> Vec<BitmapChange> {
        let begun = self.begun(point);
        match self.kept {
            Some(kept) => merge(kept, begun).into(),
            None => vec![BitmapChange::Remove(begun.to_string())],
        }
    }
}

/// Lets a stopped bitmap go on, as if it had never stopped. It records before the other one ends.
fn merge(into: BitmapName, from: BitmapName) -> [BitmapChange; 3] {
    let (into, from) = (into.to_string(), from.to_string());
    [
        BitmapChange::Enable(into.clone()),
        BitmapChange::Merge { into, from: from.clone() },
        BitmapChange::Remove(from),
    ]
}

#[cfg(test)]
mod tests;

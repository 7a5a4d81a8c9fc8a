//! What a project may have of volumes, and whether one more, or a longer one, fits. Pure.
//!
//! Counted is what guests see: how many volumes, and their lengths, those being made, and made longer, too. What a volume
//! takes of its pool is another matter: a clone takes less, and more after a hydration or a restore, whose
//! old contents stay.

use std::sync::Arc;

use mezame_images::volume::VolumeId;
use serde::{Deserialize, Serialize};

use super::record::VolumeRecord;

/// The most that a project may have; no limit where there is no number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct VolumeQuota {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) volumes: Option<u64>,
    /// Of all its volumes together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) bytes: Option<u64>,
}

/// More than a project may have was wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OverQuota {
    /// Of volumes.
    #[error("the project has {used} volumes, and may have {most}")]
    Volumes {
        /// Those that there are.
        used: u64,
        /// How many there may be.
        most: u64,
    },
    /// Of their lengths.
    #[error(
        "the project's other volumes have {used} bytes together, {wanted} are wanted, and all may have {most}"
    )]
    Bytes {
        /// All others' lengths.
        used: u64,
        /// The length that was asked for.
        wanted: u64,
        /// What all may have together.
        most: u64,
    },
}

impl VolumeQuota {
    /// That a volume of this length fits among a project's volumes, or one of them may become so long.
    /// None has to shrink: a limit that was set below what there is keeps more from coming.
    pub(crate) fn check<'v>(
        self,
        all: impl Iterator<Item = &'v Arc<VolumeRecord>>,
        id: &VolumeId,
        wanted: u64,
    ) -> Result<(), OverQuota> {
        let (mut others, mut used, mut now) = (0_u64, 0_u64, None);
        for volume in all {
            if volume.id == *id {
                now = Some(volume.longest());
            } else {
                (others, used) = (others + 1, used.saturating_add(volume.longest()));
            }
        }
        if let (None, Some(most)) = (now, self.volumes)
            && others >= most
        {
            return Err(OverQuota::Volumes { used: others, most });
        }
        let grows = now.is_none_or(|now| wanted > now);
        match self.bytes {
            Some(most) if grows && used.saturating_add(wanted) > most => {
                Err(OverQuota::Bytes { used, wanted, most })
            }
            _ => Ok(()),
        }
    }
}

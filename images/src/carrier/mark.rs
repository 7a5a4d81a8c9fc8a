//! What is written on a block device or LUN that carries volumes: whose it is, and what it carries.
//! Pure.
//!
//! ```text
//!  0 ─────────── a volume, or nothing ─────────── capacity ──┬── 64 KiB ──┬─────── end
//!                                                         one slot    the other
//! ```
//! A slot is 4096 bytes: magic, length, JSON, zeros, and BLAKE3 of all that. The one with the higher
//! generation counts; the other one is written next, so what a stop leaves half written is never the
//! only one. The volume begins at the first byte, so that a disk can be read without any of this.

use serde::{Deserialize, Serialize};

use crate::{
    encryption::{KeyNumber, rotation::Keyslots},
    volume::VolumeId,
};

/// How long a slot is.
pub(super) const SLOT: usize = 4096;
/// From one slot to the other.
const APART: u64 = 64 << 10;
/// Capacities are whole such, and so much is kept for the slots at least.
const MEBIBYTE: u64 = 1 << 20;
const MAGIC: &[u8; 16] = b"MEZAME DISK MARK";
const DIGEST: usize = 32;
const HEAD: usize = MAGIC.len() + 4;

/// Whose a disk is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Which site, by something that is drawn once and that a new database does not change.
    pub site: String,
    /// Which of its pools.
    pub pool: String,
}

/// A volume that a disk carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// Which.
    pub volume: VolumeId,
    /// The host that it was made by.
    pub host: String,
    /// Its length in bytes, as its guest sees it.
    pub size: u64,
    /// How much of the disk it takes, with its LUKS header.
    pub length: u64,
    /// Which keys open it; none of a volume in the clear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyslots: Option<Keyslots>,
    /// Whether all of it was written that it began as, or was restored from.
    pub is_whole: bool,
}

impl Carried {
    /// Which key opens it, if it is encrypted.
    pub fn key(&self) -> Option<KeyNumber> {
        self.keyslots.map(Keyslots::opening)
    }
}

/// What is written on a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Whose it is.
    pub owner: Owner,
    /// How long the disk was then, in bytes: the mark of one that was copied, or has become longer, is
    /// not where it is looked for, or says another length.
    length: u64,
    generation: u64,
    /// What it carries; nothing where it is free.
    pub carried: Option<Carried>,
}

/// Why a mark can't be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MarkFault {
    /// Neither slot is whole.
    #[error("its mark is damaged")]
    Damaged,
    /// It was written for another length.
    #[error("its mark was written when it had {0} bytes")]
    OtherLength(u64),
    /// There is no room for it.
    #[error("its mark is too long")]
    TooLong,
}

/// How much of a disk of this length volumes can take; none where it is too short for a mark.
pub fn capacity(length: u64) -> Option<u64> {
    (length / MEBIBYTE).checked_sub(1).filter(|whole| *whole > 0).map(|whole| whole * MEBIBYTE)
}

/// Where both slots are.
pub(super) fn slots(capacity: u64) -> [u64; 2] {
    [capacity, capacity + APART]
}

impl Mark {
    /// A free one.
    pub(super) fn free(owner: Owner, length: u64) -> Self {
        Self { owner, length, generation: 0, carried: None }
    }

    /// Reads both slots of a disk of this length; which of them is to be written next. None where no
    /// mark is.
    pub(super) fn read(slots: [&[u8]; 2], length: u64) -> Result<Option<(Self, usize)>, MarkFault> {
        let [first, second] = slots.map(Self::parse);
        let (mark, next) = match (first, second) {
            (Ok(Some(one)), Ok(Some(other))) if other.generation > one.generation => (other, 0),
            (Ok(Some(mark)), _) => (mark, 1),
            (_, Ok(Some(mark))) => (mark, 0),
            (Ok(None), Ok(None)) => return Ok(None),
            _ => return Err(MarkFault::Damaged),
        };
        if mark.length != length {
            return Err(MarkFault::OtherLength(mark.length));
        }
        Ok(Some((mark, next)))
    }

    fn parse(slot: &[u8]) -> Result<Option<Self>, MarkFault> {
        if !slot.starts_with(MAGIC) {
            return Ok(None);
        }
        let (body, digest) = slot.split_last_chunk::<DIGEST>().ok_or(MarkFault::Damaged)?;
        if slot.len() != SLOT || blake3::hash(body).as_bytes() != digest {
            return Err(MarkFault::Damaged);
        }
        let length = body.get(MAGIC.len()..).and_then(<[u8]>::first_chunk);
        let length = length.map_or(0, |length| u32::from_le_bytes(*length));
        let end = usize::try_from(length).ok().and_then(|length| length.checked_add(HEAD));
        let text = end.and_then(|end| body.get(HEAD..end)).ok_or(MarkFault::Damaged)?;
        serde_json::from_slice(text).map(Some).map_err(|_| MarkFault::Damaged)
    }

    /// The slot that comes after this one.
    pub(super) fn next(&self, carried: Option<Carried>) -> Result<Vec<u8>, MarkFault> {
        let next = Self { generation: self.generation + 1, carried, ..self.clone() };
        let text = serde_json::to_vec(&next).map_err(|_| MarkFault::TooLong)?;
        if HEAD + text.len() > SLOT - DIGEST {
            return Err(MarkFault::TooLong);
        }
        let length = u32::try_from(text.len()).map_err(|_| MarkFault::TooLong)?;
        let mut slot = [&MAGIC[..], &length.to_le_bytes(), &text].concat();
        slot.resize(SLOT - DIGEST, 0);
        let digest = blake3::hash(&slot);
        slot.extend(digest.as_bytes());
        Ok(slot)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LENGTH: u64 = 64 << 20;

    fn carried(volume: &str) -> Carried {
        Carried {
            volume: VolumeId::parse(volume).unwrap(),
            host: "hv-1".into(),
            size: 1 << 20,
            length: 1 << 20,
            keyslots: None,
            is_whole: true,
        }
    }

    fn free() -> Mark {
        Mark::free(Owner { site: "0123".into(), pool: "disks".into() }, LENGTH)
    }

    #[test]
    fn the_newer_of_two_slots_counts_and_the_older_one_is_written_next() {
        let blank = vec![0; SLOT];
        assert_eq!(Mark::read([&blank, &blank], LENGTH), Ok(None));
        let first = free().next(None).unwrap();
        let (mark, next) = Mark::read([&first, &blank], LENGTH).unwrap().unwrap();
        assert_eq!((mark.carried.is_none(), next), (true, 1));
        let second = mark.next(Some(carried("web"))).unwrap();
        let (mark, next) = Mark::read([&first, &second], LENGTH).unwrap().unwrap();
        assert_eq!((mark.carried.unwrap().volume.to_string(), next), ("web".into(), 0));
    }

    #[test]
    fn a_slot_that_was_half_written_leaves_what_was_said_before() {
        let first = free().next(Some(carried("web"))).unwrap();
        let (mark, _) = Mark::read([&first, &[0; SLOT]], LENGTH).unwrap().unwrap();
        let mut torn = mark.next(None).unwrap();
        torn[512..].fill(0);
        let (mark, next) = Mark::read([&first, &torn], LENGTH).unwrap().unwrap();
        assert_eq!((mark.carried.is_some(), next), (true, 1));
        assert_eq!(Mark::read([&torn, &torn], LENGTH), Err(MarkFault::Damaged));
        // What is no mark of ours beside one that is torn is not taken for a disk without any.
        assert_eq!(Mark::read([&torn, &[0; SLOT]], LENGTH), Err(MarkFault::Damaged));
    }

    #[test]
    fn a_mark_of_another_length_is_told() {
        let slot = free().next(None).unwrap();
        let read = Mark::read([&slot, &[0; SLOT]], LENGTH + MEBIBYTE);
        assert_eq!(read, Err(MarkFault::OtherLength(LENGTH)));
    }

    #[test]
    fn a_mark_that_does_not_fit_is_not_cut() {
        let mut mark = free();
        mark.owner.site = "x".repeat(SLOT);
        assert_eq!(mark.next(None), Err(MarkFault::TooLong));
    }

    #[test]
    fn slots_are_within_the_disk_and_behind_what_volumes_take() {
        assert_eq!(
            (capacity(0), capacity(MEBIBYTE), capacity(2 * MEBIBYTE - 1)),
            (None, None, None)
        );
        for length in [2 * MEBIBYTE, 2 * MEBIBYTE + 512, 7 * MEBIBYTE + 4095] {
            let capacity = capacity(length).unwrap();
            assert!(capacity > 0);
            assert!(slots(capacity).iter().all(|at| *at >= capacity && at + 4096 <= length));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_odd_to_be_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let slot = [&MAGIC[..], &bytes].concat();
            let _ = Mark::read([&slot, &bytes], LENGTH);
            let mut whole = slot;
            whole.resize(SLOT - DIGEST, 0);
            let digest = blake3::hash(&whole);
            whole.extend(digest.as_bytes());
            let _ = Mark::read([&whole, &whole], LENGTH);
        }
    }
}

//! Changing a volume's key, while its guest runs or not: the new one is added to the header, seen to
//! open it, and then the old one is removed. What is next is decided by the record and by what is
//! seen of the header; pure, but for [`rotate`], which takes the steps.
//!
//! ```text
//!   record            header opens with          next
//!   one 1             1                          record "adding 2"
//!   adding 1 → 2      1, maybe 2                 if 2 doesn't open: add it; else record "removing"
//!   removing 1 → 2    2, maybe 1                 if 1 opens: remove it; else forget it, record "one 2"
//!   one 2             2
//! ```
//! So at each moment a key that the record names opens the header, whenever anything stops, and
//! [`rotate`] of another process ends what was begun. Both keys are to be kept until the record says
//! "one": then the old one can be forgotten. No key is removed unless this same process has just
//! seen the other one open the header as it is on the disk.
//!
//! It changes which keys open the volume, and not what its data is encrypted with. Someone who has
//! an old copy of the header, and the old key, still can; only a new volume helps against that.

mod offline;
mod running;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, io, path::PathBuf};

use serde::{Deserialize, Serialize};

pub use super::{image::ImageError, secret::SecretError};
pub use offline::Offline;
pub use running::Running;

use super::KeyNumber;
use crate::{carrier::CarrierError, clone::CloneError, qmp::QmpError};

/// How many steps a rotation takes at most; seven, if nothing is odd.
const STEPS: u32 = 32;

/// Which keys open a volume's header, as far as is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keyslots {
    /// This one does, and no other.
    One(KeyNumber),
    /// The first does; the second is being added.
    Adding {
        /// The old key.
        from: KeyNumber,
        /// The new key.
        to: KeyNumber,
    },
    /// The second does; the first is being removed.
    Removing {
        /// The old key.
        from: KeyNumber,
        /// The new key.
        to: KeyNumber,
    },
}

impl Keyslots {
    /// The key that opens it for sure.
    pub fn opening(self) -> KeyNumber {
        match self {
            Self::One(key) | Self::Adding { from: key, .. } | Self::Removing { to: key, .. } => key,
        }
    }

    /// The keys that may not be forgotten.
    pub fn needed(self) -> BTreeSet<KeyNumber> {
        match self {
            Self::One(key) => [key].into(),
            Self::Adding { from, to } | Self::Removing { from, to } => [from, to].into(),
        }
    }
}

/// What this process has seen of the header since it changed it last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Seen {
    /// Whether the old key opens it.
    from: Option<bool>,
    /// Whether the new key does.
    to: Option<bool>,
    /// Whether it was changed already as the record says.
    is_changed: bool,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Write this into the record.
    Record(Keyslots),
    /// See whether this key opens the header.
    Look(KeyNumber),
    /// Add the second key, by the first.
    Add(KeyNumber, KeyNumber),
    /// Remove the second key; the first one stays.
    Remove(KeyNumber, KeyNumber),
    /// It is done.
    End,
    /// The change was made, and is not seen in the header.
    GiveUp,
    /// The record says that this key opens the header, and it doesn't.
    Locked(KeyNumber),
}

/// The next step to a header that `to` alone opens.
fn next(keyslots: Keyslots, to: KeyNumber, seen: Seen) -> Step {
    match keyslots {
        Keyslots::One(key) if key == to => Step::End,
        Keyslots::One(from) => Step::Record(Keyslots::Adding { from, to }),
        Keyslots::Adding { from, to } => match seen.to {
            None => Step::Look(to),
            Some(true) => Step::Record(Keyslots::Removing { from, to }),
            Some(false) if seen.is_changed => Step::GiveUp,
            Some(false) => Step::Add(from, to),
        },
        Keyslots::Removing { from, to } => match (seen.to, seen.from) {
            (None, _) => Step::Look(to),
            (Some(false), _) => Step::Locked(to),
            (Some(true), None) => Step::Look(from),
            (Some(true), Some(true)) if seen.is_changed => Step::GiveUp,
            (Some(true), Some(true)) => Step::Remove(to, from),
            (Some(true), Some(false)) => Step::Record(Keyslots::One(to)),
        },
    }
}

/// A header, and who can change it: [`Running`] or [`Offline`].
pub trait Header {
    /// Adds a key, by one that opens it. It is durable then.
    fn add(&mut self, opening: KeyNumber, new: KeyNumber) -> Result<(), RotationError>;

    /// Removes a key, where another opens it. It is durable then.
    fn remove(&mut self, staying: KeyNumber, old: KeyNumber) -> Result<(), RotationError>;

    /// Whether a key opens the header as it is on the disk.
    fn opens(&mut self, key: KeyNumber) -> Result<bool, RotationError>;

    /// Called when this key opens the header no more, before the record says so; it may be repeated.
    fn forget(&mut self, old: KeyNumber) -> Result<(), RotationError>;
}

/// Why a key is not changed. The record names one that opens the volume.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// Its guest is on its way to another QEMU, which may have been started with the old key alone, or
    /// has left. It can be repeated where the guest is then.
    #[error("the guest is being moved, or has left this QEMU")]
    Moving,
    /// Another change was begun and not ended.
    #[error("the change to key {0} was begun; end that one first")]
    Underway(KeyNumber),
    /// A key that was used before must not come back: somebody may have it.
    #[error("key {to} is no newer than {from}; give each key a higher number")]
    NotNewer {
        /// The key that opens it.
        from: KeyNumber,
        /// The one that was asked for.
        to: KeyNumber,
    },
    /// The header was changed, and opens as before.
    #[error("the header's keys were changed, and that is not seen on the disk")]
    Unchanged,
    /// The header is not what the record says.
    #[error("the header is not opened by key {0}, by which it should be; no key was removed")]
    Locked(KeyNumber),
    /// The volume is not encrypted.
    #[error("the volume is not encrypted")]
    NotEncrypted,
    /// Somebody else is changing the key.
    #[error("the record has changed meanwhile")]
    Changed,
    /// QEMU's job has failed.
    #[error("changing the header's keys: {said}")]
    Job {
        /// QEMU's words.
        said: String,
    },
    /// QEMU's job takes too long; it may be done yet.
    #[error("QEMU did not change the header's keys in time")]
    Late,
    /// The file can't be made durable.
    #[error("syncing {}", path.display())]
    Sync {
        /// The file or device.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// QEMU can't be given a key.
    #[error("giving QEMU a key")]
    Secret(#[from] SecretError),
    /// qemu-img refused.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// QEMU refused, or is gone.
    #[error(transparent)]
    Qmp(#[from] QmpError),
    /// The record can't be read or written.
    #[error(transparent)]
    Record(#[from] CloneError),
    /// The mark of the disk that carries it can't be.
    #[error(transparent)]
    Mark(#[from] CarrierError),
}

/// Has `to` alone open a volume, whose record says `keyslots`; it ends as well what was begun. `record`
/// makes each new state durable before it returns.
///
/// # Errors
/// Then the record's last state holds; repeat it.
pub fn rotate(
    mut keyslots: Keyslots,
    to: KeyNumber,
    header: &mut dyn Header,
    record: &mut dyn FnMut(Keyslots) -> Result<(), RotationError>,
) -> Result<(), RotationError> {
    match keyslots {
        Keyslots::One(from) if to < from => return Err(RotationError::NotNewer { from, to }),
        Keyslots::Adding { to: other, .. } | Keyslots::Removing { to: other, .. }
            if other != to =>
        {
            return Err(RotationError::Underway(other));
        }
        _ => {}
    }
    let mut seen = Seen::default();
    for _ in 0..STEPS {
        match next(keyslots, to, seen) {
            Step::Record(after) => {
                // Nobody asks for it any more once the record says that all is done.
                if let (Keyslots::Removing { from, .. }, Keyslots::One(_)) = (keyslots, after) {
                    header.forget(from)?;
                }
                record(after)?;
                keyslots = after;
                seen = Seen::default();
            }
            Step::Look(key) => {
                let opens = Some(header.opens(key)?);
                if key == to { seen.to = opens } else { seen.from = opens }
            }
            Step::Add(opening, new) => {
                header.add(opening, new)?;
                seen = Seen { is_changed: true, ..Seen::default() };
            }
            Step::Remove(staying, old) => {
                header.remove(staying, old)?;
                seen = Seen { is_changed: true, ..Seen::default() };
            }
            Step::End => return Ok(()),
            Step::GiveUp => return Err(RotationError::Unchanged),
            Step::Locked(key) => return Err(RotationError::Locked(key)),
        }
    }
    Err(RotationError::Unchanged)
}

//! A whole block device or LUN that carries one volume.
//!
//! ```text
//!            take_in                 claim, fill               release
//!   blank ───────────► ours, free ──────────────► a volume's ──────────► ours, free
//! ```
//! Each disk says by a [mark](Mark) at its end whose it is and what it carries, so neither a second
//! provisioner nor one whose database was made anew gives it out twice. **Nothing is written on a disk
//! without our mark but by [`Carrier::take_in`]**, which takes what is blank at both ends, or what the
//! operator has named, unless it carries a volume of anybody's. A claim is made while the kernel
//! (`O_EXCL`) and QEMU's locks keep all others of this host from the device; over iSCSI, and from
//! another host, there is nothing that could.
//!
//! The volume is a plain one, and takes the disk's first bytes ([`Volume::within`]); so its guest never
//! sees the mark. Nothing here gives a guest the disk.

mod blank;
mod error;
mod growth;
mod mark;
mod open;
#[cfg(test)]
mod tests;

use std::{fmt, path::Path};

pub use error::CarrierError;
pub use mark::{Carried, Mark, MarkFault, Owner, capacity};
use open::Mode;

use crate::{
    encryption::{
        KeyNumber, VolumeKeys,
        erasure::{self, Erased},
        header::{HEAD, Luks},
        image::{self, Form},
        rotation::{self, Header, RotationError},
    },
    iscsi::{Lun, LunAccess},
    volume::{Data, Durability, HostCache, Place, Volume, VolumeId},
};

/// How much of a volume's ends is made zeros when it goes: what a kernel would take for a partition
/// table or a file system.
const WIPED: u64 = 1 << 20;

/// A disk that is given to volumes as a whole.
#[derive(Debug, Clone)]
pub struct Carrier {
    place: Place,
    /// How it is reached, where it is a LUN.
    access: Option<LunAccess>,
}

/// What was seen of a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its length in bytes.
    pub length: u64,
    /// How much of it a volume can take.
    pub capacity: u64,
    /// What is there.
    pub found: Found,
}

/// What is on a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A mark of ours, or of another site's or pool's.
    Mark(Box<Mark>),
    /// Zeros at both ends.
    Blank,
    /// A mark that can't be believed: what it carries is not known.
    Faulty(MarkFault),
    /// Something else, and what.
    Other(String),
}

impl Carrier {
    /// A block device of this host.
    pub fn device(path: &Path) -> Self {
        Self { place: Place::Device(path.into()), access: None }
    }

    /// A LUN, which QEMU's own initiator reaches.
    pub fn lun(lun: Lun, access: LunAccess) -> Self {
        Self { place: Place::Lun(lun), access: Some(access) }
    }

    /// Whether it is a LUN: no lock tells who has it open.
    pub fn is_lun(&self) -> bool {
        matches!(self.place, Place::Lun(_))
    }

    /// What QEMU's programs need to be told to open what it carries in the clear.
    pub fn keys(&self) -> VolumeKeys {
        self.access.as_ref().map_or_else(VolumeKeys::none, |access| access.keys().clone())
    }

    /// Sees what is there. Anybody may have it open.
    pub fn look(&self) -> Result<Seen, CarrierError> {
        self.open(Mode::Look)?.seen()
    }

    /// Whether nobody has it open, as far as this host sees; always, of a LUN.
    pub fn check_unused(&self) -> Result<(), CarrierError> {
        if self.is_lun() { Ok(()) } else { self.open(Mode::Alone).map(drop) }
    }

    /// Makes it a free disk of this owner. One that is so already, or carries a volume of this owner,
    /// stays as it is. `is_named` says that the operator has named it: what is there is given up.
    ///
    /// # Errors
    /// [`CarrierError::NotOurs`] of one that is not blank, unless it was named;
    /// [`CarrierError::Carries`] and [`CarrierError::InUse`], named or not; [`CarrierError::TooShort`].
    pub fn take_in(&self, owner: &Owner, is_named: bool) -> Result<(), CarrierError> {
        // Of what a guest runs on no more is wanted.
        if let Found::Mark(mark) = self.look()?.found
            && mark.owner == *owner
        {
            return Ok(());
        }
        let open = self.open(Mode::Alone)?;
        let seen = open.seen()?;
        self.check_found(&seen.found, is_named)?;
        if is_named {
            open.wipe(0..seen.length.min(blank::EDGE as u64))?;
            open.wipe(seen.length.saturating_sub(blank::EDGE as u64)..seen.length)?;
        }
        open.write(&Mark::free(owner.clone(), seen.length), 0, None)
    }

    /// That one of which this was seen is this owner's, or could be taken in.
    pub fn check_taking(
        &self,
        seen: &Seen,
        owner: &Owner,
        is_named: bool,
    ) -> Result<(), CarrierError> {
        match &seen.found {
            Found::Mark(mark) if mark.owner == *owner => Ok(()),
            found => self.check_found(found, is_named).and_then(|()| self.check_unused()),
        }
    }

    /// That this is nothing, or what may be given up. Over iSCSI no lock tells that a guest runs on a
    /// volume of somebody else's, so none is given up.
    fn check_found(&self, found: &Found, is_named: bool) -> Result<(), CarrierError> {
        match found {
            Found::Blank => Ok(()),
            found if !is_named => Err(self.not_ours(found)),
            Found::Mark(mark) if mark.carried.is_none() => Ok(()),
            Found::Other(_) => Ok(()),
            found => {
                let (disk, found) = (self.to_string(), found.to_string());
                Err(CarrierError::Carries { disk, found })
            }
        }
    }

    /// Has it carry a volume, which is to be written then. What is written is durable.
    ///
    /// # Errors
    /// [`CarrierError::Unsure`]: it may have been claimed. Of all others nothing was written.
    pub fn claim(&self, owner: &Owner, carried: Carried) -> Result<(), CarrierError> {
        let open = self.open(Mode::Alone)?;
        let (mark, next) = open.ours(owner)?;
        if let Some(Carried { volume, .. }) = mark.carried {
            return Err(CarrierError::Taken { disk: self.to_string(), volume });
        }
        let unsure = |source| CarrierError::Unsure { disk: self.to_string(), source };
        open.write(&mark, next, Some(carried)).map_err(|error| unsure(Box::new(error)))
    }

    /// Writes something else about the volume that it carries, which may be in use.
    pub fn note(
        &self,
        owner: &Owner,
        volume: &VolumeId,
        change: impl FnOnce(Carried) -> Carried,
    ) -> Result<Carried, CarrierError> {
        let open = self.open(Mode::Beside)?;
        let (mark, next) = open.ours(owner)?;
        let carried = mark.carried.clone().filter(|carried| carried.volume == *volume);
        let carried = change(carried.ok_or_else(|| self.replaced(volume))?);
        open.write(&mark, next, Some(carried.clone()))?;
        Ok(carried)
    }

    /// Frees it: its volume's keys are written over, and its ends become zeros. The rest stays until
    /// another volume is written there, all of which is.
    ///
    /// # Errors
    /// [`CarrierError::InUse`], [`CarrierError::Replaced`]; nothing was written.
    pub fn release(&self, owner: &Owner, volume: &VolumeId) -> Result<Erased, CarrierError> {
        let carried = {
            let open = self.open(Mode::Alone)?;
            let (mark, _) = open.ours(owner)?;
            let carried = mark.carried.filter(|carried| carried.volume == *volume);
            carried.ok_or_else(|| self.replaced(volume))?
        };
        let erased = match carried.keyslots {
            None => Erased::Nothing,
            Some(_) => match erasure::erase(&self.place) {
                // It was not made yet, or is erased.
                Err(erasure::EraseError::Header { .. }) => Erased::Nothing,
                erased => erased?,
            },
        };
        let open = self.open(Mode::Alone)?;
        let (mark, next) = open.ours(owner)?;
        let length = carried.length;
        if mark.carried != Some(carried) {
            return Err(self.replaced(volume));
        }
        open.wipe(0..length.min(WIPED))?;
        open.wipe(length.saturating_sub(WIPED)..length)?;
        open.write(&mark, next, None)?;
        Ok(erased)
    }

    /// The volume that it carries.
    pub fn volume(&self, carried: &Carried) -> Result<Volume, CarrierError> {
        let data = Data::Plain(self.place.clone());
        let volume =
            Volume::new(carried.volume.clone(), data, Durability::Plain, HostCache::Direct)?;
        let volume = volume.within(carried.length);
        let volume = carried.key().into_iter().fold(volume, Volume::encrypted);
        Ok(match &self.access {
            Some(access) => volume.reached_by(access.initiator()),
            None => volume,
        })
    }

    /// Makes the LUKS header of the volume that it carries, with one key; how much of the disk the
    /// volume takes then. No QEMU has it open.
    pub fn encrypt(
        &self,
        carried: &Carried,
        (number, keys): (KeyNumber, &VolumeKeys),
    ) -> Result<u64, CarrierError> {
        let path =
            self.path().ok_or_else(|| CarrierError::NotEncrypted { disk: self.to_string() })?;
        let key = (&carried.volume, number, keys);
        image::make(path, carried.size, &Form::Luks, key, || Ok(()))?;
        let mut head = vec![0; HEAD];
        self.open(Mode::Look)?.read(0, &mut head)?;
        let luks = Luks::parse(&head);
        let luks =
            luks.map_err(|source| CarrierError::Header { disk: self.to_string(), source })?;
        Ok(luks.payload + carried.size)
    }

    /// Has `to` alone open the volume that it carries.
    pub fn rotate(
        &self,
        owner: &Owner,
        carried: &Carried,
        to: KeyNumber,
        header: &mut dyn Header,
    ) -> Result<(), RotationError> {
        let keyslots = carried.keyslots.ok_or(RotationError::NotEncrypted)?;
        rotation::rotate(keyslots, to, header, &mut |after| {
            let noted = |carried| Carried { keyslots: Some(after), ..carried };
            self.note(owner, &carried.volume, noted).map(drop).map_err(RotationError::Mark)
        })
    }

    fn path(&self) -> Option<&Path> {
        self.place.path()
    }

    fn not_ours(&self, found: &Found) -> CarrierError {
        CarrierError::NotOurs { disk: self.to_string(), found: found.to_string() }
    }

    fn replaced(&self, volume: &VolumeId) -> CarrierError {
        CarrierError::Replaced { disk: self.to_string(), volume: volume.clone() }
    }
}

impl fmt::Display for Carrier {
    /// Its path, or its URL.
    fn fmt(&self, into: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.place.called().display().fmt(into)
    }
}

impl fmt::Display for Found {
    fn fmt(&self, into: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blank => into.write_str("it is blank, and was not taken in"),
            Self::Faulty(fault) => write!(into, "{fault}"),
            Self::Other(what) => write!(into, "it has {what}"),
            Self::Mark(mark) => match &mark.carried {
                None => write!(
                    into,
                    "it is a free disk of the pool '{}' of another site, or of another pool",
                    mark.owner.pool
                ),
                Some(carried) => write!(
                    into,
                    "it carries the volume {} of the pool '{}' of another site, or of another pool, \
                     made by the host {}",
                    carried.volume, mark.owner.pool, carried.host
                ),
            },
        }
    }
}

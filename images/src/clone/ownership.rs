//! Which host may start a QEMU on a clone: an owner in the clone's record, with a number that only goes
//! forward. The decisions are pure.
//!
//! ```text
//!   record        event                          record
//!   nobody        A claims                       A, 1
//!   A, n          A claims, for another start    A, n+1
//!   A, n          B claims                       refused
//!   A, n          A hands over to B, by (A, n)   B, n+1
//!   B, n+1        the same once more             B, n+1: it was done
//!   A, n          B seizes                       B, n+1
//! ```
//! A claim is the owner as he was told it. One that is not the record's any more is refused: so a source
//! that comes back late finds that the guest has moved, and so does a process that was asked to start
//! a guest before another one was. It keeps no QEMU from a file; QEMU's own locks do, on file systems
//! that have them. A record without an owner is of a clone that nobody asks this of.

use serde::{Deserialize, Serialize};

use super::{CloneError, InstantClone, Master, Record};
use crate::volume::VolumeId;

/// A host's name: 1 to 253 of `a-z`, `0-9`, `.` and `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostName(String);

/// A text that is no host's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no host's name: 1 to 253 of a-z, 0-9, . and -")]
pub struct HostNameError(String);

impl HostName {
    /// The name, if it is one.
    pub fn parse(text: &str) -> Result<Self, HostNameError> {
        let is_known = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.'
        };
        if (1..=253).contains(&text.len()) && text.bytes().all(is_known) {
            Ok(Self(text.into()))
        } else {
            Err(HostNameError(text.into()))
        }
    }
}

impl TryFrom<String> for HostName {
    type Error = HostNameError;

    fn try_from(text: String) -> Result<Self, HostNameError> {
        Self::parse(&text)
    }
}

impl From<HostName> for String {
    fn from(name: HostName) -> Self {
        name.0
    }
}

impl std::fmt::Display for HostName {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.0)
    }
}

/// Whose a clone is, and how often that was decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Owner {
    /// The host.
    pub host: HostName,
    /// Goes forward by one at each claim, whoever makes it.
    pub epoch: u64,
}

/// A host's word that it may start a QEMU on a clone, as long as the record says the same. Made to travel
/// as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The clone.
    pub volume: VolumeId,
    /// Whose it is.
    pub owner: Owner,
}

/// What is asked of a record.
#[derive(Debug, Clone, Copy)]
enum Event<'a> {
    Claim(&'a HostName),
    HandOver { by: &'a Owner, to: &'a HostName },
    Seize(&'a HostName),
}

/// The owner afterwards; None if it is refused.
fn next(owner: Option<&Owner>, event: Event<'_>) -> Option<Owner> {
    let epoch = owner.map_or(0, |owner| owner.epoch);
    // One is never reached again, whatever a record says.
    let of = |host: &HostName| Some(Owner { host: host.clone(), epoch: epoch.checked_add(1)? });
    match (owner, event) {
        (None, Event::Claim(host)) | (_, Event::Seize(host)) => of(host),
        (Some(owner), Event::Claim(host)) if owner.host == *host => of(host),
        (Some(owner), Event::HandOver { by, to }) if owner == by => of(to),
        (Some(owner), Event::HandOver { by, to }) => {
            let is_done = owner.host == *to && by.epoch.checked_add(1) == Some(owner.epoch);
            is_done.then(|| owner.clone())
        }
        (_, Event::Claim(_)) | (None, Event::HandOver { .. }) => None,
    }
}

impl Master {
    /// Claims a clone for a host that is about to start a QEMU on it. Claims of before end by it, also
    /// the host's own.
    ///
    /// # Errors
    /// [`CloneError::NotOwner`], if it is another host's.
    pub fn claim(&self, volume: &VolumeId, host: &HostName) -> Result<Claim, CloneError> {
        self.own(volume, Event::Claim(host))
    }

    /// Hands a clone over to another host, whose guest has moved there: after
    /// [`move_guest`](crate::migration::move_guest), and before
    /// [`settle`](crate::migration::settle). It may be repeated.
    ///
    /// # Errors
    /// [`CloneError::NotOwner`], if the claim is not the record's any more.
    pub fn hand_over(&self, claim: &Claim, to: &HostName) -> Result<Claim, CloneError> {
        self.own(&claim.volume, Event::HandOver { by: &claim.owner, to })
    }

    /// Takes a clone from whatever host has it: one that is known to be off, or to have no way to the
    /// clone's file any more.
    pub fn seize(&self, volume: &VolumeId, host: &HostName) -> Result<Claim, CloneError> {
        self.own(volume, Event::Seize(host))
    }

    /// The clone that a claim is of, to be recovered and started.
    ///
    /// # Errors
    /// [`CloneError::NotOwner`], if another host has it by now, or the same one claimed it anew.
    pub fn claimed(&self, claim: &Claim) -> Result<InstantClone, CloneError> {
        let clone = self.find(&claim.volume)?;
        match &clone.record.owner {
            Some(owner) if *owner == claim.owner => Ok(clone),
            owner => Err(not_owner(&claim.volume, owner.as_ref())),
        }
    }

    fn own(&self, volume: &VolumeId, event: Event<'_>) -> Result<Claim, CloneError> {
        let locked = self.locked()?;
        let owner = self.find(volume)?.record.owner;
        let new = next(owner.as_ref(), event);
        let new = new.ok_or_else(|| not_owner(volume, owner.as_ref()))?;
        if owner.as_ref() != Some(&new) {
            let change =
                |record| Ok::<_, CloneError>(Record { owner: Some(new.clone()), ..record });
            locked.change(volume, change)?;
        }
        Ok(Claim { volume: volume.clone(), owner: new })
    }
}

fn not_owner(volume: &VolumeId, owner: Option<&Owner>) -> CloneError {
    CloneError::NotOwner { volume: volume.clone(), owner: owner.cloned() }
}

#[cfg(test)]
mod tests;

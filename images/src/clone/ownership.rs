//! Which host may start a QEMU on a clone, in a file or on a LUN: an owner in the clone's record, with a
//! number that only goes forward. The decisions are pure.
//!
//! ```text
//!   record               event                          record
//!   nobody, n            A claims                       A, n+1
//!   A, n                 A claims, for another start    A, n+2
//!   A, n                 B claims                       refused
//!   A, n                 A offers it to B, by (A, n)    moving from (A, n) to (B, n+1)
//!   moving               A or B claims                  refused
//!   moving, or A, n      A hands over to B, by (A, n)   B, n+1
//!   B, n+1               the same once more             B, n+1: it was done
//!   moving               A withdraws, by (A, n)         A, n+2
//!   A, n                 A releases it, by (A, n)       nobody, n+1
//!   any, the last is n   B seizes                       B, n+2
//!
//!   A, n                 A may start a guest by (A, n)
//!   moving               A's guest runs on; by (B, n+1) B may start a QEMU that waits for it (`-incoming`).
//!                        Neither may start one from its beginning
//! ```
//! A claim is the owner as he was told it. One that is not the record's any more is refused: so a source
//! that comes back late finds that the guest has moved, and so does a process that was asked to start
//! a guest before another one was. A number that nobody's claim has is left out, where a late handing
//! over would be taken for one that was done.
//!
//! It keeps no QEMU from the bytes. For a clone in a file QEMU's own locks do, on file systems that have
//! them, and a record without an owner is of a clone that nobody asks this of. QEMU has no lock over
//! iSCSI: two of them that open one LUN are told by nobody, and each writes over the other's tables. So
//! a clone on a LUN is described to who has a claim of it, and to nobody else. A foreign initiator is for
//! the target's list of initiators to keep away.

use std::fmt;

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

impl fmt::Display for HostName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// Whose a clone is, and how often that was decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Owner {
    /// The host.
    pub host: HostName,
    /// Goes forward at each decision, whoever makes it.
    pub epoch: u64,
}

/// What a record says of a clone's owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Ownership {
    /// One host.
    Held(Owner),
    /// Its guest moves from one QEMU to another.
    Moving {
        /// From this one, which has the guest as far as is known.
        from: Owner,
        /// To this one, whose claim is good for waiting only.
        to: Owner,
    },
    /// Nobody, until it is claimed.
    Nobody {
        /// The last number that was given; 0, if none was.
        epoch: u64,
    },
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

/// How a guest is started on a clone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// From its beginning.
    Cold,
    /// By QEMU's `-incoming`, waiting for a guest that moves here.
    Incoming,
}

/// What is asked of a record.
#[derive(Debug, Clone, Copy)]
enum Event<'a> {
    Claim(&'a HostName),
    Offer { by: &'a Owner, to: &'a HostName },
    HandOver { by: &'a Owner, to: &'a HostName },
    Withdraw(&'a Owner),
    Release(&'a Owner),
    Seize(&'a HostName),
}

impl Ownership {
    /// Whether nobody ever had it.
    pub(super) fn is_new(&self) -> bool {
        *self == Self::default()
    }

    /// That a guest may be started so by this claim of this clone.
    pub(super) fn check(
        &self,
        volume: &VolumeId,
        claim: &Claim,
        start: Start,
    ) -> Result<(), CloneError> {
        let good = match (self, start) {
            (Self::Held(owner), Start::Cold) => Some(owner),
            (Self::Moving { to, .. }, Start::Incoming) => Some(to),
            _ => None,
        };
        if claim.volume == *volume && good == Some(&claim.owner) {
            return Ok(());
        }
        Err(self.refuses(volume))
    }

    /// Why something is not done with a clone.
    pub(super) fn refuses(&self, volume: &VolumeId) -> CloneError {
        CloneError::NotOwner { volume: volume.clone(), ownership: Box::new(self.clone()) }
    }

    /// The highest number that was given.
    fn last(&self) -> u64 {
        match self {
            Self::Nobody { epoch } => *epoch,
            Self::Held(owner) => owner.epoch,
            Self::Moving { from, to } => from.epoch.max(to.epoch),
        }
    }

    /// Afterwards; None if it is refused.
    fn next(&self, event: Event<'_>) -> Option<Self> {
        // One is never reached again, whatever a record says.
        let epoch = self.last().checked_add(1);
        let of = |host: &HostName| Some(Owner { host: host.clone(), epoch: epoch? });
        let beyond = |host: &HostName| {
            let epoch = self.last().checked_add(2)?;
            Some(Self::Held(Owner { host: host.clone(), epoch }))
        };
        match (self, event) {
            (Self::Nobody { .. }, Event::Claim(host)) => of(host).map(Self::Held),
            (Self::Held(owner), Event::Claim(host)) if owner.host == *host => beyond(host),
            (_, Event::Seize(host)) => beyond(host),
            (Self::Held(owner), Event::Offer { by, to }) if owner == by => {
                Some(Self::Moving { from: by.clone(), to: of(to)? })
            }
            (Self::Held(owner), Event::HandOver { by, to }) if owner == by => {
                of(to).map(Self::Held)
            }
            (Self::Held(owner), Event::Release(by)) if owner == by => {
                Some(Self::Nobody { epoch: epoch? })
            }
            (Self::Moving { from, to }, Event::HandOver { by, to: host })
                if from == by && to.host == *host =>
            {
                Some(Self::Held(to.clone()))
            }
            (Self::Moving { from, .. }, Event::Withdraw(by)) if from == by => {
                of(&by.host).map(Self::Held)
            }
            _ => self.is_done(event).then(|| self.clone()),
        }
    }

    /// Whether it was done before, by somebody who perhaps did not hear of it. A withdrawal can't be
    /// told from other claims of the same host.
    fn is_done(&self, event: Event<'_>) -> bool {
        let follows = |by: &Owner, epoch: u64| by.epoch.checked_add(1) == Some(epoch);
        match (self, event) {
            (Self::Moving { from, to }, Event::Offer { by, to: host }) => {
                from == by && to.host == *host
            }
            (Self::Held(owner), Event::HandOver { by, to }) => {
                owner.host == *to && follows(by, owner.epoch)
            }
            (Self::Nobody { epoch }, Event::Release(by)) => follows(by, *epoch),
            _ => false,
        }
    }
}

impl Default for Ownership {
    fn default() -> Self {
        Self::Nobody { epoch: 0 }
    }
}

impl fmt::Display for Ownership {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody { .. } => out.write_str("nobody has claimed it"),
            Self::Held(Owner { host, epoch }) => write!(out, "it is {host}'s, by claim {epoch}"),
            Self::Moving { from, to } => {
                let (from, to, epoch) = (&from.host, &to.host, to.epoch);
                write!(out, "its guest moves from {from} to {to}, which waits by claim {epoch}")
            }
        }
    }
}

impl Master {
    /// Claims a clone for a host that is about to start a QEMU on it. Claims of before end by it, also
    /// the host's own.
    ///
    /// # Errors
    /// [`CloneError::NotOwner`], if it is another host's, or its guest is moving.
    pub fn claim(&self, volume: &VolumeId, host: &HostName) -> Result<Claim, CloneError> {
        self.claim_by(volume, Event::Claim(host))
    }

    /// Lets another host start a QEMU that waits for a clone's guest, before
    /// [`move_guest`](crate::migration::move_guest). The claim that this gives is good for
    /// [`Start::Incoming`], and for [`Start::Cold`] once the clone was [handed over](Self::hand_over).
    /// It may be repeated. A clone in a file may be handed over without it.
    ///
    /// # Errors
    /// [`CloneError::NotOwner`], if the claim is not the record's any more, or it was offered to
    /// another host.
    pub fn offer(&self, claim: &Claim, to: &HostName) -> Result<Claim, CloneError> {
        self.claim_by(&claim.volume, Event::Offer { by: &claim.owner, to })
    }

    /// Hands a clone over to another host, whose guest has moved there: after
    /// [`move_guest`](crate::migration::move_guest), and before
    /// [`settle`](crate::migration::settle). It may be repeated.
    ///
    /// # Errors
    /// [`CloneError::NotOwner`], if the claim is not the record's any more, or it was offered to
    /// another host.
    pub fn hand_over(&self, claim: &Claim, to: &HostName) -> Result<Claim, CloneError> {
        self.claim_by(&claim.volume, Event::HandOver { by: &claim.owner, to })
    }

    /// Takes back what was offered, since the guest has not moved and the QEMU that waited for it has
    /// ended: who waits has no claim any more, and who withdraws has another one.
    ///
    /// # Errors
    /// [`CloneError::NotOwner`], also if it was done before: [`claim`](Self::claim) it anew then.
    pub fn withdraw(&self, claim: &Claim) -> Result<Claim, CloneError> {
        self.claim_by(&claim.volume, Event::Withdraw(&claim.owner))
    }

    /// Lets any host claim a clone that no guest runs on any more. It may be repeated.
    ///
    /// # Errors
    /// [`CloneError::NotOwner`], if the claim is not the record's any more.
    pub fn release(&self, claim: &Claim) -> Result<(), CloneError> {
        self.own(&claim.volume, Event::Release(&claim.owner)).map(drop)
    }

    /// Takes a clone from whatever host has it: one that is known to be off, or to have no way to the
    /// clone's bytes any more.
    pub fn seize(&self, volume: &VolumeId, host: &HostName) -> Result<Claim, CloneError> {
        self.claim_by(volume, Event::Seize(host))
    }

    /// The clone in a file that a claim is of, to be started; before a [cold](Start::Cold) start, to be
    /// recovered. For one on a LUN, see [`LunClone::volume`](super::LunClone::volume).
    ///
    /// # Errors
    /// [`CloneError::NotOwner`], if another host has it by now, or the same one claimed it anew, or
    /// the claim is not for such a start.
    pub fn claimed(&self, claim: &Claim, start: Start) -> Result<InstantClone, CloneError> {
        let clone = self.find(&claim.volume)?;
        clone.record.owner.check(&claim.volume, claim, start)?;
        Ok(clone)
    }

    fn claim_by(&self, volume: &VolumeId, event: Event<'_>) -> Result<Claim, CloneError> {
        let ownership = self.own(volume, event)?;
        match ownership {
            Ownership::Held(owner) | Ownership::Moving { to: owner, .. } => {
                Ok(Claim { volume: volume.clone(), owner })
            }
            Ownership::Nobody { .. } => Err(ownership.refuses(volume)),
        }
    }

    /// Decides on a clone's record, wherever the clone is.
    fn own(&self, volume: &VolumeId, event: Event<'_>) -> Result<Ownership, CloneError> {
        let locked = self.locked()?;
        let on_lun = self.lun_record(volume)?;
        let before = match &on_lun {
            Some(record) => record.owner.clone(),
            None => self.find(volume)?.record.owner,
        };
        let after = before.next(event).ok_or_else(|| before.refuses(volume))?;
        if after == before {
            return Ok(after);
        }
        let owner = after.clone();
        match on_lun {
            Some(mut record) => {
                record.owner = owner;
                self.write_lun(volume, &record)?;
            }
            None => {
                locked.change(volume, |record| Ok::<_, CloneError>(Record { owner, ..record }))?;
            }
        }
        Ok(after)
    }
}

#[cfg(test)]
mod tests;

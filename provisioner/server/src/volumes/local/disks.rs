//! Pools of whole disks: block devices of this host, and LUNs that QEMU's own initiator reaches. Each
//! disk carries one volume, and says so by its mark ([`mezame_images::carrier`]).
//!
//! What a disk says counts, and the records of the control plane only say where to look first. A site
//! is told from others by the directory of its masters, which a new database leaves as it is.

mod pool;
mod reach;
mod whole;

use std::{collections::BTreeSet, path::PathBuf};

use mezame_images::{
    carrier::{Carried, Carrier, Found, Owner},
    encryption::{
        VolumeKeys,
        erasure::Erased,
        rotation::{Offline, Running},
    },
    volume::Volume,
};
use mezame_model::api::volumes::VolumeStart;

use super::{Erasure, ExecutorError, Facts, Local, Reason, start};

/// The volume that a disk carries.
pub(super) struct OnDisk {
    pub(super) carrier: Carrier,
    pub(super) owner: Owner,
    pub(super) carried: Carried,
}

impl Local {
    /// Whether a volume's pool is one of disks.
    pub(super) fn has_disks(&self, facts: &Facts) -> bool {
        self.settings.pools.get(&facts.pool).is_some_and(|pool| pool.directory().is_none())
    }

    /// A volume that a disk carries; none of those that are files.
    pub(super) fn on_disk(&self, facts: &Facts) -> Result<Option<OnDisk>, ExecutorError> {
        if !self.has_disks(facts) {
            return Ok(None);
        }
        let none = || {
            let message = format!("no disk of the pool '{}' carries {}", facts.pool, facts.id);
            ExecutorError::new(Reason::Conflict, message)
        };
        self.look_for(facts)?.ok_or_else(none).map(Some)
    }

    /// The disk that carries a volume, if all were seen and any does.
    fn look_for(&self, facts: &Facts) -> Result<Option<OnDisk>, ExecutorError> {
        self.check_masters(facts)?;
        let owner = self.owner(&facts.pool)?;
        let mut carriers = self.carriers(&facts.pool)?;
        // Where it was put is looked at first: each LUN takes a daemon of QEMU's.
        carriers.sort_by_key(|carrier| facts.place != Some(carrier.to_string()));
        let mut unseen = Vec::new();
        for carrier in carriers {
            match carrier.look() {
                Ok(seen) => {
                    if let Found::Mark(mark) = seen.found
                        && mark.owner == owner
                        && let Some(carried) = mark.carried.filter(|it| it.volume == facts.id)
                    {
                        return Ok(Some(OnDisk { carrier, owner, carried }));
                    }
                }
                Err(error) => unseen.push(crate::images::chain(&error)),
            }
        }
        if unseen.is_empty() {
            return Ok(None);
        }
        let message = format!(
            "no disk that can be read carries {}, and others of the pool '{}' can't be read: {}",
            facts.id,
            facts.pool,
            unseen.join("; ")
        );
        Err(ExecutorError::new(Reason::NoPool, message))
    }

    /// Frees its disk. Nothing where no disk carries it.
    pub(super) fn delete_disk(&self, facts: &Facts) -> Result<Erasure, ExecutorError> {
        let _claims = self.claims();
        let Some(disk) = self.look_for(facts)? else {
            self.records.forget(&facts.id)?;
            return Ok(Erasure { what: "nothing", doubt: None });
        };
        let erased = disk.carrier.release(&disk.owner, &facts.id)?;
        // Half of it is as good as nothing now.
        self.records.forget(&facts.id)?;
        Ok(match erased {
            Erased::Nothing => {
                let stays = format!(
                    "what its guest wrote stays on {} until another volume is written there, but for \
                     its first and last MiB",
                    disk.carrier
                );
                Erasure { what: "nothing", doubt: Some(stays) }
            }
            Erased::InPlace => Erasure { what: "in-place", doubt: None },
            Erased::Unsure(doubt) => Erasure { what: "unsure", doubt: Some(doubt.to_string()) },
        })
    }

    /// That a volume is none on a disk, which is plain already.
    pub(super) fn check_no_disk(&self, facts: &Facts) -> Result<(), ExecutorError> {
        if !self.has_disks(facts) {
            return Ok(());
        }
        let message =
            format!("{} is on a disk of its own, and so a plain volume already", facts.id);
        Err(ExecutorError::new(Reason::Conflict, message))
    }
}

impl Local {
    /// Tells why no restore of it is given up: none was begun, or half of it is written over.
    pub(super) fn check_no_restore(
        &self,
        facts: &Facts,
        disk: &OnDisk,
    ) -> Result<(), ExecutorError> {
        self.check_whole(facts)?;
        disk.check_whole()?;
        let message = format!("no restore of {} was cut short", facts.id);
        Err(ExecutorError::new(Reason::Conflict, message))
    }
}

impl OnDisk {
    /// As QEMU has it.
    pub(super) fn volume(&self) -> Result<Volume, ExecutorError> {
        Ok(self.carrier.volume(&self.carried)?)
    }

    /// The keys that it is opened with, and the target's secret.
    pub(super) fn keys(&self, facts: &Facts) -> VolumeKeys {
        if self.carrier.is_lun() { self.carrier.keys() } else { facts.keys.clone() }
    }

    /// That all of it was written that it is to hold.
    pub(super) fn check_whole(&self) -> Result<(), ExecutorError> {
        if self.carried.is_whole {
            return Ok(());
        }
        let message = format!(
            "{} was being written on {}, and that has not come to its end: restore it again",
            self.carried.volume, self.carrier
        );
        Err(ExecutorError::new(Reason::HalfRestored, message))
    }

    /// What QEMU is to be started with.
    pub(super) fn start(&self, facts: &Facts) -> Result<VolumeStart, ExecutorError> {
        self.check_whole()?;
        start::of(&self.volume()?, &self.keys(facts))
    }
}

impl Local {
    pub(super) fn rotate_on_disk(
        &self,
        facts: &Facts,
        disk: &OnDisk,
        qmp: Option<PathBuf>,
    ) -> Result<BTreeSet<u32>, ExecutorError> {
        disk.check_whole()?;
        let newest = facts.newest;
        let to = newest.ok_or_else(|| ExecutorError::new(Reason::Conflict, "it has no keys"))?;
        let (volume, OnDisk { carrier, owner, carried }) = (disk.volume()?, disk);
        match qmp {
            None => {
                let mut header = Offline::new(&volume, &facts.keys);
                carrier.rotate(owner, carried, to, &mut header)?;
            }
            Some(path) => {
                let mut qmp = Self::monitor(&path)?;
                let mut header = Running::new(&mut qmp, &volume, &facts.keys, &self.environment);
                carrier.rotate(owner, carried, to, &mut header)?;
            }
        }
        let now = carrier.note(owner, &facts.id, |carried| carried)?;
        let needed = now.keyslots.map(|keyslots| keyslots.needed()).unwrap_or_default();
        Ok(needed.into_iter().map(|number| number.0).collect())
    }
}

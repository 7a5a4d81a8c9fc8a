//! Making a pool of disks, and telling what it has.

use std::{
    fs::DirBuilder,
    io,
    os::unix::fs::DirBuilderExt,
    sync::{MutexGuard, PoisonError},
    thread,
};

use mezame_images::{
    carrier::{Carrier, CarrierError, Found, Owner, Seen},
    clone::{CloneError, Pool as Directory},
    room,
};
use mezame_model::api::volumes::{Pool, PoolDisk, PoolDiskState, PoolKind};

use super::{ExecutorError, Local, Reason};
use crate::{images::chain, settings::pools::PoolSettings};

/// LUNs that are looked at at once: each takes a daemon of QEMU's, and a dead target half a minute.
const AT_ONCE: usize = 8;

impl Local {
    /// While it is held no other claim on a disk is made here.
    pub(super) fn claims(&self) -> MutexGuard<'_, ()> {
        self.disk_claims.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All pools without a look at their disks.
    pub(in crate::volumes::local) fn brief(&self) -> Vec<Pool> {
        let brief = |(name, pool): (&String, &PoolSettings)| match pool {
            PoolSettings::Directory(path) => self.show(name, path),
            PoolSettings::Devices(_) => self.brief_disks(name, false),
            PoolSettings::Luns(_) => self.brief_disks(name, true),
        };
        self.settings.pools.iter().map(brief).collect()
    }

    /// Makes a pool, where there is none, and the directory of masters.
    pub(in crate::volumes::local) fn make(
        &self,
        name: &str,
        take_over: &[String],
    ) -> Result<Pool, ExecutorError> {
        let none = || format!("no pool is called '{name}'");
        let pool = self.settings.pools.get(name);
        let pool = pool.ok_or_else(|| ExecutorError::new(Reason::NoPool, none()))?;
        // A parent that is missing may be a file system that is not mounted: it is not made.
        for path in [Some(&*self.masters), pool.directory()].into_iter().flatten() {
            match DirBuilder::new().mode(0o700).create(path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    let message = format!("{} can't be made: {error}", path.display());
                    return Err(ExecutorError::new(Reason::NoPool, message));
                }
                _ => {}
            }
        }
        self.mark_masters()?;
        let Some(directory) = pool.directory() else {
            self.take_in(name, take_over)?;
            return Ok(self.show_pool(name, pool));
        };
        match Directory::create(directory) {
            // Who did not hear the answer asks again.
            Err(CloneError::PoolExists { .. }) => {}
            made => drop(made?),
        }
        Ok(self.show_pool(name, pool))
    }

    /// A pool of disks without a look at them.
    pub(in crate::volumes::local) fn brief_disks(&self, name: &str, is_luns: bool) -> Pool {
        // Without the masters it is not known which disks are this site's.
        let why = self.masters_id().err().map(|error| error.message);
        Pool {
            name: name.into(),
            kind: if is_luns { PoolKind::Luns } else { PoolKind::Devices },
            directory: None,
            host: self.host.clone(),
            is_default: self.settings.usual_pool() == Some(name),
            is_there: why.is_none(),
            why,
            size: None,
            used: None,
            free: None,
            disks: Vec::new(),
        }
    }

    /// A pool as operators see it: a directory's file system, or each disk.
    pub(in crate::volumes::local) fn show_pool(&self, name: &str, of: &PoolSettings) -> Pool {
        let is_luns = match of {
            PoolSettings::Directory(path) => {
                let mut pool = self.show(name, path);
                if let (Ok(size), Ok(free)) = (room::size(path), room::free(path))
                    && pool.is_there
                {
                    let used = size.saturating_sub(free);
                    (pool.size, pool.used, pool.free) = (Some(size), Some(used), Some(free));
                }
                return pool;
            }
            PoolSettings::Devices(_) => false,
            PoolSettings::Luns(_) => true,
        };
        let brief = self.brief_disks(name, is_luns);
        let all = self.owner(name).and_then(|owner| Ok((self.carriers(name)?, owner)));
        let (carriers, owner) = match all {
            Ok(all) => all,
            Err(error) => return Pool { is_there: false, why: Some(error.message), ..brief },
        };
        let disks: Vec<_> = look_at(&carriers)
            .into_iter()
            .zip(&carriers)
            .map(|(seen, carrier)| told(carrier, seen, &owner))
            .collect();
        let sum =
            |state| disks.iter().filter(|it| it.state == state).filter_map(|it| it.size).sum();
        let (free, used): (u64, u64) = (sum(PoolDiskState::Free), sum(PoolDiskState::Taken));
        let is_ours =
            |it: &PoolDisk| matches!(it.state, PoolDiskState::Free | PoolDiskState::Taken);
        let is_there = disks.iter().any(is_ours);
        let none = || "no disk of it is taken in: 'mezame volume pool create'".to_owned();
        Pool {
            is_there,
            why: (!is_there).then(none),
            size: Some(free + used),
            used: Some(used),
            free: Some(free),
            disks,
            ..brief
        }
    }

    /// Takes the disks in that are not; all that can be read, or none.
    pub(in crate::volumes::local) fn take_in(
        &self,
        name: &str,
        take_over: &[String],
    ) -> Result<(), ExecutorError> {
        let _claims = self.claims();
        let (owner, carriers) = (self.owner(name)?, self.carriers(name)?);
        let is_named = |carrier: &Carrier| take_over.contains(&carrier.to_string());
        let is_known = |disk: &&String| carriers.iter().any(|it| it.to_string() == **disk);
        if let Some(unknown) = take_over.iter().find(|disk| !is_known(disk)) {
            let message = format!("{unknown} is no disk of the pool '{name}' in the settings");
            return Err(ExecutorError::new(Reason::Conflict, message));
        }
        let mut refused = Vec::new();
        let mut wanted = Vec::new();
        for carrier in &carriers {
            match carrier.check_taking(&owner, is_named(carrier)) {
                Ok(()) => wanted.push(carrier),
                // It keeps none of the others away: it is told of in the list.
                Err(error @ (CarrierError::Io { .. } | CarrierError::Lun(_))) => {
                    tracing::warn!(disk = %carrier, error = chain(&error), "a disk can't be read");
                }
                Err(error) => refused.push(chain(&error)),
            }
        }
        if !refused.is_empty() {
            let message = format!(
                "nothing was taken in, since {}. Where nothing of it is needed, name such a disk with \
                 --take-over; one that is in use is not taken over",
                refused.join("; ")
            );
            return Err(ExecutorError::new(Reason::Conflict, message));
        }
        for carrier in wanted {
            carrier.take_in(&owner, is_named(carrier))?;
        }
        Ok(())
    }
}

/// Looks at disks, some at a time.
fn look_at(carriers: &[Carrier]) -> Vec<Result<Seen, CarrierError>> {
    let mut all = Vec::with_capacity(carriers.len());
    for some in carriers.chunks(AT_ONCE) {
        thread::scope(|scope| {
            let looks: Vec<_> = some.iter().map(|it| scope.spawn(|| it.look())).collect();
            for (look, carrier) in looks.into_iter().zip(some) {
                let panicked = |_| Err(CarrierError::InUse { disk: carrier.to_string() });
                all.push(look.join().unwrap_or_else(panicked));
            }
        });
    }
    all
}

/// As operators see a disk.
fn told(carrier: &Carrier, seen: Result<Seen, CarrierError>, owner: &Owner) -> PoolDisk {
    let disk = carrier.to_string();
    let seen = match seen {
        Ok(seen) => seen,
        Err(error) => {
            let (state, why) = (PoolDiskState::Away, Some(chain(&error)));
            return PoolDisk { disk, state, size: None, volume: None, why };
        }
    };
    let size = Some(seen.capacity);
    match seen.found {
        Found::Mark(mark) if mark.owner == *owner => {
            let volume = mark.carried.map(|carried| carried.volume.to_string());
            let is_taken = volume.is_some();
            let state = if is_taken { PoolDiskState::Taken } else { PoolDiskState::Free };
            PoolDisk { disk, state, size, volume, why: None }
        }
        found => {
            let (state, why) = (PoolDiskState::NotTakenIn, Some(found.to_string()));
            PoolDisk { disk, state, size, volume: None, why }
        }
    }
}

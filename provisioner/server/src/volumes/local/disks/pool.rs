//! Making a pool of disks, and telling what it has.

use std::{
    fs::DirBuilder,
    io,
    os::unix::fs::DirBuilderExt,
    sync::{MutexGuard, PoisonError},
};

use mezame_images::{
    carrier::{Carrier, CarrierError, Found, Owner, Seen},
    clone::{CloneError, Pool as Directory},
    room,
};
use mezame_model::api::volumes::{Pool, PoolDisk, PoolDiskState, PoolKind};

use super::{
    ExecutorError, Local, Reason,
    look::{Unseen, look_at},
};
use crate::{fault::chain, settings::pools::PoolSettings};

impl Local {
    /// While it is held no other claim on a disk of this pool is made here.
    pub(super) fn claims(&self, pool: &str) -> Result<MutexGuard<'_, ()>, ExecutorError> {
        let none = || ExecutorError::new(Reason::NoPool, format!("no pool is called '{pool}'"));
        let claims = self.disk_claims.get(pool).ok_or_else(none)?;
        Ok(claims.lock().unwrap_or_else(PoisonError::into_inner))
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

    /// That no disk of the pools says that there were other masters: where they are not mounted, new ones
    /// would make all disks another site's.
    pub(in crate::volumes::local) fn check_no_site(&self) -> Result<(), ExecutorError> {
        for name in self.settings.pools.keys() {
            // Of disks that can't be reached now nothing is known.
            let carriers = self.carriers(name).unwrap_or_default();
            let looks = look_at(&carriers);
            if let Some(disk) = of_a_site(name, carriers.iter().zip(&looks)) {
                let message = format!(
                    "{disk} is of the pool '{name}' of other masters than any in {}: mount those. Only if \
                     they are gone for good, and nothing on its disks is needed, make the last 2 MiB of \
                     each zeros",
                    self.masters.display()
                );
                return Err(ExecutorError::new(Reason::NoPool, message));
            }
        }
        Ok(())
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
        let (owner, carriers) = (self.owner(name)?, self.carriers(name)?);
        let is_named = |carrier: &Carrier| take_over.contains(&carrier.to_string());
        let is_known = |disk: &&String| carriers.iter().any(|it| it.to_string() == **disk);
        if let Some(unknown) = take_over.iter().find(|disk| !is_known(disk)) {
            let message = format!("{unknown} is no disk of the pool '{name}' in the settings");
            return Err(ExecutorError::new(Reason::Conflict, message));
        }
        let mut refused = Vec::new();
        let mut wanted = Vec::new();
        for (seen, carrier) in look_at(&carriers).into_iter().zip(&carriers) {
            let checked =
                seen.and_then(|seen| Ok(carrier.check_taking(&seen, &owner, is_named(carrier))?));
            match checked {
                Ok(()) => wanted.push(carrier),
                Err(unseen) if is_away(&unseen) => {
                    tracing::warn!(disk = %carrier, error = chain(&unseen), "a disk can't be read");
                }
                Err(error) => refused.push(chain(&error)),
            }
        }
        if !refused.is_empty() {
            let message = format!(
                "nothing was taken in, since {}. Where nothing of it is needed, name such a disk with \
                 --take-over; one that is in use or carries a volume is not taken over",
                refused.join("; ")
            );
            return Err(ExecutorError::new(Reason::Conflict, message));
        }
        let _claims = self.claims(name)?;
        for carrier in wanted {
            carrier.take_in(&owner, is_named(carrier))?;
        }
        Ok(())
    }
}

/// The first disk that has a mark of a pool of this name, whatever its site.
fn of_a_site<'a>(
    name: &str,
    mut disks: impl Iterator<Item = (&'a Carrier, &'a Result<Seen, Unseen>)>,
) -> Option<&'a Carrier> {
    let is_marked = |seen: &Seen| matches!(&seen.found, Found::Mark(it) if it.owner.pool == name);
    disks.find(|(_, seen)| seen.as_ref().is_ok_and(is_marked)).map(|(carrier, _)| carrier)
}

/// Whether a disk keeps none of the others away that are to be taken in: it is told of in the list.
fn is_away(unseen: &Unseen) -> bool {
    match unseen {
        // A drive without a medium, or a device that nothing is behind.
        Unseen::Fault(CarrierError::TooShort { length, .. }) => *length == 0,
        Unseen::Fault(error) => matches!(error, CarrierError::Io { .. } | CarrierError::Lun(_)),
        Unseen::GivenUp { .. } | Unseen::NoEnd { .. } => true,
    }
}

/// As operators see a disk.
fn told(carrier: &Carrier, seen: Result<Seen, Unseen>, owner: &Owner) -> PoolDisk {
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_device_that_is_empty_keeps_no_other_away_and_one_that_is_too_short_is_told() {
        let disk = || "/dev/a".to_owned();
        let short = |length| Unseen::Fault(CarrierError::TooShort { disk: disk(), length });
        assert!(is_away(&short(0)) && !is_away(&short(1 << 20)));
        assert!(is_away(&Unseen::GivenUp { disk: disk() }));
        assert!(!is_away(&Unseen::Fault(CarrierError::InUse { disk: disk() })));
        let carrier = Carrier::device(Path::new("/dev/a"));
        let owner = Owner { site: "one".into(), pool: "disks".into() };
        let told = told(&carrier, Err(short(0)), &owner);
        assert_eq!((told.state, told.size), (PoolDiskState::Away, None));
        assert!(told.why.unwrap().contains("0 bytes"));
    }

    #[test]
    fn a_disk_of_this_pool_tells_that_there_were_masters_before() {
        let disks = [Carrier::device(Path::new("/dev/a")), Carrier::device(Path::new("/dev/b"))];
        let owner = serde_json::json!({ "site": "one", "pool": "disks" });
        let mark = serde_json::json!({
            "owner": owner, "length": 8, "generation": 1, "carried": null,
        });
        let mark = Found::Mark(Box::new(serde_json::from_value(mark).unwrap()));
        let looks = [Found::Blank, mark].map(|found| Ok(Seen { length: 8, capacity: 7, found }));
        let of = |name| of_a_site(name, disks.iter().zip(&looks)).map(ToString::to_string);
        assert_eq!(of("disks").as_deref(), Some("/dev/b"));
        assert_eq!(of("others"), None);
    }
}

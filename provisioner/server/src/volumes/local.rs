//! The executor of this process: pools that are directories or disks here, and guests whose monitors
//! are sockets here.
//!
//! A monitor serves one client at a time, so none is held longer than a few commands take.

mod agent;
mod backup;
mod capture;
mod delete;
mod disks;
mod error;
mod flush;
mod growth;
mod hydration;
mod left;
mod leftovers;
mod masters;
mod monitor;
mod place;
mod restore;
mod room;
mod start;
mod stopped;
mod sweep;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use mezame_images::{
    archive::Watch,
    clone::{InstantClone, Pool as Directory},
    encryption::rotation::{Offline, Running},
    environment::SystemEnvironment,
    restore::records::Records,
    volume::{Durability, HostCache, Volume, VolumeId},
};
use mezame_model::api::volumes::{Leftover, Limits, Pool, PoolKind, VolumeClass, VolumeStart};

pub(super) use self::leftovers::volume_of;
use self::{flush::Flushers, monitor::of_stopped};
use super::executor::{
    Attended, BackedUp, BackupOrder, Beginning, CaptureOrder, Captured, Erasure, Executor,
    ExecutorError, Facts, Flushed, Left, Reason, RestoreOrder, Restored,
};
use crate::{
    fault::chain,
    images::{Images, StartError},
    settings::{pools::PoolSettings, volumes::VolumeSettings},
    volumes::monitors::GuestMonitor,
};

/// How long QEMU may take for a command.
const COMMAND: Duration = Duration::from_secs(30);
/// How long another client may have the monitor.
const TURN: Duration = Duration::from_secs(60);
/// How long both may take of a call whose caller waits for its answer.
const SOON: Duration = Duration::from_secs(5);
/// Volumes are made, and opened, so.
const CACHE: HostCache = HostCache::Direct;

/// This process.
pub(crate) struct Local {
    host: String,
    settings: VolumeSettings,
    masters: PathBuf,
    run: PathBuf,
    scratch: PathBuf,
    images: Arc<Images>,
    environment: SystemEnvironment,
    /// Of restores that were begun.
    records: Records,
    flushers: Flushers,
    /// Of each pool: whoever holds it claims a disk, or frees one.
    disk_claims: BTreeMap<String, Mutex<()>>,
}

impl Local {
    /// By the settings, which were checked. Makes the directory of sockets and that of restores'
    /// records, and no other.
    pub(crate) fn open(
        settings: VolumeSettings,
        run: PathBuf,
        records: &Path,
        images: Arc<Images>,
    ) -> Result<Self, StartError> {
        let run = settings.run_dir.clone().unwrap_or(run);
        let at = |source: io::Error| StartError::Folder { path: run.clone(), source };
        // A parent that is missing may be a file system that is not mounted, where it is not ours.
        let is_ours = settings.run_dir.is_none();
        match DirBuilder::new().recursive(is_ours).mode(0o700).create(&run) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && run.is_dir() => {}
            made => made.map_err(at)?,
        }
        let records = Records::create(records).map_err(|error| StartError::Folder {
            path: records.into(),
            source: io::Error::other(error),
        })?;
        let host = match &settings.host {
            Some(host) => host.clone(),
            None => {
                let host = nix::unistd::gethostname().map_err(|errno| at(errno.into()))?;
                host.to_string_lossy().into_owned()
            }
        };
        let disk_claims = settings.pools.keys().map(|it| (it.clone(), Mutex::default())).collect();
        Ok(Self {
            host,
            masters: settings.masters.clone().unwrap_or_default(),
            scratch: settings.scratch_dir.clone().unwrap_or_else(|| run.clone()),
            run,
            settings,
            images,
            environment: SystemEnvironment::new(),
            records,
            flushers: Flushers::default(),
            disk_claims,
        })
    }

    fn directory(&self, pool: &str) -> Result<&Path, ExecutorError> {
        let found = self.settings.pools.get(pool).and_then(PoolSettings::directory);
        let none = || format!("no directory is the pool '{pool}'");
        found.ok_or_else(|| ExecutorError::new(Reason::NoPool, none()))
    }

    fn pool(&self, name: &str) -> Result<Directory, ExecutorError> {
        Ok(Directory::open(self.directory(name)?)?)
    }

    fn show(&self, name: &str, directory: &Path) -> Pool {
        let why = Directory::open(directory).err().map(|error| chain(&error));
        Pool {
            directory: Some(directory.into()),
            kind: PoolKind::Directory,
            is_there: why.is_none(),
            why,
            ..self.brief_disks(name, false)
        }
    }

    fn volume(&self, facts: &Facts, clone: &InstantClone) -> Result<Volume, ExecutorError> {
        Ok(clone.volume(durability(facts), CACHE)?)
    }
}

/// How a class is kept.
fn durability(facts: &Facts) -> Durability {
    match facts.class {
        VolumeClass::Synchronous => Durability::Synchronous,
        VolumeClass::FlushHonouring => Durability::FlushHonouring,
        VolumeClass::Bounded => Durability::Bounded(facts.interval),
        // A clone that was hydrated is plain, whatever class is asked for.
        VolumeClass::Recovered | VolumeClass::Plain => Durability::Recovered(facts.interval),
    }
}

impl Executor for Local {
    fn host(&self) -> &str {
        &self.host
    }

    fn pools(&self) -> Vec<Pool> {
        self.settings.pools.iter().map(|(name, pool)| self.show_pool(name, pool)).collect()
    }

    fn look_at_pool(&self, name: &str) -> Option<Pool> {
        self.settings.pools.get(name).map(|pool| self.show_pool(name, pool))
    }

    fn masters(&self) -> Result<Option<String>, ExecutorError> {
        self.masters_id().map(Some)
    }

    fn list_masters(&self) -> Result<Vec<mezame_model::api::volumes::Master>, ExecutorError> {
        self.list_masters_now()
    }

    fn remove_master(&self, name: &str) -> Result<bool, ExecutorError> {
        self.remove_master_now(name)
    }

    fn leftovers(&self, known: &[Facts]) -> Result<Vec<Leftover>, ExecutorError> {
        self.leftovers_now(known)
    }

    fn remove_leftover(
        &self,
        volume: &Facts,
        file: &str,
    ) -> Result<Option<Erasure>, ExecutorError> {
        self.remove_leftover_now(volume, file)
    }

    fn pools_in_brief(&self) -> Vec<Pool> {
        self.brief()
    }

    fn make_pool(&self, name: &str, take_over: &[String]) -> Result<Pool, ExecutorError> {
        self.make(name, take_over)
    }

    fn create(
        &self,
        volume: &Facts,
        from: &Beginning,
        watch: &dyn Watch,
    ) -> Result<(), ExecutorError> {
        if self.has_disks(volume) {
            return self.create_on_disk(volume, from, watch);
        }
        let pool = self.pool(&volume.pool)?;
        self.check_masters(volume)?;
        self.check_new(volume, &pool)?;
        let master = self.master(volume, from, watch)?;
        match volume.newest {
            None => drop(master.clone_into(&pool, std::slice::from_ref(&volume.id))?),
            Some(key) => drop(master.clone_encrypted(&pool, &volume.id, key, &volume.keys)?),
        }
        Ok(())
    }

    fn claim(&self, volume: &Facts, from: &Beginning) -> Result<Option<String>, ExecutorError> {
        self.has_disks(volume).then(|| self.claim_disk(volume, from.size)).transpose()
    }

    fn undo(&self, volume: &Facts) -> Result<(), ExecutorError> {
        self.undo_making(volume)
    }

    fn open(&self, facts: &Facts) -> Result<VolumeStart, ExecutorError> {
        self.check_whole(facts)?;
        if let Some(disk) = self.on_disk(facts)? {
            return disk.start(facts);
        }
        let (_, clone) = self.find(facts)?;
        let volume = self.volume(facts, &clone)?;
        let mut recovered_bytes = 0;
        if volume.durability().needs_recovery() {
            recovered_bytes = clone.recover_with(&facts.keys, CACHE, &self.run)?.bytes;
        }
        let is_plain = clone.hydrated().is_some();
        let class = if is_plain { VolumeClass::Plain } else { facts.class };
        Ok(VolumeStart { class, recovered_bytes, ..start::of(&volume, &facts.keys)? })
    }

    fn delete(&self, volume: &Facts) -> Result<Erasure, ExecutorError> {
        if self.has_disks(volume) {
            return self.delete_disk(volume);
        }
        self.delete_now(volume)
    }

    fn rotate_key(
        &self,
        facts: &Facts,
        qmp: Option<GuestMonitor>,
    ) -> Result<BTreeSet<u32>, ExecutorError> {
        let asked = self.asked(qmp.as_ref(), std::slice::from_ref(facts))?.map(Path::to_owned);
        if let Some(disk) = self.on_disk(facts)? {
            let done = self.rotate_on_disk(facts, &disk, asked);
            return done.map_err(|error| of_stopped(error, qmp.as_ref()));
        }
        let (master, clone) = self.find(facts)?;
        let newest = facts.newest;
        let to = newest.ok_or_else(|| ExecutorError::new(Reason::Conflict, "it has no keys"))?;
        let volume = self.volume(facts, &clone)?;
        match asked {
            None => {
                let mut header = Offline::new(&volume, &facts.keys);
                let done = master.rotate_key(&facts.id, to, &mut header);
                done.map_err(|error| of_stopped(error.into(), qmp.as_ref()))?;
            }
            Some(path) => {
                let mut qmp = Self::monitor(&path)?;
                let mut header = Running::new(&mut qmp, &volume, &facts.keys, &self.environment);
                master.rotate_key(&facts.id, to, &mut header)?;
            }
        }
        let needed = master.find(&facts.id)?.keys_needed();
        Ok(needed.into_iter().map(|number| number.0).collect())
    }

    fn set_limits(&self, facts: &Facts, limits: Limits, qmp: PathBuf) -> Result<(), ExecutorError> {
        self.set_limits_now(facts, limits, &qmp)
    }

    fn attend(&self, facts: &Facts, limits: Limits, qmp: &Path) -> Result<Attended, ExecutorError> {
        self.attend_now(facts, limits, qmp)
    }

    fn flushed(&self, volume: &VolumeId) -> Option<Flushed> {
        self.flushers.status(volume)
    }

    fn leave(&self, facts: &Facts, qmp: &Path) -> Result<(), ExecutorError> {
        self.leave_now(facts, qmp)
    }

    fn hydrate(
        &self,
        facts: &Facts,
        qmp: PathBuf,
        speed: Option<u64>,
        watch: &dyn Watch,
    ) -> Result<(), ExecutorError> {
        self.check_no_disk(facts)?;
        let work = || self.hydrate_now(facts, &qmp, speed, watch);
        self.hydrate_noted(facts, qmp.clone(), work)
    }

    fn pace(&self, facts: &Facts, qmp: PathBuf, is_paused: bool) -> Result<(), ExecutorError> {
        self.check_no_disk(facts)?;
        let (_, clone) = self.find(facts)?;
        let hydration = self.hydration(facts, &clone)?;
        let mut qmp = Self::monitor_soon(&qmp)?;
        let told = if is_paused { hydration.pause(&mut qmp) } else { hydration.resume(&mut qmp) };
        Ok(told?)
    }

    fn restore(
        &self,
        facts: &Facts,
        order: &RestoreOrder,
        watch: &dyn Watch,
    ) -> Result<Restored, ExecutorError> {
        match self.on_disk(facts)? {
            Some(disk) => self.restore_on_disk(facts, &disk, order, watch),
            None => self.restore_now(facts, order, watch),
        }
    }

    fn grow(&self, facts: &Facts, size: u64, watch: &dyn Watch) -> Result<(), ExecutorError> {
        self.grow_now(facts, size, watch)
    }

    fn give_up_restore(&self, facts: &Facts) -> Result<(), ExecutorError> {
        match self.on_disk(facts)? {
            Some(disk) => self.check_no_restore(facts, &disk),
            None => self.give_up_now(facts),
        }
    }

    fn restoring(&self) -> Result<Vec<(VolumeId, bool)>, ExecutorError> {
        self.restoring_now()
    }

    fn still_kept(&self, files: &[PathBuf]) -> Vec<PathBuf> {
        // One that can't be looked at may be there.
        let is_there = |file: &&PathBuf| file.try_exists().unwrap_or(true);
        files.iter().filter(is_there).cloned().collect()
    }

    fn capture(
        &self,
        facts: &Facts,
        order: &CaptureOrder,
        watch: &dyn Watch,
    ) -> Result<Captured, ExecutorError> {
        self.capture_now(facts, order, watch)
    }

    fn back_up(&self, order: BackupOrder, watch: &dyn Watch) -> Result<BackedUp, ExecutorError> {
        let asked = self.asked(order.qmp.as_ref(), &order.volumes)?.map(Path::to_owned);
        match asked.as_deref().filter(|qmp| Self::is_listened_to(qmp)) {
            Some(qmp) => {
                let work = |watch: &dyn Watch| self.back_up_now(&order, qmp, watch);
                self.back_up_noted(&order, qmp, || self.roomy(watch, work))
            }
            None => self.back_up_stopped(&order, watch),
        }
    }

    fn sweep(&self) {
        self.sweep_now();
    }

    fn left(&self) -> Vec<Left> {
        self.notes()
    }

    fn settle(&self, left: &Left, volumes: &[Facts]) -> Result<bool, ExecutorError> {
        self.settle_noted(left, volumes)
    }
}

/// Removes a file of ours that may be there.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

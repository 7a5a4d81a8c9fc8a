//! A hydration, followed to its end. QEMU does the work; between two looks its monitor is free for
//! others.

use std::{
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use mezame_images::{
    archive::{Progress, Watch, target::FileTarget},
    clone::{EncryptedTarget, Hydration, HydrationError, InstantClone, Master},
    qmp::Qmp,
    volume::Place,
};

use super::{CACHE, ExecutorError, Facts, Local, Reason, remove};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(500);

impl Local {
    /// Where the plain volume is that a clone becomes.
    fn target(&self, facts: &Facts) -> Result<PathBuf, ExecutorError> {
        Ok(self.pool(&facts.pool)?.path().join(format!("{}.raw", facts.id)))
    }

    /// The hydration of a clone, begun or not.
    pub(super) fn hydration(
        &self,
        facts: &Facts,
        clone: &InstantClone,
    ) -> Result<Hydration, ExecutorError> {
        let place = clone.hydrated().cloned();
        let place = match place {
            Some(place) => place,
            None => Place::File(self.target(facts)?),
        };
        Ok(Hydration::of(clone, place, CACHE)?)
    }

    pub(super) fn hydrate_now(
        &self,
        facts: &Facts,
        path: &Path,
        speed: Option<u64>,
        watch: &dyn Watch,
    ) -> Result<(), ExecutorError> {
        let (master, clone) = self.find(facts)?;
        let mut qmp = Self::monitor(path)?;
        let begun = self.hydration(facts, &clone)?;
        let mut hydration = match begun.progress(&mut qmp) {
            // Somebody began it who has ended.
            Ok(_) => begun,
            Err(HydrationError::NoJob(_)) if clone.hydrated().is_some() => {
                return Err(HydrationError::Plain(facts.id.clone()).into());
            }
            Err(HydrationError::NoJob(_)) => {
                self.begin(facts, (&master, &clone), &mut qmp, speed)?
            }
            Err(error) => return Err(self.give_up(facts, begun, &mut qmp, &master, error)),
        };
        drop(qmp);
        loop {
            if watch.is_cancelled() {
                if self.images.table().is_ending() {
                    // QEMU goes on; the next process is told to go on too.
                    return Err(ExecutorError::new(Reason::Cancelled, "the provisioner ends"));
                }
                let mut qmp = Self::monitor(path)?;
                hydration.cancel(&mut qmp, &master)?;
                drop(qmp);
                self.discard(facts)?;
                return Err(ExecutorError::new(Reason::Cancelled, "it was cancelled"));
            }
            let mut qmp = Self::monitor(path)?;
            let progress = match hydration.progress(&mut qmp) {
                Ok(progress) => progress,
                Err(error @ HydrationError::Failed { .. }) => {
                    return Err(self.give_up(facts, hydration, &mut qmp, &master, error));
                }
                Err(error) => return Err(error.into()),
            };
            watch.tell(Progress { done: progress.done, total: progress.total, written: 0 });
            if progress.is_equal {
                hydration = self.hydration(facts, &master.find(&facts.id)?)?;
                return Ok(hydration.complete(&mut qmp, &master).map(drop)?);
            }
            drop(qmp);
            thread::sleep(PAUSE);
        }
    }

    fn begin(
        &self,
        facts: &Facts,
        (master, clone): (&Master, &InstantClone),
        qmp: &mut Qmp,
        speed: Option<u64>,
    ) -> Result<Hydration, ExecutorError> {
        // Of one that was cut short, as where its QEMU has ended: the note of its key, and its target.
        self.hydration(facts, clone)?.cancel(qmp, master)?;
        self.discard(facts)?;
        let clone = &master.find(&facts.id)?;
        let place = Place::File(self.target(facts)?);
        let hydration = match facts.newest {
            None => Hydration::start(qmp, clone, master.size(), place, CACHE, speed)?,
            Some(number) => {
                let keys = &facts.keys;
                let target = EncryptedTarget { place, cache: CACHE, number, keys };
                Hydration::start_encrypted(qmp, master, clone, &target, speed)?
            }
        };
        Ok(hydration)
    }

    /// Takes a failed one down, so that it can be begun anew.
    fn give_up(
        &self,
        facts: &Facts,
        hydration: Hydration,
        qmp: &mut Qmp,
        master: &Master,
        error: HydrationError,
    ) -> ExecutorError {
        let taken_down = hydration.cancel(qmp, master).map_err(ExecutorError::from);
        if let Err(other) = taken_down.and_then(|()| self.discard(facts)) {
            tracing::warn!(volume = %facts.id, error = other.message, "a failed hydration stays");
        }
        error.into()
    }

    /// Removes a target that was never gone over to, unless a QEMU has it open.
    fn discard(&self, facts: &Facts) -> Result<(), ExecutorError> {
        let path = self.target(facts)?;
        let at = |error: std::io::Error| {
            let reason = match error.kind() {
                std::io::ErrorKind::ResourceBusy => Reason::InUse,
                _ => Reason::Failed,
            };
            ExecutorError::new(reason, format!("{}: {error}", path.display()))
        };
        match FileTarget::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(at(error)),
            // No QEMU opens it while it is held.
            Ok(_held) => remove(&path).map_err(at),
        }
    }
}

//! A hydration, followed to its end. QEMU does the work; between two looks its monitor is free for
//! others.

use std::{
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use mezame_images::{
    archive::{Progress, Watch},
    clone::{EncryptedTarget, Hydration, HydrationError, InstantClone, Master},
    qmp::Qmp,
    volume::Place,
};

use super::{CACHE, ExecutorError, Facts, Local, Reason, room::check_room};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(500);
/// How often a handing over is tried of which it can't be told how it ended.
const TRIES: usize = 5;

/// What the plain volume is called that a clone becomes.
pub(super) fn target_name(facts: &Facts) -> String {
    format!("{}.raw", facts.id)
}

impl Local {
    /// Where the plain volume is that a clone becomes.
    fn target(&self, facts: &Facts) -> Result<PathBuf, ExecutorError> {
        Ok(self.pool(&facts.pool)?.path().join(target_name(facts)))
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
        if clone.hydrated().is_some() || clone.is_being_handed_over() {
            // Somebody has handed it over, or began to and has ended.
            match self.hand_over(facts, &master, path) {
                // The guest goes on with the clone: it is seen below what is left of the copy.
                Err(_) if is_as_before(&master.find(&facts.id)?) => {}
                ended => return ended,
            }
        }
        let clone = master.find(&facts.id)?;
        let mut qmp = Self::monitor(path)?;
        let begun = self.hydration(facts, &clone)?;
        if !begun.is_in(&mut qmp)? {
            return Err(HydrationError::NoDisk(facts.id.clone()).into());
        }
        let hydration = match begun.progress(&mut qmp) {
            // Somebody began it who has ended.
            Ok(progress) => {
                if let Some(speed) = speed.filter(|_| !progress.is_copied()) {
                    begun.set_speed(&mut qmp, speed)?;
                }
                begun
            }
            Err(HydrationError::NoJob(_)) => {
                self.begin(facts, (&master, &clone), &mut qmp, speed)?
            }
            Err(error) => {
                drop(qmp);
                return self.give_up(facts, &master, path, error);
            }
        };
        drop(qmp);
        self.follow(facts, (&master, hydration), path, watch)
    }

    /// Looks on until all is copied, and has the guest go over.
    fn follow(
        &self,
        facts: &Facts,
        (master, hydration): (&Master, Hydration),
        path: &Path,
        watch: &dyn Watch,
    ) -> Result<(), ExecutorError> {
        loop {
            if watch.is_cancelled() {
                if self.images.table().is_ending() {
                    // QEMU goes on; the next process is told to go on too.
                    return Err(ExecutorError::new(Reason::Cancelled, "the provisioner ends"));
                }
                let mut qmp = Self::monitor(path)?;
                hydration.cancel(&mut qmp, master)?;
                drop(qmp);
                self.discard(facts, master)?;
                return Err(ExecutorError::new(Reason::Cancelled, "it was cancelled"));
            }
            let mut qmp = Self::monitor(path)?;
            let progress = hydration.progress(&mut qmp);
            drop(qmp);
            let progress = match progress {
                Ok(progress) => progress,
                Err(error @ HydrationError::Failed { .. }) => {
                    return self.give_up(facts, master, path, error);
                }
                Err(error) => return Err(error.into()),
            };
            watch.tell(Progress { done: progress.done, total: progress.total, written: 0 });
            if progress.is_copied() {
                return self.hand_over(facts, master, path);
            }
            thread::sleep(PAUSE);
        }
    }

    /// Has the guest go over, or ends what somebody began of that. Where it can't be told how it ended
    /// the monitor is connected to anew, since the guest may stand still meanwhile.
    pub(super) fn hand_over(
        &self,
        facts: &Facts,
        master: &Master,
        path: &Path,
    ) -> Result<(), ExecutorError> {
        let mut tries = 1;
        loop {
            let hydration = self.hydration(facts, &master.find(&facts.id)?)?;
            let mut qmp = Self::monitor(path)?;
            let Err(error) = hydration.complete(&mut qmp, master) else { return Ok(()) };
            drop(qmp);
            let is_settled = !master.find(&facts.id)?.is_being_handed_over();
            // A second later nothing has changed of these.
            let is_other = matches!(
                error,
                HydrationError::NoDisk(_) | HydrationError::NoJob(_) | HydrationError::Moving(_)
            );
            if is_settled || is_other || tries >= TRIES {
                return Err(error.into());
            }
            let (error, volume) = (&error as &dyn std::error::Error, &facts.id);
            tracing::warn!(%volume, error, "a guest may stand still that is handed over");
            tries += 1;
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
        self.discard(facts, master)?;
        // It takes all of its length, and the pool's guests stop where nothing is left to them.
        let clone = &master.find(&facts.id)?;
        let size = clone.size()?;
        check_room(self.pool(&facts.pool)?.path(), size)?;
        let place = Place::File(self.target(facts)?);
        let hydration = match facts.newest {
            None => Hydration::start(qmp, clone, size, place, CACHE, speed)?,
            Some(newest) => {
                // A change that was begun and not ended has given QEMU no other key than that.
                let number = clone.keyslots().map_or(newest, |keyslots| keyslots.opening());
                let keys = &facts.keys;
                let target = EncryptedTarget { place, cache: CACHE, number, keys };
                Hydration::start_encrypted(qmp, master, clone, &target, speed)?
            }
        };
        Ok(hydration)
    }

    /// Takes a failed one down, so that it can be begun anew, unless the guest has gone over after all.
    fn give_up(
        &self,
        facts: &Facts,
        master: &Master,
        path: &Path,
        error: HydrationError,
    ) -> Result<(), ExecutorError> {
        // What stands still goes on first.
        if master.find(&facts.id)?.is_being_handed_over()
            && self.hand_over(facts, master, path).is_ok()
        {
            return Ok(());
        }
        let take_down = || {
            let hydration = self.hydration(facts, &master.find(&facts.id)?)?;
            hydration.cancel(&mut Self::monitor(path)?, master)?;
            self.discard(facts, master)
        };
        if let Err(other) = take_down() {
            tracing::warn!(volume = %facts.id, error = other.message, "a failed hydration stays");
        }
        Err(error.into())
    }

    /// Removes a target that was never gone over to, and what opens it, unless a QEMU has it open.
    fn discard(&self, facts: &Facts, master: &Master) -> Result<(), ExecutorError> {
        let target = Place::File(self.target(facts)?);
        Ok(master.erase_target(&master.find(&facts.id)?, &target).map(drop)?)
    }
}

/// Whether a clone is none that was handed over, or is being.
fn is_as_before(clone: &InstantClone) -> bool {
    clone.hydrated().is_none() && !clone.is_being_handed_over()
}

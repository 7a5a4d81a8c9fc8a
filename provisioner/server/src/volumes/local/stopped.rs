//! Volumes that no guest runs on, read under QEMU's own lock: backed up, all as of one moment.

use mezame_images::{
    archive::Watch,
    backup::stopped::{Moment, back_up},
    stopped::{Held, Stopped},
};

use super::{
    CACHE, ExecutorError, Facts, Local, Reason,
    backup::{Part, destination},
    disks::OnDisk,
    durability,
    monitor::of_stopped,
};
use crate::volumes::executor::{BackedUp, BackupOrder};

impl Local {
    /// Reads all of each volume. Of any that can't be held there is nothing of the others either: what
    /// they hold would not belong together.
    pub(super) fn back_up_stopped(
        &self,
        order: &BackupOrder,
        watch: &dyn Watch,
    ) -> Result<BackedUp, ExecutorError> {
        let archive = self.images.archive()?;
        let key = self.archive_key(&order.project)?;
        let held = order.volumes.iter().map(|facts| self.hold(facts, order));
        let held: Vec<Held> = held.collect::<Result<_, _>>()?;
        let failed = |error| ExecutorError::new(Reason::Failed, format!("{error}"));
        let moment = Moment::now(&self.environment).map_err(failed)?;
        let total = order.volumes.iter().map(|facts| facts.size).sum();
        let (mut done, mut before) = (BackedUp::default(), 0);
        for (facts, held) in order.volumes.iter().zip(held) {
            let part = Part { whole: watch, before, total };
            let to = destination(order, key.as_ref(), &facts.id);
            match back_up(&archive, &to, moment, held, &facts.keys, &self.run, &part) {
                Ok(read) => {
                    done.images.push(read.image.id);
                    done.read += read.image.size;
                    done.written += read.written;
                }
                Err(error) => done.missing.push((facts.id.clone(), error.into())),
            }
            before += facts.size;
        }
        Ok(done)
    }

    fn hold(&self, facts: &Facts, order: &BackupOrder) -> Result<Held, ExecutorError> {
        self.check_whole(facts)?;
        let disk = self.on_disk(facts)?;
        if let Some(disk) = &disk {
            disk.check_whole()?;
        }
        let held = self.with_stopped(facts, disk.as_ref(), |stopped| {
            Ok(Held::take(stopped, &facts.keys, &self.run)?)
        });
        held.map_err(|error| of_stopped(error, order.qmp.as_ref()))
    }

    /// Does it with a volume that nobody has open, or on the disk that carries it.
    pub(super) fn with_stopped<T>(
        &self,
        facts: &Facts,
        disk: Option<&OnDisk>,
        work: impl FnOnce(Stopped<'_>) -> Result<T, ExecutorError>,
    ) -> Result<T, ExecutorError> {
        if let Some(disk) = disk {
            return work(Stopped::Volume(&disk.volume()?));
        }
        let (_, clone) = self.find(facts)?;
        work(Stopped::Clone { clone: &clone, durability: durability(facts), cache: CACHE })
    }
}

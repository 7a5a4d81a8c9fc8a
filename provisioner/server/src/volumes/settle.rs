//! What an earlier process has left in QEMUs, ended when this one begins: a guest that stands still
//! does so until somebody tells its QEMU to go on, and nobody else would. What it has left elsewhere, and
//! nobody goes on with, is removed meanwhile.

use std::{
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use mezame_model::api::volumes::VolumeClass;

use super::{Volumes, executor::Left, lookout};

/// How long each try waits after the one before.
const PAUSES: [u64; 8] = [0, 1, 3, 10, 30, 60, 120, 300];

impl Volumes {
    /// Has all ended that was left, each by a job's thread.
    pub(super) fn settle_left(self: &Arc<Self>) {
        for left in self.executor.left() {
            let volumes = Arc::clone(self);
            if self.workers.submit(move || volumes.settle(&left)).is_err() {
                tracing::error!("what an earlier process left in a QEMU is not looked at");
            }
        }
        let volumes = Arc::clone(self);
        if self.calls.submit(move || volumes.executor.sweep()).is_err() {
            tracing::warn!("what an earlier process left is not swept");
        }
    }

    fn settle(&self, left: &Left) {
        let (volumes, qmp) = (&left.volumes, left.qmp.display());
        let mut last = String::new();
        for pause in PAUSES {
            if !self.rest(Duration::from_secs(pause)) {
                return;
            }
            match self.try_settle(left) {
                Ok(()) => {
                    tracing::info!(?volumes, %qmp, "what a job had left in a QEMU is ended");
                    return;
                }
                Err(error) => {
                    tracing::warn!(?volumes, %qmp, error, "a guest may stand still: trying again");
                    last = error;
                }
            }
        }
        let error = last;
        tracing::error!(?volumes, %qmp, error, "A GUEST MAY STAND STILL: what a job had left is not ended");
    }

    fn try_settle(&self, left: &Left) -> Result<(), String> {
        let socket = lookout::socket(&left.qmp);
        let claim = self.claim(&left.volumes).and_then(|claim| claim.with_monitor(socket));
        let _claim = claim.map_err(|error| error.to_string())?;
        let known = left.volumes.iter().filter_map(|id| self.control.volume_of_any(id));
        let records: Vec<_> = known.collect();
        let facts: Vec<_> = records.iter().map(|record| record.facts()).collect();
        let is_plain = self.executor.settle(left, &facts).map_err(|error| error.message)?;
        for record in records.iter().filter(|_| is_plain) {
            let plain = self.control.change_volume(&record.project, &record.id, |it| {
                it.class = VolumeClass::Plain;
            });
            // It is corrected when the volume is opened, too.
            let _ = self.wait(plain);
        }
        Ok(())
    }

    /// Waits; whether there is still time for anything after that.
    fn rest(&self, pause: Duration) -> bool {
        let begin = Instant::now();
        while begin.elapsed() < pause && !self.has_ended.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(100));
        }
        !self.has_ended.load(Ordering::SeqCst)
    }
}

//! A volume made an image: read under QEMU's lock where no guest runs on it, else at a point in time,
//! as a backup is.

use std::{collections::BTreeMap, path::Path};

use mezame_images::{
    archive::{ProjectKey, Watch},
    backup::{plan::decide, point::survey, pull::published},
    capture,
};

use super::{ExecutorError, Facts, Local, Reason, agent::not_frozen, monitor::of_stopped, remove};
use crate::volumes::executor::{BackedUp, BackupOrder, CaptureOrder, Captured};

impl Local {
    pub(super) fn capture_now(
        &self,
        facts: &Facts,
        order: &CaptureOrder,
        watch: &dyn Watch,
    ) -> Result<Captured, ExecutorError> {
        self.check_whole(facts)?;
        // Not while the monitor is held: it may take long.
        let disk = self.on_disk(facts)?;
        if let Some(disk) = &disk {
            disk.check_whole()?;
        }
        let key = self.archive_key(&order.project)?;
        let wanted = capture::Capture {
            project: &order.project,
            key: key.as_ref(),
            name: order.name.clone(),
            labels: BTreeMap::new(),
            by: order.by.clone(),
            is_sealed: order.is_sealed,
        };
        match self.asked(order.qmp.as_ref(), std::slice::from_ref(facts))? {
            None => {
                let archive = self.images.archive()?;
                let (keys, run) = (&facts.keys, &self.run);
                let done = self.with_stopped(facts, disk.as_ref(), |stopped| {
                    Ok(capture::stopped(&archive, &wanted, stopped, keys, run, watch)?)
                });
                let done = done.map_err(|error| of_stopped(error, order.qmp.as_ref()))?;
                Ok(Captured { image: done.image.id, written: done.written })
            }
            Some(qmp) => {
                let freeze = order.freeze.clone();
                let (volumes, project) = (vec![facts.clone()], order.project.clone());
                let (name, schedule) = (None, None);
                let of = BackupOrder {
                    project,
                    volumes,
                    qmp: order.qmp.clone(),
                    full: false,
                    name,
                    schedule,
                    freeze,
                };
                self.capture_running((&of, qmp), facts, &wanted, key.as_ref(), watch)
            }
        }
    }

    /// Noted and watched as a backup is: it holds the guest for a moment, and has it write twice.
    fn capture_running(
        &self,
        (order, qmp): (&BackupOrder, &Path),
        facts: &Facts,
        wanted: &capture::Capture<'_>,
        key: Option<&ProjectKey>,
        watch: &dyn Watch,
    ) -> Result<Captured, ExecutorError> {
        let work = |watch: &dyn Watch| self.capture_point((order, qmp), facts, wanted, key, watch);
        let mut done = self.back_up_noted(order, qmp, || self.roomy(watch, work))?;
        if let Some(error) = done.not_frozen {
            return Err(error);
        }
        if let Some((_, error)) = done.missing.pop() {
            return Err(error);
        }
        let none = || ExecutorError::new(Reason::Failed, "the point in time has no disk");
        let image = done.images.pop().ok_or_else(none)?;
        match done.not_closed {
            Some(error) => {
                let message = format!("{image} is there, but its point in time is open: {error}");
                Err(ExecutorError::new(error.reason, message))
            }
            None => Ok(Captured { image, written: done.written }),
        }
    }

    fn capture_point(
        &self,
        (order, qmp_path): (&BackupOrder, &Path),
        facts: &Facts,
        wanted: &capture::Capture<'_>,
        key: Option<&ProjectKey>,
        watch: &dyn Watch,
    ) -> Result<BackedUp, ExecutorError> {
        let archive = self.images.archive()?;
        let known = published(&archive, wanted.project, key, &facts.id)?;
        let mut qmp = Self::monitor(qmp_path)?;
        let disks = self.disks(&mut qmp, &order.volumes)?;
        let agent = order.freeze.as_ref().map(|it| self.freezer(&it.agent));
        let agent = agent.as_deref();
        let surveys = survey(&mut qmp, &disks, agent)?;
        let decided = disks.into_iter().zip(&surveys);
        let decided = decided.map(|(disk, survey)| (disk, decide(survey, &known, false)));
        let freeze = order.freeze.as_ref().zip(agent);
        let (point, socket) = self.open_point(&mut qmp, decided.collect(), freeze)?;
        drop(qmp);
        let not_frozen = not_frozen(&point, order.freeze.as_ref());
        let mut done = BackedUp { not_frozen, ..BackedUp::default() };
        let offers = if done.not_frozen.is_none() { point.offers() } else { &[] };
        for offer in offers {
            match capture::running(&archive, wanted, offer, watch) {
                Ok(pulled) => {
                    done.images.push(pulled.image.id);
                    done.written += pulled.written;
                }
                Err(error) => done.missing.push((facts.id.clone(), error.into())),
            }
        }
        // It is no backup: the next one goes on from the last one.
        self.close(point, qmp_path, &[], agent, &mut done);
        let _ = remove(&socket);
        Ok(done)
    }
}

//! A volume made an image: read under QEMU's lock where no guest runs on it, else at a point in time,
//! as a backup is.

use std::{collections::BTreeMap, path::Path};

use mezame_images::{
    archive::{KeyOf, ProjectKey, Watch},
    backup::{plan::decide, point::survey, pull::published},
    capture::{self, Stopped},
};

use super::{CACHE, ExecutorError, Facts, Local, Reason, durability, remove};
use crate::volumes::executor::{BackedUp, BackupOrder, CaptureOrder, Captured};

impl Local {
    pub(super) fn capture_now(
        &self,
        facts: &Facts,
        order: &CaptureOrder,
        watch: &dyn Watch,
    ) -> Result<Captured, ExecutorError> {
        self.check_whole(facts)?;
        let key = match self.images.key_of(&order.project) {
            KeyOf::Open => None,
            KeyOf::Key(key) => Some(key),
            KeyOf::Away => {
                let message = "the key of this encrypted project is not at hand";
                return Err(ExecutorError::new(Reason::Image, message));
            }
        };
        let wanted = capture::Capture {
            project: &order.project,
            key: key.as_ref(),
            name: order.name.clone(),
            labels: BTreeMap::new(),
            by: order.by.clone(),
            is_sealed: order.is_sealed,
        };
        match &order.qmp {
            None => {
                let (_, clone) = self.find(facts)?;
                let durability = durability(facts);
                let stopped = Stopped::Clone { clone: &clone, durability, cache: CACHE };
                let archive = self.images.archive()?;
                let done =
                    capture::stopped(&archive, &wanted, stopped, &facts.keys, &self.run, watch)?;
                Ok(Captured { image: done.image.id, written: done.written })
            }
            Some(qmp) => self.capture_running(facts, &wanted, key.as_ref(), qmp, watch),
        }
    }

    /// Noted and watched as a backup is: it holds the guest for a moment, and has it write twice.
    fn capture_running(
        &self,
        facts: &Facts,
        wanted: &capture::Capture<'_>,
        key: Option<&ProjectKey>,
        qmp: &Path,
        watch: &dyn Watch,
    ) -> Result<Captured, ExecutorError> {
        let (volumes, project) = (vec![facts.clone()], wanted.project.clone());
        let qmp = qmp.to_owned();
        let order = BackupOrder { project, volumes, qmp, full: false, name: None, schedule: None };
        let work = |watch: &dyn Watch| self.capture_point(&order, facts, wanted, key, watch);
        let mut done = self.back_up_noted(&order, || self.roomy(watch, work))?;
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
        order: &BackupOrder,
        facts: &Facts,
        wanted: &capture::Capture<'_>,
        key: Option<&ProjectKey>,
        watch: &dyn Watch,
    ) -> Result<BackedUp, ExecutorError> {
        let archive = self.images.archive()?;
        let mut qmp = Self::monitor(&order.qmp)?;
        let disks = self.disks(&mut qmp, &order.volumes)?;
        let surveys = survey(&mut qmp, &disks, None)?;
        let known = published(&archive, wanted.project, key, &facts.id)?;
        let decided = disks.into_iter().zip(&surveys);
        let decided = decided.map(|(disk, survey)| (disk, decide(survey, &known, false)));
        let (point, socket) = self.open_point(&mut qmp, decided.collect())?;
        drop(qmp);
        let mut done = BackedUp::default();
        for offer in point.offers() {
            match capture::running(&archive, wanted, offer, watch) {
                Ok(pulled) => {
                    done.images.push(pulled.image.id);
                    done.written += pulled.written;
                }
                Err(error) => done.missing.push((facts.id.clone(), error.into())),
            }
        }
        // It is no backup: the next one goes on from the last one.
        self.close(point, &order.qmp, &[], &mut done);
        let _ = remove(&socket);
        Ok(done)
    }
}

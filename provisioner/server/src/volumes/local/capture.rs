//! A volume made an image: read under QEMU's lock where no guest runs on it, else at a point in time,
//! as a backup is.

use std::{collections::BTreeMap, path::Path};

use mezame_images::{
    archive::{KeyOf, ProjectKey, Watch},
    backup::{plan::decide, point::survey, pull::published},
    capture::{self, Stopped},
};

use super::{CACHE, ExecutorError, Facts, Local, Reason, durability, remove};
use crate::volumes::executor::{BackedUp, CaptureOrder, Captured};

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
                let durability = durability(facts.class);
                let stopped = Stopped::Clone { clone: &clone, durability, cache: CACHE };
                let archive = self.images.archive()?;
                let done =
                    capture::stopped(&archive, &wanted, stopped, &facts.keys, &self.run, watch)?;
                Ok(Captured { image: done.image.id, written: done.written })
            }
            Some(qmp) => self.capture_running(facts, &wanted, key.as_ref(), qmp, watch),
        }
    }

    fn capture_running(
        &self,
        facts: &Facts,
        wanted: &capture::Capture<'_>,
        key: Option<&ProjectKey>,
        path: &Path,
        watch: &dyn Watch,
    ) -> Result<Captured, ExecutorError> {
        let archive = self.images.archive()?;
        let mut qmp = Self::monitor(path)?;
        let disks = self.disks(&mut qmp, std::slice::from_ref(facts))?;
        let surveys = survey(&mut qmp, &disks, None)?;
        let known = published(&archive, wanted.project, key, &facts.id)?;
        let decided = disks.into_iter().zip(&surveys);
        let decided = decided.map(|(disk, survey)| (disk, decide(survey, &known, false)));
        let (point, socket) = self.open_point(&mut qmp, decided.collect())?;
        drop(qmp);
        let none = || ExecutorError::new(Reason::Failed, "the point in time has no disk");
        let pulled = point
            .offers()
            .first()
            .ok_or_else(none)
            .and_then(|offer| Ok(capture::running(&archive, wanted, offer, watch)?));
        // It is no backup: the next one goes on from the last one.
        let mut told = BackedUp::default();
        self.close(point, path, &[], &mut told);
        let _ = remove(&socket);
        let pulled = pulled?;
        Ok(Captured { image: pulled.image.id, written: pulled.written })
    }
}

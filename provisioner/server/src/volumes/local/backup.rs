//! A backup of a running guest's volumes: a point in time is opened, pulled by this thread into the
//! archive over a UNIX socket, and closed.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use mezame_images::{
    archive::{KeyOf, Progress, ProjectKey, Watch},
    backup::{
        disk::Disk,
        freeze::Freeze,
        offer::Offer,
        plan::{Decision, decide},
        point::{Point, Settings, survey},
        pull::{Destination, Exceptions, Pulled, published_of, pull},
    },
    qmp::Qmp,
    volume::VolumeId,
};
use mezame_model::ProjectName;

use super::{ExecutorError, Facts, Local, Reason, agent::not_frozen, remove};
use crate::volumes::executor::{BackedUp, BackupOrder, FreezeOrder, SCHEDULE};

impl Local {
    pub(super) fn back_up_now(
        &self,
        order: &BackupOrder,
        qmp_path: &Path,
        watch: &dyn Watch,
    ) -> Result<BackedUp, ExecutorError> {
        let archive = self.images.archive()?;
        let key = self.archive_key(&order.project)?;
        // Of no other backup of these volumes there is a record later: they are claimed.
        let ids = order.volumes.iter().map(|facts| &facts.id).collect();
        let known = published_of(&archive, &order.project, key.as_ref(), &ids)?;
        let mut qmp = Self::monitor(qmp_path)?;
        let disks = self.disks(&mut qmp, &order.volumes)?;
        let agent = order.freeze.as_ref().map(|it| self.freezer(&it.agent));
        let agent = agent.as_deref();
        let surveys = survey(&mut qmp, &disks, agent)?;
        let decide = |(disk, survey): (Disk, _)| {
            let known = known.get(disk.id()).map_or(&[][..], Vec::as_slice);
            let decision = decide(survey, known, order.full);
            (disk, decision)
        };
        let decided = disks.into_iter().zip(&surveys).map(decide).collect();
        let freeze = order.freeze.as_ref().zip(agent);
        let (point, socket) = self.open_point(&mut qmp, decided, freeze)?;
        // Others may use the monitor while it is pulled.
        drop(qmp);
        let total = point.offers().iter().map(|offer| offer.size).sum();
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let mut result = BackedUp {
            stopped_us: micros(point.held().stopped),
            frozen_us: micros(point.held().frozen),
            not_frozen: not_frozen(&point, order.freeze.as_ref()),
            ..BackedUp::default()
        };
        let (mut done, mut there) = (0, Vec::new());
        let offers = if result.not_frozen.is_none() { point.offers() } else { &[] };
        for offer in offers {
            let part = Part { whole: watch, before: done, total };
            match self.pull(order, key.as_ref(), offer, &part) {
                Ok(pulled) => {
                    there.push(offer.volume.clone());
                    result.images.push(pulled.image.id);
                    result.read += pulled.moved.read;
                    result.written += pulled.written;
                }
                Err(error) => result.missing.push((offer.volume.clone(), error)),
            }
            done += offer.size;
        }
        self.close(point, qmp_path, &there, agent, &mut result);
        let _ = remove(&socket);
        Ok(result)
    }

    /// The disks of these volumes in a QEMU that has all of them open. No pool's disk is looked at for
    /// it: who asks holds the monitor, and may be the one that has a guest go on.
    pub(super) fn disks(
        &self,
        qmp: &mut Qmp,
        volumes: &[Facts],
    ) -> Result<Vec<Disk>, ExecutorError> {
        let nodes = qmp.nodes()?;
        let mut disks = Vec::with_capacity(volumes.len());
        for facts in volumes {
            if self.has_disks(facts) {
                let disk = Disk::plain(&facts.id, facts.newest.is_some());
                disks.push(disk.with_keys(&facts.keys));
                continue;
            }
            let (_, clone) = self.find(facts)?;
            let volume = self.volume(facts, &clone)?;
            // Until it is started anew, a guest that went over to its plain volume has it by
            // another name.
            let plain = format!("{}.plain", facts.id);
            let went_over =
                clone.hydrated().is_some() && nodes.iter().any(|node| node.name == plain);
            let disk = if went_over { Disk::hydrated(&volume) } else { Disk::of(&volume) };
            disks.push(disk.with_keys(&facts.keys));
        }
        Ok(disks)
    }

    pub(super) fn open_point(
        &self,
        qmp: &mut Qmp,
        decided: Vec<(Disk, Decision)>,
        freeze: Option<(&FreezeOrder, &dyn Freeze)>,
    ) -> Result<(Point, PathBuf), ExecutorError> {
        let first = decided.first().map(|(disk, _)| disk.id().clone());
        let none = || ExecutorError::new(Reason::Conflict, "no volume is named");
        let socket = self.run.join(format!("{}.nbd", first.ok_or_else(none)?));
        remove(&socket).map_err(|error| {
            ExecutorError::new(Reason::Failed, format!("{}: {error}", socket.display()))
        })?;
        let server = self.server(qmp, &socket)?;
        let mut settings = Settings::new(self.scratch.clone(), server);
        settings.freeze = freeze.map_or(settings.freeze, |(order, _)| order.bound);
        let agent = freeze.map(|(_, agent)| agent);
        let point = Point::open(qmp, decided, &settings, agent, &self.environment)?;
        Ok((point, socket))
    }

    fn pull(
        &self,
        order: &BackupOrder,
        key: Option<&ProjectKey>,
        offer: &Offer,
        watch: &dyn Watch,
    ) -> Result<Pulled, ExecutorError> {
        let archive = self.images.archive()?;
        Ok(pull(&archive, &destination(order, key, &offer.volume), offer, watch)?)
    }

    /// What a project's images are encrypted with, if they are.
    pub(super) fn archive_key(
        &self,
        project: &ProjectName,
    ) -> Result<Option<ProjectKey>, ExecutorError> {
        match self.images.key_of(project) {
            KeyOf::Open => Ok(None),
            KeyOf::Key(key) => Ok(Some(key)),
            KeyOf::Away => {
                let message = "the key of this encrypted project is not at hand";
                Err(ExecutorError::new(Reason::NoKey, message))
            }
        }
    }

    /// Closes a point in time. What can't be closed is taken down before the next backup, so a
    /// failure here takes nothing from the images that are there.
    pub(super) fn close(
        &self,
        point: Point,
        path: &Path,
        there: &[VolumeId],
        agent: Option<&dyn Freeze>,
        result: &mut BackedUp,
    ) {
        let closed = Self::monitor(path)
            .and_then(|mut qmp| point.close(&mut qmp, there, agent).map_err(ExecutorError::from));
        match closed {
            Ok(closed) => {
                for volume in closed.broken.iter().filter(|volume| there.contains(volume)) {
                    tracing::info!(%volume, "the point in time broke after it was read");
                }
            }
            Err(error) => {
                tracing::warn!(error = error.message, "a point in time was not closed");
                result.not_closed = Some(error);
            }
        }
    }
}

/// What the image of one of the volumes is to be.
pub(super) fn destination<'a>(
    order: &'a BackupOrder,
    key: Option<&'a ProjectKey>,
    volume: &VolumeId,
) -> Destination<'a> {
    let name = order.name.clone().unwrap_or_else(|| format!("backup of {volume}"));
    let schedule = order.schedule.iter().map(|name| (SCHEDULE.to_owned(), name.to_string()));
    let (labels, exceptions) = (schedule.collect(), Exceptions::default());
    Destination { project: &order.project, key, name, labels, exceptions }
}

/// One disk of several, for whoever looks on at all of them.
pub(super) struct Part<'a> {
    pub(super) whole: &'a dyn Watch,
    pub(super) before: u64,
    pub(super) total: u64,
}

impl Watch for Part<'_> {
    fn tell(&self, progress: Progress) {
        let done = self.before + progress.done;
        self.whole.tell(Progress { done, total: self.total, ..progress });
    }

    fn is_cancelled(&self) -> bool {
        self.whole.is_cancelled()
    }
}

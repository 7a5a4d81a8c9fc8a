//! A point in time of the guest that moves: how long it is waited for, and how it ended; and that there is
//! nothing else that reads its disks.

use crate::{
    backup::{
        disk::Disk,
        freeze::Freeze,
        point::{Closed, Point, PointError, check_idle, survey},
    },
    qmp::Qmp,
    volume::VolumeId,
};

use super::{MigrationError, step};

/// How a point in time ended while its guest moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// Nobody pulled it any more, and it was closed.
    Closed(Closed),
    /// It took too long. Who pulled it gets [`PullError::Broken`], and no image comes of it.
    ///
    /// [`PullError::Broken`]: crate::backup::pull::PullError::Broken
    Broken,
}

/// A point in time that is pulled while its guest moves.
pub struct Backup<'a> {
    point: Option<Point>,
    pulled: &'a mut dyn FnMut() -> Option<Vec<VolumeId>>,
    agent: Option<&'a dyn Freeze>,
    ended: Option<Ended>,
}

impl std::fmt::Debug for Backup<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = out.debug_struct("Backup");
        shown.field("point", &self.point).field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl<'a> Backup<'a> {
    /// One that is open. `pulled` says, once nobody pulls it any more, which disks' images are in the
    /// archive; it is asked often and must not wait.
    pub fn new(
        point: Point,
        pulled: &'a mut dyn FnMut() -> Option<Vec<VolumeId>>,
        agent: Option<&'a dyn Freeze>,
    ) -> Self {
        Self { point: Some(point), pulled, agent, ended: None }
    }

    /// How it ended; None while it is open.
    pub fn ended(&self) -> Option<&Ended> {
        self.ended.as_ref()
    }

    /// The point in time, if it is open: it outlives a migration that failed.
    pub fn into_point(self) -> Option<Point> {
        self.point
    }

    pub(super) fn is_open(&self) -> bool {
        self.point.is_some()
    }

    /// What it is at; `is_late` if nobody is to wait for it any more.
    pub(super) fn look(&mut self, is_late: bool) -> step::Backup {
        match (&self.point, (self.pulled)()) {
            (None, _) => step::Backup::None,
            (Some(_), Some(_)) => step::Backup::Over,
            (Some(_), None) if is_late => step::Backup::Late,
            (Some(_), None) => step::Backup::Pulled,
        }
    }

    /// Closes it. If nobody pulls it any more it has ended well, else it is broken: its filter is taken
    /// away, and what had changed since the last backup stays so.
    pub(super) fn close(&mut self, qmp: &mut Qmp) -> Result<(), PointError> {
        let Some(point) = self.point.take() else { return Ok(()) };
        let pulled = (self.pulled)();
        let closed = point.close(qmp, pulled.as_deref().unwrap_or_default(), self.agent)?;
        self.ended = Some(if pulled.is_some() { Ended::Closed(closed) } else { Ended::Broken });
        Ok(())
    }
}

/// Whether the disks can move: they are as they are named, and nothing copies them.
pub(super) fn check(qmp: &mut Qmp, disks: &[Disk], is_begun: bool) -> Result<(), MigrationError> {
    survey(qmp, disks, None)?;
    if is_begun {
        return Ok(());
    }
    check_idle(qmp, disks).map_err(|error| match error {
        PointError::Job(job) => MigrationError::Job(job),
        error => error.into(),
    })
}

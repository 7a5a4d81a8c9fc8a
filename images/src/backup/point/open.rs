//! The steps by which a point in time comes to be, in their order: the filters, the new bitmaps,
//! the instant itself, the exports.
//!
//! Where one of them fails it just says so: what it leaves is taken down by [`super::take_down`],
//! which looks for itself. It never decides what is read; that is in [`crate::backup::plan`].
//!
//! After <https://www.qemu.org/docs/master/interop/qemu-qmp-ref.html> (`BlockdevOptionsCbw`).

use std::time::{Duration, Instant};

use serde_json::json;

use super::{Held, PointError, Settings, admission, change, scratch, serve, take_down};
use crate::{
    backup::{
        disk::Disk,
        freeze::{self, Consistency, CrashReason, Freeze, LeftOut, Outcome},
        mark::Mark,
        name::PointId,
        plan::Decision,
    },
    environment::Environment,
    nbd::tls::Credentials,
    qmp::Qmp,
};

/// A point in time that was opened.
pub(super) struct Opened {
    /// When it was.
    pub(super) taken_ms: u64,
    /// What it holds of what the guest was doing.
    pub(super) consistency: Consistency,
    pub(super) left_out: LeftOut,
    /// What it did to the guest.
    pub(super) held: Held,
    /// What whoever pulls is let in by.
    pub(super) tls: Option<Credentials>,
}

/// A point in time that is being opened.
pub(super) struct Opening<'a> {
    qmp: &'a mut Qmp,
    disks: &'a [(Disk, Decision)],
    settings: &'a Settings,
    agent: Option<&'a dyn Freeze>,
    id: PointId,
    has_begun: bool,
}

impl<'a> Opening<'a> {
    pub(super) fn of(
        qmp: &'a mut Qmp,
        disks: &'a [(Disk, Decision)],
        settings: &'a Settings,
        agent: Option<&'a dyn Freeze>,
        id: PointId,
    ) -> Self {
        Self { qmp, disks, settings, agent, id, has_begun: false }
    }

    /// Whether the new bitmaps are there.
    pub(super) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Takes all steps.
    pub(super) fn run(&mut self, environment: &dyn Environment) -> Result<Opened, PointError> {
        let tls = match self.settings.server.keys() {
            Some(keys) => {
                let now_ms = environment.now_ms();
                Some(admission::prepare(self.qmp, keys, self.disks, self.id, now_ms)?)
            }
            None => None,
        };
        for (disk, _) in self.disks {
            self.prepare(disk, environment)?;
        }
        // Before the point in time: a write that is noted twice is read twice, one that is not
        // noted would be lost.
        let id = self.id;
        change(self.qmp, self.disks, |disk, decision| decision.before(id, disk.keeps_bitmaps()))?;
        self.has_begun = true;
        let is_running = self.qmp.is_running()?;
        let mut held = Held::default();
        let mut left_out = LeftOut::new();
        let (taken_ms, consistency) = match self.agent.filter(|_| is_running) {
            Some(agent) => {
                // Only a reset after this one undoes it.
                self.qmp.take_events(take_down::RESET);
                Mark::Frozen.set(self.qmp)?;
                let ((switched, taken_ms), outcome) =
                    freeze::during(agent, self.settings.freeze, || {
                        (self.switch(is_running), environment.now_ms())
                    });
                let outcome: Outcome = outcome.map_err(PointError::Thaw)?;
                Mark::Frozen.clear(self.qmp)?;
                (held.frozen, held.stopped) = (outcome.took, switched?);
                left_out = outcome.left_out;
                (taken_ms, outcome.consistency)
            }
            None => {
                held.stopped = self.switch(is_running)?;
                let reason =
                    if is_running { CrashReason::NoAgent } else { CrashReason::NotRunning };
                (environment.now_ms(), Consistency::Crash(reason))
            }
        };
        change(self.qmp, self.disks, |_, decision| decision.after())?;
        self.serve()?;
        Ok(Opened { taken_ms, consistency, left_out, held, tls })
    }

    /// Adds the filter, through which nothing goes yet.
    fn prepare(&mut self, disk: &Disk, environment: &dyn Environment) -> Result<(), PointError> {
        let nodes = self.qmp.nodes()?;
        let survey = disk.survey(&nodes).ok_or_else(|| PointError::NoDisk(disk.id().clone()))?;
        scratch::add(self.qmp, &self.settings.scratch, disk, self.id, &survey, environment)?;
        let filter = json!({
            "driver": "copy-before-write",
            "node-name": disk.before(),
            "file": disk.node(),
            "target": disk.scratch(),
            "on-cbw-error": "break-snapshot",
            "cbw-timeout": self.settings.patience_seconds(),
        });
        Ok(self.qmp.execute("blockdev-add", filter).map(drop)?)
    }

    /// The point in time: the guest's writes go through the filters from here on. How long the
    /// guest was stopped.
    fn switch(&mut self, is_running: bool) -> Result<Duration, PointError> {
        let is_stopped = is_running && self.disks.len() > 1;
        let begin = Instant::now();
        if is_stopped {
            Mark::Stopped.set(self.qmp)?;
            self.qmp.execute("stop", json!({}))?;
        }
        let switched = self.disks.iter().try_for_each(|(disk, _)| {
            take_down::switch(self.qmp, disk, disk.node(), disk.before())
        });
        if !is_stopped {
            return switched.map(|()| Duration::ZERO);
        }
        let continued = self.qmp.execute("cont", json!({}));
        let took = begin.elapsed();
        // What failed first is told.
        switched?;
        continued?;
        Mark::Stopped.clear(self.qmp)?;
        Ok(took)
    }

    fn serve(&mut self) -> Result<(), PointError> {
        serve::start(self.qmp, &self.settings.server)?;
        let mut disks = self.disks.iter();
        Ok(disks
            .try_for_each(|(disk, decision)| serve::export(self.qmp, disk, decision, self.id))?)
    }
}

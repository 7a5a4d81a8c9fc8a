//! The steps by which a point in time comes to be, in their order: the filters, the new bitmaps,
//! the instant itself, the exports.
//!
//! Where one of them fails it just says so: what it leaves is taken down by [`super::take_down`],
//! which looks for itself. It never decides what is read; that is in [`crate::backup::plan`].
//!
//! After <https://www.qemu.org/docs/master/interop/qemu-qmp-ref.html> (`BlockdevOptionsCbw`,
//! `BlockExportOptionsNbd`).

use std::{
    ffi::OsStr,
    fs::{self, OpenOptions},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{Held, PointError, Server, Settings, change, take_down};
use crate::{
    backup::{
        disk::Disk,
        freeze::{self, Consistency, CrashReason, Freeze},
        mark::Mark,
        name::{BitmapName, PointId},
        plan::Decision,
    },
    environment::Environment,
    nbd::NbdAddress,
    qmp::{Qmp, QmpError},
};

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

    /// Takes all steps. When it was, what it holds of what the guest was doing, and what it did to
    /// the guest.
    pub(super) fn run(
        &mut self,
        environment: &dyn Environment,
    ) -> Result<(u64, Consistency, Held), PointError> {
        for (disk, _) in self.disks {
            self.prepare(disk)?;
        }
        // Before the point in time: a write that is noted twice is read twice, one that is not
        // noted would be lost.
        let id = self.id;
        change(self.qmp, self.disks, |disk, decision| decision.before(id, disk.keeps_bitmaps()))?;
        self.has_begun = true;
        let is_running = self.qmp.is_running()?;
        let mut held = Held::default();
        let (taken_ms, consistency) = match self.agent.filter(|_| is_running) {
            Some(agent) => {
                // Only a reset after this one undoes it.
                self.qmp.take_events(take_down::RESET);
                Mark::Frozen.set(self.qmp)?;
                let ((switched, taken_ms), outcome) =
                    freeze::during(agent, self.settings.freeze, || {
                        (self.switch(is_running), environment.now_ms())
                    });
                let (consistency, took) = outcome.map_err(PointError::Thaw)?;
                Mark::Frozen.clear(self.qmp)?;
                (held.frozen, held.stopped) = (took, switched?);
                (taken_ms, consistency)
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
        Ok((taken_ms, consistency, held))
    }

    /// Adds the filter, through which nothing goes yet.
    fn prepare(&mut self, disk: &Disk) -> Result<(), PointError> {
        let nodes = self.qmp.nodes()?;
        let survey = disk.survey(&nodes).ok_or_else(|| PointError::NoDisk(disk.id().clone()))?;
        sweep(&self.settings.scratch, disk);
        // Named after the disk for as long as QEMU needs to open it.
        let path = self.settings.scratch.join(scratch_name(disk, self.id));
        let failed = |source| PointError::Scratch { path: path.clone(), source };
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let made = file.and_then(|file| file.set_len(survey.size));
        let added = made.map_err(failed).and_then(|()| {
            let scratch = json!({
                "driver": "raw",
                "node-name": disk.scratch(),
                // It needn't outlive QEMU.
                "cache": { "direct": false, "no-flush": true },
                "file": {
                    "driver": "file",
                    "filename": path,
                    "cache": { "direct": false, "no-flush": true },
                },
            });
            Ok(self.qmp.execute("blockdev-add", scratch).map(drop)?)
        });
        // Gone already if it could not be made.
        let _ = fs::remove_file(&path);
        added?;
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
        if let Server::Start(address) = &self.settings.server {
            let address = match address {
                NbdAddress::Unix(path) => json!({ "type": "unix", "data": { "path": path } }),
                NbdAddress::Tcp(address) => json!({
                    "type": "inet",
                    "data": { "host": address.ip().to_string(), "port": address.port().to_string() },
                }),
            };
            Mark::Serving.set(self.qmp)?;
            let started = self.qmp.execute("nbd-server-start", json!({ "addr": address }));
            if let Err(refused @ QmpError::Refused { .. }) = started {
                // It may be another's, which is not to be stopped then.
                Mark::Serving.clear(self.qmp)?;
                return Err(refused.into());
            }
            started?;
        }
        for (disk, decision) in self.disks {
            let point = disk.point();
            let access = json!({
                "driver": "snapshot-access", "node-name": point, "file": disk.before(),
            });
            self.qmp.execute("blockdev-add", access)?;
            let bitmap =
                |name: BitmapName| json!({ "node": disk.node(), "name": name.to_string() });
            let bitmaps: Vec<_> = decision.changes().map(bitmap).into_iter().collect();
            let export = json!({
                "type": "nbd", "id": point, "node-name": point, "name": disk.export(self.id),
                "writable": false, "bitmaps": bitmaps,
            });
            self.qmp.execute("block-export-add", export)?;
        }
        Ok(())
    }
}

/// What a scratch file is called while it has a name.
fn scratch_name(disk: &Disk, point: PointId) -> String {
    format!("{}-{point}.scratch", disk.id())
}

/// Removes scratch files of earlier points in time of this disk: a process that was killed before it
/// took a file's name away has left it. None is in use, since a disk has one point in time at once.
fn sweep(folder: &Path, disk: &Disk) {
    let is_left = |name: &OsStr| {
        let name = name.to_str()?;
        let (_, point) = name.strip_suffix(".scratch")?.rsplit_once('-')?;
        (scratch_name(disk, PointId::parse(point).ok()?) == name).then_some(())
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for left in entries.filter(|entry| is_left(&entry.file_name()).is_some()) {
        // A folder that can't be listed, or a file that stays, is no reason against a backup.
        let _ = fs::remove_file(left.path());
    }
}

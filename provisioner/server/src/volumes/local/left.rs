//! Notes of work that may have a guest stand still, and what ends it.
//!
//! ```text
//!   RUN/backup-ID.left      a point in time is opened, pulled and closed
//!      /hydration-ID.left   a guest is copied, and handed over
//! ```
//! A note is written before the monitor is used for the work, and removed once it is known that nothing
//! of it is left; where a guest is frozen for it, it says who thaws that guest. It lies with the
//! sockets: what a host's start takes, QEMUs have not outlived. Where QEMU does not answer, it is
//! connected to anew for some minutes; then the note stays for the next process.

use std::{
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use mezame_images::{
    backup::point::{PointError, survey},
    qmp::{Qmp, QmpError},
};

use super::{COMMAND, ExecutorError, Facts, Local, Reason, place::write_new, remove};
use crate::volumes::executor::{BackedUp, BackupOrder, Left, LeftWork};

/// For how long a QEMU is asked again that did not let go of a point in time.
const CLOSING: Duration = Duration::from_secs(180);
/// Between two times.
const PAUSE: Duration = Duration::from_secs(2);

impl Local {
    /// Notes work that is about to begin.
    pub(super) fn note(&self, left: &Left) -> Result<(), ExecutorError> {
        let path = self.note_path(left);
        let text = serde_json::to_vec(left).unwrap_or_default();
        write_new(&path, &text).map_err(|error| {
            ExecutorError::new(Reason::Failed, format!("{}: {error}", path.display()))
        })
    }

    /// That nothing is left of it.
    pub(super) fn forget(&self, left: &Left) {
        let path = self.note_path(left);
        if let Err(error) = remove(&path) {
            // The next process finds that nothing is to do.
            tracing::warn!(path = %path.display(), %error, "a note of work stays");
        }
    }

    fn note_path(&self, left: &Left) -> PathBuf {
        let what = match left.what {
            LeftWork::Backup => "backup",
            LeftWork::Hydration => "hydration",
        };
        // There is always one, and no two are in work of one kind at once.
        let id = left.volumes.first().map(ToString::to_string).unwrap_or_default();
        self.run.join(format!("{what}-{id}.left"))
    }

    /// All notes.
    pub(super) fn notes(&self) -> Vec<Left> {
        let entries = fs::read_dir(&self.run).into_iter().flatten().flatten();
        let paths = entries.map(|entry| entry.path());
        let notes = paths.filter(|path| path.extension().is_some_and(|it| it == "left"));
        let read = |path: PathBuf| {
            let text = fs::read(&path);
            let note = text.and_then(|text| serde_json::from_slice(&text).map_err(io::Error::from));
            note.inspect_err(|error| {
                tracing::error!(path = %path.display(), %error, "a note of work can't be read");
            })
            .ok()
        };
        notes.filter_map(read).collect()
    }

    /// Ends what is noted, by a connection of its own; whether its volume is plain now.
    pub(super) fn settle_noted(
        &self,
        left: &Left,
        volumes: &[Facts],
    ) -> Result<bool, ExecutorError> {
        let is_there = match Qmp::connect(&left.qmp, COMMAND) {
            // No QEMU, so no guest of one.
            Err(QmpError::Connect { .. }) => false,
            // Whoever has it now gives it back; it is waited for below.
            Err(QmpError::Deadline { .. }) | Ok(_) => true,
            Err(error) => return Err(error.into()),
        };
        let is_plain = match (left.what, volumes.first()) {
            // A volume that is not known any more has been deleted, which no QEMU had open.
            (_, None) => false,
            _ if !is_there => false,
            (LeftWork::Backup, _) => self.take_down(left, volumes).map(|()| false)?,
            (LeftWork::Hydration, Some(volume)) => self.complete_left(left, volume)?,
        };
        self.forget(left);
        Ok(is_plain)
    }

    /// Takes down what there is of a point in time, unless the volumes are another QEMU's by now.
    fn take_down(&self, left: &Left, volumes: &[Facts]) -> Result<(), ExecutorError> {
        let mut qmp = Self::monitor(&left.qmp)?;
        let disks = self.disks(&mut qmp, volumes)?;
        let agent = left.agent.as_ref().map(|agent| self.freezer(agent));
        match survey(&mut qmp, &disks, agent.as_deref()) {
            Err(PointError::NoDisk(_)) | Ok(_) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn complete_left(&self, left: &Left, volume: &Facts) -> Result<bool, ExecutorError> {
        let (master, clone) = self.find(volume)?;
        if clone.is_being_handed_over() {
            let ended = self.hand_over(volume, &master, &left.qmp);
            let clone = master.find(&volume.id)?;
            if clone.is_being_handed_over() {
                ended?;
            }
            return Ok(clone.hydrated().is_some());
        }
        Ok(clone.hydrated().is_some())
    }

    /// Backs up, and sees to it that the guest goes on and copies nothing more, whatever becomes of it.
    pub(super) fn back_up_noted(
        &self,
        order: &BackupOrder,
        qmp: &Path,
        work: impl FnOnce() -> Result<BackedUp, ExecutorError>,
    ) -> Result<BackedUp, ExecutorError> {
        Self::check_agent(order, qmp)?;
        self.thaw_noted(order, qmp)?;
        let volumes = order.volumes.iter().map(|facts| facts.id.clone()).collect();
        let agent = order.freeze.as_ref().map(|it| it.agent.clone());
        let left = Left { what: LeftWork::Backup, volumes, qmp: qmp.to_owned(), agent };
        self.note(&left)?;
        let mut done = work();
        let may_stay = match &done {
            Ok(done) => done.not_closed.is_some(),
            Err(error) => {
                matches!(error.reason, Reason::Monitor | Reason::Conflict | Reason::Failed)
            }
        };
        if !may_stay {
            self.forget(&left);
        } else if self.settle_soon(&left, &order.volumes)
            && let Ok(done) = &mut done
        {
            done.not_closed = None;
        }
        done
    }

    /// Has a guest thaw that an earlier backup has left frozen, by who froze it: this one's note may
    /// take the place of that one's, and its own agent, if it has one, is another.
    fn thaw_noted(&self, order: &BackupOrder, qmp: &Path) -> Result<(), ExecutorError> {
        let own = order.freeze.as_ref().map(|it| &it.agent);
        let is_of_it = |left: &Left| {
            let mut ids = order.volumes.iter().map(|facts| &facts.id);
            left.qmp == qmp || ids.any(|id| left.volumes.contains(id))
        };
        let left = self.notes().into_iter().filter(|left| {
            left.what == LeftWork::Backup && left.agent.is_some() && left.agent.as_ref() != own
        });
        for left in left.filter(is_of_it) {
            let left = Left { qmp: qmp.to_owned(), ..left };
            self.take_down(&left, &order.volumes)?;
        }
        Ok(())
    }

    /// Tries for some minutes, or once where this process ends.
    fn settle_soon(&self, left: &Left, volumes: &[Facts]) -> bool {
        let begin = Instant::now();
        loop {
            let Err(error) = self.settle_noted(left, volumes) else { return true };
            let is_late = begin.elapsed() > CLOSING || self.images.table().is_ending();
            tracing::warn!(error = error.message, is_late, "a point in time may be open");
            if is_late {
                return false;
            }
            thread::sleep(PAUSE);
        }
    }

    /// Hydrates, and keeps the note where it is not known that the guest runs.
    pub(super) fn hydrate_noted(
        &self,
        facts: &Facts,
        qmp: PathBuf,
        work: impl FnOnce() -> Result<(), ExecutorError>,
    ) -> Result<(), ExecutorError> {
        let (what, volumes) = (LeftWork::Hydration, vec![facts.id.clone()]);
        let left = Left { what, volumes, qmp, agent: None };
        self.note(&left)?;
        let done = work();
        let is_between =
            |(_, clone): &(_, mezame_images::clone::InstantClone)| clone.is_being_handed_over();
        if !self.find(facts).as_ref().is_ok_and(is_between) {
            self.forget(&left);
        }
        done
    }
}

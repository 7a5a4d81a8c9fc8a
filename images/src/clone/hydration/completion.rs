//! Handing a guest over to its plain volume: the steps of [`handover`] taken, by QEMU's commands and
//! the clone's record. What comes next is decided there and not here.

use std::{
    io,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{COMPLETION, Hydration, HydrationError, course::Course, open_lun};
use crate::{
    archive::target::Target,
    clone::{
        Locked, Master, durable,
        handover::{self, Guest, Job, Seen, Stage, Step},
        record::Record,
    },
    iscsi::LunAccess,
    qmp::{Qmp, QmpError},
    volume::{Data, Place, Volume},
};

/// How long the plain volume's flush may take while the guest stands still. It was flushed just
/// before.
const FLUSH: Duration = Duration::from_secs(20);

/// How long the way back may take, once there is no time left.
const WAY_BACK: Duration = Duration::from_secs(30);

/// How long it is waited before a record is read or written once more.
const PAUSE: Duration = Duration::from_millis(50);

impl Hydration {
    /// Goes over to the plain volume, once both are equal. The guest stands still meanwhile, some
    /// milliseconds and a flush, unless QEMU is slow: a minute at most.
    ///
    /// It ends as well what another process of ours has begun. Where it fails before QEMU has gone
    /// over, the guest goes on with the clone.
    ///
    /// # Errors
    /// [`HydrationError::NoDisk`] from another guest's QEMU, of which nothing is asked.
    /// [`HydrationError::WouldBeClear`] where the target is encrypted and no key is noted for it.
    /// [`HydrationError::Late`] after a minute; the guest goes on with the clone then, unless QEMU was
    /// asked to go over and does not say that it did. In that case, if QEMU's socket fails, or if the
    /// record can't be read or written for half a minute, the guest may stand still: repeat this, or end
    /// QEMU. Both volumes are right then. [`HydrationError::Moving`] before anything is done, from a QEMU
    /// whose guest has left or is about to.
    pub fn complete(&self, qmp: &mut Qmp, master: &Master) -> Result<Volume, HydrationError> {
        self.complete_within(COMPLETION, qmp, master)
    }

    pub(super) fn complete_within(
        &self,
        patience: Duration,
        qmp: &mut Qmp,
        master: &Master,
    ) -> Result<Volume, HydrationError> {
        self.check_in(qmp)?;
        self.check_here(qmp)?;
        // Most of it is written while the guest runs and others may use the master, however long that
        // takes. Whether it can be is seen later.
        let _ = self.flush(None);
        // It is waited for while the guest runs, and nobody else changes the record from here on.
        let locked = master.locked()?;
        let mut begin = Instant::now();
        let clone = master.find(&self.id)?;
        let size = clone.size()?;
        let record = clone.record;
        let noted = self.check_note(&record, size);
        self.note_restart(qmp, &locked, &record)?;
        let mut course = Course::default();
        if let Err(error) = noted {
            course.fails(error);
        }
        while begin.elapsed() < patience + WAY_BACK {
            if begin.elapsed() >= patience {
                course.fails(HydrationError::Late(self.id.clone()));
            }
            let Some(record) = course.record(master.find(&self.id)) else {
                if course.is_over() {
                    break;
                }
                thread::sleep(PAUSE);
                continue;
            };
            let (job, said) = self.state(qmp)?;
            let seen = Seen {
                stage: &record.stage,
                is_held: record.is_held,
                job,
                guest: guest(qmp)?,
                is_asked: course.is_asked,
                has_fault: course.fault.is_some(),
            };
            let step = handover::next(&seen);
            match step {
                Step::End => return Ok(self.plain.clone()),
                Step::GiveUp => return Err(course.fault.unwrap_or_else(|| self.reason(job, said))),
                _ => {}
            }
            let taken = self.take(step, &record, qmp, &locked);
            if step == Step::Hold && taken.is_ok() {
                // Until here the guest ran.
                begin = Instant::now();
            }
            let is_held = record.is_held;
            if let Err(error) = course.took(step, record, taken) {
                // Whatever the record says, it is started from the plain volume from here on, and
                // so need not stand still until that can be written.
                if step == Step::GoOver && is_held {
                    let _ = qmp.execute("cont", json!({}));
                }
                return Err(error);
            }
            if course.is_unknown() {
                thread::sleep(PAUSE);
            }
        }
        Err(course.fault.unwrap_or_else(|| HydrationError::Late(self.id.clone())))
    }

    /// Takes a step of handing over; the record, if that was written.
    fn take(
        &self,
        step: Step,
        record: &Record,
        qmp: &mut Qmp,
        master: &Locked<'_>,
    ) -> Result<Option<Record>, HydrationError> {
        let mark = |stage: Stage, is_held| -> Result<Option<Record>, HydrationError> {
            Ok(Some(master.mark(&self.id, stage, is_held)?))
        };
        match step {
            Step::Hold => {
                self.flush(Some(FLUSH))?;
                return mark(record.stage.clone(), true);
            }
            Step::Release => return mark(record.stage.clone(), false),
            Step::Stop => drop(qmp.execute("stop", json!({}))?),
            Step::Continue => drop(qmp.execute("cont", json!({}))?),
            Step::HandOver => {
                self.flush(Some(FLUSH))?;
                return mark(Stage::HandingOver(self.place()?.clone()), record.is_held);
            }
            Step::Complete => self.tell(qmp, "job-complete")?,
            Step::GoOver => return mark(Stage::Plain(self.place()?.clone()), record.is_held),
            Step::GoBack => return mark(Stage::Overlay, record.is_held),
            Step::Tidy => self.dismiss(qmp, "")?,
            Step::Wait => thread::sleep(Duration::from_millis(5)),
            Step::End | Step::GiveUp => {}
        }
        Ok(None)
    }

    /// Makes the plain volume durable. QEMU passes a guest's flush on to the clone alone while it
    /// copies.
    fn flush(&self, patience: Option<Duration>) -> Result<(), HydrationError> {
        let place = self.place()?;
        let flushed = match patience {
            None => flush(place, self.access.as_ref()),
            Some(patience) => flush_within(patience, place.clone(), self.access.clone()),
        };
        flushed.map_err(|source| HydrationError::Flush { path: place.called(), source })
    }

    fn place(&self) -> Result<&Place, HydrationError> {
        let Data::Plain(place) = self.plain.data() else {
            return Err(HydrationError::NoJob(self.id.clone()));
        };
        Ok(place)
    }

    /// What the job does, and what it says.
    fn state(&self, qmp: &mut Qmp) -> Result<(Job, Option<String>), HydrationError> {
        let Some(job) = self.job(qmp)? else { return Ok((Job::None, None)) };
        let said = job["error"].as_str().map(str::to_owned);
        let state = match job["status"].as_str().unwrap_or_default() {
            _ if said.is_some() => Job::Failed,
            "ready" => Job::Equal,
            "waiting" | "pending" | "aborting" => Job::Finishing,
            "concluded" => Job::Done,
            _ => Job::Copying,
        };
        Ok((state, said))
    }

    /// Why a clone is not handed over, where nothing was tried.
    fn reason(&self, job: Job, said: Option<String>) -> HydrationError {
        match (job, said) {
            (Job::None, _) => HydrationError::NoJob(self.id.clone()),
            (_, Some(said)) => self.failed(&said),
            _ => HydrationError::NotEqual(self.id.clone()),
        }
    }
}

impl HydrationError {
    /// Whether QEMU can still be told what to do.
    pub(super) fn is_answer(&self) -> bool {
        !matches!(self, Self::Qmp(error) if !matches!(error, QmpError::Refused { .. }))
    }
}

fn flush(place: &Place, access: Option<&LunAccess>) -> io::Result<()> {
    if let Place::Lun(lun) = place {
        // The cache is the LUN's, whoever has written to it.
        let disk = open_lun(lun, access)?;
        disk.finish()?;
        return disk.close().map_err(io::Error::other);
    }
    place.open()?.0.sync_all()?;
    place.path().map_or(Ok(()), durable::sync_parent)
}

/// A flush can't be called off: where it takes too long a thread is left with it.
fn flush_within(patience: Duration, place: Place, access: Option<LunAccess>) -> io::Result<()> {
    let (done, flushed) = mpsc::channel();
    // Whoever does not wait any more does not want to know.
    let work = move || drop(done.send(flush(&place, access.as_ref())));
    thread::Builder::new().name("hydration-flush".into()).spawn(work)?;
    flushed.recv_timeout(patience).unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Whether this QEMU is a machine whose guest stands still.
pub(super) fn is_stopped(qmp: &mut Qmp) -> Result<bool, HydrationError> {
    Ok(guest(qmp)? == Guest::Stopped)
}

/// What a guest does, if this QEMU is a machine.
fn guest(qmp: &mut Qmp) -> Result<Guest, HydrationError> {
    match qmp.execute("query-status", json!({})) {
        Ok(status) if status["running"] == true => Ok(Guest::Running),
        Ok(_) => Ok(Guest::Stopped),
        Err(QmpError::Refused { class, .. }) if class == "CommandNotFound" => Ok(Guest::None),
        Err(error) => Err(error.into()),
    }
}

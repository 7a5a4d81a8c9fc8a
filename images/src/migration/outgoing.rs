//! The source's side: the guest's memory is sent, and the guest is given up when no point in time of its
//! disks is open. What comes next is [`super::step`]'s to decide.
//!
//! It may be called anew, by another process too: it looks for what QEMU is doing, and goes on. It never
//! lets the guest run on the destination.
//!
//! After <https://www.qemu.org/docs/master/interop/qemu-qmp-ref.html> (`migrate`,
//! `MigrationCapability`).

use std::{
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    Backup, Known, MigrationAddress, MigrationError, Settings, bitmaps, gate,
    step::{self, Gate, Seen, Step},
};
use crate::{
    backup::{
        disk::Disk,
        point::{PointError, check_idle, survey},
    },
    qmp::{
        Qmp, QmpError,
        migration::{MigrationState, MigrationStatus},
    },
};

/// What QEMU is told to do: to send bitmaps, to wait before the guest goes over, and not to take the
/// guest for moved before the other side says so.
const CAPABILITIES: [&str; 3] = ["dirty-bitmaps", "pause-before-switchover", "return-path"];
/// Bytes a second while there is nothing to send.
const SLOW: u64 = 64 << 10;
/// How long QEMU may take to come to an end when it was told to: as long as Linux tries to connect to
/// a host that says nothing, and some more.
const END: Duration = Duration::from_secs(180);
/// How long QEMU may take to let a guest go on that it has not moved.
const RESUMED: Duration = Duration::from_secs(10);
/// How often the downtime limit follows the rate.
const TUNED: Duration = Duration::from_millis(500);
/// The longest downtime that QEMU takes, in milliseconds.
const LONGEST: u64 = 2_000_000;

/// A guest that has left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// How long it had stood still when the source gave it up; more comes until it is let go on.
    pub downtime: Duration,
    /// What was known of its disks' changes. Nothing, where the process that began did not end it.
    pub known: Vec<Known>,
}

/// Moves a guest to a destination that listens ([`super::prepare`]). All of its disks are named, as
/// for a backup. `backup` is the point in time that is open, if there is one; one that nobody names
/// was left by a process that is gone, and is taken down.
///
/// It returns when this QEMU has given the guest up for good, which doesn't run then before
/// [`super::settle`]. This QEMU writes nothing any more, and is to be ended.
///
/// # Errors
/// The guest goes on here. The destination is of no use any more then: it has ended, or is to be.
/// After [`MigrationError::Qmp`] or [`MigrationError::Unsettled`] it may stand still: connect anew and
/// call this once more.
pub fn move_guest(
    qmp: &mut Qmp,
    disks: &[Disk],
    to: &MigrationAddress,
    settings: &Settings,
    backup: &mut Option<Backup<'_>>,
) -> Result<Moved, MigrationError> {
    let mut moving = Moving::find(qmp, disks, to, settings, backup)?;
    let result = moving.run();
    match result {
        Ok(moved) => Ok(moved),
        Err(error) if is_unsettled(&error) => Err(error),
        Err(error) => {
            moving.resume()?;
            // A refusal of what tidies up is not why it failed.
            let _ = moving.tidy();
            Err(error)
        }
    }
}

/// Whether nobody knows what became of the guest.
fn is_unsettled(error: &MigrationError) -> bool {
    match error {
        MigrationError::Qmp(error) => !matches!(error, QmpError::Refused { .. }),
        error => matches!(error, MigrationError::Unsettled(_)),
    }
}

/// A guest that is being moved.
struct Moving<'a, 'b> {
    qmp: &'a mut Qmp,
    disks: &'a [Disk],
    to: &'a MigrationAddress,
    settings: &'a Settings,
    backup: &'a mut Option<Backup<'b>>,
    begun: Instant,
    /// When the gate was opened, or the migration was cancelled.
    opened: Option<Instant>,
    is_begun: bool,
    gate: Gate,
    needs_bitmaps: bool,
    /// Bits that are sent while the guest stands still.
    bits: u64,
    tuned: Option<Instant>,
    /// Since when QEMU sends the rest of a guest that stands still.
    stands: Option<Instant>,
    known: Vec<Known>,
    /// Why it was cancelled.
    cancelled: Option<MigrationError>,
}

impl<'a, 'b> Moving<'a, 'b> {
    /// What there is to go on from.
    fn find(
        qmp: &'a mut Qmp,
        disks: &'a [Disk],
        to: &'a MigrationAddress,
        settings: &'a Settings,
        backup: &'a mut Option<Backup<'b>>,
    ) -> Result<Self, MigrationError> {
        let status = qmp.migration()?.status;
        let state = qmp.run_state()?;
        let has_gate = gate::find(qmp)?.is_some();
        let has_left = has_gate && status == MigrationStatus::Completed && state == "postmigrate";
        if status.is_under_way() && !has_gate {
            return Err(MigrationError::Foreign);
        }
        if !has_left && (state == "postmigrate" || state == "inmigrate") {
            return Err(MigrationError::NotHere(state));
        }
        let is_open = backup.as_ref().is_some_and(Backup::is_open);
        if !is_open && !has_left && status != MigrationStatus::Device {
            survey(qmp, disks, None)?;
            if !status.is_under_way() {
                check_idle(qmp, disks).map_err(|error| match error {
                    PointError::Job(job) => MigrationError::Job(job),
                    error => error.into(),
                })?;
            }
        }
        let is_begun = status.is_under_way() || has_left;
        if !is_begun && has_gate {
            gate::remove(qmp)?;
        }
        let gate = if is_begun && qmp.downtime_limit()? > 0 { Gate::Open } else { Gate::Shut };
        let needs_bitmaps = bitmaps::has_any_to_send(disks, &qmp.nodes()?);
        let begun = Instant::now();
        let opened = (gate == Gate::Open).then_some(begun);
        Ok(Self {
            qmp,
            disks,
            to,
            settings,
            backup,
            begun,
            opened,
            is_begun,
            gate,
            needs_bitmaps,
            bits: 0,
            tuned: None,
            stands: None,
            known: Vec::new(),
            cancelled: None,
        })
    }

    fn run(&mut self) -> Result<Moved, MigrationError> {
        loop {
            let state = self.qmp.migration()?;
            let seen = self.look(&state);
            if self.is_beyond_all() {
                return Err(MigrationError::Unsettled(self.qmp.run_state()?));
            }
            match step::next(&seen) {
                Step::Start => self.start(Gate::Open)?,
                Step::StartShut => self.start(Gate::Shut)?,
                Step::Wait => self.wait(state.rate)?,
                Step::Slow => self.slow()?,
                Step::Close | Step::Break => self.end_backup()?,
                Step::Open => self.open()?,
                Step::GoOver => self.go_over()?,
                Step::Cancel => {
                    let why = match state.status {
                        MigrationStatus::Other => MigrationError::Foreign,
                        MigrationStatus::Device => MigrationError::Stuck(self.settings.standstill),
                        _ => MigrationError::Late(self.settings.bound),
                    };
                    self.cancel(why)?;
                }
                Step::End => {
                    let downtime = Duration::from_millis(state.downtime_ms);
                    return Ok(Moved { downtime, known: std::mem::take(&mut self.known) });
                }
                Step::GiveUp => {
                    let said = state.said.unwrap_or_else(|| "it was cancelled".into());
                    return Err(self.cancelled.take().unwrap_or(MigrationError::Failed { said }));
                }
            }
        }
    }

    fn look(&mut self, state: &MigrationState) -> Seen {
        let is_late = self.begun.elapsed() > self.settings.patience;
        let stands = match state.status {
            MigrationStatus::Device => *self.stands.get_or_insert_with(Instant::now),
            _ => Instant::now(),
        };
        Seen {
            status: state.status,
            is_begun: self.is_begun,
            gate: self.gate,
            backup: self.backup.as_mut().map_or(step::Backup::None, |b| b.look(is_late)),
            needs_bitmaps: self.needs_bitmaps,
            is_copied: state.status == MigrationStatus::Active && state.remaining == 0,
            is_late: self.since_opened() > self.settings.bound,
            is_stuck: stands.elapsed() > self.settings.standstill,
            is_cancelled: self.cancelled.is_some(),
        }
    }

    fn since_opened(&self) -> Duration {
        self.opened.map_or(Duration::ZERO, |opened| opened.elapsed())
    }

    /// Whether QEMU doesn't even give up.
    fn is_beyond_all(&self) -> bool {
        let bound = if self.cancelled.is_some() { Duration::ZERO } else { self.settings.bound };
        self.since_opened() > bound + self.settings.standstill + END
    }

    fn start(&mut self, gate: Gate) -> Result<(), MigrationError> {
        let does_run = self.qmp.is_running()?;
        let nodes = self.qmp.nodes()?;
        let mut sent = if gate == Gate::Open {
            bitmaps::to_send(self.disks, &nodes)
        } else {
            bitmaps::Sent::default()
        };
        gate::add_node(self.qmp)?;
        sent.mapping.push(gate::add_bitmap(self.qmp, does_run)?);
        self.bits = sent.bits;
        self.qmp.set_capabilities(&CAPABILITIES, true)?;
        self.qmp.tell_migration(json!({
            "block-bitmap-mapping": sent.mapping,
            "downtime-limit": 0,
            "max-bandwidth": self.settings.bandwidth,
        }))?;
        self.qmp.execute("migrate", json!({ "uri": self.to.to_string() }))?;
        // What failed before is told as it is, and not as a migration that failed.
        (self.is_begun, self.gate) = (true, Gate::Shut);
        if gate == Gate::Open {
            self.open()?;
        }
        Ok(())
    }

    /// Looks again in a moment: while the guest may stand still, in a short one.
    fn wait(&mut self, rate: u64) -> Result<(), QmpError> {
        let is_due = self.tuned.is_none_or(|tuned| tuned.elapsed() > TUNED);
        if self.gate == Gate::Open && self.bits > 0 && is_due {
            self.tuned = Some(Instant::now());
            let limit = self.downtime(rate);
            self.qmp.tell_migration(json!({ "downtime-limit": limit }))?;
        }
        let pause = if self.gate == Gate::Open { 2 } else { 20 };
        thread::sleep(Duration::from_millis(pause));
        Ok(())
    }

    /// For how many milliseconds the guest may stand still. QEMU takes each bit that is to be sent for
    /// a byte.
    fn downtime(&self, rate: u64) -> u64 {
        let wanted = u64::try_from(self.settings.downtime.as_millis()).unwrap_or(LONGEST);
        let for_bits = self.bits.saturating_mul(1000) / rate.max(1 << 20);
        wanted.saturating_add(for_bits).clamp(1, LONGEST)
    }

    /// While nothing is to be sent, QEMU would send as many empty pieces as it can.
    fn slow(&mut self) -> Result<(), QmpError> {
        self.qmp.tell_migration(json!({ "max-bandwidth": SLOW }))?;
        self.gate = Gate::ShutAndSlow;
        Ok(())
    }

    fn open(&mut self) -> Result<(), QmpError> {
        let nodes = self.qmp.nodes()?;
        self.known = self.disks.iter().filter_map(|disk| bitmaps::known(disk, &nodes)).collect();
        let limit = self.downtime(self.settings.bandwidth);
        let bandwidth = self.settings.bandwidth;
        self.qmp.tell_migration(json!({ "max-bandwidth": bandwidth, "downtime-limit": limit }))?;
        (self.gate, self.opened) = (Gate::Open, Some(Instant::now()));
        Ok(())
    }

    fn end_backup(&mut self) -> Result<(), MigrationError> {
        let Some(backup) = self.backup.as_mut() else { return Ok(()) };
        match backup.close(self.qmp) {
            // Its filter may be there: the guest must not go over, and nothing says that it can't.
            Err(error) if self.is_begun => self.cancel(error.into()),
            closed => Ok(closed?),
        }
    }

    fn go_over(&mut self) -> Result<(), QmpError> {
        let on = json!({ "state": "pre-switchover" });
        match self.qmp.execute("migrate-continue", on) {
            // It has failed in the moment before, which is seen next.
            Err(QmpError::Refused { .. }) => Ok(()),
            result => result.map(drop),
        }
    }

    fn cancel(&mut self, why: MigrationError) -> Result<(), MigrationError> {
        self.qmp.execute("migrate_cancel", json!({}))?;
        (self.cancelled, self.opened) = (Some(why), Some(Instant::now()));
        Ok(())
    }

    /// Waits until a guest that was not moved goes on, which QEMU does by itself, or lets it go on.
    fn resume(&mut self) -> Result<(), QmpError> {
        let begin = Instant::now();
        while self.qmp.run_state()? == "finish-migrate" && begin.elapsed() < RESUMED {
            thread::sleep(Duration::from_millis(2));
        }
        let did_run = gate::find(self.qmp)?.and_then(|found| found.did_run) == Some(true);
        if did_run && !self.qmp.is_running()? {
            self.qmp.execute("cont", json!({}))?;
        }
        Ok(())
    }

    /// Removes what only a migration needs.
    fn tidy(&mut self) -> Result<(), QmpError> {
        gate::remove(self.qmp)?;
        self.qmp.set_capabilities(&CAPABILITIES, false)
    }
}

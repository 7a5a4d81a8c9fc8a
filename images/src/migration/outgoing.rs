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

use serde_json::json;

use super::{
    Backup, Known, MigrationAddress, MigrationError, Moved, Settings,
    backup::check,
    bitmaps, gate,
    gate::Mark,
    limit::Limit,
    step::{self, Gate, Seen, Standing, Step},
};
use crate::{
    backup::disk::Disk,
    environment::{Environment, random},
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
/// How long QEMU takes to know how fast it sends now: it reckons that each 100 ms. What it believes before
/// that makes it look for changed memory again and again.
const MEASURED: Duration = Duration::from_millis(250);
/// How long QEMU may take to come to an end when it was told to: as long as Linux tries to connect to
/// a host that says nothing, and some more.
const END: Duration = Duration::from_secs(180);
/// How long QEMU may take to let a guest go on that it has not moved.
const RESUMED: Duration = Duration::from_secs(10);
/// How often the downtime limit follows the rate.
const TUNED: Duration = Duration::from_millis(500);

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
    environment: &dyn Environment,
) -> Result<Moved, MigrationError> {
    to.check()?;
    let mut moving = Moving::find(qmp, disks, to, settings, backup, environment)?;
    let result = moving.run();
    match result {
        Ok(moved) => Ok(moved),
        Err(error) if error.is_unsettled() => Err(error),
        Err(error) => {
            moving.resume()?;
            // A refusal of what tidies up is not why it failed.
            let _ = moving.tidy();
            Err(error)
        }
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
    /// By which number the destination knows that it is this migration.
    number: u64,
    /// Whether the guest ran when it was seen last before it stood still to go over.
    did_run: Option<bool>,
    /// Since when nothing is waited for but QEMU, or when the migration was cancelled.
    free: Option<Instant>,
    is_begun: bool,
    gate: Gate,
    needs_bitmaps: bool,
    limit: Limit,
    /// Which limit QEMU was told, and when.
    tuned: Option<(Instant, u64)>,
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
        environment: &dyn Environment,
    ) -> Result<Self, MigrationError> {
        let status = qmp.migration()?.status;
        let state = qmp.run_state()?;
        let found = gate::find(qmp)?;
        let standing = step::standing(status, &state, found.is_some())
            .map_err(|wrong| MigrationError::of(wrong, state))?;
        let is_begun = standing != Standing::Here;
        let is_open = backup.as_ref().is_some_and(Backup::is_open);
        let mut broken = None;
        if !is_open && standing != Standing::Left && status != MigrationStatus::Device {
            let checked = check(qmp, disks, is_begun);
            match checked {
                // It is under way: it is cancelled for this, and not left as it is.
                Err(error) if is_begun && !error.is_unsettled() => broken = Some(error),
                checked => checked?,
            }
        }
        if !is_begun && found.is_some() {
            gate::remove(qmp)?;
        }
        let mark = found.as_ref().and_then(|found| found.mark).filter(|_| is_begun);
        let number = match mark {
            Some(mark) => mark.number,
            None => u64::from_le_bytes(random(environment)?),
        };
        let gate = if is_begun && qmp.downtime_limit()? > 0 { Gate::Open } else { Gate::Shut };
        let nodes = qmp.nodes()?;
        let bits = if is_begun { bitmaps::bits_being_sent(disks, &nodes) } else { 0 };
        let mut moving = Self {
            qmp,
            disks,
            to,
            settings,
            backup,
            begun: Instant::now(),
            number,
            did_run: found.filter(|_| is_begun).and_then(|found| found.did_run()),
            free: None,
            is_begun,
            gate,
            needs_bitmaps: bitmaps::has_any_to_send(disks, &nodes),
            limit: Limit::new(settings.downtime, bits, settings.bandwidth),
            tuned: None,
            stands: None,
            known: Vec::new(),
            cancelled: None,
        };
        if let Some(error) = broken {
            moving.cancel(error)?;
        }
        Ok(moving)
    }

    fn run(&mut self) -> Result<Moved, MigrationError> {
        loop {
            if self.is_beyond_all() {
                return Err(MigrationError::Unsettled(self.qmp.run_state()?));
            }
            match self.turn() {
                Ok(None) => {}
                Ok(Some(ended)) => return ended,
                Err(error) if error.is_unsettled() || !self.is_begun => return Err(error),
                // It comes to its end without what was refused.
                Err(_) if self.cancelled.is_some() => thread::sleep(Duration::from_millis(2)),
                // Nobody may let the guest go on while it is still on its way.
                Err(error) => self.cancel(error)?,
            }
        }
    }

    /// Does the next step; what came of all of it, if it was the last one.
    fn turn(&mut self) -> Result<Option<Result<Moved, MigrationError>>, MigrationError> {
        let state = self.qmp.migration()?;
        self.see_whether_it_runs()?;
        let seen = self.look(&state);
        match step::next(&seen) {
            Step::Start => self.start(true)?,
            Step::StartBeside => self.start(false)?,
            Step::Wait => self.wait(&state)?,
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
                return Ok(Some(Ok(Moved {
                    number: self.number,
                    did_run: self.did_run == Some(true),
                    downtime: Duration::from_millis(state.downtime_ms),
                    known: std::mem::take(&mut self.known),
                })));
            }
            Step::GiveUp => {
                let said = state.said.unwrap_or_else(|| "it was cancelled".into());
                let why = self.cancelled.take();
                return Ok(Some(Err(why.unwrap_or(MigrationError::Failed { said }))));
            }
        }
        Ok(None)
    }

    /// QEMU tells it no more once the guest stands still to go over. Somebody may have stopped it, or
    /// let it go on, in the minutes before.
    fn see_whether_it_runs(&mut self) -> Result<(), QmpError> {
        let state = self.qmp.run_state()?;
        if ["finish-migrate", "postmigrate", "inmigrate"].contains(&&*state) {
            return Ok(());
        }
        let does_run = state == "running";
        // Of one that is cancelled nobody asks it.
        if self.is_begun && self.cancelled.is_none() && self.did_run != Some(does_run) {
            gate::note(self.qmp, does_run)?;
        }
        self.did_run = Some(does_run);
        Ok(())
    }

    fn look(&mut self, state: &MigrationState) -> Seen {
        let is_late = self.begun.elapsed() > self.settings.patience;
        let stands = match state.status {
            MigrationStatus::Device => *self.stands.get_or_insert_with(Instant::now),
            _ => Instant::now(),
        };
        let backup = self.backup.as_mut().map_or(step::Backup::None, |b| b.look(is_late));
        if self.is_begun && backup == step::Backup::None {
            self.free.get_or_insert_with(Instant::now);
        }
        Seen {
            status: state.status,
            is_begun: self.is_begun,
            gate: self.gate,
            backup,
            needs_bitmaps: self.needs_bitmaps,
            is_copied: state.status == MigrationStatus::Active && state.remaining == 0,
            is_late: self.since_free() > self.settings.bound,
            is_stuck: stands.elapsed() > self.settings.standstill,
            is_cancelled: self.cancelled.is_some(),
        }
    }

    fn since_free(&self) -> Duration {
        self.free.map_or(Duration::ZERO, |free| free.elapsed())
    }

    /// Whether QEMU doesn't even give up.
    fn is_beyond_all(&self) -> bool {
        let bound = if self.cancelled.is_some() { Duration::ZERO } else { self.settings.bound };
        self.since_free() > bound.saturating_add(self.settings.standstill).saturating_add(END)
    }

    /// Starts with the gate shut: where this process is stopped, the guest runs on meanwhile.
    fn start(&mut self, with_bitmaps: bool) -> Result<(), MigrationError> {
        let nodes = self.qmp.nodes()?;
        let mut sent = if with_bitmaps {
            bitmaps::to_send(self.disks, &nodes)
        } else {
            bitmaps::Sent::default()
        };
        let mark = Mark { number: self.number, did_run: self.did_run == Some(true) };
        gate::add_node(self.qmp)?;
        sent.mapping.push(gate::add_bitmap(self.qmp, mark)?);
        self.limit = Limit::new(self.settings.downtime, sent.bits, self.settings.bandwidth);
        self.qmp.set_capabilities(&CAPABILITIES, true)?;
        self.qmp.tell_migration(json!({
            "block-bitmap-mapping": sent.mapping,
            "downtime-limit": 0,
            "max-bandwidth": self.settings.bandwidth,
        }))?;
        self.qmp.execute("migrate", json!({ "uri": self.to.to_string() }))?;
        // What failed before is told as it is, and not as a migration that failed.
        (self.is_begun, self.gate) = (true, Gate::Shut);
        Ok(())
    }

    /// Looks again in a moment: while the guest may stand still, in a short one.
    fn wait(&mut self, state: &MigrationState) -> Result<(), QmpError> {
        if self.gate == Gate::Open && state.status == MigrationStatus::Active {
            let limit = self.limit.next(self.begun.elapsed(), state.rate, state.remaining);
            let is_due = self.tuned.is_none_or(|(at, told)| {
                // Room that is too much is taken away at once.
                told != limit && (at.elapsed() > TUNED || limit < told / 2)
            });
            if is_due {
                self.tell_limit(json!({ "downtime-limit": limit }), limit)?;
            }
        }
        let is_pulled = self.gate != Gate::Open && self.free.is_none();
        thread::sleep(Duration::from_millis(if is_pulled { 20 } else { 2 }));
        Ok(())
    }

    fn tell_limit(&mut self, parameters: serde_json::Value, limit: u64) -> Result<(), QmpError> {
        self.qmp.tell_migration(parameters)?;
        self.tuned = Some((Instant::now(), limit));
        Ok(())
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
        if self.gate == Gate::ShutAndSlow {
            self.qmp.tell_migration(json!({ "max-bandwidth": self.settings.bandwidth }))?;
            thread::sleep(MEASURED);
        }
        let limit = self.limit.safe();
        self.tell_limit(json!({ "downtime-limit": limit }), limit)?;
        self.gate = Gate::Open;
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
        (self.cancelled, self.free) = (Some(why), Some(Instant::now()));
        Ok(())
    }

    /// Waits until a guest that was not moved goes on, which QEMU does by itself, or lets it go on.
    fn resume(&mut self) -> Result<(), QmpError> {
        let begin = Instant::now();
        while self.qmp.run_state()? == "finish-migrate" && begin.elapsed() < RESUMED {
            thread::sleep(Duration::from_millis(2));
        }
        // One that QEMU has let go of for another reason than this migration stays as it is.
        let is_held = ["postmigrate", "finish-migrate"].contains(&&*self.qmp.run_state()?);
        if is_held && self.did_run == Some(true) {
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

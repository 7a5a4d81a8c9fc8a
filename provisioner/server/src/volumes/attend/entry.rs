//! What is known of one guest, and what is to be done about it. Pure: what is seen in, a step out.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use mezame_model::api::volumes::{FlushState, Limits};

use crate::volumes::{
    executor::Flushed,
    record::{GuestRecord, VolumeRecord},
};

/// How long a volume has to be flushed in time until that is told after it was not.
pub(super) const CALM: Duration = Duration::from_secs(10);

/// A guest that is seen to.
pub(super) struct Entry {
    pub(super) guest: GuestRecord,
    /// The volume's record when it was looked at last.
    pub(super) record: Arc<VolumeRecord>,
    /// Whether a thread is at it.
    pub(super) is_asked: bool,
    /// Since when it is known of.
    since: Instant,
    /// When it may be told something again.
    pub(super) again: Instant,
    /// Since when it is attended.
    pub(super) begun: Option<Instant>,
    /// What its QEMU was told.
    pub(super) limits: Option<Limits>,
    /// What is in the way.
    pub(super) why: Option<String>,
    pub(super) lateness: Lateness,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    Rest,
    Attend,
    Leave,
}

/// When it is told that a volume is flushed too late: once, until it was in time for a while.
#[derive(Default)]
pub(super) struct Lateness {
    is_told: bool,
    in_time_since: Option<Instant>,
    lates: u64,
}

/// What is told of a volume.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    Late,
    InTime,
}

impl Entry {
    /// A guest of which nothing is known yet.
    pub(super) fn new(guest: GuestRecord, record: Arc<VolumeRecord>, now: Instant) -> Self {
        Self {
            guest,
            record,
            is_asked: false,
            since: now,
            again: now,
            begun: None,
            limits: None,
            why: None,
            lateness: Lateness::default(),
        }
    }

    /// What is to be done now.
    pub(super) fn step(&self, flushed: Option<Flushed>, now: Instant) -> Step {
        if self.is_asked || now < self.again {
            return Step::Rest;
        }
        if self.begun.is_none() {
            return Step::Attend;
        }
        if self.record.interval().is_none() {
            // It went over to a plain volume.
            return Step::Leave;
        }
        let is_well = flushed.is_some_and(|it| !it.is_failing);
        if is_well && self.limits == Some(self.record.limits) { Step::Rest } else { Step::Attend }
    }

    /// What is to be seen of it.
    pub(super) fn state(&self, flushed: Option<Flushed>, now: Instant) -> FlushState {
        let bound = self.record.interval().unwrap_or_default().bound();
        let is_new = now.saturating_duration_since(self.begun.unwrap_or(self.since)) <= bound;
        match flushed.filter(|_| self.begun.is_some()) {
            Some(flushed) if flushed.is_kept => FlushState::Kept,
            // Before the first flush has had its time nothing can be said.
            Some(Flushed { age: None, .. }) | None if is_new => FlushState::Waiting,
            None if !self.guest.has_run => FlushState::Waiting,
            _ => FlushState::Late,
        }
    }
}

impl Lateness {
    /// What is to be told now.
    pub(super) fn look(
        &mut self,
        state: FlushState,
        flushed: Option<Flushed>,
        now: Instant,
    ) -> Option<Told> {
        let lates = flushed.map_or(self.lates, |it| it.lates);
        let is_late = state == FlushState::Late || lates > self.lates;
        self.lates = lates;
        if is_late {
            self.in_time_since = None;
            return (!std::mem::replace(&mut self.is_told, true)).then_some(Told::Late);
        }
        let since = *self.in_time_since.get_or_insert(now);
        if self.is_told && now.saturating_duration_since(since) >= CALM {
            self.is_told = false;
            return Some(Told::InTime);
        }
        None
    }
}

#[cfg(test)]
mod tests;

//! Freezing a guest's file systems for the moment of a point in time, and thawing them whatever
//! happens.
//!
//! A guest that stays frozen is worse than a backup that is not application-consistent. So it is
//! thawed on every way out; and before it is frozen, QEMU is given an empty node whose name says so
//! (see [`super::mark`]), which whoever comes after a process that was killed finds and acts on.
//! How a guest is asked is the caller's: this is a trait.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// How often thawing is tried.
const TRIES: usize = 3;

/// Why a guest did not freeze or thaw, in words for the operator.
#[derive(Debug, thiserror::Error)]
#[error("the guest's agent: {0}")]
pub struct FreezeError(pub String);

/// Who can freeze and thaw a guest: an agent in it.
pub trait Freeze {
    /// Has the guest write all that it holds back and write no more, in at most this time. When it
    /// fails it may be frozen all the same.
    fn freeze(&self, bound: Duration) -> Result<(), FreezeError>;

    /// Lets it go on; nothing where it is not frozen. Whether it had been frozen until now.
    fn thaw(&self) -> Result<bool, FreezeError>;
}

/// What a backup holds of what the guest was doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Consistency {
    /// The guest had written all that it held, and its programs that listen to it had too.
    Application,
    /// As after a power cut at that moment, and why not better.
    Crash(CrashReason),
}

impl Consistency {
    /// As an image's label says it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Application => "application",
            Self::Crash(_) => "crash",
        }
    }
}

/// Why a backup is only crash-consistent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CrashReason {
    /// Nobody can freeze this guest.
    NoAgent,
    /// The guest's processors stood still anyway, so its agent could not be asked.
    NotRunning,
    /// It did not freeze.
    NotFrozen(String),
    /// It was not frozen any more when the point in time was taken, or that can't be told.
    ThawedEarly,
}

/// A guest that is frozen, or may be; thawed when this is dropped.
pub(super) struct Frozen<'a> {
    agent: &'a dyn Freeze,
    since: Instant,
    bound: Duration,
    fault: Option<FreezeError>,
    is_thawed: bool,
}

impl<'a> Frozen<'a> {
    /// Freezes it. Whether that succeeded is told at the end.
    pub(super) fn begin(agent: &'a dyn Freeze, bound: Duration) -> Self {
        let mut frozen =
            Self { agent, since: Instant::now(), bound, fault: None, is_thawed: false };
        if let Err(fault) = agent.freeze(bound) {
            frozen.fault = Some(fault);
            // It may be frozen; it is not worth the time that a point in time takes.
            frozen.is_thawed = thaw(agent).is_ok();
        }
        frozen
    }

    /// Thaws it; what a point in time that was taken meanwhile is, and how long it was frozen.
    ///
    /// # Errors
    /// The guest may still be frozen.
    pub(super) fn end(mut self) -> Result<(Consistency, Duration), FreezeError> {
        let was_frozen = if self.is_thawed { Ok(false) } else { thaw(self.agent) };
        let took = self.since.elapsed();
        self.is_thawed = true;
        let was_frozen = was_frozen? && took <= self.bound;
        let consistency = match self.fault.take() {
            Some(fault) => Consistency::Crash(CrashReason::NotFrozen(fault.0)),
            None if was_frozen => Consistency::Application,
            None => Consistency::Crash(CrashReason::ThawedEarly),
        };
        Ok((consistency, took))
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        if !self.is_thawed {
            // The mark in QEMU stays until a thaw has succeeded.
            let _ = thaw(self.agent);
        }
    }
}

/// Thaws it, with some patience.
pub(super) fn thaw(agent: &dyn Freeze) -> Result<bool, FreezeError> {
    for _ in 1..TRIES {
        if let Ok(was_frozen) = agent.thaw() {
            return Ok(was_frozen);
        }
    }
    agent.thaw()
}

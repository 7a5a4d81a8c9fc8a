//! Freezing a guest's file systems for the moment of a point in time, and thawing them whatever
//! happens.
//!
//! A guest that stays frozen is worse than a backup that is not application-consistent. So it is
//! thawed on every way out; and before it is frozen, QEMU is given an empty node whose name says so
//! (see [`super::mark`]), which whoever comes after a process that was killed finds and acts on.
//! How a guest is asked is the caller's: this is a trait. There are two ways: our own agent, by the
//! host's metadata-server ([`metadata_server`]), and QEMU's guest agent, by a socket of the guest's
//! QEMU ([`qemu_agent`]).

pub mod metadata_server;
pub mod qemu_agent;

use std::{
    fmt,
    sync::{Condvar, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

/// How often thawing is tried.
const TRIES: usize = 3;

/// Why a guest did not freeze or thaw, in words for the operator.
#[derive(Debug, thiserror::Error)]
#[error("the guest's agent: {0}")]
pub struct FreezeError(pub String);

/// What a guest says in words, for an operator's terminal and an offer: no control characters, and
/// not longer than a line or two.
fn words(said: &str) -> String {
    const LONGEST: usize = 240;
    said.chars().take(LONGEST).map(|it| if it.is_control() { ' ' } else { it }).collect()
}

/// File systems on a guest's disks that were not frozen while the others were, each with why, in the
/// guest's words.
pub type LeftOut = Vec<String>;

/// The most that are told of [`LeftOut`].
const MOST_LEFT_OUT: usize = 40;

/// Who can freeze and thaw a guest: an agent in it. A thaw may be asked for from another thread, also
/// while a freeze is waited for.
pub trait Freeze: Sync {
    /// Has the guest write all that it holds back and write no more, in at most this time; what of its
    /// disks was left out, as far as the agent says. When it fails it may be frozen all the same.
    fn freeze(&self, bound: Duration) -> Result<LeftOut, FreezeError>;

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
    /// Why it is not better, if it could be.
    pub fn why_crash(&self) -> Option<&CrashReason> {
        match self {
            Self::Application => None,
            Self::Crash(reason) => Some(reason),
        }
    }

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

impl fmt::Display for CrashReason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::NoAgent => "nobody was asked to freeze the guest",
            Self::NotRunning => {
                "the guest's processors stood still before, so no agent could be asked"
            }
            Self::NotFrozen(why) => why,
            Self::ThawedEarly => {
                "the guest had thawed before the point in time was taken, or may have"
            }
        })
    }
}

/// What a freeze came to.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) consistency: Consistency,
    pub(super) left_out: LeftOut,
    /// How long the guest was frozen.
    pub(super) took: Duration,
}

/// Does this while the guest is frozen, or as frozen as it can be had.
///
/// It is thawed when the bound is over, however long the work takes then, and in any case after it. An
/// error is that it may still be frozen.
pub(super) fn during<T>(
    agent: &dyn Freeze,
    bound: Duration,
    work: impl FnOnce() -> T,
) -> (T, Result<Outcome, FreezeError>) {
    let since = Instant::now();
    let alarm = Alarm::default();
    thread::scope(|scope| {
        let watch = thread::Builder::new().name("thaw".into());
        if let Err(error) = watch.spawn_scoped(scope, || alarm.thaw_after(agent, bound)) {
            // Without it nothing would bound the freeze.
            let reason = CrashReason::NotFrozen(format!("no thread: {error}"));
            let consistency = Consistency::Crash(reason);
            let outcome = Outcome { consistency, left_out: Vec::new(), took: Duration::ZERO };
            return (work(), Ok(outcome));
        }
        // Whatever panics, the scope waits for the thread, and that thaws.
        let frozen = agent.freeze(bound);
        if frozen.is_err() {
            // It may be frozen, and that is not worth the time that the work takes. It is tried
            // again below.
            let _ = thaw(agent);
        }
        let result = work();
        alarm.end();
        let thawed = thaw(agent);
        let took = since.elapsed();
        let outcome = |was_frozen: bool| {
            let (consistency, left_out) = match frozen {
                Err(fault) => (Consistency::Crash(CrashReason::NotFrozen(fault.0)), Vec::new()),
                Ok(left_out) if was_frozen && took <= bound => (Consistency::Application, left_out),
                Ok(_) => (Consistency::Crash(CrashReason::ThawedEarly), Vec::new()),
            };
            Outcome { consistency, left_out, took }
        };
        (result, thawed.map(outcome))
    })
}

/// What thaws a guest when its time is over.
#[derive(Default)]
struct Alarm {
    is_over: Mutex<bool>,
    changed: Condvar,
}

impl Alarm {
    fn thaw_after(&self, agent: &dyn Freeze, bound: Duration) {
        let is_over = self.is_over.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(is_over, bound, |is_over| !*is_over);
        let is_over = *waited.unwrap_or_else(PoisonError::into_inner).0;
        if !is_over {
            // The mark in QEMU stays until a thaw after the work has succeeded.
            let _ = thaw(agent);
        }
    }

    fn end(&self) {
        *self.is_over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[derive(Default)]
    struct Agent(AtomicBool);

    impl Freeze for Agent {
        fn freeze(&self, _bound: Duration) -> Result<LeftOut, FreezeError> {
            self.0.store(true, Ordering::SeqCst);
            Ok(Vec::new())
        }

        fn thaw(&self) -> Result<bool, FreezeError> {
            Ok(self.0.swap(false, Ordering::SeqCst))
        }
    }

    impl Agent {
        fn is_frozen(&self) -> bool {
            self.0.load(Ordering::SeqCst)
        }
    }

    #[test]
    fn a_guest_is_thawed_in_time_though_the_work_is_not_done() {
        let agent = Agent::default();
        let (waited, outcome) = during(&agent, Duration::from_millis(50), || {
            assert!(agent.is_frozen());
            let begin = Instant::now();
            while agent.is_frozen() && begin.elapsed() < Duration::from_secs(20) {
                thread::sleep(Duration::from_millis(1));
            }
            begin.elapsed()
        });
        assert!(waited < Duration::from_secs(10), "{waited:?}");
        let consistency = outcome.unwrap().consistency;
        assert_eq!(consistency, Consistency::Crash(CrashReason::ThawedEarly));
    }

    #[test]
    fn a_guest_is_thawed_though_the_work_panics() {
        let agent = Agent::default();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            during(&agent, Duration::from_millis(50), || panic!("in the middle"))
        }));
        assert!(panicked.is_err());
        assert!(!agent.is_frozen());
    }

    #[test]
    fn work_that_is_done_in_time_is_done_at_once() {
        let agent = Agent::default();
        let begin = Instant::now();
        let (_, outcome) = during(&agent, Duration::from_secs(60), || {});
        assert_eq!(outcome.unwrap().consistency, Consistency::Application);
        assert!(begin.elapsed() < Duration::from_secs(20));
    }
}

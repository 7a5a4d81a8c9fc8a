//! How far a job is: told by the threads that do it, read by who asks, without waiting for each
//! other.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use mezame_images::archive::{Phase, Progress, Watch};
use mezame_model::api::jobs::{Job, JobState};

/// How far a job is, and whether it is to end.
#[derive(Debug, Default)]
pub(crate) struct Ticker {
    done: AtomicU64,
    total: AtomicU64,
    phase: Mutex<Option<Phase>>,
    is_cancelled: AtomicBool,
}

impl Ticker {
    /// Counts anew from here.
    pub(super) fn begin(&self, phase: Option<Phase>) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
        self.tell(Progress::default());
    }

    /// Says that it is to end.
    pub(super) fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::SeqCst);
    }

    /// Fills in how far it is.
    pub(super) fn show(&self, job: &mut Job) {
        let phase = *self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        let phase = phase.filter(|_| job.state == JobState::Running);
        job.phase = phase.map(|phase| phase.as_str().into());
        job.done = self.done.load(Ordering::Relaxed);
        job.total = self.total.load(Ordering::Relaxed);
    }
}

impl Watch for Ticker {
    fn enter(&self, phase: Phase) {
        self.begin(Some(phase));
    }

    fn tell(&self, progress: Progress) {
        self.total.store(progress.total, Ordering::Relaxed);
        self.done.store(progress.done, Ordering::Relaxed);
    }

    fn is_cancelled(&self) -> bool {
        self.is_cancelled.load(Ordering::Relaxed)
    }
}

//! The archive, opened when it is first needed.
//!
//! Nothing is locked while it is opened: an object store that is away takes as long as its patience
//! says. Whoever comes meanwhile waits a little and is then told; whoever comes soon after is told
//! at once, since each try would take as long again. An opening that fails quickly is tried anew at
//! each call: once its file system is mounted the archive is there.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use mezame_images::archive::Archive;

use super::ImagesError;
use crate::fault::chain;

/// How long somebody waits for an opening that is under way.
const WAIT: Duration = Duration::from_secs(10);
/// How long a failure is told again, where it took longer than [`QUICK`] to see.
const REMEMBERED: Duration = Duration::from_secs(10);
const QUICK: Duration = Duration::from_secs(1);

type Open = Box<dyn Fn() -> Result<Archive, ImagesError> + Send + Sync>;

enum State {
    Closed,
    Opening,
    Failed { at: Instant, why: String },
    Open(Arc<Archive>),
}

/// An archive that is open or can be opened.
pub(crate) struct Opened {
    open: Open,
    state: Mutex<State>,
    changed: Condvar,
}

impl Opened {
    /// One that this opens.
    pub(crate) fn by(
        open: impl Fn() -> Result<Archive, ImagesError> + Send + Sync + 'static,
    ) -> Self {
        let state = Mutex::new(State::Closed);
        Self { open: Box::new(open), state, changed: Condvar::new() }
    }

    /// The archive. Blocks.
    pub(crate) fn archive(&self) -> Result<Arc<Archive>, ImagesError> {
        let mut turn = match self.turn()? {
            Turned::Open(archive) => return Ok(archive),
            Turned::Mine(turn) => turn,
        };
        let begun = Instant::now();
        let opened = (self.open)();
        turn.then = match &opened {
            Err(error) if begun.elapsed() >= QUICK => {
                State::Failed { at: Instant::now(), why: chain(error) }
            }
            _ => State::Closed,
        };
        let archive = Arc::new(opened?);
        turn.then = State::Open(Arc::clone(&archive));
        Ok(archive)
    }

    /// The archive, or the turn to open it.
    fn turn(&self) -> Result<Turned<'_>, ImagesError> {
        let until = Instant::now() + WAIT;
        let mut state = self.state();
        loop {
            match &*state {
                State::Open(archive) => return Ok(Turned::Open(Arc::clone(archive))),
                State::Failed { at, why } if at.elapsed() < REMEMBERED => {
                    return Err(ImagesError::Away { why: why.clone() });
                }
                State::Closed | State::Failed { .. } => {
                    *state = State::Opening;
                    return Ok(Turned::Mine(Turn { opened: self, then: State::Closed }));
                }
                State::Opening => {}
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ImagesError::Away { why: "it is being opened".into() });
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Turned<'a> {
    Open(Arc<Archive>),
    Mine(Turn<'a>),
}

/// Whose turn it is to open it; leaves what is so then.
struct Turn<'a> {
    opened: &'a Opened,
    then: State,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.opened.state() = std::mem::replace(&mut self.then, State::Closed);
        self.opened.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc::channel,
    };

    use mezame_images::{
        archive::{Settings, store::memory::Memory},
        environment::SystemEnvironment,
    };

    use super::*;

    fn archive() -> Archive {
        let environment = Arc::new(SystemEnvironment::new());
        Archive::create(Arc::new(Memory::default()), environment, Settings::default()).unwrap()
    }

    fn not_made() -> ImagesError {
        ImagesError::NotMade { place: "nowhere".into() }
    }

    #[test]
    fn what_fails_quickly_is_tried_at_each_call_and_what_is_open_stays_so() {
        let tries = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&tries);
        let opened = Opened::by(move || match counted.fetch_add(1, Ordering::SeqCst) {
            0 | 1 => Err(not_made()),
            _ => Ok(archive()),
        });
        for _ in 0..2 {
            assert!(matches!(opened.archive(), Err(ImagesError::NotMade { .. })));
        }
        let first = opened.archive().unwrap();
        assert!(Arc::ptr_eq(&first, &opened.archive().unwrap()));
        assert_eq!(tries.load(Ordering::SeqCst), 3);
    }

    #[test]
    fn a_failure_that_took_long_is_told_again_without_another_try() {
        let tries = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&tries);
        let opened = Opened::by(move || {
            counted.fetch_add(1, Ordering::SeqCst);
            // What is tried here is that this takes long.
            std::thread::sleep(QUICK);
            Err(not_made())
        });
        assert!(matches!(opened.archive(), Err(ImagesError::NotMade { .. })));
        let again = opened.archive().unwrap_err();
        assert!(
            matches!(&again, ImagesError::Away { why } if why.contains("nowhere")),
            "{again:?}"
        );
        assert_eq!(tries.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn who_comes_while_it_is_opened_gets_it_then_and_a_panic_is_no_end() {
        let (release, held) = channel::<bool>();
        let (began, has_begun) = channel();
        let held = Mutex::new(held);
        let opened = Opened::by(move || {
            began.send(()).unwrap();
            assert!(held.lock().unwrap_or_else(PoisonError::into_inner).recv().unwrap(), "meant");
            Ok(archive())
        });
        std::thread::scope(|scope| {
            let failing = scope.spawn(|| opened.archive());
            has_begun.recv().unwrap();
            release.send(false).unwrap();
            assert!(failing.join().is_err());
            let first = scope.spawn(|| opened.archive().unwrap());
            has_begun.recv().unwrap();
            let second = scope.spawn(|| opened.archive().unwrap());
            release.send(true).unwrap();
            assert!(Arc::ptr_eq(&first.join().unwrap(), &second.join().unwrap()));
        });
    }
}

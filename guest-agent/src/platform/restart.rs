//! A service that is to begin anew, so that it reads what was written for it.
//!
//! ```text
//!   due ─► written ─► does it run? ─ no ──────────────────────► forgotten
//!                         └ yes ─► begun ─► stopped, started ─► forgotten
//! ```
//! Each state is noted before what follows it is done: a run that is killed on the way, or whose
//! restart fails, leaves its note, and the next run goes on from there. One that was begun is
//! started whether it runs or not, since it may be the agent who has stopped it. Notes are kept
//! where no boot finds them again: a service that is started later reads its files by itself.

use super::{Change, Result};

/// How far a restart has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Its files are about to be written, or were.
    Written,
    /// It ran, and is about to be stopped, or was.
    Begun,
}

/// A service, and the note that is kept on it.
pub trait Restart {
    /// The note.
    fn due(&self) -> Result<Option<Due>>;
    /// Writes the note, or takes it away.
    fn note(&self, due: Option<Due>) -> Result<()>;
    /// Whether the service runs, or is about to.
    fn runs(&self) -> Result<bool>;
    /// Stops the service where it runs, and starts it.
    fn restart(&self) -> Result<()>;
}

/// Notes that a restart is due: to be called before anything is written.
pub fn announce(service: &dyn Restart) -> Result<()> {
    match service.due()? {
        Some(_) => Ok(()),
        None => service.note(Some(Due::Written)),
    }
}

/// Does a restart that is due.
pub fn complete(service: &dyn Restart) -> Result<Change> {
    let Some(due) = service.due()? else { return Ok(Change::Same) };
    if due == Due::Written {
        if !service.runs()? {
            return service.note(None).map(|()| Change::Same);
        }
        service.note(Some(Due::Begun))?;
    }
    service.restart()?;
    service.note(None)?;
    Ok(Change::Changed)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::platform::PlatformError;

    /// A service that is killed, with the agent, after so many deeds.
    struct Service {
        due: Cell<Option<Due>>,
        runs: Cell<bool>,
        restarts: Cell<u32>,
        left: Cell<u32>,
    }

    impl Service {
        fn new(runs: bool) -> Self {
            Self {
                due: Cell::new(None),
                runs: Cell::new(runs),
                restarts: Cell::new(0),
                left: Cell::new(u32::MAX),
            }
        }

        fn deed(&self) -> Result<()> {
            let Some(left) = self.left.get().checked_sub(1) else {
                return Err(PlatformError::Unsupported { what: "it was killed" });
            };
            self.left.set(left);
            Ok(())
        }
    }

    impl Restart for Service {
        fn due(&self) -> Result<Option<Due>> {
            Ok(self.due.get())
        }

        fn note(&self, due: Option<Due>) -> Result<()> {
            self.deed()?;
            self.due.set(due);
            Ok(())
        }

        fn runs(&self) -> Result<bool> {
            Ok(self.runs.get())
        }

        fn restart(&self) -> Result<()> {
            self.deed()?;
            self.runs.set(false);
            self.deed()?;
            self.runs.set(true);
            self.restarts.set(self.restarts.get() + 1);
            Ok(())
        }
    }

    #[test]
    fn a_service_is_restarted_wherever_the_agent_was_killed_and_runs_again() {
        for kill in 0..6 {
            let service = Service::new(true);
            service.left.set(kill);
            let whole = announce(&service).and_then(|()| complete(&service)).is_ok();
            assert_eq!(whole, kill == 5, "killed after {kill} deeds");
            let is_written = kill > 0;
            service.left.set(u32::MAX);
            // The next run finds the file as it is to be.
            complete(&service).unwrap();
            assert!(service.runs.get(), "killed after {kill} deeds");
            assert_eq!(service.restarts.get() > 0, is_written, "killed after {kill} deeds");
            assert_eq!(complete(&service).unwrap(), Change::Same, "once more nothing is due");
        }
    }

    #[test]
    fn a_service_that_does_not_run_is_not_started_and_what_is_begun_is_not_forgotten() {
        let service = Service::new(false);
        announce(&service).unwrap();
        assert_eq!(complete(&service).unwrap(), Change::Same);
        assert!(!service.runs.get() && service.due.get().is_none());
        // Another change, after a run that has stopped it.
        service.due.set(Some(Due::Begun));
        announce(&service).unwrap();
        assert_eq!(complete(&service).unwrap(), Change::Changed);
        assert!(service.runs.get());
    }
}

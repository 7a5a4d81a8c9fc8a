//! Ending what runs as a user, and when nobody is in any more. Pure: what the system can do is
//! passed in.
//!
//! ```text
//!   log off each session ─► end the processes, look again … ─► none left ─► out
//!                                                                 └─ a log-off failed ─► look
//!                                                   whether a session is still the user's, again …
//! ```
//! A process may start another one while it is ended, and a session may end by itself, or with the
//! last of its processes: that it could not be logged off is a fault only where it stays.

use crate::platform::{Change, Result};

/// So often it is looked.
const ROUNDS: u32 = 20;

/// What a system knows of a user who is in, and can do about it.
pub trait Presence {
    /// A process of the user's.
    type Process;

    /// The user's sessions.
    fn sessions(&self) -> Result<Vec<u32>>;
    /// Has a session end; it is not waited for.
    fn log_off(&self, session: u32) -> Result<()>;
    /// The user's processes.
    fn processes(&self) -> Result<Vec<Self::Process>>;
    /// Ends a process, if it has not ended.
    fn end(&self, process: Self::Process);
    /// That some are left.
    fn left(&self) -> crate::platform::PlatformError;
    /// Lets time pass between two looks.
    fn pause(&self);
}

/// Ends all that runs as the user.
pub fn evict(presence: &impl Presence) -> Result<Change> {
    let mut change = Change::Same;
    let mut logged_off = Ok(());
    for session in presence.sessions()? {
        logged_off = logged_off.and(presence.log_off(session));
        change = Change::Changed;
    }
    for _ in 0..ROUNDS {
        let left = presence.processes()?;
        if left.is_empty() {
            return is_out(presence, logged_off).map(|()| change);
        }
        change = Change::Changed;
        left.into_iter().for_each(|process| presence.end(process));
        presence.pause();
    }
    match presence.processes()?.is_empty() {
        true => is_out(presence, logged_off).map(|()| change),
        false => Err(presence.left()),
    }
}

/// A session that was logged off well may be there for a moment yet.
fn is_out(presence: &impl Presence, logged_off: Result<()>) -> Result<()> {
    let Err(error) = logged_off else { return Ok(()) };
    for _ in 0..ROUNDS {
        if presence.sessions()?.is_empty() {
            return Ok(());
        }
        presence.pause();
    }
    Err(error)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::platform::PlatformError;

    /// A user with one session, which can't be logged off; how many pauses it and the processes
    /// last.
    struct User {
        session: u32,
        processes: u32,
        pauses: Cell<u32>,
        ended: Cell<u32>,
    }

    impl Presence for User {
        type Process = ();

        fn sessions(&self) -> Result<Vec<u32>> {
            Ok(if self.pauses.get() < self.session { vec![1] } else { Vec::new() })
        }

        fn log_off(&self, _: u32) -> Result<()> {
            Err(PlatformError::Unsupported { what: "it can't be logged off" })
        }

        fn processes(&self) -> Result<Vec<()>> {
            Ok(if self.pauses.get() < self.processes { vec![()] } else { Vec::new() })
        }

        fn end(&self, (): ()) {
            self.ended.set(self.ended.get() + 1);
        }

        fn left(&self) -> PlatformError {
            PlatformError::Unsupported { what: "some are left" }
        }

        fn pause(&self) {
            self.pauses.set(self.pauses.get() + 1);
        }
    }

    fn of(session: u32, processes: u32) -> (std::result::Result<Change, String>, u32) {
        let user = User { session, processes, pauses: Cell::new(0), ended: Cell::new(0) };
        (evict(&user).map_err(|error| error.to_string()), user.ended.get())
    }

    #[test]
    fn a_session_that_ends_though_it_could_not_be_logged_off_is_no_fault() {
        assert_eq!(of(0, 0), (Ok(Change::Same), 0), "nobody was in");
        assert_eq!(of(1, 1), (Ok(Change::Changed), 1), "it ended with its last process");
        assert_eq!(of(5, 2), (Ok(Change::Changed), 2), "it took a moment");
    }

    #[test]
    fn a_session_or_a_process_that_stays_is_told() {
        let (told, _) = of(u32::MAX, 1);
        assert!(told.unwrap_err().contains("it can't be logged off"));
        let (told, ended) = of(1, u32::MAX);
        assert!(told.unwrap_err().contains("some are left"));
        assert_eq!(ended, ROUNDS);
        assert_eq!(of(1, ROUNDS).0, Ok(Change::Changed), "gone at the last look");
    }
}

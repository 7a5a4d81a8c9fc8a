//! A guest's monitor, by its socket. It serves one client at a time, and is waited for while it is another's.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use mezame_images::qmp::{Qmp, QmpError};

use super::{COMMAND, ExecutorError, Local, SOON, TURN};

impl Local {
    /// A guest's monitor, waited for while somebody else has it.
    pub(super) fn monitor(path: &Path) -> Result<Qmp, ExecutorError> {
        Self::monitor_within(path, COMMAND, TURN)
    }

    /// The same for who waits for an answer.
    pub(super) fn monitor_soon(path: &Path) -> Result<Qmp, ExecutorError> {
        Self::monitor_within(path, SOON, SOON)
    }

    fn monitor_within(
        path: &Path,
        command: Duration,
        turn: Duration,
    ) -> Result<Qmp, ExecutorError> {
        let begin = Instant::now();
        loop {
            match Qmp::connect(path, command) {
                Err(QmpError::Deadline { .. }) if begin.elapsed() < turn => {
                    thread::sleep(Duration::from_millis(50));
                }
                other => return Ok(other?),
            }
        }
    }
}

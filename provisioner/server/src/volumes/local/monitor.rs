//! A guest's monitor, by its socket. It serves one client at a time, and is waited for while it is another's.

use std::{
    io,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use mezame_images::{
    qmp::{Qmp, QmpError},
    volume::flusher::server,
};

use super::{COMMAND, ExecutorError, Facts, Local, Reason, SOON, TURN};
use crate::volumes::monitors::GuestMonitor;

impl Local {
    /// A guest's monitor, waited for while somebody else has it.
    pub(super) fn monitor(path: &Path) -> Result<Qmp, ExecutorError> {
        Ok(reached(path, COMMAND, TURN)??)
    }

    /// The same for who waits for an answer.
    pub(super) fn monitor_soon(path: &Path) -> Result<Qmp, ExecutorError> {
        Ok(reached(path, SOON, SOON)??)
    }

    /// Whether a QEMU is there. One that serves somebody else is.
    pub(super) fn is_listened_to(path: &Path) -> bool {
        !matches!(Qmp::connect(path, COMMAND), Err(error) if is_nobody(&error))
    }

    /// The monitor of the QEMU that is asked. None where none is known, or the one that is kept is not
    /// there or has none of the volumes: what is done then is done under QEMU's lock.
    pub(super) fn asked<'a>(
        &self,
        monitor: Option<&'a GuestMonitor>,
        volumes: &[Facts],
    ) -> Result<Option<&'a Path>, ExecutorError> {
        let path = match monitor {
            None => return Ok(None),
            Some(GuestMonitor::Named(path)) => return Ok(Some(path)),
            Some(GuestMonitor::Kept(path)) => path,
        };
        let Ok(mut qmp) = reached(path, COMMAND, TURN)? else { return Ok(None) };
        for facts in volumes {
            if server::has(&mut qmp, &self.volume_of(facts)?)? {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }
}

/// A monitor, waited for in turns; or that nobody is there.
pub(super) fn reached(
    path: &Path,
    command: Duration,
    turn: Duration,
) -> Result<Result<Qmp, QmpError>, ExecutorError> {
    let begin = Instant::now();
    loop {
        match Qmp::connect(path, command) {
            Err(QmpError::Deadline { .. }) if begin.elapsed() < turn => {
                thread::sleep(Duration::from_millis(50));
            }
            Err(error) if is_nobody(&error) => return Ok(Err(error)),
            other => return Ok(Ok(other?)),
        }
    }
}

/// Whether nobody listens: the guest has ended, or has not begun.
fn is_nobody(error: &QmpError) -> bool {
    use io::ErrorKind::{ConnectionRefused, NotFound};
    matches!(
        error,
        QmpError::Connect { source, .. } if matches!(source.kind(), NotFound | ConnectionRefused)
    )
}

/// Why a volume whose guest was taken to be off is in use: where it was looked for, too.
pub(super) fn of_stopped(error: ExecutorError, monitor: Option<&GuestMonitor>) -> ExecutorError {
    let Some(monitor) = monitor.filter(|_| error.reason == Reason::InUse) else { return error };
    let path = monitor.path().display();
    let message = match monitor {
        GuestMonitor::Named(_) => format!("nobody listens at {path}, and the volume is in use"),
        GuestMonitor::Kept(_) => format!(
            "no QEMU that has it listens at {path}, for which it was opened, and the volume is in use"
        ),
    };
    ExecutorError::new(Reason::Monitor, message)
}

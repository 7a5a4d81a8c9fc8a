//! The lock on a directory whose files change: flock(2) on a file of its own. The kernel gives it
//! back when its holder ends, however it ends.

use std::{
    fs::{File, TryLockError},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use super::{CloneError, failed};

/// How long another process of ours may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Holds a directory's lock file, until it is dropped.
pub(super) fn hold(path: &Path) -> Result<File, CloneError> {
    let file = File::open(path).map_err(failed("opening", path))?;
    let begin = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(source)) => return Err(failed("locking", path)(source)),
            Err(TryLockError::WouldBlock) if begin.elapsed() > PATIENCE => {
                return Err(CloneError::Busy { path: path.into() });
            }
            Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(5)),
        }
    }
}

//! Locks on what is made beside others of our processes, by a file that comes and goes with it.
//!
//! It is flock(2), which the kernel gives back when its holder ends, however it ends. The file may be
//! removed by who holds it alone, and by nobody else: whoever had it open meanwhile takes another one. It
//! waits for nobody.

use std::{
    fs::{File, TryLockError},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use super::RestoreError;
use crate::clone::is_named;

/// A lock's file, held until this is dropped.
#[derive(Debug)]
pub(super) struct Held {
    _file: File,
}

impl Held {
    /// Held by nobody else; None where somebody holds it.
    pub(super) fn alone(path: &Path) -> Result<Option<Self>, RestoreError> {
        Self::by(path, File::try_lock)
    }

    /// Held beside others who hold it so; None where somebody holds it alone.
    pub(super) fn together(path: &Path) -> Result<Option<Self>, RestoreError> {
        Self::by(path, File::try_lock_shared)
    }

    fn by(
        path: &Path,
        lock: fn(&File) -> Result<(), TryLockError>,
    ) -> Result<Option<Self>, RestoreError> {
        let mut options = File::options();
        options.create(true).truncate(false).write(true).mode(0o600);
        let file = options.open(path).map_err(RestoreError::io("opening", path))?;
        match lock(&file) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(source)) => {
                return Err(RestoreError::io("locking", path)(source));
            }
        }
        // Whoever had it may have removed it since it was opened: then it keeps nobody from anything.
        let is_it = is_named(&file, path).map_err(RestoreError::io("finding", path))?;
        Ok(is_it.then_some(Self { _file: file }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_hold_it_together_or_one_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let together = [(); 2].map(|()| Held::together(&path).unwrap().unwrap());
        assert!(Held::alone(&path).unwrap().is_none());
        drop(together);
        let alone = Held::alone(&path).unwrap().unwrap();
        assert!(Held::alone(&path).unwrap().is_none() && Held::together(&path).unwrap().is_none());
        // Its holder may remove it, and the next one has another.
        std::fs::remove_file(&path).unwrap();
        let next = Held::alone(&path).unwrap();
        assert!(next.is_some());
        drop(alone);
        assert!(Held::together(&path).unwrap().is_none());
    }
}

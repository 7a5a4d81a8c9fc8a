//! Where a path to a monitor leads. It comes from a request, or from a schedule, and may lie on a file
//! system that does not answer: it is looked at by a thread of its own, for a while, and never by the
//! runtime's.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::sync::{Semaphore, oneshot};

use super::{
    VolumesError,
    executor::{ExecutorError, Reason},
};

/// How long a look may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Those who look: a path that hangs keeps its place until it answers.
pub(super) struct Lookout(Arc<Semaphore>);

impl Default for Lookout {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(32)))
    }
}

impl Lookout {
    /// The socket's one name, or the path itself where nothing is there.
    pub(super) async fn socket(&self, path: &Path) -> Result<PathBuf, VolumesError> {
        let path = path.to_owned();
        let (of, look) = (path.clone(), move || socket(&path));
        self.within(PATIENCE, &of, look).await
    }

    async fn within(
        &self,
        patience: Duration,
        path: &Path,
        look: impl FnOnce() -> PathBuf + Send + 'static,
    ) -> Result<PathBuf, VolumesError> {
        let looked = async {
            let place = Arc::clone(&self.0).acquire_owned().await.ok()?;
            let (tell, told) = oneshot::channel();
            let thread = std::thread::Builder::new().name("monitor-path".into());
            let look = move || {
                // Who asked may have gone by now.
                let _ = tell.send(look());
                drop(place);
            };
            thread.spawn(look).ok()?;
            told.await.ok()
        };
        let found = tokio::time::timeout(patience, looked).await.ok().flatten();
        found.ok_or_else(|| {
            let message = format!("{} can't be looked at: its file system hangs", path.display());
            ExecutorError::new(Reason::Monitor, message).into()
        })
    }
}

/// The same, where it may take as long as it does.
pub(super) fn socket(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[tokio::test]
    async fn a_path_that_does_not_answer_is_given_up_and_keeps_nobody_else_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let (socket, other) = (folder.path().join("qmp"), folder.path().join("by-another-name"));
        std::fs::write(&socket, "").unwrap();
        std::os::unix::fs::symlink(&socket, &other).unwrap();
        let lookout = Lookout::default();
        let (release, held) = channel::<()>();
        let hung = lookout.within(Duration::from_millis(20), Path::new("/mnt/qmp"), move || {
            let _ = held.recv();
            PathBuf::new()
        });
        let looked = lookout.socket(&other);
        let (hung, looked) = tokio::join!(hung, looked);
        assert!(hung.unwrap_err().to_string().contains("/mnt/qmp"));
        assert_eq!(looked.unwrap(), socket.canonicalize().unwrap());
        assert_eq!(lookout.socket(Path::new("/nowhere/x")).await.unwrap(), Path::new("/nowhere/x"));
        drop(release);
    }
}

//! Which monitor a call means that names none, and which socket a monitor's path leads to.
//!
//! The path comes from a request, or from a schedule, and may lie on a file system that does not
//! answer: it is looked at by a thread of its own, for a while, and never by the runtime's.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use mezame_images::volume::VolumeId;
use mezame_model::ProjectName;
use tokio::sync::{Semaphore, oneshot};

use super::{
    Volumes, VolumesError,
    checks::check_monitor,
    executor::{ExecutorError, Reason},
};

/// The monitor of a guest, and whence it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum GuestMonitor {
    /// Who asks has named it.
    Named(PathBuf),
    /// The volumes were opened for it. That guest may be off since, or its path another's.
    Kept(PathBuf),
}

impl GuestMonitor {
    /// Where it listens, if it does.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Named(path) | Self::Kept(path) => path,
        }
    }
}

impl Volumes {
    /// The monitor of the QEMU that has these volumes open: the one that is named, else the one that those
    /// of them were opened for of which it was said. None where it was of none.
    pub(super) async fn monitor_of(
        &self,
        project: &ProjectName,
        volumes: &[VolumeId],
        named: Option<PathBuf>,
    ) -> Result<Option<GuestMonitor>, VolumesError> {
        if let Some(named) = named {
            check_monitor(&named)?;
            return Ok(Some(GuestMonitor::Named(named)));
        }
        let mut known = BTreeSet::new();
        for id in volumes {
            known.extend(self.here(project, id)?.monitor().map(Path::to_owned));
        }
        if known.len() > 1 {
            // They may be one by several names.
            let mut sockets = BTreeSet::new();
            for path in &known {
                sockets.insert(self.lookout.socket(path).await?);
            }
            known = sockets;
        }
        one_of(known)
    }

    /// The same, of work that a running guest is needed for.
    pub(super) async fn monitor_needed(
        &self,
        project: &ProjectName,
        volume: &VolumeId,
        named: Option<PathBuf>,
    ) -> Result<PathBuf, VolumesError> {
        let known = self.monitor_of(project, std::slice::from_ref(volume), named).await?;
        let known = known.map(|monitor| monitor.path().to_owned());
        known.ok_or_else(|| {
            let mend = "name the QMP socket of the QEMU that has the volume open";
            VolumesError::fault("qmp", "it is missing, and the volume was opened without", mend)
        })
    }
}

/// The one that all of them were opened for.
fn one_of(mut known: BTreeSet<PathBuf>) -> Result<Option<GuestMonitor>, VolumesError> {
    let first = known.pop_first();
    match (first, known.pop_first()) {
        (Some(first), Some(second)) => {
            let (first, second) = (first.display(), second.display());
            let message = format!("the volumes were opened for several guests: {first}, {second}");
            let mend = "ask for one guest's at a time, or name the QMP socket";
            Err(VolumesError::fault("qmp", message, mend))
        }
        (first, _) => Ok(first.map(GuestMonitor::Kept)),
    }
}

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

    #[test]
    fn volumes_that_were_opened_for_one_guest_have_its_monitor_and_those_of_two_have_none() {
        let of = |all: &[&str]| one_of(all.iter().map(PathBuf::from).collect());
        assert_eq!(of(&[]).unwrap(), None);
        let web = GuestMonitor::Kept("/run/web".into());
        assert_eq!(of(&["/run/web", "/run/web"]).unwrap(), Some(web));
        let VolumesError::Faults(faults) = of(&["/run/web", "/run/db"]).unwrap_err() else {
            panic!("it is a fault of the call")
        };
        assert_eq!(faults[0].path, "qmp");
        assert!(faults[0].message.ends_with("/run/db, /run/web"), "{}", faults[0].message);
    }

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

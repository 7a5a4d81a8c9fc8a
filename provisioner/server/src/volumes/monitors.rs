//! Which monitor a call means that names none. It asks no monitor.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use mezame_images::volume::VolumeId;
use mezame_model::ProjectName;

use super::{Volumes, VolumesError, checks::check_monitor};

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

#[cfg(test)]
mod tests {
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
}

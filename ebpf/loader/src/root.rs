//! Where links, programs and maps are pinned.
//!
//! ```text
//! ROOT/v2/maps/{ports,states,…}   ROOT/v2/programs/{guest_ingress,uplink_ingress}
//! ROOT/v2/links/{uplink,port-7,…}
//! ```
//! `v2` is the maps' layout version. Only this crate's own names are touched there.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use mezame_ebpf_common::LAYOUT;
use nix::{
    mount::{MsFlags, mount},
    sys::statfs::statfs,
};

/// A directory of bpffs, such as `/sys/fs/bpf/mezame`. Everything lies in a subdirectory of the
/// maps' layout version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinRoot(PathBuf);

/// A directory for pins could not be had.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// A directory could not be made or read.
    #[error("can't use {path}")]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// bpffs could not be mounted.
    #[error("can't mount bpffs at {path}")]
    Mount {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

const CUSTOMARY: &str = "/sys/fs/bpf";
/// `BPF_FS_MAGIC` of linux/magic.h.
const BPFFS: i64 = 0xcafe_4a11;

impl PinRoot {
    /// Names the directory; nothing is made yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn version(&self) -> PathBuf {
        self.0.join(format!("v{LAYOUT}"))
    }

    pub(crate) fn maps(&self) -> PathBuf {
        self.version().join("maps")
    }

    pub(crate) fn programs(&self) -> PathBuf {
        self.version().join("programs")
    }

    pub(crate) fn links(&self) -> PathBuf {
        self.version().join("links")
    }

    /// Directories of other layout versions.
    pub(crate) fn other_versions(&self) -> Result<Vec<PathBuf>, RootError> {
        let ours = self.version();
        let mut found = Vec::new();
        for path in list(&self.0)? {
            let digits = path.file_name().and_then(|name| name.to_str()?.strip_prefix('v'));
            let is_version = digits.is_some_and(|digits| digits.parse::<u32>().is_ok());
            if is_version && path != ours {
                found.push(path);
            }
        }
        Ok(found)
    }

    /// Makes the directories, and mounts bpffs where there is none: at `/sys/fs/bpf` for a path
    /// below it, else at the path itself.
    pub(crate) fn prepare(&self) -> Result<(), RootError> {
        let place = if self.0.starts_with(CUSTOMARY) { Path::new(CUSTOMARY) } else { &self.0 };
        if !is_bpffs(&self.0) {
            fs::create_dir_all(place).map_err(|source| directory(place, source))?;
            if !is_bpffs(place) {
                mount(Some("bpf"), place, Some("bpf"), MsFlags::empty(), Some("mode=0700"))
                    .map_err(|errno| RootError::Mount {
                        path: place.into(),
                        source: errno.into(),
                    })?;
            }
        }
        for path in [self.maps(), self.programs(), self.links()] {
            fs::create_dir_all(&path).map_err(|source| directory(&path, source))?;
        }
        Ok(())
    }
}

/// Whether a path, or the nearest ancestor that exists, is on bpffs.
fn is_bpffs(path: &Path) -> bool {
    path.ancestors()
        .find_map(|ancestor| statfs(ancestor).ok())
        .is_some_and(|found| found.filesystem_type().0 == BPFFS)
}

fn directory(path: &Path, source: io::Error) -> RootError {
    RootError::Directory { path: path.into(), source }
}

/// The entries of a directory; none if it does not exist.
pub(crate) fn list(path: &Path) -> Result<Vec<PathBuf>, RootError> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(directory(path, error)),
    };
    entries
        .map(|entry| entry.map(|entry| entry.path()).map_err(|source| directory(path, source)))
        .collect()
}

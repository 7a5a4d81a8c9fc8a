//! Build directories that outlive a clone: the standard library for other systems, and the crates of
//! the instrumented builds, take minutes to compile and are the same in every clone.
//!
//! They lie in the cache, below `build`. Cargo tells clones apart by their paths, so that a clone's
//! own crates are compiled from its own source; but the finished programs of all clones have one
//! path. So each is used by one chore at a time, which takes away what it wants to run. One that has
//! grown too large is begun anew. Nothing that is installed or shipped is taken from here.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};

use crate::{build, setup};

/// A build directory that is kept, locked for as long as this lives.
pub(crate) struct Kept {
    directory: PathBuf,
    _lock: Flock<File>,
}

/// Above this, in bytes, it is begun anew: old versions of crates are never taken away by cargo.
const LARGEST: u64 = 3 << 30;

impl Kept {
    /// Opens the one of this name, waiting for another chore to end with it.
    pub(crate) fn open(name: &str) -> Result<Self> {
        let all = setup::cache_root().join("build");
        fs::create_dir_all(&all).with_context(|| format!("making {}", all.display()))?;
        let path = all.join(format!("{name}.lock"));
        let file = File::create(&path).with_context(|| format!("making {}", path.display()))?;
        let lock = Flock::lock(file, FlockArg::LockExclusive)
            .map_err(|(_, error)| error)
            .with_context(|| format!("locking {}", path.display()))?;
        let directory = all.join(name);
        if directory.exists() && size(&directory)? > LARGEST {
            fs::remove_dir_all(&directory)
                .with_context(|| format!("removing {}", directory.display()))?;
        }
        Ok(Self { directory, _lock: lock })
    }

    /// What cargo is to have as its target directory.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Copies a finished program, named by its path in the directory, into this clone's own target
    /// directory, and gives its path there.
    pub(crate) fn take(&self, program: &Path, folder: &Path) -> Result<PathBuf> {
        let from = self.directory.join(program);
        let to = build::target().join(folder).join(program.file_name().unwrap_or_default());
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).with_context(|| format!("making {}", parent.display()))?;
        }
        // Under another name first: the old one may be running.
        let partial = to.with_extension("partial");
        fs::copy(&from, &partial)
            .with_context(|| format!("copying {} to {}", from.display(), partial.display()))?;
        fs::rename(&partial, &to).with_context(|| format!("making {}", to.display()))?;
        Ok(to)
    }
}

/// How many bytes the files below have.
fn size(directory: &Path) -> Result<u64> {
    let (mut sum, mut left) = (0, vec![directory.to_owned()]);
    while let Some(directory) = left.pop() {
        let entries =
            fs::read_dir(&directory).with_context(|| format!("reading {}", directory.display()))?;
        for entry in entries {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                left.push(entry.path());
            } else if kind.is_file() {
                sum += entry.metadata()?.len();
            }
        }
    }
    Ok(sum)
}

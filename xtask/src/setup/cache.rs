//! The cache of what is downloaded and built once: guest kernel, guest images, tools.
//!
//! Whatever lies there under its final name is whole: it is made under a name ending in
//! `.partial` and renamed. One set-up at a time; what an interrupted one left is removed.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};

/// The cache, locked for as long as this lives.
pub(crate) struct Cache {
    root: PathBuf,
    _lock: Flock<File>,
}

/// Where the cache is: `$MEZAME_CACHE`, or `/var/cache/mezame`.
pub(crate) fn root() -> PathBuf {
    std::env::var_os("MEZAME_CACHE").map_or_else(|| "/var/cache/mezame".into(), PathBuf::from)
}

impl Cache {
    /// Opens and locks it, waiting for another set-up to end.
    pub(crate) fn open() -> Result<Self> {
        let root = root();
        fs::create_dir_all(&root).with_context(|| format!("making {}", root.display()))?;
        let path = root.join("lock");
        let file = File::create(&path).with_context(|| format!("making {}", path.display()))?;
        let lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err((file, nix::errno::Errno::EWOULDBLOCK)) => {
                eprintln!("… waiting for another set-up to end");
                Flock::lock(file, FlockArg::LockExclusive)
                    .map_err(|(_, error)| error)
                    .context("locking the cache")?
            }
            Err((_, error)) => return Err(error).context("locking the cache"),
        };
        let cache = Self { root, _lock: lock };
        cache.remove_partial()?;
        Ok(cache)
    }

    /// A path in the cache.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Makes `name` (a directory) by `build`, so that it is there whole or not at all. An older
    /// one of the same name is replaced.
    pub(crate) fn install(
        &self,
        name: &str,
        build: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let target = self.path(name);
        let partial = self.path(&format!("{name}.partial"));
        remove(&partial)?;
        fs::create_dir_all(&partial).with_context(|| format!("making {}", partial.display()))?;
        build(&partial)?;
        let old = self.path(&format!("{name}.old.partial"));
        if target.exists() {
            fs::rename(&target, &old).with_context(|| format!("renaming {}", target.display()))?;
        }
        fs::rename(&partial, &target).with_context(|| format!("renaming {}", partial.display()))?;
        remove(&old)?;
        Ok(target)
    }

    fn remove_partial(&self) -> Result<()> {
        for entry in fs::read_dir(&self.root).context("reading the cache")? {
            let path = entry.context("reading the cache")?.path();
            if path.extension().is_some_and(|extension| extension == "partial") {
                remove(&path)?;
            }
        }
        Ok(())
    }
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}

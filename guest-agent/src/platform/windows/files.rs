//! Files that the agent writes, at their place or below a rehearsal's root.
//!
//! The agent runs as LocalSystem, so it must not be led astray: a path that leads over a symbolic
//! link or a junction is refused. (It is looked at before it is used, and not held: who can make a
//! junction in between can lead one write astray. Only administrators can, outside of a user's own
//! profile.) Files are written beside their place, put on the disk, and then renamed.

use std::{
    fs,
    io::{self, Read, Write},
    path::{Component, Path, PathBuf, Prefix},
};

use super::access;
use crate::platform::{Change, PlatformError, Result};

/// Longer files are not read.
const MAX_FILE: u64 = 64 << 20;

/// A root that paths of the guest are below.
#[derive(Debug, Clone)]
pub(super) struct Files {
    root: PathBuf,
}

impl Files {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Where a path of the guest is: below the root, and those of other drives below its letter.
    pub(super) fn outside(&self, path: &str) -> Result<PathBuf> {
        let invalid = |why: &str| PlatformError::Invalid { what: "path", why: why.to_owned() };
        let system = super::super::root();
        if self.root == system {
            return Ok(PathBuf::from(path));
        }
        let mut out = self.root.clone();
        for component in Path::new(path).components() {
            match component {
                Component::Prefix(prefix) => match prefix.kind() {
                    Prefix::Disk(letter) => {
                        let drive = format!("{}:\\", char::from(letter.to_ascii_uppercase()));
                        if Path::new(&drive) != system {
                            out.push(char::from(letter).to_string());
                        }
                    }
                    _ => return Err(invalid("it begins with no drive")),
                },
                Component::RootDir | Component::CurDir => {}
                Component::ParentDir => return Err(invalid("it holds '..'")),
                Component::Normal(name) => out.push(name),
            }
        }
        Ok(out)
    }

    /// Reads a file; none where there is none.
    pub(super) fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        read(&self.outside(path)?)
    }
}

/// Reads a file; none where there is none.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    let failed = |source| PlatformError::File { path: path.into(), source };
    let file = match fs::File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(failed)?,
    };
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(PlatformError::TooLong { path: path.into() });
    }
    Ok(Some(bytes))
}

/// Who may open a file besides the system and administrators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Readers<'a> {
    /// As in the directory that it is in.
    AsAbove,
    /// Nobody.
    Nobody,
    /// The user of this SID.
    User(&'a str),
}

/// Makes a file hold these bytes, with the directories that lead to it.
pub(super) fn write(path: &Path, bytes: &[u8], readers: Readers<'_>) -> Result<Change> {
    let failed = |source| PlatformError::File { path: path.into(), source };
    check_way(path)?;
    let there = read(path)?;
    if there.as_deref() == Some(bytes) {
        restrict(path, readers).map_err(failed)?;
        return Ok(Change::Same);
    }
    let directory = path.parent().unwrap_or(path);
    fs::create_dir_all(directory).map_err(failed)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = directory.join(format!(".{name}.mezame-new"));
    let written = (|| {
        let mut file = fs::File::create(&temporary)?;
        // Before anything is in it.
        restrict(&temporary, readers)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        drop(file);
        fs::rename(&temporary, path)
    })();
    written.map_err(failed)?;
    Ok(Change::Changed)
}

fn restrict(path: &Path, readers: Readers<'_>) -> io::Result<()> {
    match readers {
        Readers::AsAbove => Ok(()),
        Readers::Nobody => access::make_private(path),
        Readers::User(sid) => access::make_private_for(path, sid),
    }
}

/// Refuses a path with a symbolic link or a junction in it.
fn check_way(path: &Path) -> Result<()> {
    for part in path.ancestors() {
        let is_link = fs::symlink_metadata(part).is_ok_and(|meta| meta.file_type().is_symlink());
        if is_link {
            let why = "it is a symbolic link or a junction";
            return Err(PlatformError::Untrusted { path: part.into(), why });
        }
    }
    Ok(())
}

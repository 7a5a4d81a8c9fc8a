//! Files that the agent writes, at their place or below a rehearsal's root.
//!
//! The agent runs as LocalSystem, so it must not be led astray: how, [`way`](super::way) says.

use std::{
    fs::File,
    io,
    path::{Component, Path, PathBuf, Prefix},
};

use super::{access, way::Way};
use crate::{
    platform::{Change, PlatformError, Result},
    sddl::Kind,
};

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
    let Some(way) = Way::find(path)? else { return Ok(None) };
    way.file(false)?.map(|file| way.read(&file)).transpose()
}

/// Reads a file that the agent believes: neither it nor its directory is anybody's but the
/// system's.
pub(super) fn read_ours(path: &Path) -> Result<Option<Vec<u8>>> {
    let Some(way) = Way::find(path)? else { return Ok(None) };
    let Some(file) = way.file(false)? else { return Ok(None) };
    if let (Some(directory), Some(parent)) = (way.directory(), path.parent()) {
        access::check_ours(directory, parent, Kind::Directory)?;
    }
    access::check_ours(&file, path, Kind::File)?;
    way.read(&file).map(Some)
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
    change(path, readers, |_| Ok(Some(bytes.to_vec())))
}

/// Makes a file hold what is made of what it holds; nothing leaves it as it is.
pub(super) fn change(
    path: &Path,
    readers: Readers<'_>,
    edit: impl FnOnce(Option<&[u8]>) -> Result<Option<Vec<u8>>>,
) -> Result<Change> {
    let put = |way: &Way, bytes: &[u8]| {
        way.replace(bytes, |file| restrict(file, readers)).map(|()| Change::Changed)
    };
    let Some(way) = Way::find(path)? else {
        return match edit(None)? {
            Some(bytes) => put(&Way::make(path)?, &bytes),
            None => Ok(Change::Same),
        };
    };
    let file = way.file(readers != Readers::AsAbove)?;
    let there = file.as_ref().map(|file| way.read(file)).transpose()?;
    let Some(bytes) = edit(there.as_deref())? else { return Ok(Change::Same) };
    if let Some(file) = file.filter(|_| there.as_ref() == Some(&bytes)) {
        let failed = |source| PlatformError::File { path: path.into(), source };
        return restrict(&file, readers).map(|()| Change::Same).map_err(failed);
    }
    put(&way, &bytes)
}

fn restrict(file: &File, readers: Readers<'_>) -> io::Result<()> {
    match readers {
        Readers::AsAbove => Ok(()),
        Readers::Nobody => access::restrict(file, None),
        Readers::User(sid) => access::restrict(file, Some(sid)),
    }
}

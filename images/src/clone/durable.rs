//! Small files and names that are there after a power cut, whole or not at all.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// Makes a file that was not there and that only we may open: guests' data is in most of them.
pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    File::options().create_new(true).read(true).write(true).mode(0o600).open(path)
}

/// Writes a file under its name at once. Its name is durable once its directory is synced.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    // Of a writing that was stopped.
    remove(&new)?;
    let mut file = create_private(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)
}

/// Gives a file that has a name for now the one that is to last, unless another has that.
pub(crate) fn name_once(new: &Path, path: &Path) -> io::Result<()> {
    fs::hard_link(new, path)?;
    fs::remove_file(new)
}

/// Makes the names in a directory durable.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Makes a file's own name durable, or its absence.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    sync_directory(path.parent().unwrap_or(Path::new("/")))
}

/// Removes a file, which may be gone already.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

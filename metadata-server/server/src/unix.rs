//! Unix sockets at fixed paths, which a successor opens while its predecessor still listens.

use std::{
    fs, io,
    os::unix::{fs::PermissionsExt, net::UnixListener},
    path::{Path, PathBuf},
};

/// Listens at `path`, for this process's user only. Bound beside it and renamed, so that a
/// predecessor's socket at the same path is replaced without a gap and nobody meets one with
/// other permissions. To be called in a tokio runtime.
pub(crate) fn listen(path: &Path) -> io::Result<tokio::net::UnixListener> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".{}", std::process::id()));
    let aside = PathBuf::from(aside);
    // A leftover of a process that had our id.
    let _ = fs::remove_file(&aside);
    let listener = UnixListener::bind(&aside)?;
    fs::set_permissions(&aside, fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    fs::rename(&aside, path)?;
    tokio::net::UnixListener::from_std(listener)
}

//! What the service keeps on disk, so that it needs nobody at a cold start.
//!
//! | File in the state directory | What | Written |
//! |---|---|---|
//! | `ledger.key` | 32 random bytes, mode 0600 | once |
//! | `snapshot.ledger` | the newest snapshot, sealed | after a change, at most once an interval |
//! | `outbox/KEY` | one guest's event, sealed, until the control plane has it | before the guest's reply |
//! | `acknowledged/INSTANCE.SECRET` | the digest of a read-once secret's value that is spent, sealed; empty: any value is | before the guest's reply |
//! | `released/INSTANCE.VOLUME` | in which start and boots a volume's key was given out last, sealed | before the guest's reply |
//!
//! Each file is written aside, flushed and renamed, so it is whole or not there. A file that does
//! not open under the key, or not to its end, is refused and the service starts without it, aloud.
//! All of this runs on threads where waiting for a disk hurts nobody.
//!
//! **What can be stale.** An acknowledgement is on disk before the guest hears of it, so a spent
//! value stays spent. The snapshot's file may be older than what was last served, by the
//! interval. So a start waits for the control plane for a moment and serves the ledger's state
//! only if that is away; and a snapshot older than the ledger's is ignored.

pub mod outbox;
pub mod releases;
pub mod seal;
pub mod snapshot_file;
pub mod writer;

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// Why something on disk can't be used.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// A file or directory can't be read or written.
    #[error("{path}: {what} failed")]
    File {
        /// Which one.
        path: PathBuf,
        /// What was attempted.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The key file can be read by others.
    #[error("{path} may be read by others (mode {mode:o}); run: chmod 600 {path}")]
    KeyMode {
        /// The key file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The key file has another length.
    #[error("{path} is no key: it must have 32 bytes")]
    Key {
        /// The key file.
        path: PathBuf,
    },
    /// The file is of a version that this program does not know.
    #[error("{path} was not written by this version of the service")]
    Version {
        /// The file.
        path: PathBuf,
    },
    /// The file was cut short, changed, or sealed under another key.
    #[error("{path} is damaged, or was sealed under another key")]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    Random,
    /// The port has too many events waiting for the control plane.
    #[error("port {port} has {ceiling} events waiting for the control plane")]
    TooMany {
        /// The port.
        port: mezame_model::PortId,
        /// As many may wait.
        ceiling: usize,
    },
}

impl LedgerError {
    pub(crate) fn file(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_path_buf();
        move |source| Self::File { path, what, source }
    }
}

/// Takes away what processes that are no more left half-written in a directory. One that crashes
/// again and again would fill the disk otherwise.
pub(crate) fn sweep(directory: &Path) -> Result<(), LedgerError> {
    let failed = || LedgerError::file(directory, "listing");
    for entry in fs::read_dir(directory).map_err(failed())? {
        let path = entry.map_err(failed())?.path();
        let writer = path.file_name().and_then(|name| {
            let (_, pid) = name.to_str()?.strip_suffix(".new")?.rsplit_once('.')?;
            pid.parse::<i32>().ok().filter(|pid| *pid > 0)
        });
        // A predecessor that is draining still writes.
        let is_over = writer.is_some_and(|pid| {
            let pid = nix::unistd::Pid::from_raw(pid);
            nix::sys::signal::kill(pid, None) == Err(nix::errno::Errno::ESRCH)
        });
        if is_over {
            fs::remove_file(&path).map_err(LedgerError::file(&path, "removing"))?;
        }
    }
    Ok(())
}

/// Makes a directory that only its owner may enter.
pub(crate) fn make_private(path: &Path) -> Result<(), LedgerError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(LedgerError::file(path, "making the directory"))
}

/// Where this process writes what is to be at `path`; [`sweep`] knows it by its form.
fn aside(path: &Path) -> PathBuf {
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".{}.new", std::process::id()));
    aside.into()
}

/// Writes a file beside `path`, flushes it, renames it to `path` and flushes the directory.
pub(crate) fn write_whole(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), LedgerError> {
    let aside = aside(path);
    let written = (|| {
        let file =
            File::options().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
        let mut buffered = io::BufWriter::with_capacity(1 << 18, file);
        write(&mut buffered)?;
        buffered.into_inner().map_err(io::IntoInnerError::into_error)?.sync_data()?;
        fs::rename(&aside, path)?;
        match path.parent() {
            Some(directory) => File::open(directory)?.sync_all(),
            None => Ok(()),
        }
    })();
    written.map_err(|error| {
        // The half-written file is of no use to anybody.
        let _ = fs::remove_file(&aside);
        LedgerError::file(path, "writing")(error)
    })
}

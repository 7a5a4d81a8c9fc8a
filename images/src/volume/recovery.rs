//! Putting back what a hard stop took of an overlay: writes whose data is in the file and whose
//! place in the table was not written.
//!
//! It works on overlays whose table was made in advance ([`super::allocation`]): there, every
//! cluster of the volume has its place in the file from the beginning, a hole until something is
//! written. QEMU writes data first, and the table's bit for it at the next flush. So a subcluster
//! that the table gives to the master and that is no hole in the file is a write that was
//! acknowledged, or was about to be. Its blocks are written once more, through QEMU, at the same
//! place; this time the table is flushed too. Doing so twice changes nothing.
//!
//! ```text
//!   table   file                        means
//!   open    hole                        never written: the master's
//!   open    reserved                    as a hole
//!   open    data                        written, and the table's bit lost    → written again
//!   open    data, and holes where the
//!           master has zeroes           as data: QEMU has reserved what completes it
//!   open    data, and other holes       under way at the stop                → the master's
//!   set     anything                    the file's
//! ```
//!
//! A write that is smaller than a subcluster is completed from the master: mostly by QEMU in the
//! same write, but after the guest's data where a request is in two pieces of the table. It is
//! acknowledged when both are done. So a subcluster that was not completed was acknowledged to
//! nobody, and what is there of it may end within a block, whose rest the file system has filled with
//! zeroes. It is the master's again, whole.
//!
//! What this stands on: the file is the one that QEMU wrote to, not a copy, which has other holes
//! ([`FileIdentity`]); the file system says exactly where holes are ([`check_holes`]); and the
//! guest can't zero or discard, which would be in the table alone (the volume's device refuses
//! both). It never writes to the overlay's file itself.
//!
//! In an encrypted overlay the tables are in the clear and the data is not: QEMU deciphers it, by
//! where it is in the file ([`view`]). There, QEMU reserves nothing: what completes a write is
//! ciphertext, also of zeroes. So only a subcluster without any hole is finished.

mod holes;
mod scan;
#[cfg(test)]
mod tests;
mod view;

use std::{
    fs::File,
    ops::{ControlFlow, Range},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

pub use holes::check_holes;
pub(crate) use holes::{Extent, extents_of};

use super::{Data, Durability, FileIdentity, Volume, VolumeError, allocation::AllocationError};
use crate::encryption::{MissingKey, VolumeKeys};
use crate::{
    nbd::NbdError,
    storage_daemon::{DaemonError, StorageDaemon},
};
use scan::Lost;
use view::View;

/// What a file system keeps a hole or data in, at the least, in bytes ([`check_holes`]).
const BLOCK: u64 = 4096;

/// Why an overlay can't be recovered. It is as QEMU left it, or a part has been put back.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The volume's class has no recovery.
    #[error("a {0} volume is not recovered")]
    NotRecovered(&'static str),
    /// It can't be described to QEMU.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// It is a copy of the overlay that was made, so its holes say nothing.
    #[error("{} is not the file that was made: what it lost can't be told", path.display())]
    Copied {
        /// The overlay.
        path: PathBuf,
    },
    /// The file system does not say where holes are.
    #[error("the file system of {} does not tell holes to the block", path.display())]
    NoHoles {
        /// The directory.
        path: PathBuf,
    },
    /// The overlay's tables are not as we make them.
    #[error("the tables of {}", path.display())]
    Tables {
        /// The overlay.
        path: PathBuf,
        /// What is wrong.
        source: AllocationError,
    },
    /// The overlay is encrypted and its record doesn't say so, or the other way round.
    #[error("{} is encrypted and should not be, or should be and is not", path.display())]
    Encryption {
        /// The overlay.
        path: PathBuf,
    },
    /// A key that it is opened with was not given.
    #[error(transparent)]
    Missing(#[from] MissingKey),
    /// A file can't be read or written.
    #[error("reading {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// QEMU's drivers can't open it; most often a guest runs on it.
    #[error("opening the overlay in QEMU's storage daemon")]
    Daemon(#[from] DaemonError),
    /// QEMU's drivers can't write it.
    #[error("putting writes back")]
    Nbd(#[from] NbdError),
}

/// What was put back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recovered {
    /// In how many subclusters.
    pub subclusters: u64,
    /// How many bytes of data were found in them.
    pub bytes: u64,
    /// In how many more a write was under way, which was acknowledged to nobody; they are as the
    /// master's.
    pub unfinished: u64,
}

/// Puts back what was lost, before the volume is used again. It takes no longer than a look at the
/// table if nothing was; sockets are made in `run`.
///
/// The volume must not be in use. If it is, there is either nothing to put back or the daemon is
/// refused QEMU's lock, and nothing has been done. `keys` are those that it is opened with, if it or its
/// master is encrypted.
pub fn recover(
    volume: &Volume,
    identity: &FileIdentity,
    keys: &VolumeKeys,
    run: &Path,
) -> Result<Recovered, RecoveryError> {
    let Data::Overlay { place, .. } = volume.data() else {
        return Err(RecoveryError::NotRecovered(volume.durability().name()));
    };
    if !matches!(volume.durability(), Durability::Recovered(_) | Durability::Hydrated(_)) {
        return Err(RecoveryError::NotRecovered(volume.durability().name()));
    }
    let path = &place.called();
    let io = |source| RecoveryError::Io { path: path.into(), source };
    let (file, _) = place.open().map_err(io)?;
    if FileIdentity::of(&file).map_err(io)? != *identity {
        return Err(RecoveryError::Copied { path: path.into() });
    }
    if scan::header(&file, path)?.is_encrypted() != volume.key().is_some() {
        return Err(RecoveryError::Encryption { path: path.into() });
    }
    if !scan::is_any_lost(&file, path)? {
        return Ok(Recovered::default());
    }
    let daemon = StorageDaemon::start_with(&volume.blockdev(), &volume.secrets(keys)?, run)?;
    let mut blocks = daemon.open()?;
    let mut view = View::open(volume, &file, keys, run)?;
    let mut done = Recovered::default();
    // Now that nobody else can write.
    scan::each_lost(&file, path, &mut |lost| {
        let length = usize::try_from(lost.length).map_err(|_| tables(path))?;
        let mut bytes = vec![0; length];
        blocks.read(lost.volume, &mut bytes)?;
        let is_finished = match &view {
            None => is_finished(&lost, &bytes),
            Some(_) => is_whole(&lost),
        };
        if is_finished {
            done.bytes += match &mut view {
                None => lay_over(&file, &lost, &mut bytes).map_err(io)?,
                Some(view) => view.read(lost.file, &mut bytes)?,
            };
            done.subclusters += 1;
        } else {
            done.unfinished += 1;
        }
        // Whole, so that QEMU completes nothing of it from the master over what is there.
        blocks.write(lost.volume, &bytes)?;
        Ok(ControlFlow::Continue(()))
    })?;
    blocks.flush()?;
    drop(blocks);
    daemon.end()?;
    if let Some(view) = view {
        view.end()?;
    }
    Ok(done)
}

/// Whether a subcluster has no hole.
fn is_whole(lost: &Lost) -> bool {
    lost.data.iter().map(|range| range.end - range.start).sum::<u64>() == lost.length
}

/// Whether a subcluster was completed from the master's bytes: whether it has data wherever these are
/// not zero.
fn is_finished(lost: &Lost, master: &[u8]) -> bool {
    let begins = [lost.file].into_iter().chain(lost.data.iter().map(|range| range.end));
    let ends = lost.data.iter().map(|range| range.start).chain([lost.file + lost.length]);
    begins.zip(ends).all(|(begin, end)| {
        let [begin, end] = [begin - lost.file, end - lost.file]
            .map(|at| usize::try_from(at).unwrap_or(usize::MAX));
        master.get(begin..end).is_some_and(|hole| hole.iter().all(|byte| *byte == 0))
    })
}

/// Lays what the file has over what the volume reads; how many bytes that is.
fn lay_over(file: &File, lost: &Lost, bytes: &mut [u8]) -> std::io::Result<u64> {
    let mut laid = 0;
    for range in &lost.data {
        // Both are within a subcluster, of 64 KiB at most.
        let [begin, end] = [range.start - lost.file, range.end - lost.file]
            .map(|at| usize::try_from(at).unwrap_or(usize::MAX));
        if let Some(into) = bytes.get_mut(begin..end) {
            file.read_exact_at(into, range.start)?;
            laid += range.end - range.start;
        }
    }
    Ok(laid)
}

/// Whether a hard stop has taken anything of an overlay that could be put back.
pub(crate) fn needs_recovery(file: &File, path: &Path) -> Result<bool, RecoveryError> {
    scan::is_any_lost(file, path)
}

/// An overlay's length in bytes, as its guest sees it.
pub(crate) fn size_of(file: &File, path: &Path) -> Result<u64, RecoveryError> {
    Ok(scan::header(file, path)?.size())
}

/// Where the file has data of an overlay from this byte of the volume on, in subclusters that the table
/// gives to the master: as whole blocks, which hold nothing else.
pub(crate) fn open_data(
    file: &File,
    path: &Path,
    from: u64,
) -> Result<Vec<Range<u64>>, RecoveryError> {
    let mut all = Vec::new();
    scan::each_lost(file, path, &mut |lost| {
        let before = from.saturating_sub(lost.volume).next_multiple_of(BLOCK);
        let end = lost.file + lost.length.next_multiple_of(BLOCK);
        if lost.file + before < end {
            all.push(lost.file + before..end);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(all)
}

/// That every cluster of an overlay from this byte on has its place in the file.
pub(crate) fn check_places(file: &File, path: &Path, begin: u64) -> Result<(), RecoveryError> {
    if scan::has_places(file, path, begin)? { Ok(()) } else { Err(tables(path)) }
}

/// Where an overlay that was never written has data, all of which is its tables.
///
/// # Errors
/// Also where the file shows data in places that were never written.
pub(crate) fn check_empty(file: &File, path: &Path) -> Result<Vec<Range<u64>>, RecoveryError> {
    if scan::is_any_lost(file, path)? {
        return Err(RecoveryError::NoHoles { path: path.into() });
    }
    data_of(file).map_err(|source| RecoveryError::Io { path: path.into(), source })
}

/// Where a file has data.
pub(crate) fn data_of(file: &File) -> std::io::Result<Vec<Range<u64>>> {
    let mut map = holes::DataMap::of(file)?;
    let mut all: Vec<Range<u64>> = Vec::new();
    while let Some(range) = map.next(all.last().map_or(0, |last| last.end))? {
        all.push(range);
    }
    Ok(all)
}

fn tables(path: &Path) -> RecoveryError {
    RecoveryError::Tables { path: path.into(), source: AllocationError::OutOfRange }
}

//! Restoring the backup of an encrypted volume into a volume that is encrypted again, with a key and a
//! header of its own.
//!
//! What the archive deciphers goes over a UNIX socket to QEMU's storage daemon, which enciphers it: no
//! file ever has it in the clear. [`Archive::export`] into a file is the other way, for who wants that.
//! What there is already is never written over.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use crate::{
    archive::{Archive, ArchiveError, Visible, Watch, target::Target},
    clone::durable,
    encryption::{
        ImageError, KeyNumber, MissingKey, VolumeKeys,
        image::{self, Form},
    },
    nbd::Nbd,
    storage_daemon::{DaemonError, StorageDaemon},
    volume::{Data, Durability, HostCache, Place, Volume, VolumeError, VolumeId},
};

/// The least that QEMU's disks are multiples of, in bytes.
const SECTOR: u64 = 512;
/// The most that is written at once where zeroes are.
static ZEROS: [u8; 1 << 20] = [0; 1 << 20];

/// The volume that is to be.
pub struct NewVolume<'a> {
    /// What it is called.
    pub id: VolumeId,
    /// Its file, which is made: 2 MiB longer than the volume.
    pub path: PathBuf,
    /// As of [`Volume::new`].
    pub cache: HostCache,
    /// Which key is to open it.
    pub number: KeyNumber,
    /// The key.
    pub keys: &'a VolumeKeys,
    /// Where the storage daemon's sockets are made: a directory that only we may enter.
    pub run: &'a Path,
}

/// Why there is no volume. Nothing is left of it then.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// There is a file of this name, or it can't be made durable.
    #[error("making {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// QEMU has no disks of such a length.
    #[error("an image of {0} bytes is no disk of QEMU's: that is a multiple of {SECTOR}")]
    Length(u64),
    /// Its header can't be made.
    #[error(transparent)]
    Header(#[from] ImageError),
    /// A key was not given.
    #[error(transparent)]
    Missing(#[from] MissingKey),
    /// It is no volume.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// QEMU's storage daemon.
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    /// The image can't be read, or the volume written.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
}

/// Restores an image into a plain volume that is encrypted. It is durable when this returns.
///
/// It takes two seconds of a processor beside the copying, as every header does.
pub fn restore_encrypted(
    archive: &Archive,
    image: &Visible,
    to: NewVolume<'_>,
    watch: &dyn Watch,
) -> Result<Volume, RestoreError> {
    let size = image.image().size;
    if size == 0 || !size.is_multiple_of(SECTOR) {
        return Err(RestoreError::Length(size));
    }
    let failed = |source| RestoreError::File { path: to.path.clone(), source };
    // What is there is somebody's.
    drop(durable::create_private(&to.path).map_err(failed)?);
    let restored = fill(archive, image, size, &to, watch).and_then(|volume| {
        std::fs::File::open(&to.path).and_then(|file| file.sync_all()).map_err(failed)?;
        durable::sync_parent(&to.path).map_err(failed)?;
        Ok(volume)
    });
    if restored.is_err() {
        // What failed is told, and not this.
        let _ = durable::remove(&to.path);
    }
    restored
}

fn fill(
    archive: &Archive,
    image: &Visible,
    size: u64,
    to: &NewVolume<'_>,
    watch: &dyn Watch,
) -> Result<Volume, RestoreError> {
    let prepare =
        || durable::remove(&to.path).and_then(|()| durable::create_private(&to.path)).map(drop);
    image::make(&to.path, size, &Form::Luks, (&to.id, to.number, to.keys), prepare)?;
    let data = Data::Plain(Place::File(to.path.clone()));
    let volume = Volume::new(to.id.clone(), data, Durability::Plain, to.cache)?;
    let volume = volume.encrypted(to.number);
    let secrets = volume.secrets(to.keys)?;
    let daemon = StorageDaemon::start_with(&volume.blockdev(), &secrets, to.run)?;
    let target = Enciphering { daemon: &daemon, idle: Mutex::default() };
    archive.export(image, &target, watch)?;
    // Its connections go before the daemon does.
    drop(target);
    daemon.end()?;
    Ok(volume)
}

/// A volume that a daemon has open, as what an image is written to.
struct Enciphering<'a> {
    daemon: &'a StorageDaemon,
    idle: Mutex<Vec<Nbd>>,
}

impl Enciphering<'_> {
    /// Does this on a connection of its own, which is kept for the next one unless it fails.
    fn with<T>(&self, work: impl FnOnce(&mut Nbd) -> io::Result<T>) -> io::Result<T> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut nbd = idle.map_or_else(|| self.daemon.open(), Ok).map_err(io::Error::other)?;
        let done = work(&mut nbd)?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(nbd);
        Ok(done)
    }
}

impl Target for Enciphering<'_> {
    fn prepare(&self, size: u64) -> io::Result<()> {
        let room = self.with(|nbd| Ok(nbd.size()))?;
        if room == size { Ok(()) } else { Err(io::ErrorKind::InvalidInput.into()) }
    }

    /// What was never written reads as noise.
    fn is_blank(&self) -> bool {
        false
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.with(|nbd| nbd.read(offset, buffer).map_err(io::Error::other))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.with(|nbd| nbd.write(offset, bytes).map_err(io::Error::other))
    }

    fn write_zeros(&self, length: u64, offset: u64) -> io::Result<()> {
        let mut done = 0;
        while done < length {
            let part = (length - done).min(ZEROS.len() as u64);
            let zeros = &ZEROS[..usize::try_from(part).unwrap_or(ZEROS.len())];
            self.write_at(zeros, offset + done)?;
            done += part;
        }
        Ok(())
    }

    fn finish(&self) -> io::Result<()> {
        self.with(|nbd| nbd.flush().map_err(io::Error::other))
    }
}

//! Restoring the backup of an encrypted volume into a volume that is encrypted again, with a key and a
//! header of its own.
//!
//! What the archive deciphers goes over a UNIX socket to QEMU's storage daemon, which enciphers it: no
//! file ever has it in the clear. [`Archive::export`] into a file is the other way, for who wants that.
//! What there is already is never written over. It has another name, with `.new` at its end, until it is
//! whole: so a restore that is killed leaves no volume, and what it leaves is the next one's to fill.

use std::{
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::MetadataExt,
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
    /// There is a file of this name, it is being restored, or it can't be made durable.
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
    if fs::symlink_metadata(&to.path).is_ok() {
        return Err(failed(io::ErrorKind::AlreadyExists.into()));
    }
    let (new, file) = unfinished(&to.path).map_err(failed)?;
    let restored = fill(archive, image, size, (&to, &new, &file), watch).and_then(|()| {
        file.sync_all().map_err(failed)?;
        durable::name_once(&new, &to.path).map_err(failed)?;
        durable::sync_parent(&to.path).map_err(failed)?;
        volume(&to, &to.path)
    });
    if restored.is_err() {
        // What failed is told, and not this.
        let _ = durable::remove(&new);
    }
    restored
}

/// The file that is filled, held by a lock that ends with its holder; also one that a killed process left.
fn unfinished(path: &Path) -> io::Result<(PathBuf, File)> {
    /// Others end it meanwhile, one at a time.
    const TRIES: u32 = 100;
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    for _ in 0..TRIES {
        let file = match durable::create_private(&new) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                File::options().read(true).write(true).open(&new)
            }
            file => file,
        };
        let file = match file {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            file => file?,
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::ResourceBusy.into()),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let (held, named) = (file.metadata()?, fs::symlink_metadata(&new));
        match named {
            // It has its last name too: that was done, and this one was still to be removed.
            Ok(named) if named.ino() == held.ino() && held.nlink() > 1 => durable::remove(&new)?,
            Ok(named) if named.ino() == held.ino() => return Ok((new, file)),
            // Whoever had it has ended it.
            _ => {}
        }
    }
    Err(io::ErrorKind::ResourceBusy.into())
}

fn volume(to: &NewVolume<'_>, path: &Path) -> Result<Volume, RestoreError> {
    let data = Data::Plain(Place::File(path.into()));
    let volume = Volume::new(to.id.clone(), data, Durability::Plain, to.cache)?;
    Ok(volume.encrypted(to.number))
}

fn fill(
    archive: &Archive,
    image: &Visible,
    size: u64,
    (to, new, file): (&NewVolume<'_>, &Path, &File),
    watch: &dyn Watch,
) -> Result<(), RestoreError> {
    // It is the file that is locked, so it is emptied and not made anew.
    let prepare = || file.set_len(0);
    image::make(new, size, &Form::Luks, (&to.id, to.number, to.keys), prepare)?;
    let volume = volume(to, new)?;
    let secrets = volume.secrets(to.keys)?;
    let daemon = StorageDaemon::start_with(&volume.blockdev(), &secrets, to.run)?;
    let target = Enciphering { daemon: &daemon, idle: Mutex::default() };
    archive.export(image, &target, watch)?;
    // Its connections go before the daemon does.
    drop(target);
    daemon.end()?;
    Ok(())
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

#[test]
fn a_file_that_a_killed_restore_left_is_filled_by_the_next_and_one_that_is_held_by_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk");
    let (new, held) = unfinished(&path).unwrap();
    assert_eq!(new, directory.path().join("disk.new"));
    fs::write(&new, "a part").unwrap();
    assert_eq!(unfinished(&path).unwrap_err().kind(), io::ErrorKind::ResourceBusy);
    drop(held);
    let (_, held) = unfinished(&path).unwrap();
    // Whoever is killed between the two names leaves both, and the volume is somebody's by then.
    fs::hard_link(&new, &path).unwrap();
    drop(held);
    unfinished(&path).unwrap().1.set_len(0).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"a part");
}

//! A store in a directory of one machine: an object is a file, its prefix a folder.
//!
//! A new object is written into a file without a name (`O_TMPFILE`), synced, and then given its
//! name by `linkat(2)`, which fails where the name is taken: so a name is never on a part of an
//! object, the first of several writers wins, and whoever dies leaves nothing behind. After that
//! the folder is synced, as it is after a deletion: what was deleted for an image's sake must not
//! come back without it, nor the image without its packs. The file system must know `O_TMPFILE` (ext4, XFS, Btrfs, tmpfs do, NFS
//! does not): several machines share an object store, not a directory.
//!
//! Files are of mode 0600 and folders of mode 0700: what lies here is tenants' disks.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Read, Write},
    os::{
        fd::AsRawFd,
        unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, AtFlags, OFlag},
    unistd::linkat,
};

use super::{Listed, ObjectName, Store, StoreError};
use crate::nameless::nameless;

/// A directory as a store.
#[derive(Debug)]
pub struct Directory {
    /// Open as long as the store is: whatever is mounted or unmounted at its path meanwhile, this
    /// stays the same directory.
    _folder: File,
    /// The way to it that leads through what is open.
    root: PathBuf,
    /// What makes a file's name, or that it is gone, durable.
    sync_parent: fn(&Path) -> io::Result<()>,
}

impl Directory {
    /// Makes a store in this directory, which is made where it is missing; its parent must be
    /// there.
    pub fn create(root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let given = root.into();
        let at = |source| StoreError::io(&given.display(), source);
        let root = std::path::absolute(&given).map_err(at)?;
        make_folder(&root).map_err(at)?;
        Self::open(root)
    }

    /// The store in this directory, which must be there.
    pub fn open(root: impl AsRef<Path>) -> Result<Self, StoreError> {
        let root = root.as_ref();
        let mut options = OpenOptions::new();
        let opened = options.read(true).custom_flags(OFlag::O_DIRECTORY.bits()).open(root);
        let folder = opened.map_err(|source| StoreError::io(&root.display(), source))?;
        let root = format!("/proc/self/fd/{}", folder.as_raw_fd()).into();
        Ok(Self { _folder: folder, root, sync_parent })
    }

    fn path(&self, name: &ObjectName) -> PathBuf {
        self.root.join(name.as_str())
    }

    /// A synced file without a name, in this folder, which is made where it is missing.
    fn write_nameless(folder: &Path, bytes: &[u8]) -> io::Result<File> {
        let mut file = match nameless(folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                make_folder(folder)?;
                nameless(folder)?
            }
            other => other?,
        };
        file.write_all(bytes)?;
        file.sync_all()?;
        Ok(file)
    }

    fn link(file: &File, path: &Path) -> io::Result<()> {
        // Without CAP_DAC_READ_SEARCH this is the way to name it; see open(2).
        let nameless = format!("/proc/self/fd/{}", file.as_raw_fd());
        linkat(AT_FDCWD, nameless.as_str(), AT_FDCWD, path, AtFlags::AT_SYMLINK_FOLLOW)?;
        Ok(())
    }

    fn walk(&self, folder: &Path, found: &mut Vec<Listed>) -> io::Result<()> {
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        for entry in entries {
            let path = entry?.path();
            let about = match fs::symlink_metadata(&path) {
                // Deleted since.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                other => other?,
            };
            let relative = path.strip_prefix(&self.root).ok().and_then(Path::to_str);
            let Some(name) = relative.and_then(ObjectName::parse) else { continue };
            if about.is_dir() {
                self.walk(&path, found)?;
            } else if about.is_file() {
                found.push(Listed { name, length: about.len() });
            }
        }
        Ok(())
    }
}

/// Writes over a file of the same length; false where there is none.
fn overwrite(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    let mut options = OpenOptions::new();
    let file = match options.write(true).custom_flags(OFlag::O_NOFOLLOW.bits()).open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        other => other?,
    };
    if file.metadata()?.len() != bytes.len() as u64 {
        return Ok(false);
    }
    file.write_all_at(bytes, 0)?;
    Ok(true)
}

/// The name that an object has for the moment before it takes another's place. No object's own.
fn successor(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}"))
}

fn make_folder(path: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = path.ancestors().take_while(|folder| !folder.exists()).collect();
    // The store's own and at most two below it; never a whole path that somebody mistyped.
    for folder in missing.iter().take(3).rev() {
        match fs::DirBuilder::new().mode(0o700).create(folder) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            other => other?,
        }
        sync_parent(folder)?;
    }
    Ok(())
}

fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

/// Whether a disk could not read a place, or a file system (XFS, Btrfs: EUCLEAN, EBADMSG; ext4: EBADMSG)
/// found there what it did not write.
fn is_bad_place(error: &io::Error) -> bool {
    let number = error.raw_os_error().map(Errno::from_raw);
    matches!(number, Some(Errno::EIO | Errno::EUCLEAN | Errno::EBADMSG | Errno::ENODATA))
}

fn failed(name: &ObjectName, source: io::Error) -> StoreError {
    match source.kind() {
        ErrorKind::NotFound => StoreError::Missing { name: name.clone() },
        ErrorKind::AlreadyExists => StoreError::Exists { name: name.clone() },
        ErrorKind::UnexpectedEof => StoreError::Damaged { name: name.clone(), source },
        _ if is_bad_place(&source) => StoreError::Damaged { name: name.clone(), source },
        _ => StoreError::io(name, source),
    }
}

impl Store for Directory {
    fn put_new(&self, name: &ObjectName, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.path(name);
        let put = || {
            let file = Self::write_nameless(path.parent().unwrap_or(&self.root), bytes)?;
            Self::link(&file, &path)
        };
        match put() {
            // Not the object: its folder. Others delete objects, never folders.
            Err(error) if error.kind() == ErrorKind::NotFound => Err(StoreError::io(name, error)),
            other => other.map_err(|source| failed(name, source)),
        }?;
        let Err(source) = (self.sync_parent)(&path) else { return Ok(()) };
        // A second try could succeed without having written anything: the kernel tells of a
        // failed write once. So there is nothing of that name, or the caller is told.
        match fs::remove_file(&path) {
            Ok(()) => Err(StoreError::io(name, source)),
            Err(_) => Err(StoreError::NotDurable { name: name.clone(), source }),
        }
    }

    fn replace(&self, name: &ObjectName, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.path(name);
        // In place: a listing of Btrfs may show neither name of one that is renamed meanwhile.
        let overwritten = overwrite(&path, bytes).map_err(|source| StoreError::io(name, source));
        if overwritten? {
            return Ok(());
        }
        let fresh = successor(&path);
        let put = || {
            let file = Self::write_nameless(path.parent().unwrap_or(&self.root), bytes)?;
            // Left by one that died here.
            match fs::remove_file(&fresh) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            Self::link(&file, &fresh)?;
            fs::rename(&fresh, &path)
        };
        put().map_err(|source| StoreError::io(name, source))
    }

    fn read(&self, name: &ObjectName, limit: u64) -> Result<Vec<u8>, StoreError> {
        let file = File::open(self.path(name)).map_err(|source| failed(name, source))?;
        let mut bytes = Vec::new();
        let read = file.take(limit.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(|source| failed(name, source))?;
        if bytes.len() as u64 > limit {
            return Err(StoreError::too_long(name));
        }
        Ok(bytes)
    }

    fn read_at(&self, name: &ObjectName, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        let file = File::open(self.path(name)).map_err(|source| failed(name, source))?;
        file.read_exact_at(buffer, offset).map_err(|source| failed(name, source))
    }

    fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        let mut found = Vec::new();
        let walked = self.walk(&self.root.join(prefix), &mut found);
        walked.map_err(|source| StoreError::io(prefix, source))?;
        Ok(found)
    }

    fn delete(&self, name: &ObjectName) -> Result<(), StoreError> {
        let path = self.path(name);
        for file in [successor(&path), path.clone()] {
            match fs::remove_file(&file) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                other => other.map_err(|source| StoreError::io(name, source))?,
            }
        }
        // Also where nothing was there: another may have removed it just now, and not have synced
        // the folder yet.
        match (self.sync_parent)(&path) {
            // Where there is no folder nothing is in it.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            synced => synced.map_err(|source| StoreError::io(name, source)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_directory_keeps_the_contract() {
        let place = tempfile::tempdir().unwrap();
        let number = std::sync::atomic::AtomicU32::new(0);
        crate::archive::store::contract::check(&|| {
            let number = number.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            Box::new(Directory::create(place.path().join(number.to_string())).unwrap())
        });
    }

    #[test]
    fn a_store_stays_the_directory_that_it_was_opened_in() {
        let place = tempfile::tempdir().unwrap();
        let (path, moved) = (place.path().join("archive"), place.path().join("moved"));
        let store = Directory::create(&path).unwrap();
        fs::rename(&path, &moved).unwrap();
        // As a mount point is without what was mounted there.
        fs::create_dir(&path).unwrap();
        store.put_new(&ObjectName::parse("packs/a").unwrap(), b"x").unwrap();
        assert!(moved.join("packs/a").is_file());
        assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
    }

    #[test]
    fn a_directory_that_is_not_there_is_made_only_where_that_was_asked_for() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("archive");
        assert!(Directory::open(&path).is_err() && !path.exists());
        Directory::create(&path).unwrap();
        Directory::open(&path).unwrap();
    }

    #[test]
    fn nobody_else_may_read_what_lies_there() {
        let place = tempfile::tempdir().unwrap();
        let store = Directory::create(place.path().join("archive")).unwrap();
        let name = ObjectName::parse("packs/a").unwrap();
        store.put_new(&name, b"x").unwrap();
        let mode = |path: &str| {
            fs::metadata(place.path().join(path)).unwrap().permissions().mode() & 0o777
        };
        assert_eq!(mode("archive"), 0o700);
        assert_eq!(mode("archive/packs"), 0o700);
        assert_eq!(mode("archive/packs/a"), 0o600);
    }

    #[test]
    fn a_link_in_the_directory_is_no_object() {
        let place = tempfile::tempdir().unwrap();
        let store = Directory::open(place.path()).unwrap();
        store.put_new(&ObjectName::parse("packs/a").unwrap(), b"x").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", place.path().join("packs/b")).unwrap();
        assert_eq!(store.list("packs/").unwrap().len(), 1);
    }

    #[test]
    fn what_the_disk_did_not_take_is_not_there() {
        let place = tempfile::tempdir().unwrap();
        let mut store = Directory::open(place.path()).unwrap();
        let name = ObjectName::parse("images/a").unwrap();
        store.sync_parent = |_| Err(ErrorKind::Other.into());
        let refused = store.put_new(&name, b"x").unwrap_err();
        assert!(matches!(refused, StoreError::Io { .. }), "{refused}");
        assert!(matches!(store.read(&name, 9), Err(StoreError::Missing { .. })));
        // Where it can't be taken back it is said; here somebody else has taken it.
        store.sync_parent = |path| fs::remove_file(path).and(Err(ErrorKind::Other.into()));
        let refused = store.put_new(&name, b"x").unwrap_err();
        assert!(matches!(refused, StoreError::NotDurable { .. }), "{refused}");
    }

    #[test]
    fn a_deletion_is_durable_when_it_returns() {
        let place = tempfile::tempdir().unwrap();
        let mut store = Directory::open(place.path()).unwrap();
        let name = ObjectName::parse("images/a").unwrap();
        store.put_new(&name, b"x").unwrap();
        store.sync_parent = |path| {
            assert!(path.ends_with("images/a") && !path.exists());
            Err(ErrorKind::Other.into())
        };
        assert!(store.delete(&name).is_err(), "its folder was not synced");
        // Another collection may have deleted it, and not be done.
        assert!(store.delete(&name).is_err(), "its folder was not synced by the second one");
        store.sync_parent = sync_parent;
        store.delete(&name).unwrap();
        // Where there is no folder either nothing is to be synced.
        store.delete(&ObjectName::parse("shares/a/b").unwrap()).unwrap();
    }

    #[test]
    fn a_sign_of_life_is_written_in_place() {
        use std::os::unix::fs::MetadataExt;
        let place = tempfile::tempdir().unwrap();
        let store = Directory::open(place.path()).unwrap();
        let name = ObjectName::parse("writers/a").unwrap();
        store.put_new(&name, &1u64.to_le_bytes()).unwrap();
        let inode = || fs::metadata(place.path().join("writers/a")).unwrap().ino();
        let before = inode();
        store.replace(&name, &2u64.to_le_bytes()).unwrap();
        assert_eq!(store.read(&name, 8).unwrap(), 2u64.to_le_bytes());
        assert_eq!(inode(), before, "it was another file for a moment");
        assert_eq!(fs::read_dir(place.path().join("writers")).unwrap().count(), 1);
    }
}

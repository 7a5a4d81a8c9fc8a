//! The file that the sealing keys lie in: one line a key, its number and 32 bytes in base64.
//!
//! Made with mode 0600; a file that its group or others may touch, or that belongs to someone
//! else, is refused and not mended, since its keys may be known already. Replaced by a rename
//! after a sync, so that a crash leaves the old file or the new one; made by a link, so that of
//! two processes that start for the first time neither takes the other's keys away.

use std::{
    fs,
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use super::{Keyring, SealingKey};
use crate::{
    environment::{Environment, NoRandomness, random},
    spec::hex,
};

/// Why the key file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It can't be read or written.
    #[error("{path}: can't be used")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others than its owner may touch it.
    #[error(
        "{path}: mode {mode:04o} lets others than the owner at the keys; it must be 0600. \
         If others may have read it, run `chmod 600` and rotate the keys"
    )]
    Mode {
        /// Which file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It belongs to someone else.
    #[error("{path}: belongs to user {owner}, not to user {user} that runs this")]
    Owner {
        /// Which file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Who runs this.
        user: u32,
    },
    /// A line is no key.
    #[error("{path}: line {line} is not a number and 32 bytes in base64")]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
    },
    /// It is empty.
    #[error("{path}: has no key")]
    Empty {
        /// Which file.
        path: PathBuf,
    },
    /// The database is there, the key file is not.
    #[error(
        "{path}: missing, though the database is sealed with its keys. Put it back from its backup"
    )]
    Lost {
        /// Which file.
        path: PathBuf,
    },
    /// No key can be made.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

/// Reads the keys. Where there is no file: makes one with a fresh key, unless `sealed` says that
/// something is sealed already with keys that then would be lost.
pub(crate) fn load_or_make(
    path: &Path,
    sealed: bool,
    from: &dyn Environment,
) -> Result<Keyring, KeyFileError> {
    match load(path, nix::unistd::geteuid().as_raw()) {
        Err(KeyFileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            if sealed {
                return Err(KeyFileError::Lost { path: path.into() });
            }
            let keys = Keyring::of(SealingKey::make(1, from)?);
            match make(path, &keys, from) {
                // Another process that starts for the first time too was faster. Its keys are the
                // ones, since it may have sealed with them already.
                Err(KeyFileError::Io { source, .. })
                    if source.kind() == io::ErrorKind::AlreadyExists =>
                {
                    load(path, nix::unistd::geteuid().as_raw())
                }
                other => other.map(|()| keys),
            }
        }
        other => other,
    }
}

/// Replaces the file's keys, all or none. Only the process that has the database may.
pub(crate) fn save(path: &Path, keys: &Keyring) -> Result<(), KeyFileError> {
    let fresh = path.with_extension("new");
    write(&fresh, keys)?;
    place(path, fs::rename(&fresh, path))
}

/// Makes the file, unless there is one by now.
fn make(path: &Path, keys: &Keyring, from: &dyn Environment) -> Result<(), KeyFileError> {
    // A name of its own: nobody has the database yet, so several processes may be here.
    let fresh = path.with_extension(hex(&random::<8>(from)?));
    write(&fresh, keys)?;
    let linked = fs::hard_link(&fresh, path);
    let _ = fs::remove_file(&fresh);
    place(path, linked)
}

/// Makes a name that was given last through a power failure.
fn place(path: &Path, named: io::Result<()>) -> Result<(), KeyFileError> {
    let at = |source| KeyFileError::Io { path: path.into(), source };
    named.map_err(at)?;
    let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(directory).and_then(|d| d.sync_all()).map_err(at)
}

/// Writes the keys into a new file.
fn write(path: &Path, keys: &Keyring) -> Result<(), KeyFileError> {
    let at = |source| KeyFileError::Io { path: path.into(), source };
    let mut text = Zeroizing::new(String::from(
        "# Keys that seal the provisioner's database. Keep a backup; without it the state is lost.\n",
    ));
    for key in keys.keys() {
        let encoded = Zeroizing::new(STANDARD.encode(key.bytes.as_slice()));
        text.push_str(&format!("{} {}\n", key.number, &*encoded));
    }
    // A leftover of a crash may have any mode: never written through.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(error)),
        _ => {}
    }
    let mut file =
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(at)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(at)
}

fn load(path: &Path, user: u32) -> Result<Keyring, KeyFileError> {
    let at = |source| KeyFileError::Io { path: path.into(), source };
    let mut file = fs::File::open(path).map_err(at)?;
    let about = file.metadata().map_err(at)?;
    if about.mode() & 0o077 != 0 {
        return Err(KeyFileError::Mode { path: path.into(), mode: about.mode() & 0o7777 });
    }
    if about.uid() != user {
        return Err(KeyFileError::Owner { path: path.into(), owner: about.uid(), user });
    }
    let mut text = Zeroizing::new(String::new());
    file.read_to_string(&mut text).map_err(at)?;
    let mut keys = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = || KeyFileError::Line { path: path.into(), line: index + 1 };
        let (number, encoded) = line.split_once(' ').ok_or_else(wrong)?;
        let number = number.parse().map_err(|_| wrong())?;
        let bytes = Zeroizing::new(STANDARD.decode(encoded.trim()).map_err(|_| wrong())?);
        keys.push(SealingKey::new(number, bytes.as_slice().try_into().map_err(|_| wrong())?));
    }
    Keyring::new(keys).ok_or_else(|| KeyFileError::Empty { path: path.into() })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::environment::fixed::FixedEnvironment;

    #[test]
    fn the_file_is_made_with_mode_0600_and_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys");
        let environment = FixedEnvironment::new();
        let made = load_or_make(&path, false, &environment).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        let sealed = made.seal(b"row", b"body", &environment).unwrap();
        let read = load_or_make(&path, true, &environment).unwrap();
        assert_eq!(&**read.open(b"row", &sealed).unwrap(), b"body");
    }

    #[test]
    fn a_file_that_another_process_made_meanwhile_is_kept_and_used() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys");
        let environment = FixedEnvironment::new();
        let first = load_or_make(&path, false, &environment).unwrap();
        let sealed = first.seal(b"row", b"body", &environment).unwrap();
        // The other had looked before the file was there.
        let other = Keyring::of(SealingKey::make(1, &environment).unwrap());
        let refused = make(&path, &other, &environment).unwrap_err();
        assert!(matches!(&refused, KeyFileError::Io { source, .. }
                if source.kind() == io::ErrorKind::AlreadyExists));
        let read = load_or_make(&path, false, &environment).unwrap();
        assert_eq!(&**read.open(b"row", &sealed).unwrap(), b"body");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "something is left over");
    }

    #[test]
    fn all_that_start_at_once_agree_on_the_keys() {
        let directory = tempfile::tempdir().unwrap();
        for round in 0..20 {
            let path = directory.path().join(format!("{round}/keys"));
            fs::create_dir(path.parent().unwrap()).unwrap();
            let environment = FixedEnvironment::new();
            let rings: Vec<Keyring> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..4)
                    .map(|_| scope.spawn(|| load_or_make(&path, false, &environment).unwrap()))
                    .collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            let sealed = rings[0].seal(b"row", b"body", &environment).unwrap();
            for ring in &rings {
                assert!(ring.open(b"row", &sealed).is_ok(), "round {round}");
            }
        }
    }

    #[test]
    fn a_file_that_others_may_touch_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys");
        let environment = FixedEnvironment::new();
        load_or_make(&path, false, &environment).unwrap();
        for mode in [0o640, 0o604, 0o620, 0o666, 0o610] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let refused = load_or_make(&path, false, &environment).unwrap_err();
            assert!(matches!(refused, KeyFileError::Mode { mode: m, .. } if m == mode), "{mode:o}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        assert!(load_or_make(&path, false, &environment).is_ok());
    }

    #[test]
    fn a_file_of_another_user_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys");
        let environment = FixedEnvironment::new();
        load_or_make(&path, false, &environment).unwrap();
        let owner = fs::metadata(&path).unwrap().uid();
        assert!(load(&path, owner).is_ok());
        let refused = load(&path, owner + 1).unwrap_err();
        assert!(matches!(refused, KeyFileError::Owner { owner: o, .. } if o == owner));
    }

    #[test]
    fn a_lost_file_is_not_replaced_where_something_is_sealed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys");
        let refused = load_or_make(&path, true, &FixedEnvironment::new()).unwrap_err();
        assert!(matches!(refused, KeyFileError::Lost { .. }));
        assert!(!path.exists());
    }

    #[test]
    fn a_spoilt_line_is_named_and_not_echoed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys");
        load_or_make(&path, false, &FixedEnvironment::new()).unwrap();
        for bad in ["1", "x AAAA", "1 AAAA", "1 !!!"] {
            fs::write(&path, format!("# keys\n{bad}\n")).unwrap();
            let refused = load_or_make(&path, false, &FixedEnvironment::new()).unwrap_err();
            assert!(matches!(refused, KeyFileError::Line { line: 2, .. }), "{bad}: {refused}");
            assert!(!refused.to_string().contains("AAAA"));
        }
        fs::write(&path, "").unwrap();
        let refused = load_or_make(&path, false, &FixedEnvironment::new()).unwrap_err();
        assert!(matches!(refused, KeyFileError::Empty { .. }));
    }
}

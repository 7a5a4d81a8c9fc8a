//! What was given out of volumes' keys, so that none is given out twice in one boot.
//!
//! One sealed file for each key that was ever given out, `released/INSTANCE.VOLUME`. Whoever settles
//! a claim holds the lock of the directory (flock(2)) from reading the file to having written it:
//! while one process takes over from another, both answer guests. The event goes to the disk before
//! the file does, and the file before the guest has its key: after a crash in between, the trail
//! tells of a key that nobody got, and never the other way round.
//!
//! A file that does not open is an error, and the key stays where it is: what may have been given
//! out is not given out again.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use mezame_model::{Generation, InstanceId, VolumeName, Withheld};
use mezame_protocol::{Claim, Released};
use nix::fcntl::{Flock, FlockArg};

use super::{
    LedgerError, make_private,
    outbox::{names, remove},
    seal::{LedgerKey, Opener, Sealer},
    sweep, write_whole,
};

const PURPOSE: &[u8] = b"released volume key";
/// Not the name of a key's file, which has a dot in its middle.
const LOCK: &str = "lock";

/// The directory of what was given out.
#[derive(Debug)]
pub struct Releases {
    directory: PathBuf,
    key: Arc<LedgerKey>,
}

impl Releases {
    /// Opens the directory in the state directory.
    pub(super) fn open(state: &Path, key: Arc<LedgerKey>) -> Result<Self, LedgerError> {
        let directory = state.join("released");
        make_private(&directory)?;
        sweep(&directory)?;
        Ok(Self { directory, key })
    }

    /// Settles a claim: where the key may be given out, `keep` keeps the event, and then it is noted
    /// on disk that the key is given out. Blocks for the disk, and for whoever else settles one.
    pub fn settle(
        &self,
        claim: &Claim,
        keep: impl FnOnce() -> Result<(), LedgerError>,
    ) -> Result<Result<(), Withheld>, LedgerError> {
        let _lock = self.lock()?;
        let (instance, volume) = claim.key();
        let path = self.path_of(instance, volume);
        let after = match claim.settle(&self.read(&path)?.unwrap_or_default()) {
            Ok(after) => after,
            Err(why) => return Ok(Err(why)),
        };
        keep()?;
        write_whole(&path, |out| {
            Sealer::begin(&self.key, PURPOSE, out)?.chunk(serde_json::to_vec(&after)?, true)
        })?;
        Ok(Ok(()))
    }

    /// Forgets what was given out of keys that are no more in the snapshot of this generation, as
    /// `present` says. What was given out after it stays: it may be of a key that the snapshot does
    /// not know yet. Blocks for the disk.
    pub fn forget(
        &self,
        generation: Generation,
        present: impl Fn(&InstanceId, &VolumeName) -> bool,
    ) -> Result<(), LedgerError> {
        let mut gone = Vec::new();
        for file in names(&self.directory)? {
            let Some((instance, volume)) = file.split_once('.') else { continue };
            let (Ok(instance), Ok(volume)) =
                (InstanceId::parse(instance), VolumeName::parse(volume))
            else {
                continue;
            };
            if !present(&instance, &volume) {
                gone.push(self.path_of(&instance, &volume));
            }
        }
        if gone.is_empty() {
            return Ok(());
        }
        let _lock = self.lock()?;
        for path in gone {
            // One that does not open is of no use to anybody once its key is gone.
            let is_later = self.read(&path).is_ok_and(|released| {
                released.is_some_and(|released| released.generation > generation)
            });
            if !is_later {
                remove(&path)?;
            }
        }
        Ok(())
    }

    fn lock(&self) -> Result<Flock<File>, LedgerError> {
        let path = self.directory.join(LOCK);
        let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&path);
        let file = file.map_err(LedgerError::file(&path, "opening"))?;
        Flock::lock(file, FlockArg::LockExclusive)
            .map_err(|(_, error)| LedgerError::file(&path, "locking")(error.into()))
    }

    fn read(&self, path: &Path) -> Result<Option<Released>, LedgerError> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(LedgerError::file(path, "reading")(error)),
        };
        let mut input = &bytes[..];
        let mut opener =
            Opener::begin(&self.key, PURPOSE, &mut input).map_err(|error| error.of(path))?;
        let chunk = opener.chunk().map_err(|error| error.of(path))?.unwrap_or_default();
        serde_json::from_slice(&chunk)
            .map(Some)
            .map_err(|_| LedgerError::Version { path: path.into() })
    }

    fn path_of(&self, instance: &InstanceId, volume: &VolumeName) -> PathBuf {
        self.directory.join(format!("{instance}.{volume}"))
    }
}

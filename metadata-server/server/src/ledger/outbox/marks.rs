//! The marks of spent secrets on disk: `INSTANCE.SECRET`, with the digest of the value, sealed.
//!
//! Sealed, since whoever has a plain digest can try guesses at a short value. An empty mark was
//! written by a version that knew secrets by their names alone, and stands for any value; so does
//! one that does not open, since a secret that may be spent is never handed out again.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use mezame_model::{Acknowledgement, InstanceId, SecretDigest, SecretName};

use super::{names, remove};
use crate::ledger::{
    LedgerError,
    seal::{LedgerKey, OpenError, Opener, Sealer},
    write_whole,
};

const PURPOSE: &[u8] = b"spent secret";

/// The directory of marks.
#[derive(Debug)]
pub(super) struct Marks {
    directory: PathBuf,
    key: Arc<LedgerKey>,
    writing: Mutex<()>,
}

/// The right to change marks, which one thread has at a time.
pub(super) struct Pen<'a> {
    marks: &'a Marks,
    _writing: MutexGuard<'a, ()>,
}

/// One mark: whose it is, what it says, and what is wrong with it.
pub(super) type Mark = (InstanceId, Acknowledgement, Option<LedgerError>);

impl Marks {
    pub(super) fn new(directory: PathBuf, key: Arc<LedgerKey>) -> Self {
        Self { directory, key, writing: Mutex::default() }
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn lock(&self) -> Pen<'_> {
        let writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        Pen { marks: self, _writing: writing }
    }

    /// All of them. One that does not open stands for any value, and comes with its fault.
    pub(super) fn scan(&self) -> Result<Vec<Mark>, LedgerError> {
        let mut found = Vec::new();
        for file in names(&self.directory)? {
            let Some((instance, secret)) = file.split_once('.') else { continue };
            let (Ok(instance), Ok(name)) = (InstanceId::parse(instance), SecretName::parse(secret))
            else {
                continue;
            };
            match self.read(&self.directory.join(&file)) {
                Ok(Some(digest)) => found.push((instance, Acknowledgement { name, digest }, None)),
                // Tidied up in the meantime by the process before this one.
                Ok(None) => {}
                Err(fault) => {
                    found.push((instance, Acknowledgement { name, digest: None }, Some(fault)));
                }
            }
        }
        Ok(found)
    }

    /// Whether there is a mark of this value.
    pub(super) fn covers(
        &self,
        instance: &InstanceId,
        secret: &SecretName,
        value: SecretDigest,
    ) -> bool {
        match self.read(&self.path_of(instance, secret)) {
            Ok(None) => false,
            Ok(Some(digest)) => digest.is_none_or(|digest| digest == value),
            Err(_) => true,
        }
    }

    /// What a mark says; nothing where there is none.
    fn read(&self, path: &Path) -> Result<Option<Option<SecretDigest>>, LedgerError> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(LedgerError::file(path, "reading")(error)),
        };
        if bytes.is_empty() {
            return Ok(Some(None));
        }
        let open = || -> Result<SecretDigest, OpenError> {
            let mut input = &bytes[..];
            let mut opener = Opener::begin(&self.key, PURPOSE, &mut input)?;
            let chunk = opener.chunk()?.unwrap_or_default();
            let digest = <[u8; 32]>::try_from(chunk.as_slice()).map_err(|_| OpenError::Version)?;
            Ok(SecretDigest::new(digest))
        };
        open().map(|digest| Some(Some(digest))).map_err(|error| error.of(path))
    }

    fn path_of(&self, instance: &InstanceId, secret: &SecretName) -> PathBuf {
        self.directory.join(format!("{instance}.{secret}"))
    }
}

impl Pen<'_> {
    /// Writes a mark; one of another value of the secret goes.
    pub(super) fn write(
        &self,
        instance: &InstanceId,
        read: &Acknowledgement,
    ) -> Result<(), LedgerError> {
        let marks = self.marks;
        write_whole(&marks.path_of(instance, &read.name), |out| match &read.digest {
            None => Ok(()),
            Some(digest) => {
                Sealer::begin(&marks.key, PURPOSE, out)?.chunk(digest.bytes().to_vec(), true)
            }
        })
    }

    /// Removes a mark, if it is there.
    pub(super) fn remove(
        &self,
        instance: &InstanceId,
        secret: &SecretName,
    ) -> Result<(), LedgerError> {
        remove(&self.marks.path_of(instance, secret))
    }
}

//! Where an archive's objects lie: a directory, or anything with these few operations.
//!
//! Made so that an object store (S3) can be one: objects are written whole, never changed but by
//! replacing them whole, and never renamed. What an archive relies on is all in the contract,
//! which every implementation's tests run ([`contract`]):
//!
//! - a `put_new` that succeeded is durable, and of several for one name one succeeds;
//! - an object is there whole or not at all, whenever whoever dies;
//! - what was there before a listing began and is there when it ends is in it;
//! - what was deleted does not come back: of an image's and a pack's name nothing is sent again
//!   after an answer was lost, since others may have deleted what came of it.

pub mod directory;
pub mod memory;
pub mod s3;

#[cfg(test)]
pub(crate) mod contract;
#[cfg(test)]
pub(crate) mod scheduled;

use std::io;

use super::id::ObjectName;

/// Why a store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no such object.
    #[error("{name} is not in the store")]
    Missing {
        /// Which.
        name: ObjectName,
    },
    /// There is one of this name already.
    #[error("{name} is in the store already")]
    Exists {
        /// Which.
        name: ObjectName,
    },
    /// It is there, and whether it will be after a crash is not known.
    #[error("{name}: it is there, but not durable")]
    NotDurable {
        /// Which.
        name: ObjectName,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Nobody knows whether it was written: it may be there, or come to be there later.
    #[error("{name}: whether it was written is not known")]
    Unsettled {
        /// Which.
        name: ObjectName,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is there, and its bytes can't be had: what it lies on is bad, or it has too many of them.
    #[error("{name}: it is damaged")]
    Damaged {
        /// Which.
        name: ObjectName,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It can't be reached, read or written. That says nothing of what is there.
    #[error("{name}: the store fails")]
    Io {
        /// Which object, or prefix.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl StoreError {
    pub(crate) fn io(name: &(impl ToString + ?Sized), source: io::Error) -> Self {
        Self::Io { name: name.to_string(), source }
    }

    /// That an object is longer than its reader allows.
    pub(crate) fn too_long(name: &ObjectName) -> Self {
        Self::Damaged { name: name.clone(), source: io::ErrorKind::FileTooLarge.into() }
    }
}

/// An object that a listing found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// Its name.
    pub name: ObjectName,
    /// Its length in bytes.
    pub length: u64,
}

/// Where objects lie. Calls block; an archive calls from as many threads as it works with.
pub trait Store: Send + Sync {
    /// Writes an object that is not there yet; `Exists` where it is. Durable on return. After an
    /// `Io` error it may be there, and is durable if it is; after `Unsettled` it may come to be
    /// there at any time.
    fn put_new(&self, name: &ObjectName, bytes: &[u8]) -> Result<(), StoreError>;

    /// Writes an object, in place of one of this name if there is one. Need not be durable. One
    /// that was there is in every listing meanwhile, as long as its length stays the same.
    fn replace(&self, name: &ObjectName, bytes: &[u8]) -> Result<(), StoreError>;

    /// The whole object, which must not be longer than `limit` bytes (`Damaged`).
    fn read(&self, name: &ObjectName, limit: u64) -> Result<Vec<u8>, StoreError>;

    /// Fills the buffer with the object's bytes from `offset` on. Too few of them are an error
    /// (`Damaged`).
    fn read_at(&self, name: &ObjectName, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError>;

    /// All objects whose names begin with `prefix`, which ends with `/`, in no order.
    fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError>;

    /// Deletes an object, durably. One that is not there is no error.
    fn delete(&self, name: &ObjectName) -> Result<(), StoreError>;
}

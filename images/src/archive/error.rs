//! Why an archive did not do what it was asked.

use std::io;

use super::{
    chunk::Unsound,
    id::{ImageId, ObjectName},
    pack::PackFault,
    record::RecordFault,
    store::StoreError,
};
use crate::environment::NoRandomness;

/// Why an archive did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The store fails, or misses what should be there.
    #[error("the archive's store fails")]
    Store(#[from] StoreError),
    /// What is there was not made by this program, or by a newer one.
    #[error("this is no archive of a form that this program knows")]
    Format,
    /// There is no archive in the store: not yet, or what it lies on is not mounted.
    #[error("there is no archive in this store")]
    NoArchive,
    /// A new archive is made only where nothing of one is.
    #[error("this store has {name} already, so no archive is made in it")]
    NotEmpty {
        /// What is there.
        name: ObjectName,
    },
    /// A part of the store is not there: lost, or not mounted. What would be deleted for that is
    /// not.
    #[error("the archive's {prefix} is not there")]
    FolderMissing {
        /// Which part.
        prefix: &'static str,
    },
    /// There is no such image, or the one who asks may not see it.
    #[error("there is no image {id}")]
    NoImage {
        /// Which.
        id: ImageId,
    },
    /// Another project's image can be read by whom it is shared with, and changed by its own only.
    #[error("{id} belongs to another project")]
    OtherProject {
        /// Which.
        id: ImageId,
    },
    /// Its record can't be read.
    #[error("the record of {id} can't be used")]
    Record {
        /// Of which image.
        id: ImageId,
        /// Why.
        #[source]
        source: RecordFault,
    },
    /// The image is of an encrypted project whose key is not at hand.
    #[error("{id} is encrypted with the key {key}, which was not given")]
    KeyNeeded {
        /// Which image.
        id: ImageId,
        /// The key's name.
        key: String,
    },
    /// An image can only be continued within what shares its chunks.
    #[error("{id} is encrypted otherwise than the image that is to be made of it")]
    OtherKey {
        /// Which image.
        id: ImageId,
    },
    /// A part of an image is damaged or missing.
    #[error("the chunk {chunk} can't be read")]
    Chunk {
        /// Its id.
        chunk: String,
        /// Why.
        #[source]
        source: ChunkFault,
    },
    /// A list of packs that are to be deleted was changed by somebody else. Bring it back; or,
    /// while no collection of garbage and no import is at work, delete it.
    #[error("{name} is no list of packs")]
    List {
        /// Which.
        name: ObjectName,
    },
    /// There is no such pack.
    #[error("there is no pack {name}")]
    NoPack {
        /// Which.
        name: ObjectName,
    },
    /// Garbage is not collected where an image can't be read, since it may need what looks like it.
    #[error("{id} can't be read, so nothing is deleted; repair or delete it first")]
    Unreadable {
        /// Which image.
        id: ImageId,
        /// Why.
        #[source]
        source: Box<ArchiveError>,
    },
    /// No sign of life was seen of this session for too long, so others ended it. What it has
    /// written is found again by the next try.
    #[error("this session was taken for dead and ended before it was done; try again")]
    Ended,
    /// The caller wished to end it. What was written is found again by the next try.
    #[error("ended as it was asked to")]
    Cancelled,
    /// The disk is larger than an image can be.
    #[error("{size} bytes are more than an image can have")]
    TooLarge {
        /// Its size.
        size: u64,
    },
    /// Its name, labels and origin are longer than a record holds.
    #[error("{length} bytes of name, labels and origin are more than 65536")]
    Detail {
        /// Their length as JSON.
        length: usize,
    },
    /// What is to be archived can't be read.
    #[error("the source can't be read at {offset}")]
    Source {
        /// Where, in bytes.
        offset: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What an image is to be restored to can't be written.
    #[error("the target can't be written at {offset}")]
    Target {
        /// Where, in bytes.
        offset: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is no memory for a compressor, or no thread.
    #[error("the system lacks memory or threads")]
    Resources(#[source] io::Error),
    /// No key or id can be made.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

/// Why a chunk can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChunkFault {
    /// No pack has it.
    #[error("no pack has it")]
    Missing,
    /// It is in none of the packs whose list of chunks can be read; there are others.
    #[error("no pack that can be read has it, and some packs can't")]
    Unlisted,
    /// The store fails to read it.
    #[error("it can't be read: {0}")]
    Read(io::ErrorKind),
    /// It is damaged.
    #[error(transparent)]
    Unsound(#[from] Unsound),
    /// The pack that has it is damaged.
    #[error("its pack is damaged")]
    Pack(#[from] PackFault),
    /// It has another length than its place in the image.
    #[error("it has another length than its place")]
    Length,
}

//! Why an object store did not do what it was asked, in words that an operator can act on.
//!
//! No error has a URL in it: a signed one is a key for as long as it is valid.

use std::{io, time::Duration};

/// Why an object store can't be used, or did not do one thing.
#[derive(Debug, thiserror::Error)]
pub enum S3Error {
    /// The address can't be used.
    #[error("{0}")]
    Address(&'static str),
    /// There are no keys to sign with.
    #[error("{0}")]
    Credentials(&'static str),
    /// The authorities that are to be trusted can't be read.
    #[error("the certificate authorities can't be used")]
    Trust(#[source] io::Error),
    /// The server can't be reached, or the connection broke.
    #[error("the connection to the object store failed")]
    Connection(#[source] io::Error),
    /// It took longer than it may.
    #[error("the object store gave no answer for {0:?}")]
    Silent(Duration),
    /// The server says no.
    #[error("the object store answered {status} {code}: {message}")]
    Refused {
        /// The status of HTTP.
        status: u16,
        /// The server's own word for it; may be empty.
        code: String,
        /// What it says to people.
        message: String,
    },
    /// What it answered is not what S3 answers.
    #[error("the object store's answer makes no sense: {0}")]
    Answer(&'static str),
    /// The answer is longer than it may be.
    #[error("the object store's answer is longer than {0} bytes")]
    TooLong(u64),
    /// The object has fewer bytes than were asked for.
    #[error("the object ends before what was asked for")]
    EndedEarly,
    /// What it sent does not have the digest that it names.
    #[error("what the object store sent is damaged: its SHA-256 is another one")]
    Damaged,
    /// Nobody knows whether an object came to be, and there is no time left to find out.
    #[error("whether it was written is not known")]
    Unsettled(#[source] Box<S3Error>),
    /// It would let two writers have one name.
    #[error("the object store can't hold an archive: {0}")]
    Unfit(&'static str),
    /// No random number for a name or a pause.
    #[error(transparent)]
    NoRandomness(#[from] crate::environment::NoRandomness),
}

impl From<S3Error> for io::Error {
    fn from(error: S3Error) -> Self {
        let kind = match &error {
            S3Error::Silent(_) => io::ErrorKind::TimedOut,
            S3Error::TooLong(_) => io::ErrorKind::FileTooLarge,
            S3Error::EndedEarly => io::ErrorKind::UnexpectedEof,
            S3Error::Damaged | S3Error::Answer(_) => io::ErrorKind::InvalidData,
            S3Error::Refused { status: 401 | 403, .. } => io::ErrorKind::PermissionDenied,
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

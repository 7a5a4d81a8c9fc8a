//! Why a text names no LUN, and why a LUN can't be used.

use std::{io, time::Duration};

use super::Lun;
use crate::{encryption::MissingKey, nbd::NbdError, storage_daemon::DaemonError};

/// Why a text is no LUN's URL, or no part of one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Longer than any.
    #[error("a LUN's URL has 1024 bytes at most")]
    TooLong,
    /// It begins otherwise.
    #[error("a LUN's URL begins with iscsi://")]
    NotIscsi,
    /// It has other parts.
    #[error("a LUN's URL is iscsi://[USER@]HOST[:PORT]/TARGET/NUMBER")]
    Parts,
    /// The host is no name and no address.
    #[error("{0:?} is neither a host's name nor an IPv4 address, nor an IPv6 address in brackets")]
    Host(String),
    /// The port is none.
    #[error("{0:?} is no TCP port from 1 to 65535")]
    Port(String),
    /// The name of a target or an initiator is none.
    #[error(
        "{0:?} is no iSCSI name: iqn.YYYY-MM.DOMAIN[:NAME], eui. or naa. and hexadecimal digits"
    )]
    Name(String),
    /// The LUN's number is none.
    #[error("a LUN's number is one from 0 to {highest}, without leading zeroes")]
    Number {
        /// The highest one.
        highest: u8,
    },
    /// The user is none, or has a secret behind it.
    #[error("a CHAP user has 1 to 255 letters, digits and -._: and no secret in the URL")]
    User,
    /// The secret is one that CHAP is not safe with, or that a target can't have.
    #[error("a CHAP secret has 12 to 255 printable ASCII characters")]
    Secret,
}

/// Why a LUN can't be used.
#[derive(Debug, thiserror::Error)]
pub enum LunError {
    /// Nobody has said how it is reached.
    #[error("how {0} is reached was not given")]
    NoAccess(Box<Lun>),
    /// Its CHAP secret was not given.
    #[error(transparent)]
    Missing(#[from] MissingKey),
    /// QEMU can't open it: the target is away, refuses us, or has no such LUN.
    #[error("opening {lun}")]
    Open {
        /// Which.
        lun: Box<Lun>,
        /// Why not.
        source: DaemonError,
    },
    /// It can't be read or written.
    #[error("reading or writing {lun}")]
    Blocks {
        /// Which.
        lun: Box<Lun>,
        /// Why not.
        source: NbdError,
    },
    /// libiscsi's tool can't be started.
    #[error("starting iscsi-inq, of Debian's libiscsi-bin")]
    Start(#[source] io::Error),
    /// The target doesn't say which LUN it is, or the tool can't ask it.
    #[error("asking {lun} for its serial number: {said}")]
    NoSerial {
        /// Which.
        lun: Box<Lun>,
        /// What was said.
        said: String,
    },
    /// The target takes the connection and does not answer.
    #[error("{lun} has not said its serial number within {patience:?}")]
    Silent {
        /// Which.
        lun: Box<Lun>,
        /// How long it was waited for.
        patience: Duration,
    },
    /// It is too short for what was to be put there.
    #[error("{lun} has {length} bytes; {needed} are needed")]
    TooSmall {
        /// Which.
        lun: Box<Lun>,
        /// Its length in bytes.
        length: u64,
        /// What is needed, in bytes.
        needed: u64,
    },
    /// Something is there already.
    #[error("{0} is not blank: its first MiB is not all zeroes")]
    NotBlank(Box<Lun>),
}

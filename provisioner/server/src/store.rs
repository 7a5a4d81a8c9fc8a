//! What the control plane keeps, behind a trait, so that one machine uses SQLite and a later
//! installation a distributed store.
//!
//! The contract, which `store/contract.rs` checks of every implementation:
//! - A [`Batch`] is written whole or not at all, and adds one to the generation.
//! - It names the generation that it was worked out from; another writer's batch in between
//!   makes it fail with [`StoreError::Conflict`], and nothing is written.
//! - A guest's event is written once, however often its key comes.
//! - After a generation that is not yet there, whatever its number, come no events.
//! - Events, reports, passwords and event keys are bounded; the oldest go, but for each user's
//!   newest password.
//!
//! Bodies are opaque here. An implementation that writes to a disk seals them.

pub(crate) mod memory;
mod schema;
pub(crate) mod sqlite;

#[cfg(test)]
mod contract;

use std::path::PathBuf;

use mezame_model::{
    BoxFuture, Generation, InstanceId, User, UserName,
    api::{Event, Kind},
};
use zeroize::Zeroizing;

use crate::sealing::{Keyring, SealError};

/// Most reports kept of one instance.
pub(crate) const REPORTS_KEPT: usize = 50;
/// How many of one instance's newest passwords are kept, whosever they are.
pub(crate) const PASSWORDS_KEPT: usize = 50;
/// Of how many users of one instance the newest password is kept besides, however many others sent
/// since: as many as a document may name. Of more, the users who were silent longest lose theirs.
pub(crate) const PASSWORD_USERS_KEPT: usize = User::COUNT_MAX;
/// Most requests for volume keys kept of one instance on each [`Trail`].
pub(crate) const KEY_REQUESTS_KEPT: usize = 500;
/// Most events kept.
pub(crate) const EVENTS_KEPT: usize = 20_000;
/// Most keys of guests' events kept: a repeated event is known as long as its key is among them.
pub(crate) const KEYS_KEPT: usize = 200_000;

/// Where a request for a volume's key is filed: a guest that asks in vain, as often as it likes,
/// must not push out what was given to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Trail {
    /// It was given the key.
    Released,
    /// It was not.
    Withheld,
}

impl Trail {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::Released, Self::Withheld];

    /// As it is stored.
    fn as_str(self) -> &'static str {
        match self {
            Self::Released => "key-released",
            Self::Withheld => "key-withheld",
        }
    }
}

/// A body in the clear; zeroed when dropped.
pub(crate) type Body = Zeroizing<Vec<u8>>;

/// What a row is of: a document, or what has calls of its own and no document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum RowKind {
    Document(Kind),
    Volume,
    Schedule,
}

impl RowKind {
    /// As it is stored.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Document(kind) => kind.as_str(),
            Self::Volume => "Volume",
            Self::Schedule => "Schedule",
        }
    }

    /// What is stored as this.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let documents = Kind::ALL.into_iter().map(Self::Document);
        documents.chain([Self::Volume, Self::Schedule]).find(|kind| kind.as_str() == text)
    }
}

impl std::convert::From<Kind> for RowKind {
    fn from(kind: Kind) -> Self {
        Self::Document(kind)
    }
}

/// What names a stored resource. The project of a project is empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) kind: RowKind,
    pub(crate) project: Box<str>,
    pub(crate) name: Box<str>,
}

/// A stored resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) key: Key,
    /// The generation of its last change.
    pub(crate) revision: Generation,
    pub(crate) body: Body,
}

/// Everything that the control plane holds in memory.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) generation: Generation,
    pub(crate) site: Option<Body>,
    /// In any order.
    pub(crate) rows: Vec<Row>,
    /// What guests said last, by instance.
    pub(crate) observed: Vec<(InstanceId, Body)>,
}

/// One atomic write.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// The generation that it was worked out from.
    pub(crate) expected: Generation,
    /// New bodies; their revision becomes the new generation.
    pub(crate) puts: Vec<(Key, Body)>,
    pub(crate) deletes: Vec<Key>,
    /// The installation's keys, where they change.
    pub(crate) site: Option<Body>,
    /// What guests said last, where it changes.
    pub(crate) observed: Vec<(InstanceId, Body)>,
    /// Instances that are gone, with all that their guests said.
    pub(crate) forget: Vec<InstanceId>,
    /// Reports to be added: when, and the report.
    pub(crate) reports: Vec<(InstanceId, u64, Body)>,
    /// Sealed passwords to be added: whose, when, and the password.
    pub(crate) passwords: Vec<(InstanceId, UserName, u64, Body)>,
    /// Requests for volume keys to be added: when, on which trail, and the request.
    pub(crate) key_requests: Vec<(InstanceId, u64, Trail, Body)>,
    /// The key of the guest's event that this batch comes from.
    pub(crate) event_key: Option<u128>,
    /// What the event stream tells; the generation in them is set by the store.
    pub(crate) events: Vec<Event>,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Committed {
    /// Written, at this generation.
    Written(Generation),
    /// The guest's event was written before; nothing was done.
    Seen,
}

/// A place in the event stream: what comes after has a greater one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position(pub(crate) u64);

/// Some events and the place to go on at.
#[derive(Debug)]
pub(crate) struct EventPage {
    pub(crate) events: Vec<Event>,
    pub(crate) next: Position,
}

/// Where to begin in the event stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    /// At the first event after this generation.
    After(Generation),
    /// Where a page before this one ended.
    Position(Position),
}

/// Why the store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another writer was first.
    #[error("the state is at generation {actual}, not at {expected} any more")]
    Conflict {
        /// What the batch was worked out from.
        expected: Generation,
        /// What is stored.
        actual: Generation,
    },
    /// Events of the asked time are gone; the caller must read the state anew.
    #[error("events after generation {asked} are no longer kept, only those after {oldest}")]
    EventsGone {
        /// What was asked for.
        asked: Generation,
        /// The earliest generation whose successors are all kept.
        oldest: Generation,
    },
    /// SQLite failed.
    #[error("the database {path} failed")]
    Database {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// The database's file can't be made or opened.
    #[error("the database {path} can't be opened")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Another process has the database.
    #[error("the database {path} is in use by another process")]
    InUse {
        /// Which file.
        path: PathBuf,
    },
    /// A newer version of Mezame wrote it.
    #[error(
        "the database {path} has schema {found}, and this version knows up to {known}: \
         run the version that wrote it, or a newer one"
    )]
    NewerSchema {
        /// Which file.
        path: PathBuf,
        /// The schema found.
        found: u32,
        /// The newest schema that this code knows.
        known: u32,
    },
    /// The file is some other program's database.
    #[error("{path} is a database, but not one of Mezame's")]
    Foreign {
        /// Which file.
        path: PathBuf,
    },
    /// A stored value is not what this code writes.
    #[error("a stored {what} can't be read")]
    Spoilt {
        /// What it should be.
        what: &'static str,
    },
    /// A body can't be sealed or opened.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The store's thread can't be started.
    #[error("the store's thread can't be started")]
    Thread(#[source] std::io::Error),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

/// Keeps the state of one installation.
pub(crate) trait Store: Send + Sync {
    /// Reads everything.
    fn load(&self) -> BoxFuture<'_, Result<Contents, StoreError>>;

    /// Writes a batch, whole or not at all.
    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Committed, StoreError>>;

    /// At most `most` events from a place on.
    fn events(&self, from: From, most: usize) -> BoxFuture<'_, Result<EventPage, StoreError>>;

    /// An instance's reports, newest first: when, and the report.
    fn reports(&self, of: InstanceId) -> BoxFuture<'_, Result<Vec<(u64, Body)>, StoreError>>;

    /// An instance's sealed passwords, newest first: when, and the password.
    fn passwords(&self, of: InstanceId) -> BoxFuture<'_, Result<Vec<(u64, Body)>, StoreError>>;

    /// An instance's requests for volume keys on one trail, newest first: when, and the request.
    fn key_requests(
        &self,
        of: InstanceId,
        trail: Trail,
    ) -> BoxFuture<'_, Result<Vec<(u64, Body)>, StoreError>>;

    /// Seals everything with the ring's newest key. May be cut short and called again; when it
    /// has answered, no body needs an older key.
    fn reseal(&self, keys: Keyring) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Lets go of what is open, after the calls before it. Every later call is refused.
    fn close(&self) -> BoxFuture<'_, ()>;
}

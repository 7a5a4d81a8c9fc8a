//! Where snapshots come from, as the service sees it: something that can be opened and closed.
//!
//! Opened when this process is the one in charge, closed before a successor opens the same store.
//! The way itself is the model's [`Feed`].

use std::{error::Error, sync::Arc};

use mezame_model::{BoxFuture, Feed, FeedError, Generation, GuestEvent, Snapshot};

use crate::metrics::storage::Storage;

/// Where snapshots come from: opened when this process is the one in charge, closed before a
/// successor opens it.
pub trait ControlPlane {
    /// Opens it.
    fn open(&self) -> BoxFuture<'_, Result<OpenPlane, Box<dyn Error + Send + Sync>>>;
}

/// An open control plane.
pub struct OpenPlane {
    /// The way to it.
    pub feed: Arc<dyn Feed>,
    /// How it does its work on volumes, if it has any.
    pub storage: Storage,
    /// Closes it and waits until it is.
    pub close: BoxFuture<'static, ()>,
}

/// No control plane: the service lives from its ledger.
pub struct NoControlPlane;

impl NoControlPlane {
    /// Nobody's: it never has anything.
    pub(crate) fn nobody() -> OpenPlane {
        OpenPlane { feed: Arc::new(Nobody), storage: Storage::default(), close: Box::pin(async {}) }
    }
}

impl ControlPlane for NoControlPlane {
    fn open(&self) -> BoxFuture<'_, Result<OpenPlane, Box<dyn Error + Send + Sync>>> {
        Box::pin(async { Ok(Self::nobody()) })
    }
}

struct Nobody;

impl Feed for Nobody {
    fn next(&self, _: Generation) -> BoxFuture<'_, Result<Arc<Snapshot>, FeedError>> {
        Box::pin(async { Err(FeedError::Away) })
    }

    fn deliver(&self, _: GuestEvent) -> BoxFuture<'_, Result<(), FeedError>> {
        Box::pin(async { Err(FeedError::Away) })
    }
}

//! The way between the control plane and a metadata-server: snapshots down, guests' events up.
//!
//! One implementation lives in the provisioner's own process; one over the network can follow
//! without a change on either side. The contract: `next` never answers a generation that is not
//! above `after`; `deliver` is idempotent by the event's key.

use std::{future::Future, pin::Pin, sync::Arc};

use crate::{Generation, GuestEvent, Snapshot};

/// A boxed future, so that [`Feed`] can be a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Why the feed failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FeedError {
    /// The control plane can't be reached now; to be tried again later.
    #[error("the control plane is away")]
    Away,
    /// The control plane will never take this event.
    #[error("the control plane refused the event: {reason}")]
    Refused {
        /// A stable word.
        reason: &'static str,
    },
}

/// The control plane, as a metadata-server sees it.
pub trait Feed: Send + Sync {
    /// Waits for a snapshot above `after`, and gives the newest.
    fn next(&self, after: Generation) -> BoxFuture<'_, Result<Arc<Snapshot>, FeedError>>;

    /// Hands up what a guest did. To be repeated until it succeeds or is refused.
    fn deliver(&self, event: GuestEvent) -> BoxFuture<'_, Result<(), FeedError>>;
}

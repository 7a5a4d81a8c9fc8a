//! The feed of a metadata-server in the provisioner's own process.
//!
//! Snapshots are shared, not copied: a waiting server wakes with the newest as soon as it is
//! stored. A change that guests can't see (a report, say) adds to the generation but makes no
//! snapshot.

use std::sync::Arc;

use mezame_model::{BoxFuture, Feed, FeedError, Generation, GuestEvent, Snapshot};

use crate::control::Control;

/// Snapshots by shared memory.
pub(crate) struct InProcessFeed(Arc<Control>);

impl InProcessFeed {
    /// The feed of a control plane.
    pub(crate) fn new(control: Arc<Control>) -> Self {
        Self(control)
    }
}

impl Feed for InProcessFeed {
    fn next(&self, after: Generation) -> BoxFuture<'_, Result<Arc<Snapshot>, FeedError>> {
        Box::pin(async move {
            let mut snapshots = self.0.snapshots();
            let news = |current: &Option<Arc<Snapshot>>| {
                current.as_ref().is_none_or(|snapshot| snapshot.generation > after)
            };
            let current = snapshots.wait_for(news).await.map_err(|_| FeedError::Away)?;
            current.clone().ok_or(FeedError::Away)
        })
    }

    fn deliver(&self, event: GuestEvent) -> BoxFuture<'_, Result<(), FeedError>> {
        Box::pin(self.0.deliver(event))
    }
}

#[cfg(test)]
mod tests;

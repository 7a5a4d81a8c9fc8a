//! Instances' names as the newest snapshot has them, indexed away from the thread that answers.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use mezame_link_local::dns::Names;
use mezame_model::Snapshot;
use tokio::{sync::watch, time::Instant};

use super::share::Shared;
use crate::listener::Stage;

/// The shortest time between two beginnings of an index, unless making one takes long: then ten
/// times as long as that, so that it takes up at most a tenth of a CPU.
const INTERVAL: Duration = Duration::from_millis(250);

/// What tells of newer snapshots.
pub(super) type Newest = watch::Receiver<Option<Arc<Snapshot>>>;

/// The names, and the snapshot that they are to be made from next.
pub struct Directory {
    newest: watch::Sender<Option<Arc<Snapshot>>>,
    names: ArcSwap<Names>,
}

impl Default for Directory {
    fn default() -> Self {
        Self { newest: watch::Sender::new(None), names: ArcSwap::default() }
    }
}

impl std::fmt::Debug for Directory {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the snapshot, which is everybody's.
        write!(out, "Directory({:?})", self.names.load())
    }
}

impl Directory {
    /// Says that this snapshot is the newest. Cheap: its names are indexed later, and only while
    /// somebody serves DNS.
    pub fn publish(&self, snapshot: &Arc<Snapshot>) {
        self.newest.send_replace(Some(Arc::clone(snapshot)));
    }

    /// Indexes what was published last before it returns: the first query is to find it, also one
    /// that a predecessor's clients ask. Gives what [`keep`] goes on with.
    pub(super) fn open(&self) -> Newest {
        let mut newest = self.newest.subscribe();
        let snapshot = newest.borrow_and_update().clone();
        if let Some(snapshot) = snapshot {
            self.names.store(Arc::new(Names::of(&snapshot)));
        }
        newest
    }

    /// What was published last.
    #[cfg(test)]
    pub(crate) fn newest(&self) -> Option<Arc<Snapshot>> {
        self.newest.borrow().clone()
    }

    /// The names as they are indexed now.
    pub(super) fn names(&self) -> Arc<Names> {
        self.names.load_full()
    }
}

/// Indexes one snapshot after the other, passing over those that are no longer the newest.
pub(super) async fn keep(shared: Arc<Shared>, mut newest: Newest) {
    let directory = &shared.serving.directory;
    let keeping = async {
        while newest.changed().await.is_ok() {
            let Some(snapshot) = newest.borrow_and_update().clone() else { continue };
            let began = Instant::now();
            let made = tokio::task::spawn_blocking(move || Names::of(&snapshot)).await;
            match made {
                Ok(names) => directory.names.store(Arc::new(names)),
                // A panic has been logged by its own hook; the names stay as they were.
                Err(error) => tracing::error!(%error, "instances' names were not indexed"),
            }
            tokio::time::sleep_until(began + INTERVAL.max(began.elapsed() * 10)).await;
        }
    };
    tokio::select! {
        () = shared.reached(Stage::Closed) => {}
        () = keeping => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn what_was_published_before_is_known_as_soon_as_it_is_opened() {
        let directory = Directory::default();
        let snapshot = Arc::new(fixture::snapshot(1, [1]));
        let is_empty = |directory: &Directory| {
            format!("{:?}", directory.names()) == format!("{:?}", Names::default())
        };
        directory.publish(&snapshot);
        assert!(is_empty(&directory));
        let newest = directory.open();
        assert!(!is_empty(&directory));
        assert!(!newest.has_changed().unwrap(), "it would be indexed twice");
        directory.publish(&Arc::new(fixture::snapshot(2, [1])));
        assert!(newest.has_changed().unwrap());
    }
}

//! Writes the newest snapshot to disk, in a thread of its own: whoever serves guests never waits
//! for the disk. What is newer takes the place of what is not written yet, so that many changes
//! while a large ledger is being written hold no more than one snapshot in memory.

use std::{
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use mezame_model::Snapshot;
use mezame_protocol::spent::digest_of;

use super::{outbox::Outbox, seal::LedgerKey, snapshot_file};
use crate::{chain, metrics::Metrics};

/// The thread; what was given to it is on disk when this is dropped.
#[derive(Debug)]
pub struct LedgerWriter {
    desk: Arc<Desk>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl LedgerWriter {
    /// Starts the thread. Two writes are at least `interval` apart.
    pub fn start(
        path: PathBuf,
        key: Arc<LedgerKey>,
        outbox: Arc<Outbox>,
        metrics: Arc<Metrics>,
        interval: Duration,
    ) -> std::io::Result<Self> {
        let desk = Arc::new(Desk::default());
        let from = Arc::clone(&desk);
        let thread = std::thread::Builder::new().name("ledger".into()).spawn(move || {
            // The first of many changes is written at once, the rest together.
            let mut pause = Duration::ZERO;
            while let Some(snapshot) = from.take(pause) {
                let began = Instant::now();
                match snapshot_file::write(&path, &key, &snapshot) {
                    Ok(()) => {
                        let generation = i64::try_from(snapshot.generation.0).unwrap_or(i64::MAX);
                        metrics.ledger_generation.set(generation);
                        let took = began.elapsed().as_millis();
                        metrics.ledger_write.set(i64::try_from(took).unwrap_or(i64::MAX));
                    }
                    Err(error) => {
                        tracing::error!(error = chain(&error), "the ledger was not written");
                    }
                }
                let forgotten = outbox.forget(snapshot.generation, |instance, secret| {
                    let at =
                        snapshot.instances.binary_search_by(|one| one.id.cmp(instance)).ok()?;
                    let value = snapshot.instances[at].secrets.get(secret)?;
                    Some(digest_of(instance, secret, value))
                });
                if let Err(error) = forgotten {
                    tracing::error!(error = chain(&error), "spent secrets were not tidied up");
                }
                let forgotten =
                    outbox.releases().forget(snapshot.generation, |instance, volume| {
                        let at = snapshot.instances.binary_search_by(|one| one.id.cmp(instance));
                        at.is_ok_and(|at| snapshot.instances[at].volume_keys.contains_key(volume))
                    });
                if let Err(error) = forgotten {
                    tracing::error!(error = chain(&error), "released keys were not tidied up");
                }
                // A large ledger takes long to write; it may take a tenth of the disk's time.
                pause = interval.max(began.elapsed() * 9);
            }
        })?;
        Ok(Self { desk, thread: Some(thread) })
    }

    /// Has this snapshot written, unless a newer one comes before.
    pub fn write(&self, snapshot: Arc<Snapshot>) {
        self.desk.lock().newest = Some(snapshot);
        self.desk.changed.notify_one();
    }
}

impl Drop for LedgerWriter {
    fn drop(&mut self) {
        self.desk.lock().is_closed = true;
        self.desk.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // What waits is written before the process ends or a successor reads it.
            let _ = thread.join();
        }
    }
}

/// Where the newest snapshot lies until it is written.
#[derive(Debug, Default)]
struct Desk {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    newest: Option<Arc<Snapshot>>,
    is_closed: bool,
}

impl Desk {
    /// Lets `pause` go by, unless it is closed, and waits for a snapshot; none once it is closed
    /// and empty.
    fn take(&self, pause: Duration) -> Option<Arc<Snapshot>> {
        let waited = self.changed.wait_timeout_while(self.lock(), pause, |state| !state.is_closed);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let is_idle = |state: &mut State| state.newest.is_none() && !state.is_closed;
        let waited = self.changed.wait_while(state, is_idle);
        waited.unwrap_or_else(PoisonError::into_inner).newest.take()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn only_the_newest_of_many_snapshots_is_kept_until_it_is_written() {
        let desk = Desk::default();
        let first = Arc::new(fixture::snapshot(1, [1]));
        desk.lock().newest = Some(Arc::clone(&first));
        desk.lock().newest = Some(Arc::new(fixture::snapshot(2, [1])));
        assert_eq!(Arc::strong_count(&first), 1);
        assert_eq!(desk.take(Duration::ZERO).unwrap().generation.0, 2);
        desk.lock().newest = Some(first);
        desk.lock().is_closed = true;
        // What waits when it closes comes without the pause; then there is no more.
        assert_eq!(desk.take(Duration::MAX).unwrap().generation.0, 1);
        assert!(desk.take(Duration::MAX).is_none());
    }
}

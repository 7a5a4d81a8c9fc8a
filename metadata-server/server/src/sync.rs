//! Keeps what is served in step with what the control plane wants.
//!
//! One task owns the cache and the taps, so that a record and a device that change at the same
//! moment are settled one after the other. The ledger is written elsewhere.

use std::{sync::Arc, time::Duration};

use mezame_model::{Feed, FeedError, Generation, PortId, Snapshot};

use crate::{
    cache::{Cache, Changes},
    chain,
    clock::unix_time,
    identity::{Attachment, Record, Standing},
    ledger::writer::LedgerWriter,
    listener::Serving,
    site::SiteKeys,
    taps::{
        Taps,
        watch::{LinkEvent, LinkWatch, WatchError},
    },
};

/// The cache, the taps, and what is served to whom.
pub struct Sync {
    serving: Arc<Serving>,
    cache: Cache,
    keys: Option<Arc<SiteKeys>>,
    taps: Taps,
    ledger: Option<LedgerWriter>,
    /// Events were lost and not all devices were looked at since.
    is_blind: bool,
}

impl Sync {
    /// Nothing is served yet.
    pub fn new(serving: Arc<Serving>, taps: Taps, ledger: LedgerWriter) -> Self {
        Self {
            serving,
            cache: Cache::empty(),
            keys: None,
            taps,
            ledger: Some(ledger),
            is_blind: false,
        }
    }

    /// The generation that is served.
    pub fn generation(&self) -> Generation {
        self.cache.generation()
    }

    /// The taps, to be handed over.
    pub fn taps(&self) -> &Taps {
        &self.taps
    }

    /// Writes what is left to be written and lets the ledger go.
    pub async fn close_ledger(&mut self) {
        if let Some(ledger) = self.ledger.take() {
            // Joins the thread, so not here.
            let _ = tokio::task::spawn_blocking(move || drop(ledger)).await;
        }
    }

    /// Writes to this ledger from now on.
    pub fn open_ledger(&mut self, ledger: LedgerWriter) {
        self.ledger = Some(ledger);
    }

    /// Looks at all devices.
    pub async fn scan(&mut self, watch: &LinkWatch) -> Result<(), WatchError> {
        let devices = watch.scan().await?;
        let attached = self.taps.scanned(&devices, &self.cache);
        self.introduce(&attached);
        Ok(())
    }

    /// Takes a snapshot over; an older one is ignored. `is_new` if it is to be written to disk.
    pub fn apply(&mut self, snapshot: Arc<Snapshot>, is_new: bool) {
        let keys = match self.keys.as_ref().filter(|keys| keys.are_of(&snapshot.site)) {
            Some(keys) => Arc::clone(keys),
            None => match SiteKeys::new(&snapshot.site) {
                Ok(keys) => Arc::new(keys),
                Err(error) => {
                    // Serving on from the last good state is better than serving nothing.
                    tracing::error!(
                        generation = %snapshot.generation, error = chain(&error),
                        "a snapshot was ignored"
                    );
                    return;
                }
            },
        };
        let Some(changes) = self.cache.swap(Arc::clone(&snapshot)) else {
            tracing::debug!(generation = %snapshot.generation, "an older snapshot was ignored");
            return;
        };
        self.keys = Some(keys);
        let metrics = &self.serving.metrics;
        metrics.generation.set(i64::try_from(snapshot.generation.0).unwrap_or(i64::MAX));
        self.serving.directory.publish(&snapshot);
        // Records first: who waits for a change is woken before any device is touched.
        self.publish(&changes);
        let attached = self.taps.changed(&changes, &self.cache);
        self.introduce(&attached);
        tracing::info!(
            generation = %snapshot.generation, ports = changes.ports.len(),
            everyone = changes.everyone, "snapshot applied"
        );
        if let Some(ledger) = self.ledger.as_ref().filter(|_| is_new) {
            ledger.write(snapshot);
        }
    }

    /// Takes an event of the devices.
    pub fn device(&mut self, event: &LinkEvent) {
        match event {
            LinkEvent::Seen { ifindex, name, carriers } => {
                self.taps.taken(*ifindex, *carriers);
                let attached = self.taps.seen(*ifindex, name, &self.cache);
                self.introduce(&attached);
            }
            LinkEvent::Gone { ifindex } => self.taps.gone(*ifindex),
        }
    }

    /// Tries again what failed.
    pub fn retry(&mut self) {
        if self.taps.has_failed() {
            let attached = self.taps.retry(&self.cache);
            self.introduce(&attached);
        }
    }

    /// Runs for ever: snapshots, devices, retries. Events that were lost, and a control plane that
    /// is away, are waited out. May be dropped at any time.
    pub async fn run(&mut self, feed: &dyn Feed, watch: &mut LinkWatch) {
        let mut retries = tokio::time::interval(RETRY);
        retries.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut next = feed.next(self.generation());
        loop {
            tokio::select! {
                biased;
                snapshot = &mut next => {
                    let reachable = i64::from(snapshot.is_ok());
                    self.serving.metrics.control_plane.set(reachable);
                    match snapshot {
                        Ok(snapshot) => {
                            self.apply(snapshot, true);
                            next = feed.next(self.generation());
                        }
                        Err(error) => next = after_pause(feed, self.generation(), error),
                    }
                }
                event = watch.next() => match event {
                    Some(event) => self.device(&event),
                    None => self.watch_anew(watch).await,
                },
                _ = retries.tick() => {
                    if self.is_blind {
                        self.watch_anew(watch).await;
                    }
                    self.retry();
                }
            }
        }
    }

    async fn watch_anew(&mut self, watch: &mut LinkWatch) {
        tracing::warn!("events of devices were lost; looking at all of them");
        self.is_blind = true;
        let opened = match LinkWatch::open() {
            Ok(new) => {
                *watch = new;
                self.scan(watch).await
            }
            Err(error) => Err(error),
        };
        match opened {
            Ok(()) => self.is_blind = false,
            Err(error) => {
                tracing::error!(error = chain(&error), "devices can't be watched");
                tokio::time::sleep(RETRY).await;
            }
        }
    }

    /// Gives new attachments their records.
    fn introduce(&self, attached: &[Arc<Attachment>]) {
        for attachment in attached {
            self.serve(attachment);
        }
    }

    fn publish(&self, changes: &Changes) {
        let identities = &self.serving.identities;
        if changes.everyone {
            for attachment in identities.all() {
                self.serve(&attachment);
            }
        } else {
            for port in &changes.ports {
                if let Some(attachment) = identities.of_port(port) {
                    self.serve(&attachment);
                }
            }
        }
    }

    /// Puts an attachment where it should stand, and wakes those who wait if that is elsewhere.
    fn serve(&self, attachment: &Attachment) {
        let now = attachment.standing();
        match (self.record_of(&attachment.port, attachment), &now) {
            (_, Standing::Over) | (None, Standing::Waiting) => {}
            (None, Standing::Serving(_)) => attachment.serve(Standing::Waiting),
            (Some(record), Standing::Serving(old)) if is_same(old, &record) => {}
            (Some(record), _) => attachment.serve(Standing::Serving(Arc::new(record))),
        }
    }

    fn record_of(&self, port: &PortId, attachment: &Attachment) -> Option<Record> {
        let instance = attachment.instance.as_ref()?;
        let guest = self.cache.guest(port, instance)?;
        Some(Record {
            guest,
            keys: Arc::clone(self.keys.as_ref()?),
            acknowledged: self.serving.outbox.spent(instance),
            generation: self.cache.generation(),
            modified: unix_time(),
        })
    }
}

/// How often failures are tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Asks again after a pause, as one future.
fn after_pause<'a>(
    feed: &'a dyn Feed,
    generation: Generation,
    error: FeedError,
) -> mezame_model::BoxFuture<'a, Result<Arc<Snapshot>, FeedError>> {
    tracing::debug!(%error, "no snapshot from the control plane");
    Box::pin(async move {
        tokio::time::sleep(RETRY).await;
        feed.next(generation).await
    })
}

/// Whether a guest would see no difference.
fn is_same(old: &Record, new: &Record) -> bool {
    let same_ports = old.guest.ports.len() == new.guest.ports.len()
        && old.guest.ports.iter().zip(&new.guest.ports).all(|(old, new)| {
            (Arc::ptr_eq(&old.port, &new.port) || old.port == new.port)
                && (Arc::ptr_eq(&old.network, &new.network) || old.network == new.network)
        });
    same_ports
        && (Arc::ptr_eq(&old.guest.instance, &new.guest.instance)
            || old.guest.instance == new.guest.instance)
        && Arc::ptr_eq(&old.keys, &new.keys)
        && old.acknowledged == new.acknowledged
}

#[cfg(test)]
mod tests;

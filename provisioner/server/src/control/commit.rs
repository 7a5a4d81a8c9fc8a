//! How a plan becomes the state: encoded, stored, taken over into memory, told to who waits.
//!
//! A write that has begun is finished, also when its caller goes away: memory and store never
//! part. The caller holds the turn.

use std::{future::Future, sync::Arc};

use mezame_model::api::{Applied, Event};
use serde_json::Value;

use super::{Control, ControlError};
use crate::{
    admission::{self, Plan},
    record::{Record, decode, encode},
    state::{Changes, State},
    store::{Batch, Committed, StoreError},
};

impl Control {
    /// Admission on a thread of its own: many documents take long.
    pub(super) async fn admit(
        self: &Arc<Self>,
        documents: Vec<Value>,
    ) -> Result<Plan, ControlError> {
        let control = Arc::clone(self);
        let work = tokio::task::spawn_blocking(move || {
            admission::admit(&documents, &control.state(), &*control.environment)
        });
        Ok(work.await.map_err(|_| ControlError::Ending)??)
    }

    /// Writes a plan, unless it changes nothing or is only to be looked at.
    pub(super) async fn carry_out(
        self: &Arc<Self>,
        plan: Plan,
        dry_run: bool,
    ) -> Result<Applied, ControlError> {
        let mut generation = self.state().generation;
        if !dry_run && !plan.changes.is_empty() {
            let now = self.environment.now_ms();
            let mut events = plan.events;
            events.iter_mut().for_each(|event: &mut Event| event.at_ms = now);
            let batch = Batch { events, ..Batch::default() };
            if let Committed::Written(written) = self.commit(plan.changes, batch).await? {
                generation = written;
            }
        }
        Ok(Applied { generation, changes: plan.outcome })
    }

    /// Stores changes, takes them over into memory, and tells who waits.
    pub(super) async fn commit(
        self: &Arc<Self>,
        changes: Changes,
        mut batch: Batch,
    ) -> Result<Committed, ControlError> {
        batch.expected = self.state().generation;
        let encoding = tokio::task::spawn_blocking(move || -> Result<_, StoreError> {
            fill(&mut batch, &changes)?;
            Ok((batch, changes))
        });
        let (batch, changes) = encoding.await.map_err(|_| ControlError::Ending)??;
        let committed = match self.store.commit(batch).await {
            Err(error @ StoreError::Conflict { .. }) => {
                // Somebody else wrote, or an earlier write of ours was done though it was
                // answered with a failure. The store is right.
                self.reload().await?;
                return Err(error.into());
            }
            other => other?,
        };
        if let Committed::Written(generation) = committed {
            self.state_mut().apply(changes, generation)?;
            self.tell();
        }
        Ok(committed)
    }

    async fn reload(&self) -> Result<(), ControlError> {
        let mut contents = self.store.load().await?;
        let site = contents.site.take().ok_or(StoreError::Spoilt { what: "site" })?;
        let state = State::load(contents, decode(&site, "site")?)?;
        *self.state_mut() = state;
        self.tell();
        Ok(())
    }

    fn tell(&self) {
        let (generation, snapshot) = {
            let state = self.state();
            (state.generation, Arc::clone(state.snapshot()))
        };
        // The old snapshot is dropped after those who wait were woken: letting go of 100,000
        // records takes as long as taking hold of them.
        let mut old = None;
        self.snapshots.send_if_modified(|current| {
            let newer =
                current.as_ref().is_some_and(|current| current.generation < snapshot.generation);
            if newer {
                old = current.replace(snapshot);
            }
            newer
        });
        drop(old);
        self.head.send_replace(generation);
    }
}

/// The rows of a batch.
fn fill(batch: &mut Batch, changes: &Changes) -> Result<(), StoreError> {
    for record in &changes.puts {
        batch.puts.push((record.key(), record.body()?));
    }
    for record in &changes.deletes {
        batch.deletes.push(record.key());
        if let Record::Instance(record) = record {
            batch.forget.push(record.instance.id.clone());
        }
    }
    for (id, observed) in &changes.observed {
        batch.observed.push((id.clone(), encode(&**observed)?));
    }
    batch.site = changes.site.as_ref().map(encode).transpose()?;
    Ok(())
}

/// Runs to its end whatever becomes of the caller.
pub(super) async fn uncut<T: Send + 'static>(
    work: impl Future<Output = Result<T, ControlError>> + Send + 'static,
) -> Result<T, ControlError> {
    match tokio::spawn(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(ControlError::Ending),
    }
}

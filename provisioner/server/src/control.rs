//! The one place where the state changes: admission, store, memory, snapshot, in this order.
//!
//! One writer at a time, readers never wait for the disk. A write that has begun is finished,
//! also when its caller goes away, so that memory and store never part.

mod commit;
mod image_keys;
mod keys;
mod password_resets;
mod schedules;
mod volume_keys;
mod volumes;

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use mezame_model::{
    DeviceName, FeedError, Generation, GuestEvent, InstanceId, InstanceName, PortName, ProjectName,
    Snapshot,
    api::{Action, Applied, Fault, Kind, Resource, StoredPassword, StoredReport},
    volume_key::KeyOutcome,
};
use serde_json::Value;
use tokio::sync::{Mutex, watch};

use crate::{
    admission::{self, Rejection},
    environment::{Environment, NoRandomness},
    lifecycle,
    record::{decode, encode},
    resource,
    sealing::key_file::KeyFileError,
    site_keys::{KeyError, StoredSite},
    state::State,
    store::{self, Batch, Committed, EventPage, Store, StoreError, Trail},
    volumes::quota::OverQuota,
};

use commit::uncut;
pub(crate) use keys::SealingKeys;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The documents are wrong.
    #[error("the documents have faults")]
    Faults(Vec<Fault>),
    /// Something refers to what is to be deleted.
    #[error("something refers to it")]
    InUse(Vec<Fault>),
    /// There is no such resource.
    #[error("there is no such resource")]
    NotFound,
    /// The project may not have so much.
    #[error(transparent)]
    Quota(#[from] OverQuota),
    /// The resource is not as the caller thinks.
    #[error("the resource is at revision {}", .actual.map_or("none".into(), |g| g.to_string()))]
    Precondition {
        /// Its revision; none where it is not there.
        actual: Option<Generation>,
    },
    /// One of this name is there, and was to be made.
    #[error("there is one of this name already")]
    There,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No ids can be made.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    /// No keys can be made.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The sealing keys can't be saved.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// The control plane is ending.
    #[error("the control plane is ending")]
    Ending,
}

impl From<Rejection> for ControlError {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::Faults(faults) => Self::Faults(faults),
            Rejection::NoRandomness(error) => Self::NoRandomness(error),
        }
    }
}

/// What must be so for a write to be done (RFC 9110, section 13.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Precondition {
    /// Nothing.
    Any,
    /// It is there.
    Exists,
    /// It is there, at one of these revisions.
    At(Vec<Generation>),
    /// It is not there.
    Absent,
}

impl Precondition {
    fn check(&self, actual: Option<Generation>) -> Result<(), ControlError> {
        let good = match self {
            Self::Any => true,
            Self::Exists => actual.is_some(),
            Self::At(wanted) => actual.is_some_and(|actual| wanted.contains(&actual)),
            Self::Absent => actual.is_none(),
        };
        if good { Ok(()) } else { Err(ControlError::Precondition { actual }) }
    }
}

/// What names a resource in a path.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) kind: Kind,
    pub(crate) project: ProjectName,
    /// The project's own for a project.
    pub(crate) name: String,
}

/// The control plane's state and the way to change it.
pub(crate) struct Control {
    store: Arc<dyn Store>,
    environment: Arc<dyn Environment>,
    state: RwLock<State>,
    /// Whose turn it is to write, and the keys that only a writer changes.
    turn: Mutex<SealingKeys>,
    /// None once the control plane has ended.
    snapshots: watch::Sender<Option<Arc<Snapshot>>>,
    head: watch::Sender<Generation>,
}

impl Control {
    /// Reads the store; makes the installation's keys where there are none.
    pub(crate) async fn open(
        store: Arc<dyn Store>,
        environment: Arc<dyn Environment>,
        keys: SealingKeys,
        region: &str,
        domain: &str,
    ) -> Result<Arc<Self>, ControlError> {
        keys.finish_rotation(&*store).await?;
        let mut contents = store.load().await?;
        let stored: Option<StoredSite> =
            contents.site.take().map(|body| decode(&body, "site")).transpose()?;
        let fresh = match &stored {
            None => Some(StoredSite::make(region, domain, &*environment)?),
            Some(site) => site.renamed(region, domain),
        };
        if let Some(site) = &fresh {
            let batch = Batch {
                expected: contents.generation,
                site: Some(encode(site)?),
                ..Batch::default()
            };
            if let Committed::Written(generation) = store.commit(batch).await? {
                contents.generation = generation;
            }
        }
        let site = fresh.or(stored).ok_or(StoreError::Spoilt { what: "site" })?;
        let state = State::load(contents, site)?;
        let (snapshots, _) = watch::channel(Some(Arc::clone(state.snapshot())));
        let (head, _) = watch::channel(state.generation);
        let (state, turn) = (RwLock::new(state), Mutex::new(keys));
        Ok(Arc::new(Self { store, environment, state, turn, snapshots, head }))
    }

    /// The snapshots as they come; None once there will be no more.
    pub(crate) fn snapshots(&self) -> watch::Receiver<Option<Arc<Snapshot>>> {
        self.snapshots.subscribe()
    }

    /// The newest generation as it goes forward.
    pub(crate) fn head(&self) -> watch::Receiver<Generation> {
        self.head.subscribe()
    }

    /// The state, to be read and let go of quickly.
    pub(crate) fn state(&self) -> RwLockReadGuard<'_, State> {
        // A writer that panicked has left records in place: each is put whole.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies documents, all or none; only looks where `dry_run` says so.
    pub(crate) async fn apply(
        self: &Arc<Self>,
        documents: Vec<Value>,
        dry_run: bool,
    ) -> Result<Applied, ControlError> {
        let control = Arc::clone(self);
        uncut(async move {
            let _turn = control.turn.lock().await;
            let plan = control.admit(documents).await?;
            control.carry_out(plan, dry_run).await
        })
        .await
    }

    /// Writes one resource. Answers it, and whether it is new.
    pub(crate) async fn put(
        self: &Arc<Self>,
        target: Target,
        document: Value,
        precondition: Precondition,
    ) -> Result<(Resource, bool), ControlError> {
        let control = Arc::clone(self);
        uncut(async move {
            let _turn = control.turn.lock().await;
            precondition.check(control.revision(&target))?;
            let plan = control.admit(vec![document]).await?;
            let applied = control.carry_out(plan, false).await?;
            let created = applied.changes.first().is_some_and(|c| c.action == Action::Created);
            Ok((control.get(&target)?, created))
        })
        .await
    }

    /// Sets the device of a port, or takes it back to the one that is made of the port's id.
    pub(crate) async fn set_device(
        self: &Arc<Self>,
        target: Target,
        device: Option<Value>,
        precondition: Precondition,
    ) -> Result<Resource, ControlError> {
        let control = Arc::clone(self);
        uncut(async move {
            let _turn = control.turn.lock().await;
            let mut resource = control.get(&target)?;
            precondition.check(Some(resource.revision))?;
            resource.spec["device"] = match device {
                Some(device) => device,
                None => {
                    let name = PortName::parse(&target.name).map_err(|_| ControlError::NotFound)?;
                    let state = control.state();
                    let port = state.port(&target.project, &name).ok_or(ControlError::NotFound)?;
                    DeviceName::of_port(&port.record.id).as_str().into()
                }
            };
            let plan = control.admit(vec![resource.spec]).await?;
            control.carry_out(plan, false).await?;
            control.get(&target)
        })
        .await
    }

    /// Deletes one resource that nothing refers to.
    pub(crate) async fn delete(
        self: &Arc<Self>,
        target: Target,
        precondition: Precondition,
    ) -> Result<(), ControlError> {
        let control = Arc::clone(self);
        uncut(async move {
            let _turn = control.turn.lock().await;
            let actual = control.revision(&target).ok_or(ControlError::NotFound)?;
            precondition.check(Some(actual))?;
            let plan = {
                let state = control.state();
                admission::release(&state, target.kind, &target.project, &target.name)
                    .ok_or(ControlError::NotFound)?
                    .map_err(ControlError::InUse)?
            };
            control.carry_out(plan, false).await.map(drop)
        })
        .await
    }

    /// Takes what a guest did. Idempotent by the event's key.
    pub(crate) async fn deliver(self: &Arc<Self>, mut event: GuestEvent) -> Result<(), FeedError> {
        let control = Arc::clone(self);
        // A hypervisor whose clock was ahead must not make all later reports look old.
        event.at_ms = event.at_ms.min(self.environment.now_ms());
        let written = uncut(async move {
            let _turn = control.turn.lock().await;
            let heard = lifecycle::hear(&control.state(), &event);
            let heard = match heard {
                Ok(Some(heard)) => heard,
                Ok(None) => return Ok(Ok(())),
                Err(refused) => return Ok(Err(refused)),
            };
            let mut batch = Batch { event_key: Some(event.key), ..Batch::default() };
            if let Some(report) = &heard.report {
                batch.reports.push((event.instance.clone(), event.at_ms, encode(report)?));
            }
            if let Some(password) = &heard.password {
                let (instance, user) = (event.instance.clone(), password.user.clone());
                batch.passwords.push((instance, user, event.at_ms, encode(password)?));
            }
            if let Some(stored) = &heard.key_request {
                let trail = match stored.request.outcome {
                    KeyOutcome::Released(_) => Trail::Released,
                    KeyOutcome::Withheld(_) => Trail::Withheld,
                };
                let filed = (event.instance.clone(), event.at_ms, trail, encode(stored)?);
                batch.key_requests.push(filed);
            }
            batch.events.extend(heard.event);
            control.commit(heard.changes, batch).await?;
            Ok(Ok(()))
        });
        match written.await {
            Ok(heard) => heard,
            Err(error) => {
                let error: ControlError = error;
                tracing::warn!(%error, "a guest's event could not be stored");
                Err(FeedError::Away)
            }
        }
    }

    /// One resource.
    pub(crate) fn get(&self, target: &Target) -> Result<Resource, ControlError> {
        resource::one(&self.state(), target.kind, &target.project, &target.name)
            .map(|shown| shown.resource)
            .ok_or(ControlError::NotFound)
    }

    /// An instance's reports, newest first.
    pub(crate) async fn reports(
        &self,
        project: &ProjectName,
        name: &InstanceName,
    ) -> Result<Vec<StoredReport>, ControlError> {
        let id = self.instance_id(project, name)?;
        let stored = self.store.reports(id).await?;
        let stored = stored
            .into_iter()
            .map(|(at_ms, body)| Ok(StoredReport { at_ms, report: decode(&body, "report")? }));
        stored.collect()
    }

    /// An instance's sealed passwords, newest first.
    pub(crate) async fn passwords(
        &self,
        project: &ProjectName,
        name: &InstanceName,
    ) -> Result<Vec<StoredPassword>, ControlError> {
        let id = self.instance_id(project, name)?;
        let stored = self.store.passwords(id).await?;
        let stored = stored.into_iter().map(|(at_ms, body)| {
            Ok(StoredPassword { at_ms, password: decode(&body, "password")? })
        });
        stored.collect()
    }

    /// Some events from a place on.
    pub(crate) async fn events(
        &self,
        from: store::From,
        most: usize,
    ) -> Result<EventPage, ControlError> {
        Ok(self.store.events(from, most).await?)
    }

    /// Ends the control plane: the feed is away, the store is let go of.
    pub(crate) async fn close(&self) {
        let _turn = self.turn.lock().await;
        self.snapshots.send_replace(None);
        self.store.close().await;
    }

    fn instance_id(
        &self,
        project: &ProjectName,
        name: &InstanceName,
    ) -> Result<InstanceId, ControlError> {
        let state = self.state();
        let held = state.instance(project, name).ok_or(ControlError::NotFound)?;
        Ok(held.record.instance.id.clone())
    }

    fn revision(&self, target: &Target) -> Option<Generation> {
        resource::one(&self.state(), target.kind, &target.project, &target.name)
            .map(|shown| shown.resource.revision)
    }
}

#[cfg(test)]
mod tests;

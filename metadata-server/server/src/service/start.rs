//! What is there before anybody is served: the data path, the ledger, and the newest snapshot.
//!
//! Nothing here takes a guest's connection, or anything from a process that still serves but what
//! that handed over.

use std::sync::{Arc, Mutex, PoisonError};

use mezame_ebpf_loader::Uplink;
use mezame_model::{Feed, Generation};

use super::{Service, ServiceError, open_data_path};
use crate::{
    chain,
    identity::Identities,
    ledger::{outbox::Outbox, seal::LedgerKey, snapshot_file, writer::LedgerWriter},
    listener::Serving,
    metrics::{Metrics, drops::DropFeed, kernel::KernelCounters},
    namespace::Namespace,
    settings::Settings,
    sockets::SocketEnder,
    sync::Sync,
    takeover::Predecessor,
    taps::{Taps, plane::DataPlane, watch::LinkWatch},
};

impl<'a> Service<'a> {
    /// Opens everything but the control plane; nobody is served yet.
    pub(super) async fn start(
        settings: &'a Settings,
        namespace: &Namespace,
        predecessor: Option<&Predecessor>,
    ) -> Result<Self, ServiceError> {
        let uplink = Uplink {
            host_ifindex: namespace.veth().ifindex,
            host_mac: namespace.veth().mac.0,
            peer_mac: namespace.peer().mac.0,
        };
        let plane: Arc<Mutex<dyn DataPlane>> =
            Arc::new(Mutex::new(open_data_path(settings, &uplink, namespace.has_ipv6())?));
        let identities = Arc::new(Identities::default());
        let mut metrics = Metrics::default();
        metrics.collect_from(KernelCounters::new(Arc::clone(&plane), Arc::clone(&identities)));
        let metrics = Arc::new(metrics);

        let key = Arc::new(LedgerKey::open(&settings.state.join("ledger.key"))?);
        let ceiling = settings.limits.events_per_port as usize;
        let (outbox, faults) = Outbox::open(&settings.state, Arc::clone(&key), ceiling)?;
        for fault in faults {
            tracing::error!(error = chain(&fault), "a guest's event was left out");
        }
        let outbox = Arc::new(outbox);
        let serving = Arc::new(Serving::new(
            Arc::clone(&identities),
            settings.limits.clone(),
            Arc::clone(&metrics),
            outbox,
        ));
        let ender = namespace.enter(SocketEnder::open)?;
        let ender =
            ender.map_err(|error| tracing::warn!(%error, "this kernel has no sock_diag")).ok();
        let handed = predecessor.map(|one| one.state.clone()).unwrap_or_default();
        let taps = Taps::new(
            Arc::clone(&plane),
            identities,
            Arc::clone(&metrics),
            ender,
            handed.tenancies,
            handed.next_slot,
        )?;
        let ledger = Self::ledger(settings, &key, &serving)?;
        Ok(Self {
            settings,
            plane,
            key,
            sync: Sync::new(Arc::clone(&serving), taps, ledger),
            serving,
            watch: LinkWatch::open()?,
            drops: DropFeed::default(),
            workers: None,
            link_local: None,
            peer_ifindex: namespace.peer().ifindex,
            operator: None,
            freezer: None,
            door: None,
        })
    }

    pub(super) fn ledger(
        settings: &Settings,
        key: &Arc<LedgerKey>,
        serving: &Serving,
    ) -> Result<LedgerWriter, ServiceError> {
        LedgerWriter::start(
            settings.state.join("snapshot.ledger"),
            Arc::clone(key),
            Arc::clone(&serving.outbox),
            Arc::clone(&serving.metrics),
            settings.ledger_interval,
        )
        .map_err(ServiceError::Thread)
    }

    /// Gets the newest snapshot there is: the control plane's, or the ledger's if that is away.
    pub(super) async fn catch_up(&mut self, feed: &dyn Feed) -> Result<(), ServiceError> {
        let (path, key) = (self.settings.state.join("snapshot.ledger"), Arc::clone(&self.key));
        let read = tokio::task::spawn_blocking(move || snapshot_file::read(&path, &key));
        let fresh = tokio::time::timeout(self.settings.patience, feed.next(Generation::ZERO));
        let (read, fresh) = tokio::join!(read, fresh);
        let kept = match read {
            Ok(Ok(kept)) => kept,
            Ok(Err(error)) => {
                tracing::error!(
                    error = chain(&error),
                    "the ledger can't be used; starting without it"
                );
                None
            }
            Err(_) => None,
        };
        let kept_generation = kept.as_ref().map_or(Generation::ZERO, |kept| kept.generation);
        let metrics = &self.serving.metrics;
        metrics.ledger_generation.set(i64::try_from(kept_generation.0).unwrap_or(i64::MAX));
        match fresh {
            Ok(Ok(fresh)) if fresh.generation >= kept_generation => {
                metrics.control_plane.set(1);
                self.sync.apply(Arc::clone(&fresh), fresh.generation > kept_generation);
            }
            other => {
                if let Ok(Ok(older)) = other {
                    tracing::error!(
                        ledger = %kept_generation, control_plane = %older.generation,
                        "the control plane's state is older than the ledger's and is ignored"
                    );
                }
                if let Some(kept) = kept {
                    tracing::info!(generation = %kept.generation, "serving from the ledger");
                    self.sync.apply(Arc::new(kept), false);
                }
            }
        }
        self.sync.scan(&self.watch).await?;
        self.plane.lock().unwrap_or_else(PoisonError::into_inner).retire_other_layouts()?;
        Ok(())
    }
}

//! The service put together: start, run, hand over or end.
//!
//! ```text
//!   start ──► run ──stop──► drain ──► ended
//!              │  ▲
//!    a successor  │ it died before it was ready; the control plane is opened again, and where
//!              │  │ that fails guests are served without until it does not
//!      knocks ──► hand over ──it serves──► drain ──► ended
//! ```

mod data_path;
mod descriptors;
mod error;
mod guest_sockets;
mod reopening;
mod start;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

pub use data_path::{open_data_path, probe};
pub use error::ServiceError;
use guest_sockets::{guest_listeners, link_local_sockets};
use mezame_model::{Feed, Generation};
use reopening::Held;
use tokio::sync::watch;

use crate::{
    chain,
    control_plane::{ControlPlane, OpenPlane},
    entrances::{self, Entrances},
    freezer::FreezeServer,
    ledger::{LedgerError, make_private, outbox::Outbox, seal::LedgerKey},
    link_local::LinkLocal,
    listener::{Idle, Serving, Stage, Workers, reap},
    metrics::{
        drops::DropFeed,
        serve::{MetricsServer, Operator},
        storage::Storage,
    },
    namespace::Namespace,
    settings::Settings,
    sync::Sync,
    takeover::{Door, HandOver, Predecessor, Successor, take_over},
    taps::{plane::DataPlane, watch::LinkWatch},
};

/// How the service ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was told to.
    Stopped,
    /// This process took over.
    TakenOver {
        /// Its process id.
        by: u32,
    },
}

/// What is there once guests are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// Whether a process was taken over from.
    pub taken_over: bool,
    /// The generation that is served.
    pub generation: Generation,
    /// The TCP address of metrics, if any.
    pub metrics: Option<SocketAddr>,
}

/// Runs the service until `stop` is true or a successor has taken over. `ready` is called once
/// guests are served.
pub async fn run(
    settings: &Settings,
    control: &dyn ControlPlane,
    stop: watch::Receiver<bool>,
    ready: impl FnOnce(&Ready),
) -> Result<Ended, ServiceError> {
    descriptors::raise_limit();
    make_private(&settings.state)?;
    std::fs::create_dir_all(&settings.run)
        .map_err(LedgerError::file(&settings.run, "making the directory"))?;
    let predecessor = take_over(&settings.takeover_socket()).await?;
    let namespace = Namespace::ensure(&settings.names, entrances::addresses).await?;
    let (predecessor, handed_over) = predecessor.unzip();
    // First of all: where another process serves, it is found out here, before its data path is
    // touched.
    let mut entrances = handed_over.unwrap_or_else(Entrances::none);
    entrances.open_missing(&namespace, settings.port)?;
    let mut service = Service::start(settings, &namespace, predecessor.as_ref()).await?;
    let plane = control.open().await.map_err(ServiceError::ControlPlane)?;
    service.serving.metrics.storage.ask(plane.storage.clone());
    service.catch_up(&*plane.feed).await?;
    // Only now: ports that a killed process left attached have new identities from here on, and a
    // connection that was let in under an old one would never hear an answer.
    entrances.listen()?;
    let told = service.begin(&entrances, predecessor.is_some())?;
    if let Some(predecessor) = &predecessor {
        predecessor.ready()?;
    }
    ready(&told);
    let held = Held { control: plane, is_away: false };
    service.run(control, held, entrances, predecessor, stop).await
}

/// What ends a time of being in charge.
enum Charge {
    /// It is told to stop.
    Stopped,
    /// Somebody wants to take over.
    Taken(Successor),
    /// The control plane, which was away, is open.
    Reopened(OpenPlane),
}

struct Service<'a> {
    settings: &'a Settings,
    serving: Arc<Serving>,
    plane: Arc<Mutex<dyn DataPlane>>,
    key: Arc<LedgerKey>,
    sync: Sync,
    watch: LinkWatch,
    drops: DropFeed,
    workers: Option<Workers>,
    link_local: Option<LinkLocal>,
    /// The veth's end in the metadata namespace.
    peer_ifindex: u32,
    operator: Option<MetricsServer>,
    freezer: Option<FreezeServer>,
    door: Option<Door>,
}

impl<'a> Service<'a> {
    /// Serves guests and operators.
    fn begin(&mut self, entrances: &Entrances, taken_over: bool) -> Result<Ready, ServiceError> {
        self.serving.clock.update();
        tokio::spawn(reap(Arc::clone(&self.serving)));
        let workers = guest_listeners(entrances)
            .and_then(|listeners| Workers::start(&self.serving, &listeners, self.settings.workers));
        self.workers = Some(workers.map_err(ServiceError::Thread)?);
        let sockets = link_local_sockets(entrances, self.peer_ifindex);
        let link_local = sockets.and_then(|sockets| LinkLocal::start(&self.serving, sockets));
        self.link_local = Some(link_local.map_err(ServiceError::Thread)?);
        let metrics = self.open_for_operators()?;
        Ok(Ready { taken_over, generation: self.sync.generation(), metrics })
    }

    /// Opens the sockets in the run directory, in the place of any that are there.
    fn open_for_operators(&mut self) -> Result<Option<SocketAddr>, ServiceError> {
        let operator = Operator { serving: Arc::clone(&self.serving), drops: self.drops.clone() };
        let server =
            MetricsServer::open(&operator, &self.settings.metrics_socket(), self.settings.metrics)?;
        let metrics = server.address;
        self.operator = Some(server);
        let path = self.settings.freeze_socket();
        let freezer = FreezeServer::open(&self.serving, &path);
        self.freezer = Some(freezer.map_err(|source| ServiceError::FreezeSocket { path, source })?);
        self.door = Some(Door::open(&self.settings.takeover_socket())?);
        Ok(metrics)
    }

    /// Runs until the end.
    async fn run(
        mut self,
        control: &dyn ControlPlane,
        mut held: Held,
        entrances: Entrances,
        predecessor: Option<Predecessor>,
        mut stop: watch::Receiver<bool>,
    ) -> Result<Ended, ServiceError> {
        if let Some(predecessor) = predecessor {
            self.follow(predecessor);
        }
        loop {
            let again = Held::opened_again(held.is_away, control);
            let successor = match self.in_charge(&*held.control.feed, again, &mut stop).await? {
                Charge::Reopened(open) => {
                    self.serving.metrics.storage.ask(open.storage.clone());
                    held = Held { control: open, is_away: false };
                    continue;
                }
                Charge::Taken(successor) => Some(successor),
                Charge::Stopped => None,
            };
            // Nothing is changed from here on: the ledger is flushed, the store closed.
            self.sync.close_ledger().await;
            self.serving.metrics.storage.ask(Storage::default());
            held.control.close.await;
            let Some(successor) = successor else {
                if let Some(door) = self.door.take() {
                    door.close();
                }
                self.drain(Idle::Close).await;
                return Ok(Ended::Stopped);
            };
            let by = successor.pid();
            tracing::info!(pid = by, "handing over");
            let (tenancies, next_slot) = self.sync.taps().hand_over();
            let (names, sockets) = entrances.to_hand_over();
            let state = HandOver { tenancies, next_slot, entrances: names };
            match successor.hand_over(state, &sockets).await {
                Ok(true) => {
                    self.drain(Idle::Keep).await;
                    return Ok(Ended::TakenOver { by });
                }
                Ok(false) => tracing::error!(pid = by, "the successor died; going on"),
                Err(error) => {
                    tracing::error!(error = chain(&error), "handing over failed; going on");
                }
            }
            self.sync.open_ledger(Self::ledger(self.settings, &self.key, &self.serving)?);
            held = Held::opened(control).await;
            self.serving.metrics.storage.ask(held.control.storage.clone());
            // It may have put its own sockets in the place of ours, kept guests' events, and
            // changed devices before it died.
            self.open_for_operators()?;
            read_outbox(&self.serving.outbox).await;
            self.watch = LinkWatch::open()?;
            self.sync.scan(&self.watch).await?;
        }
    }

    /// Keeps everything in step until it is told to stop, a successor knocks, or a control plane that was
    /// away is open again.
    async fn in_charge(
        &mut self,
        feed: &dyn Feed,
        again: impl Future<Output = OpenPlane>,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<Charge, ServiceError> {
        let drops = self.plane.lock().unwrap_or_else(PoisonError::into_inner).drops()?;
        let identities = Arc::clone(&self.serving.identities);
        let (serving, metrics) = (Arc::clone(&self.serving), Arc::clone(&self.serving.metrics));
        let delivering = serving.outbox.deliver(
            feed,
            |event, reason| {
                metrics.events_refused.inc();
                tracing::warn!(port = %event.port, reason, "the control plane refused an event");
            },
            |error| tracing::error!(error = chain(error), "an event was not tidied up"),
        );
        let knocked = async {
            match &self.door {
                Some(door) => door.knock().await,
                None => std::future::pending().await,
            }
        };
        // None of these ends by itself, or the rest goes on without it.
        let background = async {
            tokio::join!(
                self.sync.run(feed, &mut self.watch),
                self.drops.read(drops, identities),
                delivering,
            );
            std::future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => Ok(Charge::Stopped),
            successor = knocked => Ok(Charge::Taken(successor)),
            open = again => Ok(Charge::Reopened(open)),
            () = background => Ok(Charge::Stopped),
        }
    }

    /// Reads what the predecessor wrote until it ended.
    fn follow(&self, predecessor: Predecessor) {
        let outbox = Arc::clone(&self.serving.outbox);
        tokio::spawn(async move {
            predecessor.gone().await;
            tracing::info!("the former process has ended");
            read_outbox(&outbox).await;
        });
    }

    async fn drain(mut self, idle: Idle) {
        self.operator = None;
        self.freezer = None;
        let patience = self.settings.drain;
        let (workers, link_local) = (self.workers.take(), self.link_local.take());
        let workers = async {
            match workers {
                Some(workers) => workers.drain(patience, idle).await,
                None => 0,
            }
        };
        let link_local = async {
            match link_local {
                Some(link_local) => link_local.drain(patience).await,
                None => 0,
            }
        };
        let (connections, forwarded) = tokio::join!(workers, link_local);
        if connections + forwarded > 0 {
            tracing::warn!(connections, forwarded, "what was under way was cut at the end");
        }
        debug_assert_eq!(self.serving.stage(), Stage::Closed);
    }
}

/// Reads what another process left in the outbox.
async fn read_outbox(outbox: &Arc<Outbox>) {
    let outbox = Arc::clone(outbox);
    match tokio::task::spawn_blocking(move || outbox.scan()).await {
        Ok(Ok(faults)) => {
            for fault in faults {
                tracing::error!(error = chain(&fault), "a guest's event was left out");
            }
        }
        Ok(Err(error)) => tracing::error!(error = chain(&error), "the outbox can't be read"),
        Err(_) => {}
    }
}

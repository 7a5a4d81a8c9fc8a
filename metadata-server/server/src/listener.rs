//! The guests' side: accepts connections in the metadata namespace and answers them.
//!
//! Each worker is a thread with a runtime of its own; all accept from the same listeners (one for
//! each family, and one for passwords), which therefore can be handed to a successor whole. A
//! connection belongs to the worker that accepted it. What is refused before a byte is read is reset, so that it costs us nothing more.

mod accept;
mod connection;
mod fairness;
mod reaper;
mod reply;
mod request;
mod stream;
mod takers;

use std::{
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

pub(crate) use accept::pause_after;
pub use connection::{Connection, Overdue, Phase};
use mezame_protocol::Gate;
pub(crate) use stream::reset_on_close;
pub(crate) use takers::{Taker, Takers};
use tokio::sync::watch;

use crate::{
    clock::CoarseClock,
    identity::Identities,
    ledger::outbox::Outbox,
    limits::{Count, Rate},
    link_local::Directory,
    metrics::Metrics,
    settings::Limits,
};

/// What all workers share.
#[derive(Debug)]
pub struct Serving {
    /// Who is asking.
    pub identities: Arc<Identities>,
    /// What guests may use up.
    pub limits: Limits,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Where events go.
    pub outbox: Arc<Outbox>,
    /// The coarse clock.
    pub clock: Arc<CoarseClock>,
    /// Instances' names, for the guests' DNS.
    pub directory: Directory,
    rate: Rate,
    event_rate: Rate,
    open: Count,
    numbers: AtomicU64,
    stage: watch::Sender<Stage>,
}

/// How far the listener has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// It accepts and answers.
    Open,
    /// It accepts no more; each connection ends with its next reply, watches are answered now.
    Draining,
    /// Whatever is still open is cut.
    Closed,
}

impl Serving {
    /// Ready to be served from.
    pub fn new(
        identities: Arc<Identities>,
        limits: Limits,
        metrics: Arc<Metrics>,
        outbox: Arc<Outbox>,
    ) -> Self {
        let rate = Rate::new(limits.requests_per_second, limits.request_burst);
        let event_rate = Rate::new(limits.events_per_second, limits.events_per_port);
        Self {
            identities,
            limits,
            metrics,
            outbox,
            clock: Arc::new(CoarseClock::start()),
            directory: Directory::default(),
            rate,
            event_rate,
            open: Count::default(),
            numbers: AtomicU64::new(0),
            stage: watch::Sender::new(Stage::Open),
        }
    }

    /// How many connections are open.
    pub fn open(&self) -> u32 {
        self.open.now()
    }

    /// Goes on to a later stage.
    pub fn enter(&self, stage: Stage) {
        self.stage.send_if_modified(|now| {
            let is_later = stage > *now;
            *now = (*now).max(stage);
            is_later
        });
    }

    /// How far it has come.
    pub fn stage(&self) -> Stage {
        *self.stage.borrow()
    }

    fn close_idle(&self) {
        for attachment in self.identities.all() {
            attachment.for_each_connection(|connection| {
                if connection.idle_since().is_some() {
                    connection.close();
                }
            });
        }
    }

    fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }
}

/// What becomes of connections without a request while a process drains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idle {
    /// They may ask once more, and are told then that the connection ends: for a takeover, since
    /// a request may already be on its way.
    Keep,
    /// They are closed: nobody would answer afterwards anyway.
    Close,
}

/// The threads that serve guests.
#[derive(Debug)]
pub struct Workers {
    serving: Arc<Serving>,
    takers: Takers,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Workers {
    /// Starts `count` of them, each on all listeners.
    pub fn start(
        serving: &Arc<Serving>,
        listeners: &[(Gate, TcpListener)],
        count: usize,
    ) -> std::io::Result<Self> {
        let takers = Takers::default();
        let threads = (0..count.max(1)).map(|number| {
            let (serving, taker) = (Arc::clone(serving), takers.one_more());
            let listeners: std::io::Result<Vec<_>> =
                listeners.iter().map(|(gate, it)| Ok((*gate, it.try_clone()?))).collect();
            let listeners = listeners?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            std::thread::Builder::new().name(format!("serve-{number}")).spawn(move || {
                runtime.block_on(accept::run(serving, listeners, taker));
            })
        });
        let threads = threads.collect::<std::io::Result<Vec<_>>>()?;
        Ok(Self { serving: Arc::clone(serving), takers, threads })
    }

    /// Accepts no more, lets the requests under way come to their end for at most `patience`, and
    /// ends. Returns how many connections had to be cut.
    pub async fn drain(self, patience: std::time::Duration, idle: Idle) -> u32 {
        self.serving.enter(Stage::Draining);
        let under_way = || {
            if idle == Idle::Close {
                self.serving.close_idle();
            }
            self.serving.open()
        };
        let cut = self.takers.drained(patience, under_way).await;
        self.serving.enter(Stage::Closed);
        let ended = tokio::task::spawn_blocking(move || {
            for thread in self.threads {
                // A worker that panicked has been logged by the panic's own hook.
                let _ = thread.join();
            }
        });
        let _ = ended.await;
        cut
    }
}

pub use reaper::reap;

#[cfg(test)]
mod tests;

//! Orders to a guest's agent: one stands on a port at a time, until it is answered or withdrawn.
//!
//! ```text
//!   given ──the agent's long-poll──► taken ──its POST──► answered
//!     └──────── nobody takes it: no agent ───────┘ (late)
//! ```
//! An order stands on each port of its instance, since nobody knows by which one the agent asks. It
//! is in memory alone: a process that takes over knows nothing of it, and the agent has been told
//! for how long it may freeze.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use mezame_model::{
    InstanceId,
    freeze::{Answer, Done, Order, OrderId, Unanswered, Wanted},
};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::{sync::watch, time::Instant};

use crate::identity::{Attachment, Identities, Standing};

/// How long an order waits for an agent to take it. One that waits for orders has it at once; one
/// whose wait has just ended is back within a second.
const TAKE: Duration = Duration::from_secs(2);
/// How long a thaw may take: hooks are run after it.
const THAW: Duration = Duration::from_secs(8);

/// An order and how far it has come.
#[derive(Debug)]
pub(crate) struct Issued {
    order: Order,
    progress: watch::Sender<Progress>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Progress {
    Given,
    Taken,
    Answered(Done),
}

/// The place for an order on a port.
#[derive(Debug, Default)]
pub(crate) struct Orders(Mutex<Option<Arc<Issued>>>);

impl Orders {
    /// The order that stands.
    pub(crate) fn now(&self) -> Option<Order> {
        self.place().as_ref().map(|issued| issued.order)
    }

    /// The guest was told of this order.
    pub(crate) fn told(&self, id: OrderId) {
        if let Some(issued) = self.place().as_ref().filter(|issued| issued.order.id == id) {
            issued.progress.send_if_modified(|now| {
                let is_new = *now == Progress::Given;
                if is_new {
                    *now = Progress::Taken;
                }
                is_new
            });
        }
    }

    /// The guest answers. Whether the order stands, and was not answered before.
    pub(crate) fn answered(&self, answer: Answer) -> bool {
        let place = self.place();
        let Some(issued) = place.as_ref().filter(|issued| issued.order.id == answer.id) else {
            return false;
        };
        issued.progress.send_if_modified(|now| {
            let is_first = !matches!(now, Progress::Answered(_));
            if is_first {
                *now = Progress::Answered(answer.done);
            }
            is_first
        })
    }

    fn give(&self, issued: &Arc<Issued>) {
        *self.place() = Some(Arc::clone(issued));
    }

    fn withdraw(&self, issued: &Arc<Issued>) {
        let mut place = self.place();
        if place.as_ref().is_some_and(|now| Arc::ptr_eq(now, issued)) {
            *place = None;
        }
    }

    fn place(&self) -> std::sync::MutexGuard<'_, Option<Arc<Issued>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives an order to the agent of an instance, and waits for what becomes of it.
pub(crate) async fn order(
    identities: &Identities,
    instance: &InstanceId,
    wanted: Wanted,
) -> Result<Done, Unanswered> {
    let bound = match wanted {
        Wanted::Freeze { bound_ms } if !(1..=Wanted::LONGEST_MS).contains(&bound_ms) => {
            return Err(Unanswered::Malformed);
        }
        Wanted::Freeze { bound_ms } => Duration::from_millis(u64::from(bound_ms)),
        Wanted::Thaw => THAW,
    };
    let ports: Vec<_> = identities.all().into_iter().filter(|it| is_of(it, instance)).collect();
    if ports.is_empty() {
        return Err(Unanswered::NoSuchInstance);
    }
    let id = new_id().ok_or(Unanswered::NoAgent)?;
    let issued = Arc::new(Issued {
        order: Order { id, wanted },
        progress: watch::Sender::new(Progress::Given),
    });
    // Whatever ends this, the order stands no longer.
    let given = Given { ports, issued };
    given.stand();
    let mut progress = given.issued.progress.subscribe();
    let began = Instant::now();
    let taken = progress.wait_for(|now| *now != Progress::Given);
    if tokio::time::timeout_at(began + TAKE.min(bound), taken).await.is_err() {
        return Err(Unanswered::NoAgent);
    }
    let answered = progress.wait_for(|now| matches!(now, Progress::Answered(_)));
    let Ok(Ok(last)) = tokio::time::timeout_at(began + bound, answered).await else {
        return Err(Unanswered::Late);
    };
    match &*last {
        Progress::Answered(done) => Ok(done.clone()),
        _ => Err(Unanswered::Late),
    }
}

struct Given {
    ports: Vec<Arc<Attachment>>,
    issued: Arc<Issued>,
}

impl Given {
    fn stand(&self) {
        for port in &self.ports {
            port.orders.give(&self.issued);
            port.wake();
        }
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        for port in &self.ports {
            port.orders.withdraw(&self.issued);
        }
    }
}

fn is_of(attachment: &Attachment, instance: &InstanceId) -> bool {
    matches!(attachment.standing(), Standing::Serving(record) if record.guest.instance.id == *instance)
}

fn new_id() -> Option<OrderId> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(OrderId(u128::from_ne_bytes(bytes)))
}

/// Instances that somebody freezes, each for one at a time.
#[derive(Debug, Default)]
pub(crate) struct Freezes(Mutex<BTreeSet<InstanceId>>);

/// That it is ours to freeze.
#[derive(Debug)]
pub(crate) struct Freezing {
    all: Arc<Freezes>,
    instance: InstanceId,
}

impl Freezing {
    pub(crate) fn begin(all: &Arc<Freezes>, instance: &InstanceId) -> Option<Self> {
        let mut now = all.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_free = now.insert(instance.clone());
        is_free.then(|| Self { all: Arc::clone(all), instance: instance.clone() })
    }

    pub(crate) fn instance(&self) -> &InstanceId {
        &self.instance
    }
}

impl Drop for Freezing {
    fn drop(&mut self) {
        self.all.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.instance);
    }
}

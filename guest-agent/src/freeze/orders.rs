//! Orders to freeze and to thaw: a thread of the agent's waits for them at the service, beside the
//! watch of the document, since a run may take minutes and its steps wait for the disk.
//!
//! It goes the way that the agent has found, says nothing while anything is frozen (a log may be on
//! the disk), and does each order once.

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use mezame_model::freeze::{Answer, Done, Order, OrderId, Wanted};

use super::freezer::Recovered;
use crate::{
    backoff::Backoff,
    platform::{self, Weight},
    settings::Settings,
    source::{Source, SourceError},
};

/// How long a request for orders waits at the service. Short, since a change of the network leaves it
/// behind on an address that is gone, and nobody hears of an order until it is over.
const WAIT: Duration = Duration::from_secs(20);
/// How soon a service is asked again that knows of no orders: an older one.
const OLD_SERVICE: Duration = Duration::from_secs(600);
/// An answer "no order" that comes sooner is no wait.
const TOO_SOON: Duration = Duration::from_secs(1);
/// The first and the longest pause between two attempts.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(10));

/// What does it.
pub trait Hands: Send {
    /// Freezes, for at most this time.
    fn freeze(&mut self, bound: Duration) -> Done;
    /// Thaws.
    fn thaw(&mut self) -> Done;
}

/// Where nothing can be frozen, and why.
#[derive(Debug)]
pub struct Unable(pub &'static str);

impl Hands for Unable {
    fn freeze(&mut self, _bound: Duration) -> Done {
        Done::Failed { reason: self.0.to_owned() }
    }

    fn thaw(&mut self) -> Done {
        Done::Thawed { was_frozen: false }
    }
}

/// The way to the service that the agent has found last.
#[derive(Debug, Clone, Default)]
pub struct Way(Arc<(Mutex<Option<Source>>, Condvar)>);

impl Way {
    /// Orders are waited for on this way from now on.
    pub fn follow(&self, source: &Source) {
        let mut way = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        *way = Some(source.beside());
        self.0.1.notify_all();
    }

    /// A way, as soon as there is one; the one that was found last where there is another one.
    fn next(&self, last: Option<Source>) -> Source {
        let mut way = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match (way.take(), &last) {
                (Some(new), Some(last)) if new.is_beside(last) => {}
                (Some(new), _) => return new,
                (None, Some(_)) => {}
                (None, None) => {
                    way = self.0.1.wait(way).unwrap_or_else(PoisonError::into_inner);
                    continue;
                }
            }
            if let Some(last) = last {
                return last;
            }
        }
    }
}

/// Thaws what an agent has left frozen that was killed, where this one configures the running system.
pub fn recover(settings: &Settings, say: &mut dyn FnMut(&str)) {
    if !settings.is_live() {
        return;
    }
    let Recovered { thawed, left } = platform::thaw_leftovers();
    if thawed > 0 {
        say(&format!("file systems that an agent had left frozen were thawed: {thawed}"));
    }
    if !left.is_empty() {
        say(&format!("file systems that an agent had left frozen can't be thawed: {left:?}"));
    }
}

/// Starts the thread, where the agent configures the running system.
pub fn start(settings: &Settings, say: &mut dyn FnMut(&str)) -> Way {
    let way = Way::default();
    if !settings.is_live() {
        return way;
    }
    let (hands, followed) = (platform::hands(settings), way.clone());
    let thread = thread::Builder::new().name("orders".into());
    if let Err(error) = thread.spawn(move || obey(&followed, hands)) {
        say(&format!("file systems can't be frozen for backups: {error}"));
    }
    way
}

/// Does orders for ever.
fn obey(way: &Way, hands: Box<dyn Hands>) {
    let (mut worker, mut tag, mut source) = (Worker::new(hands), String::from("NONE"), None);
    let mut backoff = Backoff::new(PAUSES.0, PAUSES.1);
    loop {
        let mut now = way.next(source.take());
        let asked = Instant::now();
        let pause = match now.order(&tag, WAIT) {
            Ok(None) if asked.elapsed() < TOO_SOON => Some(backoff.next(random(), None)),
            Ok(None) => None,
            Ok(Some((order, new))) => {
                tag = new;
                backoff.reset();
                let answer = order.and_then(|order| worker.obey(&order));
                answer.and_then(|answer| post(&mut now, &answer, &mut backoff))
            }
            Err(SourceError::NoDocument) => Some(OLD_SERVICE),
            Err(error) => {
                now.disconnect();
                let after = match error {
                    SourceError::NotReady { retry_after } => retry_after,
                    _ => None,
                };
                Some(backoff.next(random(), after))
            }
        };
        source = Some(now);
        if let Some(pause) = pause {
            thread::sleep(pause);
        }
    }
}

/// Tells the service what has become of an order. An answer that is lost is missed by nobody for
/// long: what is frozen thaws.
fn post(source: &mut Source, answer: &Answer, backoff: &mut Backoff) -> Option<Duration> {
    match source.post_answer(answer) {
        Err(error) if !error.is_refusal() => {
            source.disconnect();
            source.post_answer(answer).is_err().then(|| backoff.next(random(), None))
        }
        _ => None,
    }
}

/// Does each order once, and says afterwards what it was.
struct Worker {
    hands: Box<dyn Hands>,
    last: Option<OrderId>,
    frozen_since: Option<Instant>,
}

impl Worker {
    fn new(hands: Box<dyn Hands>) -> Self {
        Self { hands, last: None, frozen_since: None }
    }

    fn obey(&mut self, order: &Order) -> Option<Answer> {
        if self.last == Some(order.id) {
            return None;
        }
        self.last = Some(order.id);
        let done = match order.wanted {
            Wanted::Freeze { bound_ms } => {
                let bound_ms = bound_ms.min(Wanted::LONGEST_MS);
                self.hands.freeze(Duration::from_millis(u64::from(bound_ms)))
            }
            Wanted::Thaw => self.hands.thaw(),
        };
        self.tell(order.wanted, &done);
        Some(Answer { id: order.id, done })
    }

    /// Tells people, when nothing is frozen.
    fn tell(&mut self, wanted: Wanted, done: &Done) {
        match done {
            // Something is.
            Done::Failed { .. } if wanted == Wanted::Thaw => {}
            Done::Frozen { .. } => self.frozen_since = Some(Instant::now()),
            Done::Thawed { .. } => {
                if let Some(since) = self.frozen_since.take() {
                    let text = format!("file systems were frozen for {:?}", since.elapsed());
                    platform::say(Weight::Waiting, &text);
                }
            }
            Done::Failed { reason } => {
                platform::say(Weight::Waiting, &format!("nothing was frozen: {reason}"));
            }
        }
    }
}

/// Without randomness only the jitter is lost.
fn random() -> u64 {
    let mut random = [0; 8];
    let _ = getrandom::fill(&mut random);
    u64::from_ne_bytes(random)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Counting(Arc<Mutex<Vec<Wanted>>>);

    impl Hands for Counting {
        fn freeze(&mut self, bound: Duration) -> Done {
            let bound_ms = u32::try_from(bound.as_millis()).unwrap();
            self.0.lock().unwrap().push(Wanted::Freeze { bound_ms });
            Done::Frozen { file_systems: vec!["/".into()], skipped: Vec::new() }
        }

        fn thaw(&mut self) -> Done {
            self.0.lock().unwrap().push(Wanted::Thaw);
            Done::Thawed { was_frozen: true }
        }
    }

    #[test]
    fn an_order_is_done_once_and_for_no_longer_than_a_minute() {
        let hands = Counting::default();
        let seen = Arc::clone(&hands.0);
        let mut worker = Worker::new(Box::new(hands));
        let order = |id, wanted| Order { id: OrderId(id), wanted };
        let freeze = order(1, Wanted::Freeze { bound_ms: u32::MAX });
        let answer = worker.obey(&freeze).unwrap();
        assert!(answer.id == freeze.id && matches!(answer.done, Done::Frozen { .. }));
        assert_eq!(worker.obey(&freeze), None);
        worker.obey(&order(2, Wanted::Thaw)).unwrap();
        assert_eq!(*seen.lock().unwrap(), [Wanted::Freeze { bound_ms: 60_000 }, Wanted::Thaw]);
    }

    #[test]
    fn where_nothing_can_be_frozen_the_answer_says_why() {
        let mut worker = Worker::new(Box::new(Unable("no VSS")));
        let freeze = Order { id: OrderId(1), wanted: Wanted::Freeze { bound_ms: 10 } };
        assert_eq!(worker.obey(&freeze).unwrap().done, Done::Failed { reason: "no VSS".into() });
    }
}

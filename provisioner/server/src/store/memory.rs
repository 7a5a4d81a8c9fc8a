//! The store without a disk: for tests and for trying things out. Forgets all when dropped.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use mezame_model::{BoxFuture, Generation, InstanceId, UserName, api::Event};

use super::{
    Batch, Body, Committed, Contents, EVENTS_KEPT, EventPage, From, KEY_REQUESTS_KEPT, KEYS_KEPT,
    Key, PASSWORD_USERS_KEPT, PASSWORDS_KEPT, Position, REPORTS_KEPT, Row, Store, StoreError,
    Trail,
};
use crate::sealing::Keyring;

/// Keeps everything in memory.
#[derive(Default)]
pub(crate) struct MemoryStore(Mutex<Inside>);

#[derive(Default)]
struct Inside {
    closed: bool,
    generation: Generation,
    site: Option<Body>,
    rows: BTreeMap<Key, (Generation, Body)>,
    observed: HashMap<InstanceId, Body>,
    reports: HashMap<InstanceId, VecDeque<(u64, Body)>>,
    passwords: HashMap<InstanceId, VecDeque<(UserName, u64, Body)>>,
    key_requests: HashMap<(InstanceId, Trail), VecDeque<(u64, Body)>>,
    keys: HashSet<u128>,
    keys_in_order: VecDeque<u128>,
    events: VecDeque<(u64, Event)>,
    next_position: u64,
    /// All events after this generation are kept.
    complete_after: Generation,
}

impl MemoryStore {
    fn inside(&self) -> Result<MutexGuard<'_, Inside>, StoreError> {
        // Nothing below panics while it holds the lock half-way through a change.
        let inside = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if inside.closed { Err(StoreError::Closed) } else { Ok(inside) }
    }

    fn commit_now(&self, batch: Batch) -> Result<Committed, StoreError> {
        let mut inside = self.inside()?;
        if let Some(key) = batch.event_key
            && inside.keys.contains(&key)
        {
            return Ok(Committed::Seen);
        }
        if batch.expected != inside.generation {
            return Err(StoreError::Conflict {
                expected: batch.expected,
                actual: inside.generation,
            });
        }
        let generation = inside.generation.next();
        inside.generation = generation;
        if let Some(key) = batch.event_key {
            inside.remember(key);
        }
        for key in batch.deletes {
            inside.rows.remove(&key);
        }
        for (key, body) in batch.puts {
            inside.rows.insert(key, (generation, body));
        }
        if batch.site.is_some() {
            inside.site = batch.site;
        }
        for id in batch.forget {
            inside.observed.remove(&id);
            inside.reports.remove(&id);
            inside.passwords.remove(&id);
            inside.key_requests.retain(|(of, _), _| *of != id);
        }
        inside.observed.extend(batch.observed);
        for (id, at, body) in batch.reports {
            push(inside.reports.entry(id).or_default(), (at, body), REPORTS_KEPT);
        }
        for (id, user, at, body) in batch.passwords {
            keep_password(inside.passwords.entry(id).or_default(), (user, at, body));
        }
        for (id, at, trail, body) in batch.key_requests {
            let filed = inside.key_requests.entry((id, trail)).or_default();
            push(filed, (at, body), KEY_REQUESTS_KEPT);
        }
        inside.tell(generation, batch.events);
        Ok(Committed::Written(generation))
    }

    fn events_now(&self, from: From, most: usize) -> Result<EventPage, StoreError> {
        let inside = self.inside()?;
        let start = match from {
            From::After(asked) if asked < inside.complete_after => {
                return Err(StoreError::EventsGone { asked, oldest: inside.complete_after });
            }
            From::After(asked) => {
                inside.events.partition_point(|(_, event)| event.generation <= asked)
            }
            From::Position(Position(position)) => {
                let first = inside.events.front().map_or(inside.next_position, |(at, _)| *at);
                if position < first {
                    let oldest = inside.complete_after;
                    return Err(StoreError::EventsGone { asked: Generation::ZERO, oldest });
                }
                inside.events.partition_point(|(at, _)| *at < position)
            }
        };
        let page: Vec<_> = inside.events.range(start..).take(most).cloned().collect();
        let next = page.last().map(|(at, _)| at + 1);
        let next = next.or_else(|| inside.events.get(start).map(|(at, _)| *at));
        Ok(EventPage {
            events: page.into_iter().map(|(_, event)| event).collect(),
            next: Position(next.unwrap_or(inside.next_position)),
        })
    }
}

impl Inside {
    fn remember(&mut self, key: u128) {
        self.keys.insert(key);
        self.keys_in_order.push_back(key);
        if self.keys_in_order.len() > KEYS_KEPT
            && let Some(oldest) = self.keys_in_order.pop_front()
        {
            self.keys.remove(&oldest);
        }
    }

    fn tell(&mut self, generation: Generation, events: Vec<Event>) {
        for mut event in events {
            event.generation = generation;
            self.events.push_back((self.next_position, event));
            self.next_position += 1;
        }
        while self.events.len() > EVENTS_KEPT {
            if let Some((_, gone)) = self.events.pop_front() {
                self.complete_after = gone.generation;
            }
        }
    }
}

fn push<T>(queue: &mut VecDeque<T>, item: T, most: usize) {
    queue.push_front(item);
    queue.truncate(most);
}

/// Adds one; what goes is neither among the newest nor its user's newest.
fn keep_password(kept: &mut VecDeque<(UserName, u64, Body)>, new: (UserName, u64, Body)) {
    kept.push_front(new);
    let (mut place, mut users) = (0, HashSet::new());
    kept.retain(|(user, ..)| {
        place += 1;
        let is_users_newest = users.insert(user.clone()) && users.len() <= PASSWORD_USERS_KEPT;
        place <= PASSWORDS_KEPT || is_users_newest
    });
}

impl Store for MemoryStore {
    fn load(&self) -> BoxFuture<'_, Result<Contents, StoreError>> {
        Box::pin(async {
            let inside = self.inside()?;
            let row = |(key, (revision, body)): (&Key, &(Generation, Body))| Row {
                key: key.clone(),
                revision: *revision,
                body: body.clone(),
            };
            Ok(Contents {
                generation: inside.generation,
                site: inside.site.clone(),
                rows: inside.rows.iter().map(row).collect(),
                observed: inside
                    .observed
                    .iter()
                    .map(|(id, body)| (id.clone(), body.clone()))
                    .collect(),
            })
        })
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Committed, StoreError>> {
        Box::pin(async { self.commit_now(batch) })
    }

    fn events(&self, from: From, most: usize) -> BoxFuture<'_, Result<EventPage, StoreError>> {
        Box::pin(async move { self.events_now(from, most) })
    }

    fn reports(&self, of: InstanceId) -> BoxFuture<'_, Result<Vec<(u64, Body)>, StoreError>> {
        Box::pin(async move {
            Ok(self
                .inside()?
                .reports
                .get(&of)
                .map_or_else(Vec::new, |r| r.iter().cloned().collect()))
        })
    }

    fn passwords(&self, of: InstanceId) -> BoxFuture<'_, Result<Vec<(u64, Body)>, StoreError>> {
        Box::pin(async move {
            Ok(self
                .inside()?
                .passwords
                .get(&of)
                .map_or_else(Vec::new, |p| p.iter().map(|(_, at, b)| (*at, b.clone())).collect()))
        })
    }

    fn key_requests(
        &self,
        of: InstanceId,
        trail: Trail,
    ) -> BoxFuture<'_, Result<Vec<(u64, Body)>, StoreError>> {
        Box::pin(async move {
            Ok(self
                .inside()?
                .key_requests
                .get(&(of, trail))
                .map_or_else(Vec::new, |filed| filed.iter().cloned().collect()))
        })
    }

    fn reseal(&self, _keys: Keyring) -> BoxFuture<'_, Result<(), StoreError>> {
        // Nothing lies on a disk, so nothing is sealed.
        Box::pin(async { self.inside().map(drop) })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        })
    }
}

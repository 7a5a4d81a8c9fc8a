//! A store for tests that decides who goes on: one operation of one actor at a time, in an order
//! that hangs on a number alone, and with actors that die in between.
//!
//! Each actor is a thread that runs the real code. It waits before each operation until all others
//! do, too, or have ended; then one is drawn. So an order that fails is found again by its number.
//! In some runs whoever had the last step mostly goes on: faults of order often need one actor to
//! get far while another stands still.

use std::{
    collections::BTreeSet,
    io,
    sync::{Arc, Condvar, Mutex},
};

use super::{Listed, ObjectName, Store, StoreError, memory::Memory};

/// Draws who goes on.
pub(crate) struct Scheduler {
    state: Mutex<State>,
    /// One for each actor.
    drawn: Vec<Condvar>,
}

struct State {
    living: BTreeSet<usize>,
    waiting: BTreeSet<usize>,
    drawn: Option<usize>,
    last: usize,
    /// One step in so many goes to another actor than the last one.
    changes: u64,
    dead: BTreeSet<usize>,
    random: u64,
    /// One operation in so many is an actor's last; none where it is 0.
    mortality: u64,
    /// Those that may die.
    mortals: BTreeSet<usize>,
}

impl State {
    fn draw(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.random >> 33) % below
    }

    fn choose(&mut self) {
        if self.drawn.is_none() && !self.waiting.is_empty() && self.waiting == self.living {
            let changes = self.changes;
            if self.draw(changes) == 0 || !self.waiting.contains(&self.last) {
                let place = self.draw(self.waiting.len() as u64) as usize;
                self.last = self.waiting.iter().nth(place).copied().unwrap_or(self.last);
            }
            self.drawn = Some(self.last);
        }
    }
}

/// What becomes of an operation.
#[derive(PartialEq)]
enum Fate {
    Done,
    /// The actor dies before it.
    DiedBefore,
    /// The operation is done, but the actor never learns of it.
    DiedAfter,
}

impl Scheduler {
    pub(crate) fn new(seed: u64, actors: usize, mortals: &[usize], mortality: u64) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                living: (0..actors).collect(),
                waiting: BTreeSet::new(),
                drawn: None,
                last: 0,
                changes: [1, 4, 12, 40][seed as usize % 4],
                dead: BTreeSet::new(),
                random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5555,
                mortality,
                mortals: mortals.iter().copied().collect(),
            }),
            drawn: (0..actors).map(|_| Condvar::new()).collect(),
        })
    }

    fn step(&self, actor: usize) -> Fate {
        let mut state = self.state.lock().unwrap();
        if state.dead.contains(&actor) {
            return Fate::DiedBefore;
        }
        state.waiting.insert(actor);
        state.choose();
        self.wake(&state);
        state = self.drawn[actor].wait_while(state, |state| state.drawn != Some(actor)).unwrap();
        state.drawn = None;
        state.waiting.remove(&actor);
        if state.mortality > 0 && state.mortals.contains(&actor) {
            let mortality = state.mortality;
            if state.draw(mortality) == 0 {
                state.dead.insert(actor);
                return if state.draw(2) == 0 { Fate::DiedBefore } else { Fate::DiedAfter };
            }
        }
        Fate::Done
    }

    /// Says that an actor's thread is done.
    pub(crate) fn leave(&self, actor: usize) {
        let mut state = self.state.lock().unwrap();
        state.living.remove(&actor);
        state.choose();
        self.wake(&state);
    }

    fn wake(&self, state: &State) {
        if let Some(actor) = state.drawn {
            self.drawn[actor].notify_one();
        }
    }
}

/// One actor's view of the store.
pub(crate) struct Scheduled {
    pub(crate) memory: Arc<Memory>,
    pub(crate) scheduler: Arc<Scheduler>,
    pub(crate) actor: usize,
}

impl Scheduled {
    fn step<T>(
        &self,
        operation: impl FnOnce(&Memory) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let died = || StoreError::io("store", io::ErrorKind::BrokenPipe.into());
        match self.scheduler.step(self.actor) {
            Fate::DiedBefore => Err(died()),
            Fate::DiedAfter => operation(&self.memory).and_then(|_| Err(died())),
            Fate::Done => operation(&self.memory),
        }
    }
}

impl Store for Scheduled {
    fn put_new(&self, name: &ObjectName, bytes: &[u8]) -> Result<(), StoreError> {
        self.step(|memory| memory.put_new(name, bytes))
    }

    fn replace(&self, name: &ObjectName, bytes: &[u8]) -> Result<(), StoreError> {
        self.step(|memory| memory.replace(name, bytes))
    }

    fn read(&self, name: &ObjectName, limit: u64) -> Result<Vec<u8>, StoreError> {
        self.step(|memory| memory.read(name, limit))
    }

    fn read_at(&self, name: &ObjectName, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        self.step(|memory| memory.read_at(name, offset, buffer))
    }

    fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        let mut listed = self.step(|memory| memory.list(prefix))?;
        // A listing has no order that anybody may count on.
        if self.actor % 2 == 1 {
            listed.reverse();
        }
        Ok(listed)
    }

    fn delete(&self, name: &ObjectName) -> Result<(), StoreError> {
        self.step(|memory| memory.delete(name))
    }
}

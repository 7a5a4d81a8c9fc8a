//! What guests did, kept until the control plane has it.
//!
//! One sealed file for each event, so that two processes can write at the same time while one
//! takes over from the other, and a spent secret is a file of its own that outlives the event: a
//! mark (see [`marks`]), which names the value, since an operator may set another.
//! The guest's reply waits for the disk; nothing else does.

mod marks;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use marks::Marks;
use mezame_model::{
    Feed, FeedError, Generation, GuestEvent, InstanceId, PortId, SecretDigest, SecretName,
    report::GuestEventKind,
};
use mezame_protocol::Spent;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::Notify;

use super::{
    LedgerError, make_private,
    releases::Releases,
    seal::{LedgerKey, Opener, Sealer},
    sweep, write_whole,
};

const PURPOSE: &[u8] = b"event";

/// The events that wait, and the secrets that are spent.
#[derive(Debug)]
pub struct Outbox {
    events: PathBuf,
    marks: Marks,
    releases: Releases,
    key: Arc<LedgerKey>,
    ceiling: usize,
    waiting: Mutex<Waiting>,
    woken: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    /// By time and key, so that they are delivered in their order.
    events: BTreeMap<(u64, u128), GuestEvent>,
    of_port: HashMap<PortId, usize>,
    /// With the newest generation under which one of them was acknowledged.
    spent: HashMap<InstanceId, (Arc<Spent>, Generation)>,
}

impl Waiting {
    fn of_instance(&mut self, instance: InstanceId) -> &mut (Arc<Spent>, Generation) {
        self.spent.entry(instance).or_insert_with(|| (Arc::default(), Generation::ZERO))
    }
}

impl Outbox {
    /// Opens the outbox in the state directory and reads what waits. A file that does not open
    /// is left where it is and reported with the others' in the answer.
    pub fn open(
        state: &Path,
        key: Arc<LedgerKey>,
        ceiling: usize,
    ) -> Result<(Self, Vec<LedgerError>), LedgerError> {
        let outbox = Self {
            events: state.join("outbox"),
            releases: Releases::open(state, Arc::clone(&key))?,
            marks: Marks::new(state.join("acknowledged"), Arc::clone(&key)),
            key,
            ceiling,
            waiting: Mutex::default(),
            woken: Notify::new(),
        };
        make_private(&outbox.events)?;
        make_private(outbox.marks.directory())?;
        for directory in [state, &outbox.events, outbox.marks.directory()] {
            sweep(directory)?;
        }
        let faults = outbox.scan()?;
        Ok((outbox, faults))
    }

    /// Reads what another process wrote since; for the one that takes over, after its
    /// predecessor has ended.
    pub fn scan(&self) -> Result<Vec<LedgerError>, LedgerError> {
        let mut faults = Vec::new();
        // Marks first: one is newer than each event of its secret, unless a crash came between the
        // two, and then the guest was told nothing.
        for (instance, read, fault) in self.marks.scan()? {
            faults.extend(fault);
            Arc::make_mut(&mut self.lock().of_instance(instance).0).note(read);
        }
        for name in names(&self.events)? {
            // Half-written files of a crash end in ".new"; their guests were told nothing.
            if u128::from_str_radix(&name, 16).is_err() {
                continue;
            }
            match self.read(&self.events.join(&name)) {
                Ok(Some(event)) => {
                    if let GuestEventKind::SecretAcknowledged(read) = &event.kind {
                        let mut waiting = self.lock();
                        let (spent, _) = waiting.of_instance(event.instance.clone());
                        Arc::make_mut(spent).note_if_new(read.clone());
                    }
                    self.note(event);
                }
                Ok(None) => {}
                Err(fault) => faults.push(fault),
            }
        }
        // Whoever delivers may have found nothing, and sleep.
        self.woken.notify_one();
        Ok(faults)
    }

    /// A key that no other event has.
    pub fn new_key() -> Result<u128, LedgerError> {
        let mut bytes = [0; 16];
        SystemRandom::new().fill(&mut bytes).map_err(|_| LedgerError::Random)?;
        Ok(u128::from_be_bytes(bytes))
    }

    /// Keeps an event of a guest whose record is of this generation: when this returns, it is on
    /// disk. Blocks for the disk.
    pub fn keep(&self, event: GuestEvent, generation: Generation) -> Result<(), LedgerError> {
        {
            let mut waiting = self.lock();
            let count = waiting.of_port.entry(event.port.clone()).or_default();
            // Reserved now, so that a guest that sends many at once gets no more than its share.
            if *count >= self.ceiling {
                let port = event.port.clone();
                return Err(LedgerError::TooMany { port, ceiling: self.ceiling });
            }
            *count += 1;
        }
        let written = self.write(&event, generation);
        lower(&mut self.lock().of_port, &event.port);
        written?;
        self.note(event);
        self.woken.notify_one();
        Ok(())
    }

    /// What was given out of volumes' keys.
    pub fn releases(&self) -> &Releases {
        &self.releases
    }

    /// How many events wait.
    pub fn len(&self) -> usize {
        self.lock().events.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The secrets that an instance has acknowledged.
    pub fn spent(&self, instance: &InstanceId) -> Arc<Spent> {
        let waiting = self.lock();
        waiting.spent.get(instance).map(|(spent, _)| Arc::clone(spent)).unwrap_or_default()
    }

    /// Whether a secret's value is spent, by the disk's word: another process may have written it
    /// while it drains. Blocks for the disk.
    pub fn is_spent(
        &self,
        instance: &InstanceId,
        secret: &SecretName,
        value: SecretDigest,
    ) -> bool {
        self.spent(instance).covers(secret, || value) || self.marks.covers(instance, secret, value)
    }

    /// Forgets what is spent and can't be handed out any more: a secret that is gone, or that has
    /// another value by now. `present` says which one an instance has in the snapshot of that
    /// generation; the control plane knows of what it had. Blocks for the disk.
    pub fn forget(
        &self,
        generation: Generation,
        present: impl Fn(&InstanceId, &SecretName) -> Option<SecretDigest>,
    ) -> Result<(), LedgerError> {
        // Held throughout, so that the mark of another value is not taken for the one that goes.
        let marks = self.marks.lock();
        let mut waiting = self.lock();
        let pending: BTreeSet<(InstanceId, SecretName)> = waiting
            .events
            .values()
            .filter_map(|event| match &event.kind {
                GuestEventKind::SecretAcknowledged(read) => {
                    Some((event.instance.clone(), read.name.clone()))
                }
                _ => None,
            })
            .collect();
        let mut gone = Vec::new();
        waiting.spent.retain(|instance, (spent, since)| {
            // What a snapshot does not know yet, it can't say to be gone.
            if *since > generation {
                return true;
            }
            let mut kept = Spent::clone(spent);
            kept.retain(|secret, digest| {
                let name = (instance.clone(), secret.clone());
                let now = present(instance, secret);
                let is_kept = now.is_some_and(|now| digest.is_none_or(|spent| spent == now))
                    || pending.contains(&name);
                if !is_kept {
                    gone.push(name);
                }
                is_kept
            });
            if kept != **spent {
                *spent = Arc::new(kept);
            }
            !spent.is_empty()
        });
        drop(waiting);
        for (instance, secret) in gone {
            marks.remove(&instance, &secret)?;
        }
        Ok(())
    }

    /// Delivers what waits, oldest first, for ever. An event that the control plane is away for
    /// is tried again after a growing pause; one that it refuses is dropped, and `refused` hears
    /// of it.
    pub async fn deliver(
        &self,
        feed: &dyn Feed,
        mut refused: impl FnMut(&GuestEvent, &'static str),
        mut failed: impl FnMut(&LedgerError),
    ) {
        let mut pause = PAUSE_MIN;
        loop {
            let first = self.lock().events.first_key_value().map(|(_, event)| event.clone());
            let Some(event) = first else {
                self.woken.notified().await;
                continue;
            };
            match feed.deliver(event.clone()).await {
                Err(FeedError::Away) => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                    continue;
                }
                Err(FeedError::Refused { reason }) => refused(&event, reason),
                Ok(()) => {}
            }
            pause = PAUSE_MIN;
            if let Err(error) = self.delivered(&event) {
                // It will be delivered again after a restart, which changes nothing: same key.
                failed(&error);
            }
        }
    }

    fn delivered(&self, event: &GuestEvent) -> Result<(), LedgerError> {
        let mut waiting = self.lock();
        if waiting.events.remove(&(event.at_ms, event.key)).is_some() {
            lower(&mut waiting.of_port, &event.port);
        }
        drop(waiting);
        remove(&self.file_of(event))
    }

    fn write(&self, event: &GuestEvent, generation: Generation) -> Result<(), LedgerError> {
        write_whole(&self.file_of(event), |out| {
            Sealer::begin(&self.key, PURPOSE, out)?.chunk(serde_json::to_vec(event)?, true)
        })?;
        if let GuestEventKind::SecretAcknowledged(read) = &event.kind {
            // Until it is noted too, so that nobody tidies up what is being written.
            let marks = self.marks.lock();
            marks.write(&event.instance, read)?;
            let mut waiting = self.lock();
            let (spent, since) = waiting.of_instance(event.instance.clone());
            Arc::make_mut(spent).note(read.clone());
            *since = (*since).max(generation);
        }
        Ok(())
    }

    fn read(&self, path: &Path) -> Result<Option<GuestEvent>, LedgerError> {
        let mut file = match fs::File::open(path) {
            Ok(file) => file,
            // Delivered in the meantime by the process before this one.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(LedgerError::file(path, "opening")(error)),
        };
        let mut opener =
            Opener::begin(&self.key, PURPOSE, &mut file).map_err(|error| error.of(path))?;
        let chunk = opener.chunk().map_err(|error| error.of(path))?.unwrap_or_default();
        serde_json::from_slice(&chunk)
            .map(Some)
            .map_err(|_| LedgerError::Version { path: path.into() })
    }

    fn note(&self, event: GuestEvent) {
        let mut waiting = self.lock();
        let port = event.port.clone();
        if waiting.events.insert((event.at_ms, event.key), event).is_none() {
            *waiting.of_port.entry(port).or_default() += 1;
        }
    }

    fn file_of(&self, event: &GuestEvent) -> PathBuf {
        self.events.join(format!("{:032x}", event.key))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const PAUSE_MIN: std::time::Duration = std::time::Duration::from_millis(200);
const PAUSE_MAX: std::time::Duration = std::time::Duration::from_secs(30);

fn lower(of_port: &mut HashMap<PortId, usize>, port: &PortId) {
    if let Some(count) = of_port.get_mut(port) {
        *count -= 1;
        if *count == 0 {
            of_port.remove(port);
        }
    }
}

pub(super) fn names(directory: &Path) -> Result<Vec<String>, LedgerError> {
    let failed = || LedgerError::file(directory, "listing");
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed())? {
        names.extend(entry.map_err(failed())?.file_name().into_string());
    }
    Ok(names)
}

pub(super) fn remove(path: &Path) -> Result<(), LedgerError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(LedgerError::file(path, "removing")(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;

//! What guests did, kept until the control plane has it.
//!
//! One sealed file for each event, so that two processes can write at the same time while one
//! takes over from the other, and a spent secret is a file of its own that outlives the event.
//! The guest's reply waits for the disk; nothing else does.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use mezame_model::{
    Feed, FeedError, GuestEvent, InstanceId, PortId, SecretName, report::GuestEventKind,
};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::Notify;

use super::{
    LedgerError, make_private,
    seal::{LedgerKey, Opener, Sealer},
    sweep, write_whole,
};

const PURPOSE: &[u8] = b"event";

/// The events that wait, and the secrets that are spent.
#[derive(Debug)]
pub struct Outbox {
    events: PathBuf,
    acknowledged: PathBuf,
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
    spent: HashMap<InstanceId, Arc<BTreeSet<SecretName>>>,
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
            acknowledged: state.join("acknowledged"),
            key,
            ceiling,
            waiting: Mutex::default(),
            woken: Notify::new(),
        };
        make_private(&outbox.events)?;
        make_private(&outbox.acknowledged)?;
        for directory in [state, &outbox.events, &outbox.acknowledged] {
            sweep(directory)?;
        }
        let faults = outbox.scan()?;
        Ok((outbox, faults))
    }

    /// Reads what another process wrote since; for the one that takes over, after its
    /// predecessor has ended.
    pub fn scan(&self) -> Result<Vec<LedgerError>, LedgerError> {
        let mut faults = Vec::new();
        for name in names(&self.events)? {
            // Half-written files of a crash end in ".new"; their guests were told nothing.
            if u128::from_str_radix(&name, 16).is_err() {
                continue;
            }
            match self.read(&self.events.join(&name)) {
                Ok(Some(event)) => self.note(event),
                Ok(None) => {}
                Err(fault) => faults.push(fault),
            }
        }
        for name in names(&self.acknowledged)? {
            let Some((instance, secret)) = name.split_once('.') else { continue };
            if let (Ok(instance), Ok(secret)) =
                (InstanceId::parse(instance), SecretName::parse(secret))
            {
                self.spend(instance, secret);
            }
        }
        Ok(faults)
    }

    /// A key that no other event has.
    pub fn new_key() -> Result<u128, LedgerError> {
        let mut bytes = [0; 16];
        SystemRandom::new().fill(&mut bytes).map_err(|_| LedgerError::Random)?;
        Ok(u128::from_be_bytes(bytes))
    }

    /// Keeps an event: when this returns, it is on disk. Blocks for the disk.
    pub fn keep(&self, event: GuestEvent) -> Result<(), LedgerError> {
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
        let written = self.write(&event);
        lower(&mut self.lock().of_port, &event.port);
        written?;
        self.note(event);
        self.woken.notify_one();
        Ok(())
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
    pub fn spent(&self, instance: &InstanceId) -> Arc<BTreeSet<SecretName>> {
        self.lock().spent.get(instance).cloned().unwrap_or_default()
    }

    /// Whether a secret is spent, by the disk's word: another process may have written it while
    /// it drains. Blocks for the disk.
    pub fn is_spent(&self, instance: &InstanceId, secret: &SecretName) -> bool {
        self.spent(instance).contains(secret) || self.mark_of(instance, secret).exists()
    }

    /// Forgets the spent secrets that no instance has any more, `has` says; the control plane
    /// knows of them. Blocks for the disk.
    pub fn forget(
        &self,
        has: impl Fn(&InstanceId, &SecretName) -> bool,
    ) -> Result<(), LedgerError> {
        let mut waiting = self.lock();
        let pending: BTreeSet<(InstanceId, SecretName)> = waiting
            .events
            .values()
            .filter_map(|event| match &event.kind {
                GuestEventKind::SecretAcknowledged(name) => {
                    Some((event.instance.clone(), name.clone()))
                }
                _ => None,
            })
            .collect();
        let mut gone = Vec::new();
        waiting.spent.retain(|instance, secrets| {
            let kept: BTreeSet<SecretName> = secrets
                .iter()
                .filter(|name| {
                    has(instance, name)
                        || pending.contains(&(instance.clone(), SecretName::clone(name)))
                })
                .cloned()
                .collect();
            gone.extend(secrets.difference(&kept).map(|name| self.mark_of(instance, name)));
            if kept.len() != secrets.len() {
                *secrets = Arc::new(kept);
            }
            !secrets.is_empty()
        });
        drop(waiting);
        for path in gone {
            remove(&path)?;
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

    fn write(&self, event: &GuestEvent) -> Result<(), LedgerError> {
        write_whole(&self.file_of(event), |out| {
            Sealer::begin(&self.key, PURPOSE, out)?.chunk(serde_json::to_vec(event)?, true)
        })?;
        if let GuestEventKind::SecretAcknowledged(name) = &event.kind {
            write_whole(&self.mark_of(&event.instance, name), |_| Ok(()))?;
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
        if let GuestEventKind::SecretAcknowledged(name) = &event.kind {
            self.spend(event.instance.clone(), name.clone());
        }
        let mut waiting = self.lock();
        let port = event.port.clone();
        if waiting.events.insert((event.at_ms, event.key), event).is_none() {
            *waiting.of_port.entry(port).or_default() += 1;
        }
    }

    fn spend(&self, instance: InstanceId, secret: SecretName) {
        let mut waiting = self.lock();
        Arc::make_mut(waiting.spent.entry(instance).or_default()).insert(secret);
    }

    fn file_of(&self, event: &GuestEvent) -> PathBuf {
        self.events.join(format!("{:032x}", event.key))
    }

    fn mark_of(&self, instance: &InstanceId, secret: &SecretName) -> PathBuf {
        self.acknowledged.join(format!("{instance}.{secret}"))
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

fn names(directory: &Path) -> Result<Vec<String>, LedgerError> {
    let failed = || LedgerError::file(directory, "listing");
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed())? {
        names.extend(entry.map_err(failed())?.file_name().into_string());
    }
    Ok(names)
}

fn remove(path: &Path) -> Result<(), LedgerError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(LedgerError::file(path, "removing")(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;

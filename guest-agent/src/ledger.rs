//! What the agent has done, so that nothing that says "once" is done twice.
//!
//! An append-only file of one record a line: a check sum, a space, JSON. A record is written in
//! one `write`; a line whose end or check sum is wrong is where a crash tore the file, and the
//! file is cut there. Before a step that must not run twice, *started* is written and synced;
//! after it, *done*. A start without an end after a crash means "interrupted": such a step is not
//! repeated, and says so. Idempotent steps need no start, and are repeated; adding to a file notes
//! what it found there, so that the next run sees whether it was added.
//!
//! ```text
//!   (nothing) ──started──► running ──done──► done
//!        ▲                    │ crash
//!        │ idempotent         ▼
//!        └──────────── interrupted ──done(failed, "interrupted")──► done
//! ```
//! It never holds a secret: only keys, fingerprints and outcomes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{File, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use mezame_model::{InstanceId, report::Outcome};
use serde::{Deserialize, Serialize};

use crate::{
    platform,
    step::{Fingerprint, Frequency, Step},
};

/// Longer ledgers are written anew with only what still counts.
const COMPACT_AT: u64 = 256 * 1024;
/// Longer ledgers are not read: something else has written there.
const MAX_BYTES: u64 = 64 << 20;

/// How long another holder of the lock is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why the ledger can't be used.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Reading, writing or syncing failed.
    #[error("the ledger {path} can't be used", path = path.display())]
    Io {
        /// Where it is.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another agent is running.
    #[error("another guest-agent is running: {path} is locked", path = path.display())]
    Locked {
        /// Where it is.
        path: PathBuf,
    },
}

/// What is remembered of a step that is not done in each run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// What it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Fingerprint>,
    /// How it ended; none while it runs, or after a crash in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// The failure's stable word.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// What the step found when it began, where that tells later whether it came to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<Found>,
}

/// A file as it was before something was added to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Its length in bytes.
    pub length: usize,
    /// Of its content.
    pub fingerprint: Fingerprint,
}

impl Found {
    /// Describes a content.
    pub fn of(content: &[u8]) -> Self {
        Self { length: content.len(), fingerprint: Fingerprint::of(&[content]) }
    }

    /// Whether `now` is that content with `added` behind it, and possibly more behind that.
    pub fn grown_by(&self, added: &[u8], now: &[u8]) -> bool {
        now.split_at_checked(self.length)
            .is_some_and(|(old, new)| Self::of(old) == *self && new.starts_with(added))
    }
}

/// A user's rights that the agent looks after, so that they can be taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Right {
    /// Keys in authorized_keys.
    Keys,
    /// A sudoers file.
    Sudo,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "record")]
enum Record {
    /// A run began.
    Run { instance: InstanceId, boot: String, run: u32 },
    /// A step began, or ended.
    Step { scope: String, key: String, trace: Trace },
    /// A right was given or taken back.
    Right { user: String, right: Right, held: bool },
}

/// What the records add up to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// The instance of the newest run.
    pub instance: Option<InstanceId>,
    /// The boot of the newest run.
    pub boot: String,
    /// The number of the newest run in that boot.
    pub run: u32,
    traces: BTreeMap<(String, String), Trace>,
    rights: BTreeSet<(String, Right)>,
}

/// What is known of a step before it is planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Past<'a> {
    /// Never begun.
    New,
    /// Begun, and not ended.
    Interrupted,
    /// Ended.
    Ended(&'a Trace),
    /// Under its key, something else was done.
    Other(&'a Trace),
}

impl History {
    /// The key of the scope that a frequency counts in.
    fn scope(&self, frequency: Frequency) -> String {
        match frequency {
            Frequency::Always => String::new(),
            Frequency::PerBoot => format!("boot {}", self.boot),
            Frequency::PerInstance => {
                format!("instance {}", self.instance.as_ref().map_or("", InstanceId::as_str))
            }
            Frequency::Once => "once".to_owned(),
        }
    }

    /// What became of a step before. The same content under another key counts as the same step:
    /// a part that moved to another place in user-data does not run again.
    pub fn past(&self, step: &Step) -> Past<'_> {
        let scope = self.scope(step.frequency);
        let here = self.traces.get(&(scope.clone(), step.key.clone()));
        if let Some(trace) = here {
            return match (&trace.outcome, trace.fingerprint == step.fingerprint) {
                (None, _) => Past::Interrupted,
                (Some(_), true) => Past::Ended(trace),
                (Some(_), false) => Past::Other(trace),
            };
        }
        if step.fingerprint.is_none() {
            return Past::New;
        }
        self.traces
            .iter()
            .filter(|((known, _), _)| *known == scope)
            .find(|(_, trace)| trace.fingerprint == step.fingerprint)
            .map_or(Past::New, |(_, trace)| match trace.outcome {
                None => Past::Interrupted,
                Some(_) => Past::Ended(trace),
            })
    }

    /// What an interrupted step had found.
    pub fn found(&self, step: &Step) -> Option<&Found> {
        let key = (self.scope(step.frequency), step.key.clone());
        self.traces.get(&key)?.found.as_ref()
    }

    /// The users that have a right which the agent gave.
    pub fn holders(&self, right: Right) -> impl Iterator<Item = &str> {
        self.rights.iter().filter(move |(_, held)| *held == right).map(|(user, _)| user.as_str())
    }

    /// As it will be once a run of this instance in this boot has begun.
    pub fn entering(&self, instance: &InstanceId, boot: &str) -> Self {
        let run = if self.boot == boot { self.run.saturating_add(1) } else { 1 };
        let mut next = self.clone();
        next.take(Record::Run { instance: instance.clone(), boot: boot.to_owned(), run });
        next
    }

    fn take(&mut self, record: Record) {
        match record {
            Record::Run { instance, boot, run } => {
                if boot != self.boot {
                    self.traces.retain(|(scope, _), _| !scope.starts_with("boot "));
                }
                self.instance = Some(instance);
                self.boot = boot;
                self.run = run;
            }
            Record::Step { scope, key, trace } => {
                self.traces.insert((scope, key), trace);
            }
            Record::Right { user, right, held: true } => {
                self.rights.insert((user, right));
            }
            Record::Right { user, right, held: false } => {
                self.rights.remove(&(user, right));
            }
        }
    }

    fn records(&self) -> Vec<Record> {
        let run = self.instance.clone().map(|instance| Record::Run {
            instance,
            boot: self.boot.clone(),
            run: self.run,
        });
        let steps = self.traces.iter().map(|((scope, key), trace)| Record::Step {
            scope: scope.clone(),
            key: key.clone(),
            trace: trace.clone(),
        });
        let rights = self.rights.iter().map(|(user, right)| Record::Right {
            user: user.clone(),
            right: *right,
            held: true,
        });
        run.into_iter().chain(steps).chain(rights).collect()
    }
}

/// The ledger, open and locked.
#[derive(Debug)]
pub struct Ledger {
    file: File,
    path: PathBuf,
    history: History,
}

impl Ledger {
    /// Opens the ledger of a state directory, making it where there is none, locks it, and cuts
    /// off a torn end.
    pub fn open(directory: &Path) -> Result<Self, LedgerError> {
        let path = directory.join("ledger");
        let io = |source| LedgerError::Io { path: path.clone(), source };
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        platform::make_private(&mut options);
        let mut file = options.open(&path).map_err(io)?;
        lock(&file, &path)?;
        let length = file.metadata().map_err(io)?.len();
        if length > MAX_BYTES {
            return Err(io(io::Error::new(io::ErrorKind::InvalidData, "the file is too long")));
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(io)?;
        let (history, good) = read(&bytes);
        if (good as u64) < length {
            file.set_len(good as u64).map_err(io)?;
            file.sync_data().map_err(io)?;
        }
        file.seek(SeekFrom::Start(good as u64)).map_err(io)?;
        let mut ledger = Self { file, path, history };
        if good as u64 > COMPACT_AT {
            ledger.compact()?;
        }
        Ok(ledger)
    }

    /// Reads a ledger without locking or changing it.
    pub fn look(directory: &Path) -> io::Result<History> {
        let mut bytes = Vec::new();
        File::open(directory.join("ledger"))?.take(MAX_BYTES).read_to_end(&mut bytes)?;
        Ok(read(&bytes).0)
    }

    /// What was done.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Notes the beginning of a run and gives its number in this boot.
    pub fn begin_run(&mut self, instance: &InstanceId, boot: &str) -> Result<u32, LedgerError> {
        let run = self.history.entering(instance, boot).run;
        let record = Record::Run { instance: instance.clone(), boot: boot.to_owned(), run };
        self.append(record)?;
        Ok(run)
    }

    /// Notes that a step begins, and what it finds. When this returns, the note is on the disk.
    pub fn started(&mut self, step: &Step, found: Option<Found>) -> Result<(), LedgerError> {
        let trace = Trace {
            fingerprint: step.fingerprint.clone(),
            outcome: None,
            reason: String::new(),
            found,
        };
        self.note(step, trace)?;
        self.sync()
    }

    /// Notes how a step ended. On the disk after the next [`Ledger::sync`].
    pub fn done(&mut self, step: &Step, outcome: Outcome, reason: &str) -> Result<(), LedgerError> {
        let trace = Trace {
            fingerprint: step.fingerprint.clone(),
            outcome: Some(outcome),
            reason: reason.to_owned(),
            found: None,
        };
        self.note(step, trace)
    }

    /// Notes a right that was given or taken back.
    pub fn right(&mut self, user: &str, right: Right, held: bool) -> Result<(), LedgerError> {
        if self.history.rights.contains(&(user.to_owned(), right)) == held {
            return Ok(());
        }
        self.append(Record::Right { user: user.to_owned(), right, held })
    }

    /// Puts everything noted so far on the disk.
    pub fn sync(&mut self) -> Result<(), LedgerError> {
        self.file.sync_data().map_err(|source| LedgerError::Io { path: self.path.clone(), source })
    }

    fn note(&mut self, step: &Step, trace: Trace) -> Result<(), LedgerError> {
        if step.frequency == Frequency::Always {
            return Ok(());
        }
        let scope = self.history.scope(step.frequency);
        self.append(Record::Step { scope, key: step.key.clone(), trace })
    }

    fn append(&mut self, record: Record) -> Result<(), LedgerError> {
        self.file
            .write_all(&line(&record))
            .map_err(|source| LedgerError::Io { path: self.path.clone(), source })?;
        self.history.take(record);
        Ok(())
    }

    /// Writes the ledger anew beside the old one and puts it in its place.
    fn compact(&mut self) -> Result<(), LedgerError> {
        let io = |source| LedgerError::Io { path: self.path.clone(), source };
        let text: Vec<u8> = self.history.records().iter().flat_map(line).collect();
        let next = self.path.with_extension("new");
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(true);
        platform::make_private(&mut options);
        let mut file = options.open(&next).map_err(io)?;
        file.lock().map_err(io)?;
        file.write_all(&text).map_err(io)?;
        file.sync_data().map_err(io)?;
        std::fs::rename(&next, &self.path).map_err(io)?;
        self.file = file;
        Ok(())
    }
}

/// Takes the lock, with a little patience: where an agent was killed while it started a program,
/// the program's process holds the lock until it has become that program or has died, too.
fn lock(file: &File, path: &Path) -> Result<(), LedgerError> {
    let until = Instant::now() + PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(TryLockError::WouldBlock) => {
                return Err(LedgerError::Locked { path: path.to_owned() });
            }
            Err(TryLockError::Error(source)) => {
                return Err(LedgerError::Io { path: path.to_owned(), source });
            }
        }
    }
}

fn line(record: &Record) -> Vec<u8> {
    // A record is made of strings and numbers: it always becomes JSON.
    let json = serde_json::to_vec(record).unwrap_or_default();
    let mut line = format!("{} ", sum(&json)).into_bytes();
    line.extend_from_slice(&json);
    line.push(b'\n');
    line
}

fn sum(bytes: &[u8]) -> String {
    Fingerprint::of(&[bytes]).0[..16].to_owned()
}

/// The history up to the first line that is not whole, and the length of what is good.
fn read(bytes: &[u8]) -> (History, usize) {
    let mut history = History::default();
    let mut good = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let Some(record) = line
            .strip_suffix(b"\n")
            .and_then(|line| line.split_at_checked(17))
            .filter(|(head, json)| head[..16] == *sum(json).as_bytes())
            .and_then(|(_, json)| serde_json::from_slice(json).ok())
        else {
            break;
        };
        history.take(record);
        good += line.len();
    }
    (history, good)
}

#[cfg(test)]
mod tests;

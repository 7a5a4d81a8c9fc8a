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

mod history;

use std::{
    fs::{File, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use mezame_model::{InstanceId, report::Outcome};

use self::history::Record;
pub use self::history::{Again, Found, History, Past, Right, Trace};
use crate::{
    platform,
    step::{Fingerprint, Frequency, Step},
};

/// Longer ledgers are written anew with only what still counts.
const COMPACT_AT: u64 = 256 * 1024;
/// Longer ledgers are not read: something else has written there.
const MAX_BYTES: u64 = 64 << 20;

/// How long another holder of the lock is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

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
        if length == 0 {
            platform::sync_directory(directory).map_err(io)?;
        }
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

    /// Whether an agent has the ledger open now.
    pub fn is_held(directory: &Path) -> bool {
        let file = File::open(directory.join("ledger"));
        file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
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
            again: self.history.again(step).cloned(),
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
            again: None,
        };
        self.note(step, trace)
    }

    /// Notes that a step ended and is to be run again at the next boot. On the disk after the next
    /// [`Ledger::sync`].
    pub fn again(&mut self, step: &Step) -> Result<(), LedgerError> {
        let times = self.history.again(step).map_or(0, |again| again.times).saturating_add(1);
        let trace = Trace {
            fingerprint: step.fingerprint.clone(),
            outcome: Some(Outcome::Done),
            reason: String::new(),
            found: None,
            again: Some(Again { boot: self.history.boot.clone(), times }),
        };
        self.note(step, trace)
    }

    /// How often in a row a step was noted by [`Ledger::again`].
    pub fn times_again(&self, step: &Step) -> u32 {
        self.history.again(step).map_or(0, |again| again.times)
    }

    /// Whether a step was noted by [`Ledger::again`] in this boot.
    pub fn asked_in_this_boot(&self, step: &Step) -> bool {
        self.history.again(step).is_some_and(|again| again.boot == self.history.boot)
    }

    /// Notes the rights of users under the names that these are called by.
    pub fn respell(&mut self, spelling: &dyn Fn(&str) -> String) -> Result<(), LedgerError> {
        for (user, right) in self.history.rights.clone() {
            let name = spelling(&user);
            if name != user {
                self.right(&name, right, true)?;
                self.right(&user, right, false)?;
            }
        }
        Ok(())
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

    /// Forgets all but what users hold: what was given on this disk is on it in each of its clones,
    /// and only who knows of it can take it back. Says whether anything is left.
    pub fn forget(&mut self) -> Result<bool, LedgerError> {
        let mut history = History::default();
        history.rights.append(&mut self.history.rights);
        self.history = history;
        let text: Vec<u8> = self.history.records().iter().flat_map(line).collect();
        let io = |source| LedgerError::Io { path: self.path.clone(), source };
        // Over the old notes, and then those are cut off: killed in between, what is left of them
        // is no whole line, and the next to open it cuts there.
        self.file.seek(SeekFrom::Start(0)).map_err(io)?;
        self.file.write_all(&text).map_err(io)?;
        self.file.set_len(text.len() as u64).map_err(io)?;
        self.file.sync_all().map_err(io)?;
        Ok(!text.is_empty())
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
        // Where an open file can't be replaced (Windows before 10) the long one goes on.
        if std::fs::rename(&next, &self.path).is_err() {
            return Ok(());
        }
        // Before a note is added: after a power cut the old name must not lead to the old notes.
        platform::sync_directory(self.path.parent().unwrap_or(Path::new("/"))).map_err(io)?;
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

//! The freeze itself, without knowing how a system does it: hooks, then one file system after the
//! other; all of it taken back when one thing fails or the time is over.
//!
//! ```text
//!   idle ──freeze──► hooks ──► file systems ──► frozen ──thaw──► over
//!                      │           │              │
//!                      └─ fails ───┴── time over ─┴─────────────► over
//! ```
//! A thaw may come from another thread at any moment, so that a file system that takes long to freeze
//! does not hold up those that are frozen. Who is over stays over: a freezer freezes once. What could not
//! be thawed is kept, noted and tried again.

use std::{
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use mezame_model::freeze::Done;

use super::mounts::{Found, Mount};

/// What a hook is called with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Before anything is frozen.
    Freeze,
    /// After all has thawed.
    Thaw,
}

impl Moment {
    /// The hook's argument.
    pub fn word(self) -> &'static str {
        match self {
            Self::Freeze => "freeze",
            Self::Thaw => "thaw",
        }
    }
}

/// Why a file system was not frozen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It can't be, as FAT; it is left out.
    Unable(String),
    /// Somebody else has frozen it, who will thaw it when it suits him.
    Already,
    /// Anything else.
    Failed(String),
}

/// What a system can do.
pub trait System: Sync {
    /// The programs that want to know, in the order in which they are called before a freeze.
    fn hooks(&self) -> Result<Vec<PathBuf>, String>;
    /// Calls one, which has until then.
    fn call(&self, hook: &std::path::Path, moment: Moment, until: Instant) -> Result<(), String>;
    /// What is to be frozen, and what is passed over.
    fn mounts(&self) -> Result<Found, String>;
    /// Notes where nothing is frozen what will be, or still is, for an agent that comes later; nothing,
    /// where all has thawed.
    fn note(&self, mounts: &[Mount]) -> Result<(), String>;
    /// Has all that waits in memory written, so that a freeze has little to write.
    fn sync(&self);
    /// Freezes one.
    fn freeze(&self, mount: &Mount) -> Result<(), Refusal>;
    /// Thaws one, the very one that was frozen where it was frozen here. Whether it was frozen until
    /// now. One that can't be thawed may be tried again.
    fn thaw(&self, mount: &Mount) -> Result<bool, String>;
}

/// Why nothing is frozen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FreezeError {
    /// A hook failed.
    #[error("the hook {} failed: {why}", hook.display())]
    Hook {
        /// Which.
        hook: PathBuf,
        /// Why.
        why: String,
    },
    /// The system does not say what there is, or where to note it.
    #[error("{0}")]
    System(String),
    /// There is nothing to freeze.
    #[error("no file system of this guest can be frozen")]
    Nothing,
    /// Somebody has frozen one.
    #[error("{0} is frozen already, by somebody else")]
    Already(String),
    /// One can't be frozen.
    #[error("{path} was not frozen: {why}")]
    FileSystem {
        /// Which.
        path: String,
        /// Why.
        why: String,
    },
    /// It took too long.
    #[error("it took longer than was allowed")]
    Late,
}

/// What is frozen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frozen {
    /// Where they are mounted.
    pub file_systems: Vec<String>,
    /// What was left out, and why.
    pub skipped: Vec<String>,
}

/// What a thaw came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Thawed {
    /// Whether all had been frozen until now.
    pub was_frozen: bool,
    /// What does not go on, each with why.
    pub left: Vec<String>,
}

impl From<Thawed> for Done {
    fn from(Thawed { was_frozen, left }: Thawed) -> Self {
        if left.is_empty() {
            Self::Thawed { was_frozen }
        } else {
            const MOST: usize = 16;
            let named = &left[..left.len().min(MOST)];
            Self::Failed { reason: format!("still frozen: {}", named.join(", ")) }
        }
    }
}

/// What was done about what an earlier agent has left.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovered {
    /// How many go on.
    pub thawed: usize,
    /// What does not, each with why.
    pub left: Vec<String>,
}

/// Freezes once.
pub struct Freezer<'a> {
    system: &'a dyn System,
    /// How long hooks may take after a thaw.
    hook_time: std::time::Duration,
    state: Mutex<State>,
    /// One thaw at a time: what the last one notes is what none of them has thawed.
    thawing: Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    called: Vec<PathBuf>,
    frozen: Vec<Mount>,
    /// What is being frozen at this moment.
    freezing: Option<Mount>,
    is_over: bool,
}

impl<'a> Freezer<'a> {
    /// A freezer that has done nothing yet.
    pub fn new(system: &'a dyn System, hook_time: std::time::Duration) -> Self {
        Self { system, hook_time, state: Mutex::default(), thawing: Mutex::default() }
    }

    /// Freezes all that can be. On an error nothing of it is frozen any more, as far as it could be
    /// thawed: the next [thaw](Self::thaw) says.
    pub fn freeze(&self, until: Instant) -> Result<Frozen, FreezeError> {
        self.freeze_all(until).inspect_err(|_| {
            self.thaw();
        })
    }

    fn freeze_all(&self, until: Instant) -> Result<Frozen, FreezeError> {
        let found = self.system.mounts().map_err(FreezeError::System)?;
        let (mounts, mut skipped) = (found.to_freeze, found.passed_over);
        for hook in self.system.hooks().map_err(FreezeError::System)? {
            // Before it is called: one that fails is told of the thaw, too.
            self.open(until)?.called.push(hook.clone());
            self.system
                .call(&hook, Moment::Freeze, until)
                .map_err(|why| FreezeError::Hook { hook, why })?;
        }
        self.system.sync();
        drop(self.open(until)?);
        self.system.note(&mounts).map_err(FreezeError::System)?;
        let mut file_systems = Vec::new();
        for mount in mounts {
            self.open(until)?.freezing = Some(mount.clone());
            let path = mount.path.clone();
            let frozen = self.system.freeze(&mount);
            let mut state = self.state();
            state.freezing = None;
            match frozen {
                Ok(()) => file_systems.push(path),
                Err(Refusal::Unable(why)) => {
                    skipped.push(format!("{path} ({}): {why}", mount.kind));
                    continue;
                }
                Err(Refusal::Already) => return Err(FreezeError::Already(path)),
                Err(Refusal::Failed(why)) => return Err(FreezeError::FileSystem { path, why }),
            }
            state.frozen.push(mount);
            if state.is_over {
                // The others have thawed while this one was waited for.
                drop(state);
                return Err(FreezeError::Late);
            }
        }
        drop(self.open(until)?);
        if file_systems.is_empty() {
            Err(FreezeError::Nothing)
        } else {
            Ok(Frozen { file_systems, skipped })
        }
    }

    /// Lets everything go on. What could not is tried again by the next call.
    pub fn thaw(&self) -> Thawed {
        let thawed = self.thaw_all();
        // Only now, that they may write; in the opposite order. Nobody else calls them: they are
        // taken out under the lock.
        let called = std::mem::take(&mut self.state().called);
        let until = Instant::now() + self.hook_time;
        for hook in called.iter().rev() {
            // It was told; what it makes of that is its own affair.
            let _ = self.system.call(hook, Moment::Thaw, until);
        }
        thawed
    }

    fn thaw_all(&self) -> Thawed {
        let _one = self.thawing.lock().unwrap_or_else(PoisonError::into_inner);
        let (frozen, was_over) = {
            let mut state = self.state();
            (std::mem::take(&mut state.frozen), std::mem::replace(&mut state.is_over, true))
        };
        let mut was_frozen = !was_over && !frozen.is_empty();
        let (mut still, mut left) = (Vec::new(), Vec::new());
        // What others lie in goes on before them.
        for mount in frozen.into_iter().rev() {
            match self.system.thaw(&mount) {
                Ok(until_now) => was_frozen &= until_now,
                Err(why) => {
                    was_frozen = false;
                    left.push(format!("{}: {why}", mount.path));
                    still.insert(0, mount);
                }
            }
        }
        let mut state = self.state();
        let noted: Vec<Mount> = still.iter().chain(&state.freezing).cloned().collect();
        state.frozen.splice(0..0, still);
        drop(state);
        // Where this fails the next agent thaws once more, which does no harm.
        let _ = self.system.note(&noted);
        Thawed { was_frozen, left }
    }

    /// The state, while there is time and nobody has thawed.
    fn open(&self, until: Instant) -> Result<MutexGuard<'_, State>, FreezeError> {
        let state = self.state();
        if state.is_over || Instant::now() >= until { Err(FreezeError::Late) } else { Ok(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Thaws what an agent has left that was killed, by what it had noted. What can't be thawed stays noted.
pub fn recover(system: &dyn System, noted: &[Mount]) -> Recovered {
    let (mut thawed, mut still, mut left) = (0, Vec::new(), Vec::new());
    // Those that others lie in are noted last.
    for mount in noted.iter().rev() {
        match system.thaw(mount) {
            Ok(was_frozen) => thawed += usize::from(was_frozen),
            Err(why) => {
                left.push(format!("{}: {why}", mount.path));
                still.insert(0, mount.clone());
            }
        }
    }
    let _ = system.note(&still);
    if let (1.., Ok(hooks)) = (thawed, system.hooks()) {
        let until = Instant::now() + std::time::Duration::from_secs(10);
        for hook in hooks.iter().rev() {
            let _ = system.call(hook, Moment::Thaw, until);
        }
    }
    Recovered { thawed, left }
}

#[cfg(test)]
mod tests;

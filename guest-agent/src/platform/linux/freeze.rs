//! Freezing Linux's file systems by the ioctls FIFREEZE and FITHAW (Linux 2.6.29; linux/fs.h), with
//! hooks around it.
//!
//! A hook is an executable file in [`HOOKS`] that is root's alone to write; it is called with
//! `freeze` before and with `thaw` after, as those of QEMU's agent. One that fails or takes too long
//! means that nothing is frozen. Its output goes nowhere, since a log may be on what is frozen.
//!
//! What was frozen is thawed by the descriptor that it was frozen by: its place may lead to another one
//! by then, or to none. What is to be frozen, and what does not thaw, is noted in a file for each helper
//! in [`NOTES`], in `/run`, which is in memory and gone with the boot.

mod notes;

use std::{
    fs::{self, File},
    io,
    os::{
        fd::AsRawFd,
        unix::{
            fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
            process::CommandExt,
        },
    },
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use mezame_model::freeze::Done;

use crate::freeze::{
    freezer::{self, Moment, Recovered, Refusal, System},
    guard::{self, Helper},
    mounts::{self, Found, Mount},
    orders::Hands,
};

/// Where hooks lie.
pub const HOOKS: &str = "/etc/mezame/freeze-hooks.d";
/// What is frozen, for an agent that comes later: a file for each helper, named by its process. It is
/// there while anything is frozen.
const NOTES: &str = "/run/mezame-agent/frozen";
/// What is mounted where.
const MOUNTINFO: &str = "/proc/self/mountinfo";
/// Who is killed where memory is short (proc_pid_oom_score_adj(5)).
const OOM_SCORE: &str = "/proc/self/oom_score_adj";
/// Most hooks.
const MOST_HOOKS: usize = 64;
/// What an editor or a package manager leaves beside a hook.
const LEFT: [&str; 9] =
    ["~", ".bak", ".orig", ".rpmnew", ".rpmorig", ".rpmsave", ".sample", ".dpkg-old", ".dpkg-new"];

const FIFREEZE: libc::Ioctl = libc::_IOWR::<libc::c_int>(0x58, 119);
const FITHAW: libc::Ioctl = libc::_IOWR::<libc::c_int>(0x58, 120);

/// The running system.
#[derive(Debug)]
pub struct LinuxSystem {
    hooks: PathBuf,
    /// What this process's `oom_score_adj` was before it was [steeled](steel): a hook's again.
    score: Option<Vec<u8>>,
    note: PathBuf,
    /// What is mounted where.
    mountinfo: PathBuf,
    /// What was frozen by which descriptor.
    held: Mutex<Vec<(Mount, File)>>,
}

impl Default for LinuxSystem {
    fn default() -> Self {
        Self::noting(Path::new(NOTES).join(process::id().to_string()))
    }
}

impl LinuxSystem {
    fn noting(note: PathBuf) -> Self {
        let mountinfo = MOUNTINFO.into();
        Self { hooks: HOOKS.into(), score: None, note, mountinfo, held: Mutex::default() }
    }

    fn mountinfo(&self) -> io::Result<String> {
        // A path may be no UTF-8.
        Ok(String::from_utf8_lossy(&fs::read(&self.mountinfo)?).into_owned())
    }

    /// The root of what was mounted there, by another of its places where it is not there any more.
    fn open_somewhere(&self, mount: &Mount) -> io::Result<File> {
        open(mount).or_else(|error| {
            let places = mounts::places(&self.mountinfo()?, mount);
            places.iter().find_map(|place| open(place).ok()).ok_or(error)
        })
    }

    fn hold(&self, mount: &Mount, place: File) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.push((mount.clone(), place));
    }

    /// The descriptor that it was frozen by, if it was frozen here.
    fn take(&self, mount: &Mount) -> Option<File> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let at = held.iter().position(|(other, _)| other == mount)?;
        Some(held.swap_remove(at).1)
    }
}

impl System for LinuxSystem {
    fn hooks(&self) -> Result<Vec<PathBuf>, String> {
        let entries = match fs::read_dir(&self.hooks) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(|error| format!("{}: {error}", self.hooks.display()))?,
        };
        let mut hooks = Vec::new();
        for entry in entries {
            let path = entry.map_err(|error| format!("{}: {error}", self.hooks.display()))?.path();
            // A link to nothing, say: to go on as if there were no hook would be a freeze that a
            // database hears nothing of.
            if is_hook(&path).map_err(|error| format!("{}: {error}", path.display()))? {
                hooks.push(path);
            }
            if hooks.len() > MOST_HOOKS {
                return Err(format!("more than {MOST_HOOKS} hooks"));
            }
        }
        hooks.sort();
        match hooks.iter().find(|hook| !is_roots_alone(hook)) {
            Some(hook) => Err(format!("others than root may write {}", hook.display())),
            None => Ok(hooks),
        }
    }

    fn call(&self, hook: &Path, moment: Moment, until: Instant) -> Result<(), String> {
        let mut command = Command::new(hook);
        command.arg(moment.word()).current_dir("/").env_clear();
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        soften(&mut command, self.score.clone());
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        loop {
            match child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => return Err(status.to_string()),
                Ok(None) if Instant::now() < until => thread::sleep(Duration::from_millis(5)),
                Ok(None) => break,
                Err(error) => return Err(error.to_string()),
            }
        }
        if let Ok(group) = i32::try_from(child.id()) {
            let group = nix::unistd::Pid::from_raw(group);
            let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
        }
        let _ = child.wait();
        Err("it took too long".into())
    }

    fn mounts(&self) -> Result<Found, String> {
        let mountinfo = self.mountinfo();
        let found = mounts::find(&mountinfo.map_err(|error| format!("{MOUNTINFO}: {error}"))?);
        if found.to_freeze.len() > mounts::MOST {
            return Err(format!("more than {} file systems", mounts::MOST));
        }
        Ok(found)
    }

    fn note(&self, mounts: &[Mount]) -> Result<(), String> {
        let note = &self.note;
        let noted =
            if mounts.is_empty() { notes::remove(note) } else { notes::write(note, mounts) };
        noted.map_err(|error| format!("{}: {error}", note.display()))
    }

    fn sync(&self) {
        nix::unistd::sync();
    }

    fn freeze(&self, mount: &Mount) -> Result<(), Refusal> {
        // What can't even be opened is not known to be one that can't be frozen.
        let place = open(mount).map_err(|error| Refusal::Failed(error.to_string()))?;
        order(&place, FIFREEZE).map_err(|error| match error.raw_os_error() {
            Some(libc::EOPNOTSUPP | libc::ENOTTY) => Refusal::Unable(error.to_string()),
            Some(libc::EBUSY) => Refusal::Already,
            _ => Refusal::Failed(error.to_string()),
        })?;
        self.hold(mount, place);
        Ok(())
    }

    fn thaw(&self, mount: &Mount) -> Result<bool, String> {
        let place = match self.take(mount) {
            Some(place) => place,
            None => self.open_somewhere(mount).map_err(|error| error.to_string())?,
        };
        match order(&place, FITHAW) {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(false),
            Err(error) => {
                self.hold(mount, place);
                Err(error.to_string())
            }
        }
    }
}

/// The root of what is mounted there, if that is what it was to be.
fn open(mount: &Mount) -> io::Result<File> {
    let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let place = match File::options().read(true).custom_flags(flags).open(&mount.path) {
        // A single file that a file system is mounted on (a bind mount).
        Err(error) if error.raw_os_error() == Some(libc::ENOTDIR) => File::open(&mount.path)?,
        other => other?,
    };
    let device = place.metadata()?.dev();
    // btrfs counts each of its volumes as a device of its own, which mountinfo knows nothing of.
    let is_it = (libc::major(device), libc::minor(device)) == mount.device || mount.kind == "btrfs";
    if is_it { Ok(place) } else { Err(io::Error::other("another file system is there")) }
}

fn order(place: &File, request: libc::Ioctl) -> io::Result<()> {
    // SAFETY: both requests take a number that the kernel ignores, and touch no memory of ours; the
    // descriptor is open.
    let result = unsafe { libc::ioctl(place.as_raw_fd(), request, 0) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn is_hook(path: &Path) -> io::Result<bool> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if name.starts_with('.') || LEFT.iter().any(|end| name.ends_with(end)) {
        return Ok(false);
    }
    let there = fs::metadata(path)?;
    Ok(there.is_file() && there.permissions().mode() & 0o111 != 0)
}

fn is_roots_alone(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|it| it.uid() == 0 && it.permissions().mode() & 0o022 == 0)
}

/// Thaws what an agent has left frozen that was killed with its helper, or what a helper could not.
pub fn thaw_leftovers() -> Recovered {
    notes::thaw(NOTES.as_ref())
}

/// Does the helper's work on its standard input and output.
pub fn help(bound: Duration) -> io::Result<()> {
    let score = fs::read(OOM_SCORE).ok();
    steel();
    let system = LinuxSystem { score, ..LinuxSystem::default() };
    guard::run(&system, bound, io::stdin(), io::stdout())
}

/// Has this process go on whatever happens while a disk is frozen: no signal but SIGKILL ends it
/// before it has thawed, its memory stays where it is, and it is not what is killed where memory is
/// short. Where something of this is not allowed, the rest is done.
fn steel() {
    let all = nix::sys::signal::SigSet::all();
    let _ = all.thread_block();
    let _ = fs::write(OOM_SCORE, "-1000");
    // Of its memory what was used, by now or later (Linux 4.4): all of the program would take several
    // MiB. What was not can be read, since only writes wait for a frozen file system.
    // SAFETY: it only changes where this process's own memory is kept.
    unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_ONFAULT) };
}

/// Takes from a hook what [`steel`] has done, which processes inherit: a service that it starts is to
/// hear signals, and may be what is killed where memory is short.
fn soften(command: &mut Command, score: Option<Vec<u8>>) {
    let none = nix::sys::signal::SigSet::empty();
    // SAFETY: between fork and exec only system calls are made that are safe after a fork, on values
    // that were there before it; nothing allocates or locks.
    unsafe {
        command.pre_exec(move || {
            none.thread_set_mask()?;
            if let Some(score) = &score {
                let file = libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY);
                // Where /proc is not there it could not be changed before, either.
                libc::write(file, score.as_ptr().cast(), score.len());
                libc::close(file);
            }
            Ok(())
        });
    }
}

/// The agent's hands: a helper process for each freeze.
#[derive(Debug, Default)]
pub struct LinuxHands(Option<Helper>);

impl Hands for LinuxHands {
    fn freeze(&mut self, bound: Duration) -> Done {
        // One whose time was over.
        self.thaw();
        let bound_ms = bound.as_millis().to_string();
        // Also where another version lies at its path by now.
        let mut command = Command::new("/proc/self/exe");
        command.args(["freeze-helper", "--bound-ms", &bound_ms]).current_dir("/").process_group(0);
        // One that is killed leaves what it has frozen; where it said so before, that has thawed.
        let (done, helper) = Helper::start(&mut command, bound, || {
            thaw_leftovers();
        });
        if helper.is_none() {
            thaw_leftovers();
        }
        self.0 = helper;
        done
    }

    fn thaw(&mut self) -> Done {
        let said = self.0.take().and_then(|mut helper| helper.thaw());
        // It was killed, or a hook holds it up, or it could not: what is noted goes on all the same.
        let left = thaw_leftovers().left;
        let was_frozen = matches!(said, Some(Done::Thawed { was_frozen: true }));
        freezer::Thawed { was_frozen: was_frozen && left.is_empty(), left }.into()
    }
}

#[cfg(test)]
mod tests;

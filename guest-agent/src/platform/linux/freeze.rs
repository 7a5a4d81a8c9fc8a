//! Freezing Linux's file systems by the ioctls FIFREEZE and FITHAW (Linux 2.6.29; linux/fs.h), with
//! hooks around it.
//!
//! A hook is an executable file in [`HOOKS`] that is root's alone to write; it is called with
//! `freeze` before and with `thaw` after, as those of QEMU's agent. One that fails or takes too long
//! means that nothing is frozen. Its output goes nowhere, since a log may be on what is frozen.
//!
//! What is to be frozen is noted in [`NOTE`], in `/run`, which is in memory and gone with the boot.

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
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use mezame_model::freeze::Done;

use crate::freeze::{
    freezer::{self, Moment, Refusal, System},
    guard::{self, Helper},
    mounts::{self, Mount},
    orders::Hands,
};

/// Where hooks lie.
pub const HOOKS: &str = "/etc/mezame/freeze-hooks.d";
/// The directory of the note.
const RUN: &str = "/run/mezame-agent";
/// What is frozen, for an agent that comes later.
const NOTE: &str = "/run/mezame-agent/frozen";
/// The longest note that is read, in bytes.
const LONGEST_NOTE: u64 = 1 << 20;
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
}

impl Default for LinuxSystem {
    fn default() -> Self {
        Self { hooks: HOOKS.into(), score: None }
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

    fn mounts(&self) -> Result<Vec<Mount>, String> {
        let text = fs::read_to_string("/proc/self/mountinfo")
            .map_err(|error| format!("/proc/self/mountinfo: {error}"))?;
        let mounts = mounts::to_freeze(&text);
        if mounts.len() > mounts::MOST {
            return Err(format!("more than {} file systems", mounts::MOST));
        }
        Ok(mounts)
    }

    fn note(&self, mounts: &[Mount]) -> Result<(), String> {
        let noted = if mounts.is_empty() { remove_note() } else { write_note(mounts) };
        noted.map_err(|error| format!("{NOTE}: {error}"))
    }

    fn sync(&self) {
        nix::unistd::sync();
    }

    fn freeze(&self, mount: &Mount) -> Result<(), Refusal> {
        let place = open(mount).map_err(|error| Refusal::Unable(error.to_string()))?;
        order(&place, FIFREEZE).map_err(|error| match error.raw_os_error() {
            Some(libc::EOPNOTSUPP | libc::ENOTTY) => Refusal::Unable(error.to_string()),
            Some(libc::EBUSY) => Refusal::Already,
            _ => Refusal::Failed(error.to_string()),
        })
    }

    fn thaw(&self, mount: &Mount) -> Result<bool, String> {
        let place = open(mount).map_err(|error| error.to_string())?;
        match order(&place, FITHAW) {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(false),
            Err(error) => Err(error.to_string()),
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

fn write_note(mounts: &[Mount]) -> io::Result<()> {
    crate::platform::create_private_directory(RUN.as_ref())?;
    let json = serde_json::to_vec(mounts).map_err(io::Error::other)?;
    fs::write(NOTE, json)
}

fn remove_note() -> io::Result<()> {
    match fs::remove_file(NOTE) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Thaws what an agent has left frozen that was killed with its helper; how many it were.
pub fn thaw_leftovers() -> usize {
    let length = fs::metadata(NOTE).map_or(0, |it| it.len());
    let note = (1..=LONGEST_NOTE).contains(&length).then(|| fs::read(NOTE).ok()).flatten();
    let Some(note) = note else { return 0 };
    let noted: Vec<Mount> = serde_json::from_slice(&note).unwrap_or_default();
    freezer::recover(&LinuxSystem::default(), &noted)
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
        let Some(mut helper) = self.0.take() else { return Done::Thawed { was_frozen: false } };
        let was_frozen = helper.thaw().unwrap_or_else(|| {
            // It was killed, or a hook holds it up: what it had noted goes on all the same.
            thaw_leftovers();
            false
        });
        Done::Thawed { was_frozen }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(directory: &Path, name: &str, body: &str, mode: u32) -> PathBuf {
        let path = directory.join(name);
        fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    fn system_of(hooks: &Path) -> LinuxSystem {
        LinuxSystem { hooks: hooks.into(), score: Some(b"7".into()) }
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    #[test]
    fn hooks_are_programs_of_roots_in_the_order_of_their_names() {
        let directory = tempfile::tempdir().unwrap();
        let (of, system) = (directory.path(), system_of(directory.path()));
        for (name, mode) in [
            ("20-web", 0o755),
            ("10-db", 0o700),
            ("README", 0o644),
            ("db.bak", 0o755),
            (".x", 0o755),
        ] {
            hook(of, name, "", mode);
        }
        if nix::unistd::Uid::effective().is_root() {
            assert_eq!(system.hooks().unwrap(), [of.join("10-db"), of.join("20-web")]);
        }
        hook(of, "30-anybody", "", 0o777);
        assert!(system.hooks().unwrap_err().contains("30-anybody"));
        assert!(system_of(&of.join("none")).hooks().unwrap().is_empty());
    }

    #[test]
    fn a_hook_that_is_a_link_to_nothing_is_not_passed_over() {
        let directory = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/no/such", directory.path().join("10-db")).unwrap();
        let error = system_of(directory.path()).hooks().unwrap_err();
        assert!(error.contains("10-db: No such file"), "{error}");
    }

    #[test]
    fn a_hook_hears_signals_and_may_be_killed_where_memory_is_short() {
        let directory = tempfile::tempdir().unwrap();
        let told = directory.path().join("told");
        let body = format!("cat /proc/self/status /proc/self/oom_score_adj >{}", told.display());
        let hook = hook(directory.path(), "10-db", &body, 0o700);
        let system = system_of(directory.path());
        // As in the helper: in a thread of its own, whose signals go with it.
        let call = || {
            nix::sys::signal::SigSet::all().thread_block().unwrap();
            system.call(&hook, Moment::Freeze, soon())
        };
        thread::scope(|scope| scope.spawn(call).join().unwrap()).unwrap();
        let told = fs::read_to_string(&told).unwrap();
        assert!(told.contains("SigBlk:\t0000000000000000\n") && told.ends_with("\n7\n"), "{told}");
    }

    #[test]
    fn a_hook_is_told_the_moment_and_ended_when_its_time_is_over() {
        let directory = tempfile::tempdir().unwrap();
        let told = directory.path().join("told");
        let system = system_of(directory.path());
        let good = hook(directory.path(), "good", &format!("echo $1 >>{}", told.display()), 0o700);
        system.call(&good, Moment::Freeze, soon()).unwrap();
        system.call(&good, Moment::Thaw, soon()).unwrap();
        assert_eq!(fs::read_to_string(&told).unwrap(), "freeze\nthaw\n");
        let bad = hook(directory.path(), "bad", "exit 3", 0o700);
        assert!(system.call(&bad, Moment::Freeze, soon()).unwrap_err().contains('3'));
        let slow = hook(directory.path(), "slow", "sleep 1000", 0o700);
        let begin = Instant::now();
        let until = begin + Duration::from_millis(100);
        let error = system.call(&slow, Moment::Freeze, until).unwrap_err();
        assert_eq!(error, "it took too long");
        assert!(begin.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn a_place_that_another_file_system_has_taken_is_not_frozen() {
        let mount = Mount { path: "/proc".into(), device: (8, 77), kind: "ext4".into() };
        assert!(matches!(LinuxSystem::default().freeze(&mount), Err(Refusal::Unable(_))));
        assert!(LinuxSystem::default().thaw(&mount).is_err());
    }
}

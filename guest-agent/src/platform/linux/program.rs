//! Running programs: the tenant's scripts, and the few tools that are needed.
//!
//! A script runs in a session and a process group of its own, with no input, a plain environment,
//! and its output in a file that only root reads and that has an end. Where the agent dies, its
//! script dies with it, since a script that runs on while it is reported as interrupted would be a
//! lie.

use std::{
    fs::File,
    io::Write,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::tree::{Access, Tree};
use crate::{
    platform::{
        PlatformError, Result, ScriptEnd,
        running::{self, End},
    },
    settings::STATE,
    step::Script,
};

/// How long a program may take to end after it was told to.
const GRACE: Duration = Duration::from_secs(5);
/// How long a tool may check something: deriving a volume's key takes seconds by intent.
const CHECK: Duration = Duration::from_secs(60);
/// How long a tool may take to answer a question.
const ANSWER: Duration = Duration::from_secs(30);
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub(super) fn run_script(
    tree: &Tree,
    script: &Script,
    live: bool,
    timeout: Option<Duration>,
) -> Result<(ScriptEnd, String)> {
    let (scripts, outputs) = (format!("/{STATE}/scripts"), format!("/{STATE}/output"));
    for directory in [&scripts, &outputs] {
        tree.directory(directory.as_ref(), Some(Access::root(0o700)))?;
    }
    let inside = format!("{scripts}/{}", script.name);
    tree.write(&inside, &script.body, Access::root(0o700))?;
    let path = tree.outside(&inside);
    let output = tree.outside(&format!("{outputs}/{}.log", script.name));
    let log = open_log(&output)?;
    let mut command = Command::new(&path);
    command.current_dir("/").env("HOME", "/root");
    if !live {
        // A rehearsal: the script is told where the files are that were written.
        command.current_dir(tree.outside("/")).env("MEZAME_ROOT", tree.outside("/"));
    }
    let child = spawn(&mut command, Stdio::null(), &path)?;
    Ok(wait(child, log, timeout))
}

/// Runs a tool to its end; its output only comes into an error.
pub(super) fn tool(program: &str, arguments: &[&str], timeout: Duration) -> Result<()> {
    let mut command = Command::new(program);
    command.args(arguments).current_dir("/").env("HOME", "/root");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    let child = spawn(&mut command, Stdio::null(), program.as_ref())?;
    ended_well(program, wait(child, None, Some(timeout)))
}

/// What a tool says that answers at once.
pub(super) fn said(program: &str, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(program);
    command.args(arguments).current_dir("/");
    let child = spawn(&mut command, Stdio::null(), program.as_ref())?;
    let (end, tail) = wait(child, None, Some(ANSWER));
    ended_well(program, (end, tail.clone())).map(|()| tail)
}

/// Hands something to a tool that checks it.
pub(super) fn check_with(program: &str, arguments: &[&str], input: &[u8]) -> Result<()> {
    let mut command = Command::new(program);
    command.args(arguments).current_dir("/");
    let mut child = spawn(&mut command, Stdio::piped(), program.as_ref())?;
    if let Some(mut pipe) = child.stdin.take() {
        // A tool that ends without reading has its say by its status.
        let _ = pipe.write_all(input);
    }
    ended_well(program, wait(child, None, Some(CHECK)))
}

fn ended_well(program: &str, (end, tail): (ScriptEnd, String)) -> Result<()> {
    match end {
        ScriptEnd::Exited(0) => Ok(()),
        other => Err(PlatformError::Tool {
            tool: program.to_owned(),
            detail: format!("{other:?}: {}", tail.trim_end()),
        }),
    }
}

fn open_log(path: &Path) -> Result<Option<File>> {
    let mut options = File::options();
    options.write(true).create(true).truncate(true);
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(Some).map_err(|source| PlatformError::File { path: path.into(), source })
}

fn spawn(command: &mut Command, stdin: Stdio, path: &Path) -> Result<Child> {
    let agent = std::process::id();
    command.env_clear_keeping().stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
    // SAFETY: between fork and exec only system calls are made that are safe after a fork, on
    // values that were there before it; nothing allocates or locks.
    unsafe {
        command.pre_exec(move || {
            libc::setsid();
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0
                || libc::getppid() as u32 != agent
            {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
    // A script that was written a moment ago can be "busy" while another thread's fork holds its
    // descriptor; that passes.
    for _ in 0..50 {
        match command.spawn() {
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {
                std::thread::sleep(Duration::from_millis(10));
            }
            other => {
                return other.map_err(|source| PlatformError::File { path: path.into(), source });
            }
        }
    }
    command.spawn().map_err(|source| PlatformError::File { path: path.into(), source })
}

/// A plain environment: what the agent inherited is nobody's business.
trait PlainEnvironment {
    fn env_clear_keeping(&mut self) -> &mut Self;
}

impl PlainEnvironment for Command {
    fn env_clear_keeping(&mut self) -> &mut Self {
        let kept: Vec<_> = self
            .get_envs()
            .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
            .collect();
        self.env_clear().env("PATH", PATH).env("LANG", "C.UTF-8").envs(kept)
    }
}

fn wait(child: Child, log: Option<File>, timeout: Option<Duration>) -> (ScriptEnd, String) {
    let (end, tail) = running::wait(child, log, timeout, end_group);
    let end = match end {
        End::TimedOut => ScriptEnd::TimedOut,
        End::Ended(status) => match (status.code(), status.signal()) {
            (Some(code), _) => ScriptEnd::Exited(code),
            (None, signal) => ScriptEnd::Killed(signal.unwrap_or(0)),
        },
        End::Lost => ScriptEnd::Killed(0),
    };
    (end, tail)
}

/// Asks the group to end, then makes it.
fn end_group(child: &mut Child) {
    let Ok(pid) = i32::try_from(child.id()) else { return };
    let group = nix::unistd::Pid::from_raw(pid);
    let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGTERM);
    let until = Instant::now() + GRACE;
    let mut status = None;
    while status.is_none() && Instant::now() < until {
        status = child.try_wait().ok().flatten();
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
    if status.is_none() {
        let _ = child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_that_leaves_a_talking_daemon_behind_comes_to_its_end_and_the_daemon_lives_on() {
        let body = "(for i in $(seq 1000); do echo $i; sleep 0.05; done) & echo $!; exit 3";
        let mut command = Command::new("/bin/sh");
        let child = spawn(command.args(["-c", body]), Stdio::null(), "/bin/sh".as_ref()).unwrap();
        let (end, tail) = wait(child, None, None);
        assert_eq!(end, ScriptEnd::Exited(3));
        let daemon: i32 = tail.lines().map(|line| line.parse().unwrap()).max().unwrap();
        let talked = tail.lines().count();
        assert!(talked > 1, "{tail}");
        let io = || std::fs::read_to_string(format!("/proc/{daemon}/io")).unwrap();
        // It goes on writing into a pipe that is still read.
        for _ in 0..5 {
            let before = io();
            while io() == before {
                std::thread::yield_now();
            }
        }
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(daemon), nix::sys::signal::SIGKILL)
            .unwrap();
    }
}

//! Child processes that never outlive the test or demo that started them.

use std::{
    fs::File,
    io::Read,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::wait;

/// A command whose process gets SIGKILL when the calling thread ends (prctl(2),
/// PR_SET_PDEATHSIG), so that even a killed test leaves none behind.
pub fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    // SAFETY: prctl(2) is async-signal-safe, and nothing is allocated or locked.
    unsafe {
        command.pre_exec(|| {
            nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).map_err(std::io::Error::from)
        });
    }
    command
}

/// Runs a command that must succeed; its output is in the error if it doesn't.
pub fn succeed(command: &mut Command) -> Result<()> {
    output(command).map(drop)
}

/// Runs a command that must succeed, and gives its standard output.
pub fn output(command: &mut Command) -> Result<String> {
    let done = run(command)?;
    ensure!(
        done.status.success(),
        "{command:?} ended with {}: {}{}",
        done.status,
        done.stdout,
        done.stderr
    );
    Ok(done.stdout)
}

/// How a command ended and what it wrote.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status.
    pub status: ExitStatus,
    /// What it wrote to standard output, as text.
    pub stdout: String,
    /// What it wrote to standard error, as text.
    pub stderr: String,
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Result<Ended> {
    let output = command.output().with_context(|| format!("starting {command:?}"))?;
    Ok(Ended {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// A process in the background, with its output in a file; killed when dropped.
#[derive(Debug)]
pub struct Background {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Background {
    /// Starts it. What it writes is appended to the file.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Result<Self> {
        let file = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("opening {}", log.display()))?;
        command.stdout(file.try_clone().context("cloning a log")?).stderr(file);
        let child = command.spawn().with_context(|| format!("starting {command:?}"))?;
        Ok(Self { name: name.into(), child, log: log.into() })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All it has written.
    pub fn log(&self) -> String {
        let mut bytes = Vec::new();
        if let Ok(mut file) = File::open(&self.log) {
            // What can't be read is not shown; this is for people and for conditions.
            let _ = file.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The exit status, if it has ended.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("asking for {}", self.name))
    }

    /// Fails if it has ended.
    pub fn ensure_running(&mut self) -> Result<()> {
        if let Some(status) = self.ended()? {
            bail!("{} ended with {status}:\n{}", self.name, tail(&self.log(), 40));
        }
        Ok(())
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.pid()).context("a pid fits 32 bits")?);
        kill(pid, signal).with_context(|| format!("signalling {}", self.name))
    }

    /// Kills it with -9 and waits for its end.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill().with_context(|| format!("killing {}", self.name))?;
        self.child.wait().with_context(|| format!("waiting for {}", self.name))?;
        Ok(())
    }

    /// Waits for it to end by itself.
    pub fn wait(&mut self, bound: Duration) -> Result<ExitStatus> {
        let name = self.name.clone();
        wait::until(&format!("the end of {name}"), bound, || {
            self.ended()?.with_context(|| format!("{name} still runs"))
        })
    }

    /// Asks it to end, and waits for that.
    pub fn terminate(&mut self, bound: Duration) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.wait(bound)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // Ended already, or about to: either way nothing is left to do on an error.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- {} said last:\n{}", self.name, tail(&self.log(), 60));
        }
    }
}

/// The last lines of a text.
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

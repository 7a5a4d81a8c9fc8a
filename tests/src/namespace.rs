//! A network namespace without a name: it goes with the last process and descriptor in it.

use std::{
    fs::File,
    os::{fd::AsRawFd, unix::process::CommandExt},
    process::Command,
    sync::Arc,
};

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns, unshare};

use crate::process;

/// A network namespace.
#[derive(Debug, Clone)]
pub struct Namespace(Arc<File>);

impl Namespace {
    /// Makes one, with its loopback device up.
    pub fn create() -> Result<Self> {
        let file = std::thread::scope(|scope| {
            let made = scope.spawn(|| -> Result<File> {
                unshare(CloneFlags::CLONE_NEWNET).context("making a network namespace")?;
                File::open("/proc/thread-self/ns/net").context("opening a network namespace")
            });
            made.join().expect("the thread doesn't panic")
        })?;
        let namespace = Self(Arc::new(file));
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// Runs a function in a thread that is inside of it. Sockets made there stay there. Processes
    /// are to be started with [`Namespace::command`]: those started in here would die with the
    /// thread.
    pub fn run<T: Send>(&self, function: impl FnOnce() -> T + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let done = scope.spawn(|| {
                setns(&*self.0, CloneFlags::CLONE_NEWNET).context("entering a namespace")?;
                Ok(function())
            });
            match done.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// A command that will run inside of it and be killed when the calling thread ends.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = process::command(program);
        let file = Arc::clone(&self.0);
        // SAFETY: setns(2) is async-signal-safe, and nothing is allocated or locked.
        unsafe {
            command.pre_exec(move || {
                setns(&*file, CloneFlags::CLONE_NEWNET).map_err(std::io::Error::from)
            });
        }
        command
    }

    /// The descriptor that this process has of it.
    pub fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.0.as_raw_fd()
    }

    /// Runs `ip` with these words.
    pub fn ip(&self, words: &str) -> Result<()> {
        process::succeed(self.command("ip").args(words.split_whitespace()))
    }

    /// Gives one end of a new veth pair to `other`.
    pub fn veth(&self, name: &str, other: &Self, other_name: &str) -> Result<()> {
        // By the descriptor that this very process has: `ip` takes a pid or a name, and a path
        // under /proc is a name's equal (ip-netns(8) would want one under /run/netns).
        let target = format!("/proc/{}/fd/{}", std::process::id(), other.0.as_raw_fd());
        self.ip(&format!("link add {name} type veth peer name {other_name} netns {target}"))
    }
}

//! One CPU for all: client, server and peers run on the same one.
//!
//! On a machine with a few virtual CPUs, unpinned runs of one program vary threefold with where
//! the scheduler puts the two sides. On one CPU a request costs what it costs in cycles.

use std::{
    fs::File,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::Context;
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    sys::{
        prctl,
        signal::{Signal, kill},
    },
    unistd::Pid,
};

/// The CPU that everything which is compared runs on.
#[derive(Debug, Clone, Copy)]
pub struct Cpu(CpuSet);

impl Cpu {
    /// The last one that this process may use; the first ones serve most interrupts.
    pub fn last() -> anyhow::Result<Self> {
        let allowed = sched_getaffinity(Pid::from_raw(0))?;
        let last = (0..CpuSet::count())
            .rev()
            .find(|cpu| allowed.is_set(*cpu).unwrap_or(false))
            .context("this process may run on no CPU")?;
        let mut set = CpuSet::new();
        set.set(last)?;
        Ok(Self(set))
    }

    /// Binds the calling thread, and what it starts, to this CPU.
    pub fn bind(&self) -> anyhow::Result<()> {
        sched_setaffinity(Pid::from_raw(0), &self.0).context("binding to one CPU")
    }
}

/// A server that is being measured; ended when dropped, or with this process.
#[derive(Debug)]
pub struct Server {
    child: Child,
}

impl Server {
    /// Starts the command, bound to `cpu` if one is given, its output in the file `log`.
    pub fn start(command: &mut Command, cpu: Option<Cpu>, log: &Path) -> anyhow::Result<Self> {
        let log = File::create(log).with_context(|| format!("creating {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        // SAFETY: between fork and exec only system calls are made.
        unsafe {
            command.pre_exec(move || {
                prctl::set_pdeathsig(Signal::SIGTERM)?;
                if let Some(Cpu(set)) = cpu {
                    sched_setaffinity(Pid::from_raw(0), &set)?;
                }
                Ok(())
            });
        }
        let child = command
            .spawn()
            .with_context(|| format!("starting {}", command.get_program().display()))?;
        Ok(Self { child })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> anyhow::Result<Option<std::process::ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Asks it to end, and waits for that.
    pub fn stop(mut self) -> anyhow::Result<()> {
        self.end()
    }

    fn end(&mut self) -> anyhow::Result<()> {
        if self.child.try_wait()?.is_none() {
            kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM)?;
            self.child.wait()?;
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing is left to do if the process is gone already.
        let _ = self.end();
    }
}

//! One CPU for all: client, server and peers run on the same one.
//!
//! On a machine with a few virtual CPUs, unpinned runs of one program vary threefold with where
//! the scheduler puts the two sides. On one CPU a request costs what it costs in cycles.

use std::{os::unix::process::CommandExt, process::Command};

use anyhow::Context;
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

/// The CPU that everything which is compared runs on.
#[derive(Debug, Clone, Copy)]
pub struct Cpu {
    one: CpuSet,
    allowed: CpuSet,
}

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
        Ok(Self { one: set, allowed })
    }

    /// Binds the calling thread, and what it starts from now on, to this CPU.
    pub fn bind(&self) -> anyhow::Result<()> {
        sched_setaffinity(Pid::from_raw(0), &self.one).context("binding to one CPU")
    }

    /// Lets the calling thread go anywhere again.
    pub fn release(&self) -> anyhow::Result<()> {
        sched_setaffinity(Pid::from_raw(0), &self.allowed).context("leaving one CPU")
    }

    /// Binds the process that a command will start.
    pub fn bind_command(self, command: &mut Command) {
        // SAFETY: between fork and exec only one system call is made.
        unsafe {
            command.pre_exec(move || Ok(sched_setaffinity(Pid::from_raw(0), &self.one)?));
        }
    }
}

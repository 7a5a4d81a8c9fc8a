//! Network namespaces without a name, and the wires between them.
//!
//! A namespace lives as long as a descriptor or a process holds it, so nothing is left behind
//! however the measurement ends. Devices go with their namespace. Work on the machine's own
//! namespace is never done here.

use std::{
    fs::File,
    os::{fd::AsFd, unix::process::CommandExt},
    process::Command,
    sync::Arc,
    thread,
};

use anyhow::{Context, bail, ensure};
use nix::sched::{CloneFlags, setns, unshare};

/// A network namespace of the measurement's own.
#[derive(Debug, Clone)]
pub struct Namespace(Arc<File>);

impl Namespace {
    /// Makes one with its loopback device up. Needs root.
    pub fn new() -> anyhow::Result<Self> {
        // A thread of its own, since a namespace is a property of the thread that unshares it.
        let file = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).context("making a network namespace (needs root)")?;
            File::open("/proc/thread-self/ns/net").context("opening the namespace")
        })
        .join()
        .map_err(|_| anyhow::anyhow!("the thread that makes a namespace panicked"))??;
        let namespace = Self(Arc::new(file));
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// Runs `work` in a thread that is in this namespace.
    pub fn within<T: Send>(
        &self,
        work: impl FnOnce() -> anyhow::Result<T> + Send,
    ) -> anyhow::Result<T> {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(self.0.as_fd(), CloneFlags::CLONE_NEWNET)?;
                work()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Makes the command's process start in this namespace.
    pub fn enter(&self, command: &mut Command) {
        let file = Arc::clone(&self.0);
        // SAFETY: between fork and exec only one system call is made, on a descriptor that the
        // closure owns.
        unsafe {
            command.pre_exec(move || Ok(setns(file.as_fd(), CloneFlags::CLONE_NEWNET)?));
        }
    }

    /// Runs one line of `ip` in this namespace.
    pub fn ip(&self, line: &str) -> anyhow::Result<()> {
        self.run("ip", line)
    }

    /// Sets a kernel parameter of this namespace, such as `net/ipv4/tcp_tw_reuse`.
    pub fn set(&self, parameter: &str, value: &str) -> anyhow::Result<()> {
        let path = format!("/proc/sys/{parameter}");
        self.within(|| std::fs::write(&path, value).with_context(|| format!("writing {path}")))
    }

    /// Moves a device of this namespace to another.
    pub fn hand_over(&self, device: &str, to: &Self) -> anyhow::Result<()> {
        // `ip` takes a process as the namespace's name; a sleeping one is there for as long as it
        // takes.
        let mut holder = Command::new("sleep");
        holder.arg("60");
        to.enter(&mut holder);
        let mut holder = holder.spawn().context("starting sleep")?;
        let moved = self.ip(&format!("link set {device} netns {}", holder.id()));
        holder.kill()?;
        holder.wait()?;
        moved
    }

    /// Lays a veth pair: `here` in this namespace, `there` in the other, both up.
    pub fn wire(&self, here: &str, other: &Self, there: &str) -> anyhow::Result<()> {
        self.ip(&format!("link add {here} type veth peer name {there}"))?;
        self.hand_over(there, other)?;
        self.ip(&format!("link set {here} up"))?;
        other.ip(&format!("link set {there} up"))
    }

    fn run(&self, program: &str, line: &str) -> anyhow::Result<()> {
        let mut command = Command::new(program);
        command.args(line.split_whitespace());
        self.enter(&mut command);
        let output = command.output().with_context(|| format!("starting {program}"))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{program} {line}`: {}", said.trim())
    }
}

/// Says whether namespaces can be made here, and if not, why.
pub fn check_root() -> anyhow::Result<()> {
    ensure!(nix::unistd::geteuid().is_root(), "network namespaces need root");
    Namespace::new().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_namespaces_reach_each_other_over_a_wire_and_nothing_else() {
        if let Err(why) = check_root() {
            println!("skipped: {why:#}");
            return;
        }
        let (one, two) = (Namespace::new().unwrap(), Namespace::new().unwrap());
        one.wire("a0", &two, "b0").unwrap();
        one.ip("addr add 10.0.0.1/30 dev a0").unwrap();
        two.ip("addr add 10.0.0.2/30 dev b0").unwrap();
        let listener = one.within(|| Ok(std::net::TcpListener::bind("10.0.0.1:0")?)).unwrap();
        let address = listener.local_addr().unwrap();
        two.within(|| Ok(std::net::TcpStream::connect(address)?)).unwrap();
        assert!(
            std::net::TcpStream::connect_timeout(&address, std::time::Duration::from_millis(50))
                .is_err()
        );
    }
}

//! A Windows by Wine that stands in a namespace guest: its processes, its sockets and its registry.
//!
//! Its files are those that the set-up has put into the cache, below a layer in memory. The server
//! that holds processes and registry together is started first, in the foreground and in the guest's
//! network (it is the one that makes sockets): so it is ended by its own id, and all of its Windows
//! with it. There is no display, PowerShell does nothing, and accounts, licensing and power are not
//! real.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::{
    mount::{MsFlags, mount},
    sys::signal::Signal,
};

use crate::{
    guest_image,
    namespace::Namespace,
    namespace_guest::NamespaceGuest,
    process::{Background, Ended},
    wait,
};

const PROGRAMS: &str = "/usr/lib/wine";
/// The runtime directory of root's (XDG Base Directory Specification).
const RUNTIME: &str = "/run/user/0";
/// In seconds, for one program. Most take one or two.
const BOUND: &str = "120";
/// For its end, with the registry put on the disk.
const END: Duration = Duration::from_secs(60);

/// The Windows. It is unmounted with the lab.
#[derive(Debug)]
pub struct Wine {
    prefix: PathBuf,
    namespace: Namespace,
    directory: PathBuf,
    server: Background,
}

impl Wine {
    /// Makes one of a guest, and starts it. `directory` is the lab's, in memory.
    pub fn boot(guest: &NamespaceGuest, directory: &Path) -> Result<Self> {
        let image = guest_image::cached("wine", "test")?.join("prefix");
        let place = directory.join("wine");
        let [prefix, upper, work] = ["prefix", "upper", "work"].map(|it| place.join(it));
        for directory in [&prefix, &upper, &work] {
            fs::create_dir_all(directory).context("making Wine's directories")?;
        }
        let layers = format!(
            "lowerdir={},upperdir={},workdir={}",
            image.display(),
            upper.display(),
            work.display()
        );
        mount(Some("overlay"), &prefix, Some("overlay"), MsFlags::MS_NOSUID, Some(&*layers))
            .context("mounting Wine's files")?;
        // Debian's Wine has its sockets in here where it is there: the lab's own `/run`.
        fs::create_dir_all(RUNTIME).context("making a place for Wine's sockets")?;
        fs::set_permissions(RUNTIME, fs::Permissions::from_mode(0o700))
            .context("closing the place for Wine's sockets")?;
        let namespace = guest.namespace().clone();
        let server = start(&namespace, &prefix, &place)?;
        Ok(Self { prefix, namespace, directory: place, server })
    }

    /// Ends all of it, and starts it again: what the registry keeps for one boot alone is gone.
    pub fn reboot(&mut self) -> Result<()> {
        self.end()?;
        self.server = start(&self.namespace, &self.prefix, &self.directory)?;
        Ok(())
    }

    /// Interrupted, the server ends all of its Windows first; by any other signal it would leave
    /// services behind that wait for it.
    fn end(&mut self) -> Result<()> {
        self.server.signal(Signal::SIGINT)?;
        self.server.wait(END).map(drop)
    }

    /// Where a path of drive C: is.
    pub fn path(&self, path: &str) -> PathBuf {
        self.prefix.join("drive_c").join(path.replace('\\', "/"))
    }

    /// A program in it, to be started, that ends after two minutes at the latest.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = self.namespace.command("timeout");
        command.args(["--kill-after=5", BOUND]).arg(Path::new(PROGRAMS).join("wine64"));
        environment(command.args(words), &self.prefix, &self.directory);
        command
    }

    /// A program in it, to be started, and killed by its own id.
    pub fn bare_command(&self, words: &[&str]) -> Command {
        let mut command = self.namespace.command(Path::new(PROGRAMS).join("wine64"));
        environment(command.args(words), &self.prefix, &self.directory);
        command
    }

    /// Runs a program to its end. What it wrote goes through files: services that it has woken hold
    /// its output open, and a pipe would have no end.
    pub fn run(&self, words: &[&str]) -> Result<Ended> {
        let [stdout, stderr] = ["stdout", "stderr"].map(|name| self.directory.join(name));
        let file = |path: &Path| fs::File::create(path).context("making a file for an output");
        let mut command = self.command(words);
        command.stdout(file(&stdout)?).stderr(file(&stderr)?);
        let status = command.status().with_context(|| format!("starting {words:?}"))?;
        let text = |path: &Path| -> Result<String> {
            let bytes = fs::read(path).context("reading an output")?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        Ok(Ended { status, stdout: text(&stdout)?, stderr: text(&stderr)? })
    }

    /// Runs a program that must succeed, and gives what it printed.
    pub fn output(&self, words: &[&str]) -> Result<String> {
        let ended = self.run(words)?;
        ensure!(
            ended.status.success(),
            "{words:?} ended with {}: {}{}",
            ended.status,
            ended.stdout,
            ended.stderr
        );
        Ok(ended.stdout)
    }
}

impl Drop for Wine {
    fn drop(&mut self) {
        // Where it has ended already, so have they.
        let _ = self.end();
    }
}

fn start(namespace: &Namespace, prefix: &Path, directory: &Path) -> Result<Background> {
    let mut command = namespace.command(Path::new(PROGRAMS).join("wineserver64"));
    environment(command.args(["--foreground", "--persistent"]), prefix, directory);
    let mut server = Background::start("wineserver", &mut command, &directory.join("server.log"))?;
    wait::until("Wine's server", wait::SOON, || {
        server.ensure_running()?;
        let sockets = Path::new(RUNTIME).join("wine");
        let mut servers = fs::read_dir(sockets).context("reading Wine's sockets")?;
        let is_there = servers.any(|entry| entry.is_ok_and(|it| it.path().join("socket").exists()));
        ensure!(is_there, "it has no socket yet");
        Ok(())
    })?;
    Ok(server)
}

fn environment(command: &mut Command, prefix: &Path, directory: &Path) {
    command
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("LC_ALL", "C.UTF-8")
        .env("HOME", directory)
        .env("WINEPREFIX", prefix)
        .env("WINESERVER", Path::new(PROGRAMS).join("wineserver64"))
        .env("WINEDEBUG", "-all")
        .env("WINEDLLOVERRIDES", "mscoree=;mshtml=;winemenubuilder.exe=");
}

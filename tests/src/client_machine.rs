//! A machine for unmodified clients: processes that stand in a namespace guest and find there what
//! they would find in one of their own cloud's.
//!
//! Its files are a Debian that the set-up has put into the cache, with the clients in it, below
//! a layer in memory that takes what they write. Its `/sys` shows the guest's own card and the
//! SMBIOS strings that the operator tells for the instance, its `/proc` only its own processes,
//! its `/etc/hosts` the names that the clouds' images have. No kernel is booted: the processes run
//! on the one that runs the test, and end with the program that was started.
//!
//! Never changes anything of the machine that runs the test: its files are not in sight.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use nix::mount::{MsFlags, mount};

use crate::{
    guest_image,
    namespace::Namespace,
    namespace_guest::NamespaceGuest,
    process::{self, Background, Ended},
};

/// What images that are made for a cloud have in `/etc/hosts`, or get from its resolver: Google's
/// clients and CloudStack's ask by name.
const HOSTS: &str = "127.0.0.1 localhost
169.254.169.254 metadata.google.internal metadata data-server
";

/// The machine. It is unmounted with the lab.
#[derive(Debug)]
pub struct ClientMachine {
    root: PathBuf,
    /// The layer that takes what is written.
    upper: PathBuf,
    namespace: Namespace,
}

impl ClientMachine {
    /// Makes one of a guest. `smbios` are QEMU's values, as the operator shows them; `directory`
    /// is the lab's, in memory.
    pub fn make(guest: &NamespaceGuest, smbios: &[String], directory: &Path) -> Result<Self> {
        Self::of("clients", guest, smbios, directory)
    }

    /// Makes one of a guest with the DHCP clients in it. It has no udev and says so as containers
    /// do, by a `/sys` that can't be written to: systemd-networkd would wait for it.
    pub fn with_dhcp(guest: &NamespaceGuest, directory: &Path) -> Result<Self> {
        Self::without_udev("dhcp-clients", guest, directory)
    }

    /// Makes one of a guest with the network services in it, in the same way.
    pub fn with_renderers(guest: &NamespaceGuest, directory: &Path) -> Result<Self> {
        Self::without_udev("renderers", guest, directory)
    }

    fn without_udev(name: &str, guest: &NamespaceGuest, directory: &Path) -> Result<Self> {
        let machine = Self::of(name, guest, &[], directory)?;
        let (none, sys): (Option<&str>, _) = (None, machine.path("/sys"));
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
        mount(none, &sys, none, flags, none).context("making /sys read-only")?;
        Ok(machine)
    }

    /// Makes one of a guest with shells and downloaders in it, for the agent that is a script.
    pub fn with_shells(guest: &NamespaceGuest, directory: &Path) -> Result<Self> {
        Self::of("shells", guest, &[], directory)
    }

    fn of(name: &str, guest: &NamespaceGuest, smbios: &[String], directory: &Path) -> Result<Self> {
        let image = guest_image::cached(name, "test")?.join("root");
        let place = (0..)
            .map(|number| directory.join(format!("clients-{number}")))
            .find(|place| !place.exists())
            .context("a directory for the clients")?;
        let [root, upper, work, sys] = ["root", "upper", "work", "sys"].map(|it| place.join(it));
        for directory in [&root, &upper, &work, &sys] {
            fs::create_dir_all(directory).context("making the clients' directories")?;
        }
        let layers = format!(
            "lowerdir={},upperdir={},workdir={}",
            image.display(),
            upper.display(),
            work.display()
        );
        put("overlay", &root, Some(&layers))?;
        bind(Path::new("/dev"), &root.join("dev"))?;
        // What sysfs shows of the network is that of the namespace it is mounted in.
        guest.namespace().run(|| {
            put("sysfs", &sys, None)?;
            put("sysfs", &root.join("sys"), None)
        })??;
        let classes = root.join("sys/class");
        put("tmpfs", &classes, None)?;
        fs::create_dir_all(classes.join("net")).context("making /sys/class/net")?;
        bind(&sys.join("class/net"), &classes.join("net"))?;
        show_smbios(smbios, &classes.join("dmi/id"))?;
        let machine = Self { root, upper, namespace: guest.namespace().clone() };
        machine.write("/etc/hosts", HOSTS)?;
        // It has no resolver, and none is to be waited for.
        machine.write("/etc/resolv.conf", "options attempts:1 timeout:1\n")?;
        Ok(machine)
    }

    /// Where a path of the machine is.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Every path that was written, changed or removed there since it was made, files below
    /// directories in no certain order.
    pub fn written(&self) -> Result<Vec<PathBuf>> {
        let mut paths = Vec::new();
        let mut directories = vec![self.upper.clone()];
        while let Some(directory) = directories.pop() {
            let entries = fs::read_dir(&directory)
                .with_context(|| format!("listing {}", directory.display()))?;
            for entry in entries {
                let entry = entry.context("listing what was written")?;
                let path = entry.path();
                let inside = path.strip_prefix(&self.upper).context("a path of the layer")?;
                paths.push(Path::new("/").join(inside));
                if entry.file_type().context("asking for a file's kind")?.is_dir() {
                    directories.push(path);
                }
            }
        }
        Ok(paths)
    }

    /// Writes a file that anybody there may run.
    pub fn write(&self, path: &str, text: &str) -> Result<()> {
        let path = self.path(path);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("opening {}", path.display()))
    }

    /// Reads a file.
    pub fn read(&self, path: &str) -> Result<String> {
        let path = self.path(path);
        fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
    }

    /// Removes a file, or a directory with all that is in it.
    pub fn remove(&self, path: &str) -> Result<()> {
        let path = self.path(path);
        let removed = if path.is_dir() && !path.is_symlink() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        removed.with_context(|| format!("removing {}", path.display()))
    }

    /// A program in it, to be started.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = self.namespace.command("unshare");
        command
            .args(["--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child"])
            .arg("--root")
            .arg(&self.root)
            .args(["--mount-proc", "--wd=/", "--"])
            .args(words)
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", "/root")
            .env("LC_ALL", "C.UTF-8")
            .env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    /// A program beside one that [`ClientMachine::command`] has started: it sees the same
    /// processes, mounts and host name.
    pub fn beside(&self, running: &Background, words: &[&str]) -> Result<Command> {
        let first = child_of(running.pid())?.to_string();
        let mut command = self.namespace.command("nsenter");
        command
            .args(["--target", &first, "--mount", "--uts", "--ipc", "--pid", "--root", "--wd"])
            .arg("--")
            .args(words);
        Ok(command)
    }

    /// Runs a program to its end, which must come within `seconds`.
    pub fn run(&self, seconds: u32, words: &[&str]) -> Result<Ended> {
        let seconds = seconds.to_string();
        let bounded = ["timeout", "--kill-after=5", &seconds];
        process::run(&mut self.command(&[&bounded, words].concat()))
    }

    /// Runs a program that must succeed, and gives what it printed.
    pub fn output(&self, seconds: u32, words: &[&str]) -> Result<String> {
        let ended = self.run(seconds, words)?;
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

/// The one process that another has started (proc(5)).
pub fn child_of(pid: u32) -> Result<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
        .with_context(|| format!("asking for the children of {pid}"))?;
    text.trim().parse().with_context(|| format!("the children of {pid} are {text:?}"))
}

/// Writes QEMU's `-smbios` values as the kernel shows them (ABI/testing/sysfs-firmware-dmi-tables).
fn show_smbios(values: &[String], directory: &Path) -> Result<()> {
    fs::create_dir_all(directory).context("making /sys/class/dmi/id")?;
    for value in values {
        let mut fields = value.split(',').filter_map(|field| field.split_once('='));
        let (_, kind) = fields.next().context("an -smbios value without a type")?;
        for (name, value) in fields {
            let file = match (kind, name) {
                ("1", "manufacturer") => "sys_vendor",
                ("1", "product") => "product_name",
                ("1", "serial") => "product_serial",
                ("1", "uuid") => "product_uuid",
                ("3", "asset") => "chassis_asset_tag",
                _ => anyhow::bail!("no file of sysfs is known for {name} of type {kind}"),
            };
            fs::write(directory.join(file), format!("{value}\n"))
                .with_context(|| format!("writing {file}"))?;
        }
    }
    Ok(())
}

fn put(kind: &str, target: &Path, data: Option<&str>) -> Result<()> {
    mount(Some(kind), target, Some(kind), MsFlags::MS_NOSUID, data)
        .with_context(|| format!("mounting {kind} on {}", target.display()))
}

fn bind(from: &Path, to: &Path) -> Result<()> {
    let none: Option<&str> = None;
    mount(Some(from), to, none, MsFlags::MS_BIND, none)
        .with_context(|| format!("mounting {} on {}", from.display(), to.display()))
}

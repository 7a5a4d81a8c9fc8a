//! The guests' images that the set-up has put into the cache, and the agent on top of the small
//! one.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

use crate::process;

/// What a machine is started with.
#[derive(Debug, Clone)]
pub enum Start {
    /// QEMU loads these.
    Kernel {
        /// The kernel.
        kernel: PathBuf,
        /// The initramfs.
        initrd: PathBuf,
    },
    /// This firmware starts what it finds on the disk.
    Firmware(PathBuf),
}

/// What a machine is started with, and its disk.
#[derive(Debug, Clone)]
pub struct GuestImage {
    /// How it is started.
    pub start: Start,
    /// The disk, if it has one; guests write to a copy of their own that is dropped.
    pub disk: Option<PathBuf>,
}

/// Where an initramfs that opens a volume has the agent.
pub const AGENT: &str = "usr/bin/guest-agent";

impl GuestImage {
    /// The small guest with this agent in it, its initramfs made in `directory`.
    pub fn small(agent: &Path, directory: &Path) -> Result<Self> {
        Self::small_with(&[("bin/guest-agent", agent)], directory)
    }

    /// The small guest with the agent that is a script, and what that one needs: a minimal Linux
    /// without any program of ours.
    pub fn small_with_shell_agent(directory: &Path) -> Result<Self> {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let recipe = workspace.join("images/recipes/appliance");
        Self::small_with(
            &[
                ("bin/guest-agent", &recipe.join("guest-agent")),
                ("bin/appliance-network", &recipe.join("appliance-network")),
                ("bin/guest-agent.sh", &workspace.join("guest-agent/shell/guest-agent.sh")),
            ],
            directory,
        )
    }

    /// The small guest with these programs in it, each by its path there and where it is here; its
    /// init starts `bin/guest-agent`.
    pub fn small_with(programs: &[(&str, &Path)], directory: &Path) -> Result<Self> {
        let cached = cached("small-guest", "demo")?;
        let initrd = directory.join("initramfs");
        let below = cached.join("initramfs");
        let new = new_directories(&below, programs)?;
        lay_over(&below, programs, &new, directory, &initrd)?;
        let start = Start::Kernel { kernel: cached.join("vmlinuz"), initrd };
        Ok(Self { start, disk: None })
    }

    /// The firewall appliance, on its disk.
    pub fn firewall() -> Result<Self> {
        let start = Start::Firmware("/usr/share/ovmf/OVMF.fd".into());
        Ok(Self { start, disk: Some(cached("firewall", "test")?.join("disk.raw")) })
    }

    /// The Debian whose root is a LUKS volume, with this agent laid over the one in its initramfs,
    /// which is made in `directory`.
    pub fn encrypted(agent: &Path, directory: &Path) -> Result<Self> {
        Self::encrypted_with(&[(AGENT, agent)], directory)
    }

    /// The same with these files laid over, each by its path there and where it is here.
    pub fn encrypted_with(files: &[(&str, &Path)], directory: &Path) -> Result<Self> {
        Self::locked("encrypted-guest", "initrd.img", files, directory)
    }

    /// The Debian whose root is a LUKS2 volume, and whose initramfs dracut has made: this one of
    /// those that the set-up keeps.
    pub fn encrypted_by_dracut(initrd: &str, agent: &Path, directory: &Path) -> Result<Self> {
        Self::locked("encrypted-dracut", initrd, &[(AGENT, agent)], directory)
    }

    fn locked(name: &str, initrd: &str, files: &[(&str, &Path)], directory: &Path) -> Result<Self> {
        let cached = cached(name, "test")?;
        let whole = directory.join("initramfs");
        lay_over(&cached.join(initrd), files, &[], directory, &whole)?;
        let start = Start::Kernel { kernel: cached.join("vmlinuz"), initrd: whole };
        Ok(Self { start, disk: Some(cached.join("disk.luks")) })
    }

    /// The full Debian guest with its own cloud-init.
    pub fn debian() -> Result<Self> {
        let cached = cached("debian-guest", "test")?;
        let (kernel, initrd) = (cached.join("vmlinuz"), cached.join("initrd.img"));
        Ok(Self { start: Start::Kernel { kernel, initrd }, disk: Some(cached.join("disk.raw")) })
    }
}

/// The directories of these programs that an archive doesn't have, the outer ones first. Linux makes
/// none by itself, and leaves out without a word what lies in one that is not there.
fn new_directories(below: &Path, programs: &[(&str, &Path)]) -> Result<Vec<String>> {
    let mut list = process::command("cpio");
    list.args(["--list", "--quiet", "--file"]).arg(below);
    let listed = process::output(&mut list)?;
    let known: BTreeSet<_> = listed.lines().map(|it| it.trim_start_matches("./")).collect();
    let mut all = BTreeSet::new();
    for (there, _) in programs {
        all.extend(Path::new(there).ancestors().skip(1).filter_map(Path::to_str));
    }
    all.remove("");
    Ok(all.difference(&known).map(|it| (*it).to_owned()).collect())
}

/// Makes an initramfs of another one and these programs, each by its path there and where it is
/// here, with these directories of theirs.
fn lay_over(
    below: &Path,
    programs: &[(&str, &Path)],
    new: &[String],
    directory: &Path,
    initrd: &Path,
) -> Result<()> {
    let stage = directory.join("initramfs-stage");
    for (there, here) in programs {
        ensure!(here.exists(), "{} is not there; `cargo xtask demo` builds it", here.display());
        let program = stage.join(there);
        let parent = program.parent().context("a program lies in a directory")?;
        fs::create_dir_all(parent).context("staging the programs")?;
        fs::copy(here, &program).context("copying a program")?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))
            .context("making a program executable")?;
    }
    // Not every directory: one of the stage would replace a link of that name below it.
    let pack = "{ [ $# = 0 ] || printf '%s\\0' \"$@\"; find . -type f -print0; } |
        cpio --null --create --format=newc --quiet >../agent.cpio";
    let words = ["-euc", pack, "sh"];
    process::succeed(process::command("sh").args(words).args(new).current_dir(&stage))?;
    let mut joined = File::create(initrd).context("making the guest's initramfs")?;
    let mut length = 0;
    for part in [below, &directory.join("agent.cpio")] {
        // Linux unpacks archives that follow each other one over the other, each at a multiple
        // of four bytes, with zeroes between them (early-userspace/buffer-format.rst).
        let padding = [0; 4];
        let gap = (4 - length % 4) % 4;
        joined.write_all(&padding[..gap]).context("joining the initramfs")?;
        let mut part = File::open(part).with_context(|| format!("opening {part:?}"))?;
        let copied = io::copy(&mut part, &mut joined).context("joining the initramfs")?;
        length += gap + usize::try_from(copied).context("an initramfs of a possible length")?;
    }
    joined.flush().context("joining the initramfs")?;
    fs::remove_dir_all(&stage).context("removing the stage")
}

/// What the set-up has put into the cache under this name.
pub fn cached(name: &str, purpose: &str) -> Result<PathBuf> {
    let root =
        std::env::var_os("MEZAME_CACHE").map_or_else(|| "/var/cache/mezame".into(), PathBuf::from);
    let path = root.join(name);
    ensure!(
        path.exists(),
        "{} is not there; `cargo xtask setup --for {purpose}` makes it",
        path.display()
    );
    Ok(path)
}

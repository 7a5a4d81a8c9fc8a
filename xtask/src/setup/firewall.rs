//! The firewall appliance: Debian's kernel, nftables and keepalived in an initramfs of our own recipe.
//!
//! `images/recipes/firewall` holds what it boots with, `guest-agent/shell` the agent. Its programs and
//! their libraries are taken from a Debian in the cache (`images/recipes/firewall-programs`): nothing
//! of them is installed on this machine, and nothing is mounted. The image has no address, key or rule in it; all instances have the same one.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::{
    cache::Cache,
    guest_kernel::GuestKernel,
    initramfs,
    progress::Step,
    uefi_disk::{self, Bootable},
};

const NAME: &str = "firewall";

/// Card and randomness, and what the rules are made of.
const MODULES: &[&str] = &[
    "virtio_pci",
    "virtio_net",
    "virtio-rng",
    "nf_tables",
    "nft_ct",
    "nft_chain_nat",
    "nft_masq",
    "nft_nat",
];

/// The programs beside busybox, by where Debian has them.
const PROGRAMS: &[&str] =
    &["/usr/sbin/dropbear", "/usr/bin/dropbearkey", "/usr/sbin/keepalived", "/usr/sbin/nft"];

/// How it is booted from its disk. On a busy host Linux finds an emulated timer too slow, and panics, unless
/// it is told not to look.
const COMMAND_LINE: &str = "console=ttyS0 quiet panic=-1 no_timer_check";

/// Builds `firewall/{vmlinuz,initramfs,disk.raw}` in the cache, unless what is there was made of the same
/// recipe, agent and kernel.
pub(crate) fn build(cache: &Cache, kernel: &GuestKernel) -> Result<()> {
    let sources = Sources::of_this_workspace();
    let debian = cache.path("firewall-programs").join("root");
    let made_of = sources.fingerprint(kernel, &debian)?;
    let stamp = cache.path(NAME).join("made-of");
    if fs::read_to_string(stamp).is_ok_and(|there| there == made_of) {
        return Ok(());
    }
    let step = Step::begin("firewall image");
    step.line(
        "nftables, keepalived and a kernel are packed into the cache, on a disk that UEFI boots",
    );
    cache.install(NAME, |into| {
        let root = into.join("root");
        step.note("laying out the root");
        sources.lay_out(&debian, &root, kernel)?;
        fs::copy(kernel.image(), into.join("vmlinuz")).context("copying the guest kernel")?;
        initramfs::pack(&root, &into.join("initramfs"), &step)?;
        let bootable = Bootable {
            stub: &debian.join("usr/lib/systemd/boot/efi/linuxx64.efi.stub"),
            kernel: &kernel.image(),
            initramfs: &into.join("initramfs"),
            os_release: &sources.recipe.join("etc/os-release"),
            command_line: COMMAND_LINE,
        };
        uefi_disk::make(&bootable, &into.join("disk.raw"), &root, &step)?;
        fs::remove_dir_all(&root).context("removing the laid-out root")?;
        fs::write(into.join("made-of"), &made_of).context("writing what the image is made of")
    })?;
    step.done(&format!("Linux {}", kernel.release()));
    Ok(())
}

/// What the image is made of.
struct Sources {
    recipe: PathBuf,
    /// The scripts that are not this image's alone.
    shared: [PathBuf; 2],
}

impl Sources {
    fn of_this_workspace() -> Self {
        let workspace = crate::workspace();
        Self {
            recipe: workspace.join("images/recipes/firewall"),
            shared: [
                "guest-agent/shell/guest-agent.sh",
                "images/recipes/appliance/appliance-network",
            ]
            .map(|it| workspace.join(it)),
        }
    }

    /// Changes whenever the image would.
    fn fingerprint(&self, kernel: &GuestKernel, debian: &Path) -> Result<String> {
        let mut hasher = DefaultHasher::new();
        (kernel.release(), MODULES, PROGRAMS, COMMAND_LINE).hash(&mut hasher);
        for file in initramfs::files_under(&self.recipe)?.iter().chain(&self.shared) {
            file.strip_prefix(&self.recipe).ok().hash(&mut hasher);
            fs::read(file)
                .with_context(|| format!("reading {}", file.display()))?
                .hash(&mut hasher);
        }
        for program in PROGRAMS {
            let program = debian.join(program.trim_start_matches('/'));
            fs::read(&program)
                .with_context(|| format!("reading {}", program.display()))?
                .hash(&mut hasher);
        }
        Ok(format!("{:016x}\n", hasher.finish()))
    }

    fn lay_out(&self, debian: &Path, root: &Path, kernel: &GuestKernel) -> Result<()> {
        initramfs::lay_out_directories(root)?;
        initramfs::copy_recipe(&self.recipe, root)?;
        for script in &self.shared {
            let name = script.file_name().context("a script without a name")?;
            initramfs::copy(script, &root.join("bin").join(name))?;
        }
        initramfs::copy(&debian.join("bin/busybox"), &root.join("bin/busybox"))?;
        for program in PROGRAMS {
            initramfs::copy_program(debian, program, root)?;
        }
        initramfs::copy_modules(kernel, MODULES, root)
    }
}

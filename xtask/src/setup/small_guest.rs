//! The small guest: Debian's kernel and an initramfs of our own recipe, up in two seconds.
//!
//! `images/recipes/small` holds what it boots with; this puts busybox, dropbear with its
//! libraries and the kernel's virtio modules beside it. The agent is not in it: tests and demo
//! append the one that they have just built as a second archive, which Linux unpacks over the
//! first (Documentation/driver-api/early-userspace/buffer-format.rst).

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::{cache::Cache, guest_kernel::GuestKernel, initramfs, progress::Step};

const NAME: &str = "small-guest";

/// What the guest's drivers are: its network card and its source of randomness.
const MODULES: &[&str] = &["virtio_pci", "virtio_net", "virtio-rng"];

/// What is loaded when an agent makes such a device.
const LOADABLE: &[&str] = &["8021q", "bonding"];

/// Programs that are linked with libraries; those travel along.
const PROGRAMS: &[&str] = &["/usr/sbin/dropbear", "/usr/bin/dropbearkey"];

/// Builds `small-guest/{vmlinuz,initramfs}` in the cache, unless what is there was made of the
/// same recipe and kernel.
pub(crate) fn build(cache: &Cache, kernel: &GuestKernel) -> Result<()> {
    let recipe = recipe_directory();
    let made_of = fingerprint(&recipe, kernel)?;
    let stamp = cache.path(NAME).join("made-of");
    if fs::read_to_string(stamp).is_ok_and(|there| there == made_of) {
        return Ok(());
    }
    let step = Step::begin("small guest image");
    step.line("a kernel and an initramfs of busybox and dropbear are packed into the cache");
    cache.install(NAME, |into| {
        let root = into.join("root");
        step.note("laying out the root");
        lay_out(&root, &recipe, kernel)?;
        fs::copy(kernel.image(), into.join("vmlinuz")).context("copying the guest kernel")?;
        step.note("packing");
        initramfs::pack(&root, &into.join("initramfs"), &step)?;
        fs::remove_dir_all(&root).context("removing the laid-out root")?;
        fs::write(into.join("made-of"), &made_of).context("writing what the image is made of")
    })?;
    step.done(&format!("Linux {}", kernel.release()));
    Ok(())
}

fn recipe_directory() -> PathBuf {
    crate::workspace().join("images/recipes/small")
}

/// Changes whenever the image would.
fn fingerprint(recipe: &Path, kernel: &GuestKernel) -> Result<String> {
    let mut hasher = DefaultHasher::new();
    kernel.release().hash(&mut hasher);
    MODULES.hash(&mut hasher);
    LOADABLE.hash(&mut hasher);
    for file in initramfs::files_under(recipe)? {
        file.strip_prefix(recipe).unwrap_or(&file).hash(&mut hasher);
        fs::read(&file).with_context(|| format!("reading {}", file.display()))?.hash(&mut hasher);
    }
    for program in PROGRAMS.iter().chain(&["/bin/busybox"]) {
        fs::read(program).with_context(|| format!("reading {program}"))?.hash(&mut hasher);
    }
    Ok(format!("{:016x}\n", hasher.finish()))
}

fn lay_out(root: &Path, recipe: &Path, kernel: &GuestKernel) -> Result<()> {
    initramfs::lay_out_directories(root)?;
    initramfs::copy_recipe(recipe, root)?;
    initramfs::copy(Path::new("/bin/busybox"), &root.join("bin/busybox"))?;
    for program in PROGRAMS {
        initramfs::copy_program(Path::new("/"), program, root)?;
    }
    initramfs::copy_modules(kernel, MODULES, root)?;
    initramfs::copy_loadable(kernel, LOADABLE, root)
}

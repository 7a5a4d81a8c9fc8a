//! The small guest: Debian's kernel and an initramfs of our own recipe, up in two seconds.
//!
//! `images/recipes/small` holds what it boots with; this puts busybox, dropbear with its
//! libraries and the kernel's virtio modules beside it. The agent is not in it: tests and demo
//! append the one that they have just built as a second archive, which Linux unpacks over the
//! first (Documentation/driver-api/early-userspace/buffer-format.rst).

use std::{
    collections::BTreeSet,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::{apt::output, cache::Cache, guest_kernel::GuestKernel, progress::Step};

const NAME: &str = "small-guest";

/// What the guest's drivers are: its network card and its source of randomness.
const MODULES: &[&str] = &["virtio_pci", "virtio_net", "virtio-rng"];

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
        let pack = "find . -print0 | cpio --null --create --format=newc --reproducible --quiet";
        step.run(
            Command::new("sh").args(["-euc", &format!("{pack} > ../initramfs")]).current_dir(&root),
            |line| step.note(line),
        )?;
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
    for file in files_under(recipe)? {
        file.strip_prefix(recipe).unwrap_or(&file).hash(&mut hasher);
        fs::read(&file).with_context(|| format!("reading {}", file.display()))?.hash(&mut hasher);
    }
    for program in PROGRAMS.iter().chain(&["/bin/busybox"]) {
        fs::read(program).with_context(|| format!("reading {program}"))?.hash(&mut hasher);
    }
    Ok(format!("{:016x}\n", hasher.finish()))
}

/// All files below a directory, sorted.
fn files_under(directory: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut files = BTreeSet::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(next) = waiting.pop() {
        for entry in fs::read_dir(&next).with_context(|| format!("reading {}", next.display()))? {
            let path = entry.context("reading a recipe")?.path();
            if path.is_dir() { waiting.push(path) } else { _ = files.insert(path) }
        }
    }
    Ok(files)
}

fn lay_out(root: &Path, recipe: &Path, kernel: &GuestKernel) -> Result<()> {
    for directory in [
        "bin", "dev", "etc", "home", "proc", "root", "run", "sys", "tmp", "usr", "var/lib",
        "var/log",
    ] {
        fs::create_dir_all(root.join(directory)).context("laying out the root")?;
    }
    for link in ["sbin", "usr/bin", "usr/sbin"] {
        symlink("/bin", root.join(link)).context("laying out the root")?;
    }
    fs::set_permissions(root.join("root"), fs::Permissions::from_mode(0o700))
        .context("closing root's home")?;
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777))
        .context("opening /tmp")?;
    for file in files_under(recipe)? {
        let relative = file.strip_prefix(recipe).context("a recipe's file is outside of it")?;
        copy(&file, &root.join(relative))?;
    }
    copy(Path::new("/bin/busybox"), &root.join("bin/busybox"))?;
    for program in PROGRAMS {
        let name = Path::new(program).file_name().context("a program without a name")?;
        copy(Path::new(program), &root.join("bin").join(name))?;
        for library in libraries_of(program)? {
            copy(Path::new(&library), &root.join(library.trim_start_matches('/')))?;
        }
    }
    let mut order = String::new();
    for module in kernel.modules(MODULES)? {
        let name = module.file_name().context("a module without a name")?;
        copy(&module, &root.join("lib/modules").join(name))?;
        order.push_str(&name.to_string_lossy());
        order.push('\n');
    }
    fs::write(root.join("lib/modules/order"), order).context("writing the modules' order")
}

/// Copies a file with its mode, following links, and makes its directory.
fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(directory) = to.parent() {
        fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
    }
    fs::copy(from, to).with_context(|| format!("copying {}", from.display()))?;
    Ok(())
}

/// The shared libraries that a program is linked with, and the dynamic linker.
fn libraries_of(program: &str) -> Result<Vec<String>> {
    let text = output(Command::new("ldd").arg(program))?;
    Ok(text.split_whitespace().filter(|word| word.starts_with('/')).map(str::to_owned).collect())
}

//! Roots that are packed into an initramfs: laid out in a directory, never mounted.
//!
//! Whoever lays one out says what is in it; here is how files, programs with their libraries and
//! kernel modules get there, and how it is packed.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::{apt::output, guest_kernel::GuestKernel, progress::Step};

/// The directories that every root has. Programs of all kinds are in `/bin`.
pub(crate) fn lay_out_directories(root: &Path) -> Result<()> {
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
        .context("opening /tmp")
}

/// Copies all of a recipe's files to the same places.
pub(crate) fn copy_recipe(recipe: &Path, root: &Path) -> Result<()> {
    for file in files_under(recipe)? {
        let relative = file.strip_prefix(recipe).context("a recipe's file is outside of it")?;
        copy(&file, &root.join(relative))?;
    }
    Ok(())
}

/// Copies a program of the Debian in `from` into `/bin`, and the libraries that it is linked with to
/// where they are there.
pub(crate) fn copy_program(from: &Path, program: &str, root: &Path) -> Result<()> {
    let name = Path::new(program).file_name().context("a program without a name")?;
    let inside = |path: &str| from.join(path.trim_start_matches('/'));
    copy(&inside(program), &root.join("bin").join(name))?;
    for library in libraries_of(from, program)? {
        copy(&inside(&library), &root.join(library.trim_start_matches('/')))?;
    }
    Ok(())
}

/// Copies these modules and what they need, and writes down in which order they can be loaded.
pub(crate) fn copy_modules(kernel: &GuestKernel, wanted: &[&str], root: &Path) -> Result<()> {
    let mut order = String::new();
    for module in kernel.modules(wanted)? {
        let name = module.file_name().context("a module without a name")?;
        copy(&module, &root.join("lib/modules").join(name))?;
        order.push_str(&name.to_string_lossy());
        order.push('\n');
    }
    fs::write(root.join("lib/modules/order"), order).context("writing the modules' order")
}

/// Copies these modules and what they need to where the kernel's own loader finds them: it asks for
/// one by an alias when a device of its kind is to be made.
pub(crate) fn copy_loadable(kernel: &GuestKernel, wanted: &[&str], root: &Path) -> Result<()> {
    let directory = root.join("lib/modules").join(kernel.release());
    for module in kernel.modules(wanted)? {
        let name = module.file_name().context("a module without a name")?;
        copy(&module, &directory.join("kernel").join(name))?;
    }
    for list in ["modules.order", "modules.builtin", "modules.builtin.modinfo"] {
        copy(&kernel.directory().join(list), &directory.join(list))?;
    }
    output(Command::new("depmod").arg("-b").arg(root).arg(kernel.release())).map(drop)
}

/// Packs a root.
pub(crate) fn pack(root: &Path, into: &Path, step: &Step) -> Result<()> {
    step.note("packing");
    let pack =
        "find . -print0 | cpio --null --create --format=newc --reproducible --quiet > \"$1\"";
    step.run(Command::new("sh").args(["-euc", pack, "sh"]).arg(into).current_dir(root), |line| {
        step.note(line);
    })
}

/// Copies a file with its mode, following links, and makes its directory.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(directory) = to.parent() {
        fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
    }
    fs::copy(from, to).with_context(|| format!("copying {}", from.display()))?;
    Ok(())
}

/// All files below a directory, sorted.
pub(crate) fn files_under(directory: &Path) -> Result<BTreeSet<PathBuf>> {
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

/// The shared libraries that a program of that Debian is linked with, and the dynamic linker.
fn libraries_of(root: &Path, program: &str) -> Result<Vec<String>> {
    let text = output(Command::new("chroot").arg(root).args(["ldd", program]))?;
    Ok(text.split_whitespace().filter(|word| word.starts_with('/')).map(str::to_owned).collect())
}

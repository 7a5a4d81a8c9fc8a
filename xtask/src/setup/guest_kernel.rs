//! The guests' kernel: Debian's cloud kernel, unpacked beside the machine's own packages.
//!
//! Downloaded with `apt-get download` and unpacked with `dpkg -x`; nothing of it is installed.
//! Its virtio drivers are modules, so those that a guest needs are found here, in an order in
//! which they can be loaded.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use super::{
    apt::{apt_get, output},
    cache::Cache,
    progress::Step,
};

const NAME: &str = "guest-kernel";

/// The unpacked kernel package.
pub(crate) struct GuestKernel {
    root: PathBuf,
    release: String,
}

impl GuestKernel {
    /// Downloads and unpacks it, unless it is there.
    pub(crate) fn fetch(cache: &Cache) -> Result<Self> {
        let root = cache.path(NAME);
        if !root.exists() {
            let step = Step::begin("guest kernel");
            step.line("Debian's cloud kernel is unpacked into the cache, to boot guests with");
            cache.install(NAME, |into| unpack(into, &step))?;
            step.done(&release_in(&root)?);
        }
        Ok(Self { release: release_in(&root)?, root })
    }

    /// The kernel's release, such as `6.1.0-56-cloud-amd64`.
    pub(crate) fn release(&self) -> &str {
        &self.release
    }

    /// The kernel image. QEMU boots it as fast as the ELF file inside it (measured: 1.8 s both).
    pub(crate) fn image(&self) -> PathBuf {
        self.root.join("boot").join(format!("vmlinuz-{}", self.release))
    }

    /// Where its modules are, and what depmod wants to know of them.
    pub(crate) fn directory(&self) -> PathBuf {
        self.root.join("lib/modules").join(&self.release)
    }

    /// The files of these modules and of all that they depend on, each after its dependencies.
    pub(crate) fn modules(&self, wanted: &[&str]) -> Result<Vec<PathBuf>> {
        let directory = self.directory();
        let text = fs::read_to_string(directory.join("modules.dep"))
            .context("reading the guest kernel's modules.dep")?;
        let mut dependencies: BTreeMap<&str, (&str, Vec<&str>)> = BTreeMap::new();
        for line in text.lines() {
            let (path, rest) = line.split_once(':').context("modules.dep has a strange line")?;
            dependencies.insert(module_name(path), (path, rest.split_whitespace().collect()));
        }
        let mut order: Vec<PathBuf> = Vec::new();
        for name in wanted {
            let (path, needed) = dependencies
                .get(name)
                .with_context(|| format!("the guest kernel has no module {name}"))?;
            // depmod lists the nearest dependency first, so what must be loaded first is last.
            for file in needed.iter().rev().chain([path]) {
                let file = directory.join(file);
                if !order.contains(&file) {
                    order.push(file);
                }
            }
        }
        Ok(order)
    }
}

fn module_name(path: &str) -> &str {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split('.').next().unwrap_or(file)
}

fn release_in(root: &Path) -> Result<String> {
    let entry = fs::read_dir(root.join("lib/modules"))
        .context("reading the guest kernel")?
        .next()
        .context("the guest kernel's package has no modules")?
        .context("reading the guest kernel")?;
    entry.file_name().into_string().ok().context("the guest kernel's release is no UTF-8")
}

fn unpack(into: &Path, step: &Step) -> Result<()> {
    step.note("apt-get update");
    step.run(apt_get().args(["-q", "update"]), |line| step.note(line))?;
    // The package without a version depends on the newest one with.
    let depends = output(Command::new("apt-cache").args(["depends", "linux-image-cloud-amd64"]))?;
    let package = depends
        .lines()
        .find_map(|line| line.trim().strip_prefix("Depends: "))
        .filter(|name| name.starts_with("linux-image-"))
        .context("linux-image-cloud-amd64 depends on no kernel")?
        .to_owned();
    step.note(&package);
    let downloads = into.join("download");
    fs::create_dir(&downloads).context("making the download directory")?;
    // Run as root into root's directory: apt says on every such download that its sandbox user
    // can't write there, so it is told not to try.
    step.run(
        apt_get()
            .args(["-q", "-o", "APT::Sandbox::User=root", "download", &package])
            .current_dir(&downloads),
        |line| step.note(line),
    )?;
    let file = fs::read_dir(&downloads)
        .context("reading the download")?
        .next()
        .context("apt-get downloaded nothing")?
        .context("reading the download")?
        .path();
    step.run(Command::new("dpkg").arg("-x").arg(file).arg(into), |line| step.note(line))?;
    fs::remove_dir_all(&downloads).context("removing the download")?;
    let release = release_in(into)?;
    step.run(Command::new("depmod").arg("-b").arg(into).arg(&release), |line| step.note(line))?;
    ensure!(
        into.join("boot").join(format!("vmlinuz-{release}")).exists(),
        "no kernel in {package}"
    );
    Ok(())
}

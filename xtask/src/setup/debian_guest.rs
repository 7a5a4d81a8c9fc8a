//! The full Debian guest: an unmodified cloud-init on Debian 12, built once.
//!
//! mmdebstrap makes the root from the machine's own Debian sources, mke2fs makes the disk from
//! it without mounting anything. No file of a package is edited and no setting of cloud-init is
//! made, since the point of this guest is that it knows nothing of Mezame.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::{bootstrap, cache::Cache, progress::Step};

const NAME: &str = "debian-guest";
/// What an installation does besides: generate its locale, and say who brings the network up.
const LOCALES: &str = "--customize-hook=chroot \"$1\" locale-gen";
const NETWORKD: &str = "--customize-hook=chroot \"$1\" systemctl enable systemd-networkd";

/// What every image that Google publishes has, since its clients ask by name.
const NAMES: &str = "--customize-hook=printf '127.0.0.1 localhost\\n169.254.169.254 \
                     metadata.google.internal metadata\\n' > \"$1/etc/hosts\"";

/// Builds `debian-guest/{vmlinuz,initrd.img,disk.raw}` in the cache, unless what is there was made
/// of the same recipe.
pub(crate) fn build(cache: &Cache) -> Result<()> {
    let recipe = Recipe::read()?;
    let made_of = recipe.text();
    let stamp = cache.path(NAME).join("made-of");
    if fs::read_to_string(stamp).is_ok_and(|there| there == made_of) {
        return Ok(());
    }
    let step = Step::begin("full Debian guest");
    step.line("Debian 12 with cloud-init is built into the cache, to be booted unmodified");
    cache.install(NAME, |into| {
        let root = into.join("root");
        make_root(&root, &recipe, &step)?;
        for (from, to) in [("vmlinuz", "vmlinuz"), ("initrd.img", "initrd.img")] {
            fs::copy(boot_file(&root, from)?, into.join(to)).context("copying the kernel")?;
        }
        step.note("making the disk");
        let disk = into.join("disk.raw");
        step.run(
            Command::new("mke2fs")
                .args(["-q", "-t", "ext4", "-L", "root", "-d"])
                .arg(&root)
                .arg(&disk)
                .arg("2G"),
            |line| step.note(line),
        )?;
        fs::remove_dir_all(&root).context("removing the root")?;
        fs::write(into.join("made-of"), &made_of).context("writing what the image is made of")
    })?;
    step.done("built");
    Ok(())
}

/// What the guest is made of.
struct Recipe {
    packages: String,
    locales: PathBuf,
    locales_text: String,
}

impl Recipe {
    fn read() -> Result<Self> {
        let directory = crate::workspace().join("images/recipes/debian");
        let read = |path: &Path| {
            fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
        };
        let names = read(&directory.join("packages"))?;
        let names: Vec<&str> = bootstrap::lines(&names).collect();
        let locales = directory.join("locale.gen");
        Ok(Self { packages: names.join(","), locales_text: read(&locales)?, locales })
    }

    fn text(&self) -> String {
        format!("{}\n{}\n{NETWORKD}\n{NAMES}\n", self.packages, self.locales_text)
    }
}

fn make_root(root: &Path, recipe: &Recipe, step: &Step) -> Result<()> {
    let locales = recipe.locales.to_str().context("the recipe's path is no UTF-8")?;
    let hooks = [
        format!("--customize-hook=copy-in '{locales}' /etc"),
        LOCALES.into(),
        NETWORKD.into(),
        NAMES.into(),
    ];
    bootstrap::bootstrap(root, &recipe.packages, hooks, step)?;
    // Debian's own images leave these two to the first boot as well.
    fs::write(root.join("etc/machine-id"), "").context("emptying machine-id")?;
    for entry in fs::read_dir(root.join("etc/ssh")).context("reading the guest's /etc/ssh")? {
        let path = entry.context("reading the guest's /etc/ssh")?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ssh_host_")) {
            fs::remove_file(path).context("removing a host key")?;
        }
    }
    Ok(())
}

/// `/vmlinuz` and `/initrd.img`, or the newest file of that name in `/boot`.
pub(super) fn boot_file(root: &Path, name: &str) -> Result<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(root.join("boot"))
        .context("reading the guest's /boot")?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(name))
        })
        .collect();
    found.sort();
    found.pop().with_context(|| format!("the guest's /boot has no {name}"))
}

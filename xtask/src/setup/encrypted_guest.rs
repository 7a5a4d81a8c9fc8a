//! A Debian guest whose root is a LUKS volume, made without a loop device or a device mapper.
//!
//! mmdebstrap makes the root, with the agent and its hooks installed as a user would, so that the
//! initramfs is made by Debian's own tools; mke2fs makes a file system of it, and QEMU encrypts that
//! into a LUKS volume (LUKS1: QEMU writes no other). The key is one for tests and secret nowhere.
//! Derived with few iterations, since the guests that open it are emulated.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::{bootstrap, cache::Cache, debian_guest::boot_file, progress::Step};

const NAME: &str = "encrypted-guest";
/// The root's size.
const SIZE: &str = "900M";
/// What opens it: the form that `mezame key create` makes.
const KEY: &str = "8f1d6c0b5a4e39271f0e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a6978";

/// Where the recipe's files, and the agent's own, go.
const FILES: [(&str, &str, &str); 5] = [
    ("images/recipes/encrypted/crypttab", "etc/crypttab", "0644"),
    ("images/recipes/encrypted/fstab", "etc/fstab", "0644"),
    ("images/recipes/encrypted/tell", "usr/local/sbin/tell", "0755"),
    ("guest-agent/initramfs/initramfs-tools/hook", "etc/initramfs-tools/hooks/mezame", "0755"),
    ("guest-agent/initramfs/initramfs-tools/keyscript", "lib/cryptsetup/scripts/mezame", "0755"),
];

/// Builds `encrypted-guest/{vmlinuz,initrd.img,disk.luks,key}` in the cache with this agent in it,
/// unless what is there was made of the same recipe. (The agent is no part of the recipe: tests lay
/// the one that they have just built over it.)
pub(crate) fn build(cache: &Cache, agent: impl FnOnce() -> Result<PathBuf>) -> Result<()> {
    let made_of = fingerprint()?;
    let stamp = cache.path(NAME).join("made-of");
    if fs::read_to_string(stamp).is_ok_and(|there| there == made_of) {
        return Ok(());
    }
    let agent = agent()?;
    let step = Step::begin("guest with an encrypted root");
    step.line("Debian 12 with a LUKS root is built into the cache, to be unlocked at boot");
    cache.install(NAME, |into| {
        let root = into.join("root");
        bootstrap::bootstrap(&root, &packages()?, hooks(&agent)?, &step)?;
        for (from, to) in [("vmlinuz", "vmlinuz"), ("initrd.img", "initrd.img")] {
            fs::copy(boot_file(&root, from)?, into.join(to)).context("copying the kernel")?;
        }
        encrypt(into, &root, &step)?;
        fs::write(into.join("made-of"), &made_of).context("writing what the image is made of")
    })?;
    step.done("built");
    Ok(())
}

/// Copies the files into the root before the initramfs is made, and makes it anew with them.
fn hooks(agent: &Path) -> Result<Vec<String>> {
    let mut hooks = vec!["--customize-hook=mkdir -p \"$1/etc/mezame\"".to_owned()];
    let agent = agent.to_str().context("the agent's path is no UTF-8")?;
    hooks.push(install(agent, "usr/sbin/guest-agent", "0755"));
    for (from, to, mode) in FILES {
        let from = crate::workspace().join(from);
        let from = from.to_str().context("the recipe's path is no UTF-8")?;
        hooks.push(install(from, to, mode));
    }
    hooks.push("--customize-hook=chroot \"$1\" update-initramfs -u -k all".into());
    Ok(hooks)
}

fn install(from: &str, to: &str, mode: &str) -> String {
    format!("--customize-hook=install -D -m {mode} '{from}' \"$1/{to}\"")
}

/// Makes a file system of the root, and a LUKS volume of that.
fn encrypt(into: &Path, root: &Path, step: &Step) -> Result<()> {
    step.note("making the file system");
    let (plain, key) = (into.join("disk.raw"), into.join("key"));
    step.run(
        Command::new("mke2fs")
            .args(["-q", "-t", "ext4", "-L", "root", "-d"])
            .args([root, &plain])
            .arg(SIZE),
        |line| step.note(line),
    )?;
    fs::remove_dir_all(root).context("removing the root")?;
    step.note("encrypting it");
    fs::write(&key, KEY).context("writing the key")?;
    step.run(
        Command::new("qemu-img")
            .args(["convert", "-f", "raw", "-O", "luks", "--object"])
            .arg(format!("secret,id=key,file={}", key.display()))
            .args(["-o", "key-secret=key,cipher-alg=aes-256,cipher-mode=xts,ivgen-alg=plain64"])
            .args(["-o", "hash-alg=sha256,iter-time=10"])
            .args([&plain, &into.join("disk.luks")]),
        |line| step.note(line),
    )?;
    fs::remove_file(plain).context("removing the file system in the clear")?;
    let tight = into.join("tight.luks");
    fs::rename(into.join("disk.luks"), &tight).context("renaming the volume")?;
    widen(&tight, &into.join("disk.luks")).context("moving the volume's data")?;
    fs::remove_file(tight).context("removing the volume as QEMU made it")
}

/// Copies a LUKS1 volume, with room between its key slots and its data as cryptsetup leaves it:
/// clevis keeps its part there (luksmeta), and QEMU leaves none. Where the data begins, in sectors of
/// 512 bytes, stands at byte 104 ("LUKS On-Disk Format Specification", version 1.2.3, section 2.2);
/// sectors are numbered from there, so that moving them changes nothing in them.
fn widen(from: &Path, to: &Path) -> io::Result<()> {
    const DATA_AT: usize = 104;
    const WIDE: u32 = 8192;
    let (mut from, mut to) = (File::open(from)?, File::create(to)?);
    let mut head = vec![0; DATA_AT + 4];
    from.read_exact(&mut head)?;
    let begins = head[DATA_AT..].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    head[DATA_AT..].copy_from_slice(&WIDE.to_be_bytes());
    to.write_all(&head)?;
    let slots = (begins * 512).saturating_sub(head.len() as u64);
    io::copy(&mut (&from).take(slots), &mut to)?;
    to.seek(SeekFrom::Start(u64::from(WIDE) * 512))?;
    io::copy(&mut from, &mut to)?;
    Ok(())
}

fn packages() -> Result<String> {
    let path = crate::workspace().join("images/recipes/encrypted/packages");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    Ok(bootstrap::lines(&text).collect::<Vec<_>>().join(","))
}

/// Changes whenever the image would.
fn fingerprint() -> Result<String> {
    let mut text = format!("{}\n{SIZE}\n{KEY}\n", packages()?);
    for (from, to, mode) in FILES {
        let path = crate::workspace().join(from);
        let content =
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        text += &format!("{to} {mode}\n{content}\n");
    }
    Ok(text)
}

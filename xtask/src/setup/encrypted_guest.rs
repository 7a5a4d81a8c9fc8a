//! Debian guests whose root is a LUKS volume, made without a loop device or a device mapper.
//!
//! mmdebstrap makes the root, with the agent and its hooks installed as a user would, so that the
//! initramfs is made by Debian's own tools, initramfs-tools or dracut; mke2fs makes a file system of
//! it, and QEMU encrypts that into a LUKS volume (LUKS1: QEMU writes no other), whose header cryptsetup
//! then makes one of LUKS2 where that is wanted. The key is one for tests and secret nowhere. Derived
//! with few iterations, since the guests that open it are emulated.

mod flavour;

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use self::flavour::{FLAVOURS, Flavour};
use super::{bootstrap, cache::Cache, debian_guest::boot_file, progress::Step};

/// What opens it: the form that `mezame key create` makes.
const KEY: &str = "8f1d6c0b5a4e39271f0e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a6978";

/// Builds all of them, unless they are there.
pub(crate) fn build(cache: &Cache, agent: impl Fn() -> Result<PathBuf>) -> Result<()> {
    FLAVOURS.iter().try_for_each(|flavour| build_one(cache, flavour, &agent))
}

/// Builds a directory with the kernel, its initramfs, `disk.luks` and `key` in the cache with this
/// agent in it, unless what is there was made of the same recipe. (The agent is no part of the recipe:
/// tests lay the one that they have just built over it.)
fn build_one(cache: &Cache, flavour: &Flavour, agent: &impl Fn() -> Result<PathBuf>) -> Result<()> {
    let made_of = fingerprint(flavour)?;
    let stamp = cache.path(flavour.name).join("made-of");
    if fs::read_to_string(stamp).is_ok_and(|there| there == made_of) {
        return Ok(());
    }
    let agent = agent()?;
    let step = Step::begin(flavour.title);
    step.line("Debian 12 with a LUKS root is built into the cache, to be unlocked at boot");
    cache.install(flavour.name, |into| {
        let root = into.join("root");
        bootstrap::bootstrap(&root, &packages(flavour)?, hooks(flavour, &agent)?, &step)?;
        for (from, to) in flavour.boot {
            fs::copy(boot_file(&root, from)?, into.join(to)).context("copying the kernel")?;
        }
        encrypt(into, &root, flavour, &step)?;
        fs::write(into.join("made-of"), &made_of).context("writing what the image is made of")
    })?;
    step.done("built");
    Ok(())
}

/// Copies the files into the root, and has the initramfs made with them.
fn hooks(flavour: &Flavour, agent: &Path) -> Result<Vec<String>> {
    let hook = flavour.hook;
    let mut hooks = vec![format!("--{hook}-hook=mkdir -p \"$1/etc/mezame\"")];
    let mut install = |from: &Path, to: &str, mode: &str| {
        let from = from.to_str().context("the path is no UTF-8")?;
        hooks.push(format!("--{hook}-hook=install -D -m {mode} '{from}' \"$1/{to}\""));
        anyhow::Ok(())
    };
    install(agent, "usr/sbin/guest-agent", "0755")?;
    for (from, to, mode) in flavour.files {
        install(&crate::workspace().join(from), to, mode)?;
    }
    let make = |command| format!("--customize-hook=chroot \"$1\" {command}");
    hooks.extend(flavour.make.iter().map(make));
    Ok(hooks)
}

/// Makes a file system of the root, and a LUKS volume of that.
fn encrypt(into: &Path, root: &Path, flavour: &Flavour, step: &Step) -> Result<()> {
    step.note("making the file system");
    let (plain, key) = (into.join("disk.raw"), into.join("key"));
    step.run(
        Command::new("mke2fs")
            .args(["-q", "-t", "ext4", "-L", "root", "-d"])
            .args([root, &plain])
            .arg(flavour.size),
        |line| step.note(line),
    )?;
    fs::remove_dir_all(root).context("removing the root")?;
    step.note("encrypting it");
    fs::write(&key, KEY).context("writing the key")?;
    let (tight, volume) = (into.join("tight.luks"), into.join("disk.luks"));
    make_luks1(&plain, &key, &tight, step)?;
    fs::remove_file(plain).context("removing the file system in the clear")?;
    widen(&tight, &volume).context("moving the volume's data")?;
    fs::remove_file(tight).context("removing the volume as QEMU made it")?;
    flavour.luks2.map_or(Ok(()), |uuid| make_luks2(&volume, uuid, step))
}

/// Has QEMU encrypt a file system. It measures first how fast it derives keys, and gives up where the
/// clock says that this took no time at all; so it is asked a few times.
fn make_luks1(plain: &Path, key: &Path, volume: &Path, step: &Step) -> Result<()> {
    const ATTEMPTS: usize = 10;
    let mut convert = Command::new("qemu-img");
    convert
        .args(["convert", "-f", "raw", "-O", "luks", "--object"])
        .arg(format!("secret,id=key,file={}", key.display()))
        .args(["-o", "key-secret=key,cipher-alg=aes-256,cipher-mode=xts,ivgen-alg=plain64"])
        .args(["-o", "hash-alg=sha256,iter-time=10"])
        .args([plain, volume]);
    for _ in 1..ATTEMPTS {
        if step.run(&mut convert, |line| step.note(line)).is_ok() {
            return Ok(());
        }
    }
    step.run(&mut convert, |line| step.note(line))
}

/// Writes a header of LUKS2 in the place of LUKS1's, with the same key slot (PBKDF2, which costs an
/// emulated guest less than Argon2), and gives the volume a UUID that command lines can name.
fn make_luks2(volume: &Path, uuid: &str, step: &Step) -> Result<()> {
    let convert = ["convert", "--batch-mode", "--type", "luks2"];
    let rename = ["luksUUID", "--batch-mode", "--uuid", uuid];
    for words in [&convert[..], &rename] {
        step.run(Command::new("cryptsetup").args(words).arg(volume), |line| step.note(line))?;
    }
    Ok(())
}

/// Copies a LUKS1 volume, with room between its key slots and its data as cryptsetup leaves it:
/// clevis keeps its part there (luksmeta), a header of LUKS2 takes more, and QEMU leaves none. Where
/// the data begins, in sectors of 512 bytes, stands at byte 104 ("LUKS On-Disk Format Specification",
/// version 1.2.3, section 2.2); sectors are numbered from there, so that moving them changes nothing
/// in them.
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

fn packages(flavour: &Flavour) -> Result<String> {
    let path = crate::workspace().join(flavour.recipe).join("packages");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    Ok(bootstrap::lines(&text).collect::<Vec<_>>().join(","))
}

/// Changes whenever the image would.
fn fingerprint(flavour: &Flavour) -> Result<String> {
    let mut text = format!("{}\n{}\n{KEY}\n", packages(flavour)?, flavour.size);
    for (from, to, mode) in flavour.files {
        let path = crate::workspace().join(from);
        let content =
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        text += &format!("{to} {mode}\n{content}\n");
    }
    if let Some(uuid) = flavour.luks2 {
        text += &format!("LUKS2 {uuid}\n{} {:?} {:?}\n", flavour.hook, flavour.make, flavour.boot);
    }
    Ok(text)
}

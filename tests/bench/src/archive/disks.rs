//! The disks that are archived: a Debian, and two that guests have made of it.
//!
//! The Debian is the clients' root that the set-up has put into the cache, as an ext4 file system
//! of 2 GiB. Each guest has four hundred new files, which are like those that were there but for
//! their first line, and has deleted a hundred. `debugfs` writes them with the file system's own
//! allocator; nothing is mounted.

use std::{
    fs::{self, File},
    io::Read,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use mezame_tests::{guest_image, process};

const GUESTS: usize = 2;
const NEW: usize = 400;
const DELETED: usize = 100;

/// The disks, in the order that they are archived in.
pub(super) struct Disks {
    pub(super) paths: Vec<PathBuf>,
    /// Bytes that they have in their file system, without holes.
    pub(super) bytes: f64,
    /// Those of the last one.
    pub(super) last_bytes: f64,
}

impl Disks {
    /// Makes them in this folder.
    pub(super) fn make(folder: &Path) -> anyhow::Result<Self> {
        let root = guest_image::cached("clients", "bench")?.join("root");
        let base = folder.join("base.raw");
        let mut mke2fs = process::command("/usr/sbin/mke2fs");
        mke2fs.args(["-q", "-t", "ext4", "-E", "root_owner=0:0,lazy_itable_init=1", "-d"]);
        process::succeed(mke2fs.arg(&root).arg(&base).arg("2G"))?;
        let files = files(&root)?;
        ensure!(files.len() > 4 * NEW, "the root has too few files");
        let mut paths = vec![base.clone()];
        for guest in 1..=GUESTS {
            let disk = folder.join(format!("guest-{guest}.raw"));
            let copy = ["--sparse=always".as_ref(), base.as_os_str(), disk.as_os_str()];
            process::succeed(process::command("cp").args(copy))?;
            live(&disk, guest, &root, &files, folder)?;
            paths.push(disk);
        }
        let blocks = |path: &PathBuf| Ok::<_, anyhow::Error>(fs::metadata(path)?.blocks() * 512);
        let bytes: Vec<u64> = paths.iter().map(blocks).collect::<anyhow::Result<_>>()?;
        let last_bytes = *bytes.last().context("no disk")? as f64;
        Ok(Self { paths, bytes: bytes.iter().sum::<u64>() as f64, last_bytes })
    }
}

/// Files of a usual size, by their paths in the root, in order.
fn files(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let (mut files, mut folders) = (Vec::new(), vec![root.join("usr")]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let about = fs::symlink_metadata(&path)?;
            if about.is_dir() {
                folders.push(path);
            } else if about.is_file() && (10_000..1_000_000).contains(&about.len()) {
                files.push(path.strip_prefix(root)?.to_owned());
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Lets a guest have lived on a disk.
fn live(
    disk: &Path,
    guest: usize,
    root: &Path,
    files: &[PathBuf],
    folder: &Path,
) -> anyhow::Result<()> {
    let mut commands = String::from("mkdir /srv/update\n");
    for (number, file) in files.iter().skip(guest).step_by(files.len() / NEW).enumerate() {
        let changed = folder.join(format!("changed-{number}"));
        let mut bytes = format!("of guest {guest}\n").into_bytes();
        bytes.extend(fs::read(root.join(file))?);
        fs::write(&changed, bytes)?;
        commands.push_str(&format!("write {} /srv/update/{number}\n", changed.display()));
    }
    for file in files.iter().skip(guest + 5).step_by(files.len() / DELETED) {
        commands.push_str(&format!("rm /{}\n", file.display()));
    }
    let script = folder.join("commands");
    fs::write(&script, commands)?;
    let mut debugfs = process::command("/usr/sbin/debugfs");
    process::succeed(debugfs.arg("-w").arg("-f").arg(&script).arg(disk))?;
    // It ends with 0 whatever happens, so what it did is looked at.
    let mut check = process::command("/usr/sbin/e2fsck");
    process::succeed(check.arg("-fn").arg(disk)).context("the guest's disk")
}

/// Whether two files have the same bytes.
pub(super) fn same(one: &Path, other: &Path) -> anyhow::Result<bool> {
    let (mut one, mut other) = (File::open(one)?, File::open(other)?);
    let (mut left, mut right) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    loop {
        let count = one.read(&mut left)?;
        if count == 0 {
            return Ok(true);
        }
        other.read_exact(&mut right[..count])?;
        if left[..count] != right[..count] {
            return Ok(false);
        }
    }
}

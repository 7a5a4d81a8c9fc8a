//! An empty clone of a master, made once in each pool, which every clone there is a copy of.
//!
//! Its table gives each cluster of the volume its place in the file and no subcluster to it. QEMU
//! writes the table with its zeroes; those are made holes again, or each clone would take
//! megabytes.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read},
    os::{
        fd::{AsFd, AsRawFd},
        unix::fs::FileExt,
    },
    path::{Path, PathBuf},
    process::Command,
};

use nix::{
    fcntl::{AT_FDCWD, AtFlags, FallocateFlags, fallocate},
    unistd::linkat,
};
use serde::Deserialize;

use super::{
    CloneError, Master, durable, failed, pool::private_directory, sealing::Sealed, sync_directory,
};
use crate::{
    encryption::{
        KeyNumber, VolumeKeys,
        header::Luks,
        image::{self, Form},
    },
    nameless::nameless,
    program::{self, qemu_img},
    qcow2::{self, Qcow2Fault},
    volume::{FileIdentity, Format, Place, VolumeId, recovery},
};

/// Clusters of 1 MiB, so subclusters of 32 KiB: what a first write completes from the master, and
/// what the table counts. It makes the table of a clone as large as that of a plain overlay with
/// clusters of 64 KiB; smaller ones would copy less and count more.
pub(super) const OPTIONS: &str = "extended_l2=on,preallocation=metadata,cluster_size=1M";
/// The same length, in bytes.
pub(super) const CLUSTER: u64 = 1 << 20;

const TEMPLATES: &str = "templates";

/// Blocks of zeroes of this size are made holes.
const BLOCK: usize = 4096;

/// An empty clone.
#[derive(Debug)]
pub(super) struct Template {
    file: File,
    data: Vec<std::ops::Range<u64>>,
}

impl Template {
    /// The template of a master in a pool, made unless it is there.
    pub(super) fn of(master: &Master, pool: &Path) -> Result<Self, CloneError> {
        let directory = pool.join(TEMPLATES);
        private_directory(&directory).map_err(failed("making", &directory))?;
        let path = directory.join(master.template_name());
        if !path.exists() {
            let new = path.with_extension("new");
            make(master, &new)?;
            fs::rename(&new, &path).map_err(failed("naming", &path))?;
            sync_directory(&directory).map_err(failed("syncing", &directory))?;
        }
        let file = File::open(&path).map_err(failed("opening", &path))?;
        let data = recovery::check_empty(&file, &path).map_err(CloneError::Template)?;
        Ok(Self { file, data })
    }

    /// Makes a clone without a record: the template's data, and its holes.
    pub(super) fn copy_to(&self, path: &Path) -> Result<FileIdentity, CloneError> {
        let copy = || {
            let length = self.file.metadata()?.len();
            let copy = durable::create_private(path)?;
            copy.set_len(length)?;
            for range in &self.data {
                let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
                let mut bytes = vec![0; length];
                self.file.read_exact_at(&mut bytes, range.start)?;
                copy.write_all_at(&bytes, range.start)?;
            }
            copy.sync_all()?;
            FileIdentity::of(&copy)
        };
        copy().map_err(|source| {
            // Where there is no room, it takes some; nobody would find it again. One that was there
            // is not ours.
            if source.kind() != io::ErrorKind::AlreadyExists {
                let _ = durable::remove(path);
            }
            failed("copying the template to", path)(source)
        })
    }
}

/// Removes the template of a master in a pool where it has no clone any more. It is made again when it
/// is wanted.
pub(super) fn remove(master: &Master, pool: &Path) -> Result<(), CloneError> {
    let path = pool.join(TEMPLATES).join(master.template_name());
    durable::remove(&path).map_err(failed("removing", &path))
}

/// Removes all templates of a pool.
pub(super) fn remove_all(pool: &Path) -> Result<(), CloneError> {
    let path = pool.join(TEMPLATES);
    match fs::remove_dir_all(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed("removing", &path)(error))
        }
        _ => Ok(()),
    }
}

impl Master {
    /// Another master of the same name has another template, by its length, and its file and the time
    /// that this was changed, or its LUN.
    fn template_name(&self) -> String {
        let name = self.directory.file_name().unwrap_or_default().to_string_lossy();
        let name: String = name.chars().take(60).collect();
        let size = self.manifest.size;
        match &self.manifest.sealed {
            Sealed::File { modified: (seconds, nanoseconds), identity, .. } => {
                format!("{name}-{size:x}-{identity}-{seconds:x}-{nanoseconds:x}.qcow2")
            }
            Sealed::Lun { lun, seal } => {
                let which = blake3::hash(format!("{}\n{}", lun.bare(), seal.serial).as_bytes());
                format!("{name}-{size:x}-{which}.qcow2", which = &which.to_hex()[..32])
            }
        }
    }
}

fn make(master: &Master, path: &Path) -> Result<(), CloneError> {
    let backing = master.backing();
    let image = named_as_backing(&backing.place)?;
    // The tool keeps the mode of a file that is there.
    durable::remove(path)
        .and_then(|()| durable::create_private(path))
        .map_err(failed("making", path))?;
    let mut create = qemu_img("create");
    create
        // The master is not opened: we know its length, and how a LUN is reached is not in its name.
        .args(["-q", "-u", "-f", "qcow2", "-o", OPTIONS])
        .args(["-F", backing.format.name(), "-b"])
        .arg(image)
        .arg(path)
        .arg(master.size().to_string());
    run(create)?;
    let file =
        File::options().read(true).write(true).open(path).map_err(failed("opening", path))?;
    dig(&file).map_err(failed("making holes in", path))?;
    file.sync_all().map_err(failed("syncing", path))
}

/// Makes an empty clone that is encrypted, with a header of its own and this key, without a name. It takes
/// seconds of a processor, and no lock: who finds it but us? None where the pool's file system has no
/// such files (NFS).
pub(super) fn make_unnamed(
    master: &Master,
    pool: &Path,
    id: &VolumeId,
    number: KeyNumber,
    keys: &VolumeKeys,
) -> Result<Option<File>, CloneError> {
    let file = match nameless(pool) {
        Err(error) if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::IsADirectory) => {
            return Ok(None);
        }
        file => file.map_err(failed("making a file in", pool))?,
    };
    let key = (id, number, keys);
    make_luks(master, Path::new(image::INPUT), Some(&file), key, || file.set_len(0))?;
    finish(&file, pool)?;
    Ok(Some(file))
}

/// Gives such a file a name, which nothing has; which file it is.
pub(super) fn name(file: &File, path: &Path) -> Result<FileIdentity, CloneError> {
    // The kernel knows it by its number here (open(2), `O_TMPFILE`).
    let unnamed = format!("/proc/self/fd/{}", file.as_raw_fd());
    linkat(AT_FDCWD, unnamed.as_str(), AT_FDCWD, path, AtFlags::AT_SYMLINK_FOLLOW)
        .map_err(|error| failed("naming", path)(error.into()))?;
    FileIdentity::of(file).map_err(failed("reading", path))
}

/// The same under a name, where there are no files without one.
pub(super) fn make_encrypted(
    master: &Master,
    path: &Path,
    id: &VolumeId,
    number: KeyNumber,
    keys: &VolumeKeys,
) -> Result<FileIdentity, CloneError> {
    make_luks(master, path, None, (id, number, keys), || {
        durable::remove(path).and_then(|()| durable::create_private(path)).map(drop)
    })?;
    let file = File::options().read(true).write(true).open(path);
    let file = file.map_err(failed("opening", path))?;
    finish(&file, path)?;
    FileIdentity::of(&file).map_err(failed("reading", path))
}

fn make_luks(
    master: &Master,
    path: &Path,
    input: Option<&File>,
    key: (&VolumeId, KeyNumber, &VolumeKeys),
    prepare: impl Fn() -> io::Result<()>,
) -> Result<(), CloneError> {
    let backing = master.backing();
    let target = named_as_backing(&backing.place)?;
    let backing_format = match (backing.format, backing.is_encrypted) {
        (Format::Raw, true) => "luks",
        (format, _) => format.name(),
    };
    let form = Form::Overlay { options: OPTIONS, backing: &target, backing_format, input };
    Ok(image::make(path, master.size(), &form, key, prepare)?)
}

/// Makes holes in an empty clone, and all of it durable.
fn finish(file: &File, path: &Path) -> Result<(), CloneError> {
    dig(file).and_then(|()| file.sync_all()).map_err(failed("making", path))?;
    recovery::check_empty(file, path).map_err(CloneError::Template)?;
    Ok(())
}

/// What an overlay calls its master. Who opens it is told where the master is all the same.
pub(super) fn named_as_backing(place: &Place) -> Result<PathBuf, CloneError> {
    match place {
        Place::File(path) | Place::Device(path) => {
            fs::canonicalize(path).map_err(failed("finding", path))
        }
        Place::Lun(lun) => Ok(lun.bare().into()),
    }
}

/// Makes holes of what is zero.
fn dig(file: &File) -> std::io::Result<()> {
    let hole = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    for range in recovery::data_of(file)? {
        let mut at = range.start;
        let mut block = [0; BLOCK];
        while at < range.end {
            let length = BLOCK.min(usize::try_from(range.end - at).unwrap_or(BLOCK));
            file.read_exact_at(&mut block[..length], at)?;
            if block[..length].iter().all(|byte| *byte == 0) {
                let offset = i64::try_from(at).unwrap_or(i64::MAX);
                fallocate(file.as_fd(), hole, offset, length as i64)?;
            }
            at += length as u64;
        }
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Info {
    virtual_size: u64,
    backing_filename: Option<String>,
    #[serde(default)]
    format_specific: Specific,
}

#[derive(Deserialize, Default)]
struct Specific {
    #[serde(default)]
    data: serde_json::Value,
}

/// An image's length as a guest sees it, if the image stands alone.
///
/// QEMU's tool opens the files that an image names, so it is shown none that names any.
pub(super) fn size_of(path: &Path, format: Format, is_encrypted: bool) -> Result<u64, CloneError> {
    let head = head_of(path)?;
    let name = match format {
        Format::Qcow2 => {
            check_head(path, &head, is_encrypted)?;
            format.name()
        }
        Format::Raw if !is_encrypted => format.name(),
        Format::Raw if Luks::parse(&head).is_ok() => "luks",
        Format::Raw => return Err(CloneError::NotEncrypted { path: path.into() }),
    };
    let mut info = qemu_img("info");
    // Told the format, qemu-img believes nothing that a raw image's first bytes say.
    info.args(["--output=json", "-f", name]).arg(path);
    let said = run(info)?;
    let info: Info = serde_json::from_slice(&said)
        .map_err(|source| CloneError::Record { path: path.into(), source })?;
    if info.backing_filename.is_some() || !info.format_specific.data["data-file"].is_null() {
        return Err(CloneError::NotAlone { path: path.into() });
    }
    Ok(info.virtual_size)
}

/// An image's first bytes.
fn head_of(path: &Path) -> Result<Vec<u8>, CloneError> {
    let mut head = Vec::new();
    Place::File(path.into())
        .open()
        .and_then(|(file, _)| file.take(qcow2::HEAD as u64).read_to_end(&mut head))
        .map_err(failed("reading", path))?;
    Ok(head)
}

/// That an image's own head names no other file.
fn check_head(path: &Path, head: &[u8], is_encrypted: bool) -> Result<(), CloneError> {
    let parse = if is_encrypted { qcow2::Header::parse_luks } else { qcow2::Header::parse };
    match parse(head) {
        Ok(_) => Ok(()),
        Err(Qcow2Fault::BackingFile | Qcow2Fault::DataFile) => {
            Err(CloneError::NotAlone { path: path.into() })
        }
        Err(Qcow2Fault::NotEncrypted) => Err(CloneError::NotEncrypted { path: path.into() }),
        Err(source) => Err(CloneError::Qcow2 { path: path.into(), source }),
    }
}

/// Runs qemu-img; what it answers.
pub(super) fn run(command: Command) -> Result<Vec<u8>, CloneError> {
    let ran = program::run(command).map_err(failed("running", Path::new("qemu-img")))?;
    if ran.status.success() { Ok(ran.output) } else { Err(CloneError::Tool { said: ran.said }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_that_can_not_be_made_whole_leaves_no_file() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("template"), directory.path().join("id.new"));
        fs::write(&from, "half").unwrap();
        let template = Template { file: File::open(&from).unwrap(), data: [0..2, 2..99].into() };
        assert!(template.copy_to(&to).is_err());
        assert!(!to.exists(), "what was copied is left");
        fs::write(&to, "another").unwrap();
        assert!(template.copy_to(&to).is_err());
        assert_eq!(fs::read_to_string(&to).unwrap(), "another");
    }
}

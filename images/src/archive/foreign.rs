//! Importing a file that somebody brought: its digest and signature are checked, then it is
//! converted and archived.
//!
//! The digest is that of the file as it was published, so all of it is read once before anything
//! looks into it. A file that changes between that and the end of the conversion is refused: it is
//! opened once, and its times are compared.
//!
//! What is not raw is converted by `qemu-img`, after a look at its head: a file that names other
//! files is refused ([`crate::qcow2`], [`crate::vmdk`]; QEMU itself refuses a VHDX with a parent).
//! The program gets the two files as its standard input and output and no name of any file, a
//! form that is said and not guessed, 2 GiB of address space, and a deadline.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use nix::fcntl::OFlag;
use ring::digest::{Context, SHA256};

use super::{
    Archive, ArchiveError, Imported, NewImage, Progress, Watch,
    signature::{Signature, SignatureFault, TrustedKey},
    source::FileSource,
};
use crate::{
    qcow2::{self, Qcow2Fault},
    vmdk::{self, VmdkFault},
};

/// The form of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The disk's bytes and nothing else.
    Raw,
    /// QEMU's, version 2 or 3, without a backing file.
    Qcow2,
    /// VMware's, in one file.
    Vmdk,
    /// Hyper-V's.
    Vhdx,
}

impl Format {
    /// Its name, which is also QEMU's.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Vmdk => "vmdk",
            Self::Vhdx => "vhdx",
        }
    }
}

/// A file that is to be imported, and how it is known to be the right one.
#[derive(Debug)]
pub struct FileImport<'a> {
    /// Where it is. It must not be changed meanwhile.
    pub path: &'a Path,
    /// Its form: never guessed, since a raw disk's first bytes are the guest's.
    pub format: Format,
    /// The SHA-256 that it must have.
    pub sha256: Option<[u8; 32]>,
    /// Its signature, and the keys of which one must have made it.
    pub signature: Option<(&'a Signature, &'a [TrustedKey])>,
    /// A folder with room for the disk's data. Nothing is left in it.
    pub scratch: &'a Path,
    /// How long the conversion may take.
    pub patience: Duration,
}

/// Why a file was not imported.
#[derive(Debug, thiserror::Error)]
pub enum ForeignError {
    /// It can't be read, or there is no room to convert it.
    #[error("{path}: can't be used")]
    Io {
        /// The file, or the folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is neither a file nor a block device.
    #[error("{path}: is no file")]
    NoFile {
        /// Which.
        path: PathBuf,
    },
    /// Its digest is another than it should have.
    #[error("{path}: has the SHA-256 {found}, not {wanted}")]
    Digest {
        /// Which file.
        path: PathBuf,
        /// What it has.
        found: String,
        /// What it should have.
        wanted: String,
    },
    /// Its signature does not hold.
    #[error("{path}: the signature does not hold")]
    Signature {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: SignatureFault,
    },
    /// It changed while it was read.
    #[error("{path}: changed while it was read")]
    Changed {
        /// Which file.
        path: PathBuf,
    },
    /// It does not stand by itself, or is no qcow2 file.
    #[error("{path}: is not taken as a qcow2 file")]
    Qcow2 {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Qcow2Fault,
    },
    /// It does not stand by itself, or is no VMDK.
    #[error("{path}: is not taken as a VMDK file")]
    Vmdk {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: VmdkFault,
    },
    /// It is no VHDX file.
    #[error("{path}: is no VHDX file")]
    Vhdx {
        /// Which file.
        path: PathBuf,
    },
    /// `qemu-img` could not convert it.
    #[error("{path}: qemu-img ended with {status}: {said}")]
    Conversion {
        /// Which file.
        path: PathBuf,
        /// How it ended.
        status: ExitStatus,
        /// What it said, cut.
        said: String,
    },
    /// `qemu-img` took too long.
    #[error("{path}: the conversion took longer than {patience:?}")]
    Patience {
        /// Which file.
        path: PathBuf,
        /// How long it was given.
        patience: Duration,
    },
    /// The archive fails.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
}

impl Archive {
    /// Imports a file. Its format, digest and signer become part of the image's origin.
    pub fn import_file(
        &self,
        file: &FileImport<'_>,
        mut new: NewImage<'_>,
        watch: &dyn Watch,
    ) -> Result<Imported, ForeignError> {
        let at = |source| ForeignError::Io { path: file.path.into(), source };
        // A pipe would block the opening.
        let flags = OFlag::O_NONBLOCK.bits();
        let opened =
            OpenOptions::new().read(true).custom_flags(flags).open(file.path).map_err(at)?;
        let kind = opened.metadata().map_err(at)?.file_type();
        if !kind.is_file() && !kind.is_block_device() {
            return Err(ForeignError::NoFile { path: file.path.into() });
        }
        let before = identity(&opened).map_err(at)?;
        let origin = &mut new.detail.provenance;
        origin.format = Some(file.format.name().into());
        if file.sha256.is_some() || file.signature.is_some() {
            let digests = digests(&opened, file, watch)?;
            origin.sha256 = Some(hex(&digests.sha256));
            origin.signer = digests.signer;
        }
        let disk = match file.format {
            Format::Raw => opened.try_clone().map_err(at)?,
            _ => {
                check_head(&opened, file)?;
                convert(&opened, file, watch)?
            }
        };
        let source = FileSource::of(disk).map_err(at)?;
        let unchanged = || match identity(&opened) {
            Ok(after) if after == before => Ok(()),
            Ok(_) => Err(ForeignError::Changed { path: file.path.into() }),
            Err(error) => Err(at(error)),
        };
        unchanged()?;
        let imported = self.import(&new, &source, watch)?;
        if let Err(error) = unchanged() {
            // A raw file that changed while it was read.
            self.forget(imported.image.id)?;
            return Err(error);
        }
        Ok(imported)
    }
}

/// What changes when a file does. Of a block device nothing of this says so.
fn identity(file: &File) -> io::Result<[i64; 5]> {
    let about = file.metadata()?;
    let size = i64::try_from(about.size()).unwrap_or(i64::MAX);
    Ok([size, about.mtime(), about.mtime_nsec(), about.ctime(), about.ctime_nsec()])
}

struct Digests {
    sha256: Vec<u8>,
    signer: Option<String>,
}

fn digests(
    file: &File,
    import: &FileImport<'_>,
    watch: &dyn Watch,
) -> Result<Digests, ForeignError> {
    let path = || import.path.to_owned();
    let mut sha256 = Context::new(&SHA256);
    let mut signed =
        import.signature.map(|(signature, _)| Context::new(signature.hash().algorithm()));
    let mut buffer = vec![0; 1024 * 1024];
    let mut at = 0;
    loop {
        if watch.is_cancelled() {
            return Err(ArchiveError::Cancelled.into());
        }
        let read = file.read_at(&mut buffer, at);
        let count = read.map_err(|source| ForeignError::Io { path: path(), source })?;
        if count == 0 {
            break;
        }
        at += count as u64;
        sha256.update(&buffer[..count]);
        signed.iter_mut().for_each(|context| context.update(&buffer[..count]));
    }
    let found = sha256.finish();
    if let Some(wanted) = &import.sha256
        && found.as_ref() != wanted
    {
        let (found, wanted) = (hex(found.as_ref()), hex(wanted));
        return Err(ForeignError::Digest { path: path(), found, wanted });
    }
    let mut signer = None;
    if let (Some((signature, trusted)), Some(signed)) = (import.signature, signed) {
        let verified = signature.verify(trusted, signed.finish().as_ref());
        let name = verified.map_err(|source| ForeignError::Signature { path: path(), source })?;
        signer = Some(name.to_string());
    }
    Ok(Digests { sha256: found.as_ref().to_vec(), signer })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Refuses what is not of its form or names other files.
fn check_head(file: &File, import: &FileImport<'_>) -> Result<(), ForeignError> {
    let path = || import.path.to_owned();
    let length = qcow2::HEAD.max(vmdk::HEAD);
    let mut head = Vec::with_capacity(length);
    let mut reader = file;
    let read = reader
        .seek(SeekFrom::Start(0))
        .and_then(|_| reader.take(length as u64).read_to_end(&mut head))
        .and_then(|_| reader.seek(SeekFrom::Start(0)));
    read.map_err(|source| ForeignError::Io { path: path(), source })?;
    match import.format {
        Format::Raw => Ok(()),
        Format::Qcow2 => qcow2::Header::parse(&head[..head.len().min(qcow2::HEAD)])
            .map(drop)
            .map_err(|source| ForeignError::Qcow2 { path: path(), source }),
        Format::Vmdk => vmdk::Header::parse(&head[..head.len().min(vmdk::HEAD)])
            .map(drop)
            .map_err(|source| ForeignError::Vmdk { path: path(), source }),
        Format::Vhdx if head.starts_with(b"vhdxfile") => Ok(()),
        Format::Vhdx => Err(ForeignError::Vhdx { path: path() }),
    }
}

/// A file without a name in this folder.
fn nameless(folder: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600).custom_flags(OFlag::O_TMPFILE.bits());
    options.open(folder)
}

/// The disk in a file, as a sparse file without a name.
///
/// The file is checked before: of one that was cut short `qemu-img convert` reads what is missing
/// as zeros, and says nothing.
fn convert(file: &File, import: &FileImport<'_>, watch: &dyn Watch) -> Result<File, ForeignError> {
    /// Sound but for room that nobody uses; and a form that can't be checked.
    const SOUND: [i32; 2] = [3, 63];
    let disk = nameless(import.scratch)
        .map_err(|source| ForeignError::Io { path: import.scratch.into(), source })?;
    let input = format!(
        "driver={},file.driver=file,file.locking=off,file.filename=/dev/fd/0",
        import.format.name()
    );
    let qemu_img = Conversion { file, disk: &disk, import, watch };
    qemu_img.run(&["check", "--image-opts", &input], &SOUND)?;
    let options = ["-O", "raw", "-S", "4k", "-t", "writeback"];
    let convert = [&["convert", "--image-opts"], &options[..], &[&input, "/dev/fd/1"]].concat();
    qemu_img.run(&convert, &[])?;
    Ok(disk)
}

/// Runs of `qemu-img` with a file as standard input, and one for the disk as standard output.
struct Conversion<'a> {
    file: &'a File,
    disk: &'a File,
    import: &'a FileImport<'a>,
    watch: &'a dyn Watch,
}

impl Conversion<'_> {
    /// Fails unless it ends with 0 or one of the codes that are good too.
    fn run(&self, arguments: &[&str], good: &[i32]) -> Result<(), ForeignError> {
        let scratch = self.import.scratch;
        let in_scratch = |source| ForeignError::Io { path: scratch.into(), source };
        let said = nameless(scratch).map_err(in_scratch)?;
        let mut command = Command::new("prlimit");
        command.args(["--as=2147483648", "--core=0", "--", "qemu-img"]).args(arguments);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C");
        command.stdin(self.file.try_clone().map_err(in_scratch)?);
        command.stderr(said.try_clone().map_err(in_scratch)?);
        // What a check tells there is of no use, and would become part of the disk.
        let is_conversion = arguments.contains(&"/dev/fd/1");
        let output = self.disk.try_clone().map_err(in_scratch)?;
        command.stdout(if is_conversion { Stdio::from(output) } else { Stdio::null() });
        let status = wait(&mut command, self.disk, self.import, self.watch)?;
        if status.success() || status.code().is_some_and(|code| good.contains(&code)) {
            return Ok(());
        }
        let mut text = Vec::new();
        let mut reader = &said;
        let read = reader.seek(SeekFrom::Start(0));
        let _ = read.and_then(|_| reader.take(2000).read_to_end(&mut text));
        let said = String::from_utf8_lossy(&text).trim().escape_debug().to_string();
        Err(ForeignError::Conversion { path: self.import.path.into(), status, said })
    }
}

/// Runs a program to its end, at most as long as it may take.
fn wait(
    command: &mut Command,
    disk: &File,
    import: &FileImport<'_>,
    watch: &dyn Watch,
) -> Result<ExitStatus, ForeignError> {
    /// How often it is looked after.
    const INTERVAL: Duration = Duration::from_millis(20);
    let io = |source| ForeignError::Io { path: "qemu-img".into(), source };
    let begin = Instant::now();
    let mut child = command.spawn().map_err(io)?;
    loop {
        if let Some(status) = child.try_wait().map_err(io)? {
            return Ok(status);
        }
        let is_late = begin.elapsed() > import.patience;
        if is_late || watch.is_cancelled() {
            // The program did not fork: prlimit has become qemu-img.
            let _ = child.kill();
            let _ = child.wait();
            let (path, patience) = (import.path.to_owned(), import.patience);
            let late = ForeignError::Patience { path, patience };
            return Err(if is_late { late } else { ArchiveError::Cancelled.into() });
        }
        if let Ok(about) = disk.metadata() {
            let written = about.blocks() * 512;
            watch.tell(Progress { done: 0, total: about.size(), written });
        }
        std::thread::sleep(INTERVAL);
    }
}

#[cfg(test)]
mod tests;

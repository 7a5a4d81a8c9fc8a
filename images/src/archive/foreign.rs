//! Importing a file that somebody brought: its digest and signature are checked, then it is
//! converted and archived.
//!
//! The digest is that of the file as it was published. It is taken while the file is copied to one
//! without a name, and that copy is what is looked at, converted and archived: whoever can write to
//! the file can change nothing between these. Only a raw file that has no digest to keep is read
//! where it is, and the image does not come to be where it has changed by then.
//!
//! What is not raw is converted by `qemu-img`, after a look at its head: a file that names other
//! files is refused, and one whose disk is larger than the caller allows ([`crate::qcow2`],
//! [`crate::vmdk`], [`crate::vhdx`]). The program gets the two files as its standard input and
//! output and no name of any file, a form that is said and not guessed, limits ([`convert`]), and a
//! deadline.

mod convert;
mod copy;
mod user;

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

use nix::fcntl::OFlag;

use super::{
    Archive, ArchiveError, Imported, NewImage, Watch,
    signature::{Signature, SignatureFault, TrustedKey},
    source::{Extent, FileSource, Source},
};
use crate::{
    qcow2::{self, Qcow2Fault},
    room,
    vhdx::{self, VhdxFault},
    vmdk::{self, VmdkFault},
};

/// The form of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForeignFormat {
    /// The disk's bytes and nothing else.
    Raw,
    /// QEMU's, version 2 or 3, without a backing file.
    Qcow2,
    /// VMware's, in one file.
    Vmdk,
    /// Hyper-V's.
    Vhdx,
}

impl ForeignFormat {
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
    pub format: ForeignFormat,
    /// The SHA-256 that it must have.
    pub sha256: Option<[u8; 32]>,
    /// Its signature, and the keys of which one must have made it.
    pub signature: Option<(&'a Signature, &'a [TrustedKey])>,
    /// How large its disk may be, in bytes: what a few bytes of a file unpack to is for whoever
    /// pays for the room to say.
    pub largest: u64,
    /// A folder with room for the file and for the disk's data. Nothing is left in it.
    pub scratch: &'a Path,
    /// Bytes that must stay free on that folder's file system: others write there, too.
    pub reserve: u64,
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
    /// It does not stand by itself, or is no VHDX file.
    #[error("{path}: is not taken as a VHDX file")]
    Vhdx {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: VhdxFault,
    },
    /// Its disk is larger than it may be.
    #[error("{path}: its disk of {size} bytes is larger than {largest}")]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// The disk's size in bytes.
        size: u64,
        /// How large it may be.
        largest: u64,
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
    /// `qemu-img` can't be started here: it, or what starts it, is not installed or not allowed.
    #[error("qemu-img can't be started")]
    Program(#[source] io::Error),
    /// The folder's file system has no room for it. It says nothing of the file.
    #[error("{path}: its file system has no room left")]
    Room {
        /// The folder.
        path: PathBuf,
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
        let before = Identity::of(&opened).map_err(at)?;
        let size = FileSource::of(opened.try_clone().map_err(at)?).map_err(at)?.size();
        if file.format == ForeignFormat::Raw {
            check_size(size, file)?;
        }
        let is_trusted = file.sha256.is_none() && file.signature.is_none();
        // Whatever the caller says of these: they are told of what was checked.
        let origin = &mut new.detail.provenance;
        (origin.format, origin.sha256, origin.signer) =
            (Some(file.format.name().into()), None, None);
        if is_trusted && file.format == ForeignFormat::Raw {
            let source = Unchanging { source: FileSource::of(opened).map_err(at)?, before };
            let imported = self.import(&new, &source, watch);
            return imported.map_err(|error| match source.settle() {
                Ok(()) => error.into(),
                Err(_) => ForeignError::Changed { path: file.path.into() },
            });
        }
        let copied = copy::copy(&opened, size, file, watch)?;
        // Parts of it may be older than others. Nothing looks at the file itself after this.
        if Identity::of(&opened).map_err(at)? != before {
            return Err(ForeignError::Changed { path: file.path.into() });
        }
        if !is_trusted {
            (origin.sha256, origin.signer) = (Some(copied.sha256), copied.signer);
        }
        let disk = match file.format {
            ForeignFormat::Raw => copied.file,
            _ => {
                check_head(&copied.file, file)?;
                convert::convert(&copied.file, file, watch)?
            }
        };
        let source = FileSource::of(disk).map_err(at)?;
        // Whatever the head said.
        check_size(source.size(), file)?;
        Ok(self.import(&new, &source, watch)?)
    }
}

/// A raw file that is read where it is: it must be the same at the end.
struct Unchanging {
    source: FileSource,
    before: Identity,
}

impl Source for Unchanging {
    fn size(&self) -> u64 {
        self.source.size()
    }

    fn extents(&self) -> io::Result<Vec<Extent>> {
        self.source.extents()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.source.read_at(buffer, offset)
    }

    fn settle(&self) -> io::Result<()> {
        if Identity::of(self.source.file())? == self.before {
            Ok(())
        } else {
            Err(io::Error::other("the file was changed meanwhile"))
        }
    }
}

/// What changes when a file does. Of a block device nothing of this says so.
#[derive(PartialEq)]
struct Identity([i64; 5]);

impl Identity {
    fn of(file: &File) -> io::Result<Self> {
        let about = file.metadata()?;
        let size = i64::try_from(about.size()).unwrap_or(i64::MAX);
        Ok(Self([size, about.mtime(), about.mtime_nsec(), about.ctime(), about.ctime_nsec()]))
    }
}

/// What became of the folder's file or of its copy there.
fn in_scratch(import: &FileImport<'_>, source: io::Error) -> ForeignError {
    let path = import.scratch.into();
    if source.kind() == io::ErrorKind::StorageFull {
        return ForeignError::Room { path };
    }
    ForeignError::Io { path, source }
}

/// Fails where others would lack room if more were written.
fn check_room(import: &FileImport<'_>) -> Result<(), ForeignError> {
    let free = room::free(import.scratch).map_err(|source| in_scratch(import, source))?;
    if free < import.reserve {
        return Err(ForeignError::Room { path: import.scratch.into() });
    }
    Ok(())
}

/// Refuses what is not of its form, names other files, or has too large a disk.
fn check_head(file: &File, import: &FileImport<'_>) -> Result<(), ForeignError> {
    let path = || import.path.to_owned();
    let read = |at, length| {
        let mut bytes = vec![0; length];
        let read = copy::read_part(file, &mut bytes, at).map(<[u8]>::len);
        let filled = read.map_err(|source| ForeignError::Io { path: path(), source })?;
        bytes.truncate(filled);
        Ok::<_, ForeignError>(bytes)
    };
    let size = match import.format {
        ForeignFormat::Raw => file.metadata().map_or(u64::MAX, |about| about.len()),
        ForeignFormat::Qcow2 => qcow2::Header::parse(&read(0, qcow2::HEAD)?)
            .map(|header| header.size)
            .map_err(|source| ForeignError::Qcow2 { path: path(), source })?,
        ForeignFormat::Vmdk => vmdk::Header::parse(&read(0, vmdk::HEAD)?)
            .map(|header| header.size)
            .map_err(|source| ForeignError::Vmdk { path: path(), source })?,
        ForeignFormat::Vhdx => {
            let refused = |source| ForeignError::Vhdx { path: path(), source };
            let at = vhdx::metadata_place(&read(0, vhdx::HEAD)?).map_err(refused)?;
            vhdx::Header::parse(&read(at, vhdx::METADATA)?).map_err(refused)?.size
        }
    };
    check_size(size, import)
}

fn check_size(size: u64, import: &FileImport<'_>) -> Result<(), ForeignError> {
    if size <= import.largest {
        return Ok(());
    }
    Err(ForeignError::TooLarge { path: import.path.into(), size, largest: import.largest })
}

#[cfg(test)]
mod tests;

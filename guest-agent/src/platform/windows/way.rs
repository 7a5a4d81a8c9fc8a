//! The way to a file, held while it is used, so that no user can bend it meanwhile.
//!
//! ```text
//!   C:\ ─► Users ─► dev ─► .ssh ─► .mezame-…  ──rename──►  authorized_keys
//!   each opened as it is, no link among them, and held: what is held can't be renamed
//! ```
//! The agent runs as LocalSystem and writes below users' hands. Each directory is opened with
//! `FILE_FLAG_OPEN_REPARSE_POINT`, refused where it is a symbolic link, a junction or another
//! reparse point, and kept open without `FILE_SHARE_DELETE`. An empty directory could still be made
//! a junction in its place: so where each directory truly is, and where the new file came to be, is
//! asked for before anything is put into it (`GetFinalPathNameByHandle`): in the directory that is
//! held before it, or it is refused. While that file is there its directory is not empty. A
//! directory that was made in a junction's target at that moment stays there, empty.
//! A file that has another name as well (a hard link) is neither read nor replaced (Microsoft,
//! "CreateFileW", "Reparse Points", "Creating and Opening Files").

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::windows::{ffi::OsStrExt, fs::OpenOptionsExt, io::AsRawHandle},
    path::{Component, Path, PathBuf},
};

use windows_sys::Win32::{
    Foundation::{GENERIC_READ, GENERIC_WRITE},
    Storage::FileSystem::{
        BY_HANDLE_FILE_INFORMATION, DELETE, FILE_ATTRIBUTE_DIRECTORY, FILE_ATTRIBUTE_REPARSE_POINT,
        FILE_DISPOSITION_INFO, FILE_FLAG_BACKUP_SEMANTICS, FILE_FLAG_OPEN_REPARSE_POINT,
        FILE_LIST_DIRECTORY, FILE_READ_ATTRIBUTES, FILE_RENAME_INFO, FILE_SHARE_READ,
        FILE_SHARE_WRITE, FileDispositionInfo, FileRenameInfo, GetFileInformationByHandle,
        GetFinalPathNameByHandleW, READ_CONTROL, SetFileInformationByHandle, WRITE_DAC,
    },
};

use super::wide::{narrow, succeeded};
use crate::platform::{PlatformError, Result};

/// Longer files are not read.
const MAX_FILE: u64 = 64 << 20;
/// The longest path, in UTF-16 units (Microsoft, "Maximum Path Length Limitation").
const MAX_PATH: usize = 32 * 1024;
/// So many names are tried for a new file.
const NAMES: u32 = 8;

/// The directories that lead to a file, held.
#[derive(Debug)]
pub(super) struct Way {
    held: Vec<File>,
    path: PathBuf,
}

fn failed(path: &Path) -> impl Fn(io::Error) -> PlatformError + '_ {
    move |source| PlatformError::File { path: path.into(), source }
}

fn untrusted(path: &Path, why: &'static str) -> PlatformError {
    PlatformError::Untrusted { path: path.into(), why }
}

impl Way {
    /// The way to a file; none where a directory is missing.
    pub(super) fn find(path: &Path) -> Result<Option<Self>> {
        Self::walk(path, false)
    }

    /// The way to a file, with its directories made.
    pub(super) fn make(path: &Path) -> Result<Self> {
        let missing = || failed(path)(io::ErrorKind::NotFound.into());
        Self::walk(path, true)?.ok_or_else(missing)
    }

    fn walk(path: &Path, make: bool) -> Result<Option<Self>> {
        if path.components().any(|part| matches!(part, Component::ParentDir)) {
            let why = "it holds '..'".to_owned();
            return Err(PlatformError::Invalid { what: "path", why });
        }
        let directory = path.parent().unwrap_or(path);
        let mut parts: Vec<&Path> = directory.ancestors().collect();
        // A drive without its root is no directory.
        parts.retain(|part| part.has_root());
        parts.reverse();
        let mut held: Vec<File> = Vec::new();
        for part in parts {
            let opened = match directory_at(part) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && make => {
                    match fs::create_dir(part) {
                        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
                        _ => directory_at(part),
                    }
                }
                other => other,
            };
            let file = match opened {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                other => other.map_err(failed(part))?,
            };
            let seen = look(&file).map_err(failed(part))?;
            if seen.dwFileAttributes & FILE_ATTRIBUTE_REPARSE_POINT != 0 {
                return Err(untrusted(part, "it is a symbolic link or a junction"));
            }
            if seen.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY == 0 {
                return Err(failed(part)(io::ErrorKind::NotADirectory.into()));
            }
            if let Some(above) = held.last() {
                check_below(above, &file, part)?;
            }
            held.push(file);
        }
        Ok(Some(Self { held, path: path.to_owned() }))
    }

    /// The directory that the file is in.
    pub(super) fn directory(&self) -> Option<&File> {
        self.held.last()
    }

    /// The file as it is, open for reading and, where that is asked for, to have its access list
    /// set; none where there is none.
    pub(super) fn file(&self, sets_access: bool) -> Result<Option<File>> {
        let failed = failed(&self.path);
        let access = if sets_access { READ_CONTROL | WRITE_DAC } else { READ_CONTROL };
        let file = OpenOptions::new()
            .access_mode(GENERIC_READ | access)
            .share_mode(FILE_SHARE_READ | FILE_SHARE_WRITE)
            .custom_flags(FILE_FLAG_OPEN_REPARSE_POINT)
            .open(&self.path);
        let file = match file {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(&failed)?,
        };
        let seen = look(&file).map_err(&failed)?;
        if seen.dwFileAttributes & FILE_ATTRIBUTE_REPARSE_POINT != 0 {
            return Err(untrusted(&self.path, "it is a symbolic link or another reparse point"));
        }
        if seen.nNumberOfLinks > 1 {
            return Err(untrusted(&self.path, "it has another name as well (a hard link)"));
        }
        self.check_place(&file)?;
        Ok(Some(file))
    }

    /// What the file holds.
    pub(super) fn read(&self, file: &File) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(failed(&self.path))?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(PlatformError::TooLong { path: self.path.clone() });
        }
        Ok(bytes)
    }

    /// Puts a new file in the place of the one that is there: made beside it under a random name,
    /// closed to others, written, put on the disk, renamed.
    pub(super) fn replace(
        &self,
        bytes: &[u8],
        restrict: impl Fn(&File) -> io::Result<()>,
    ) -> Result<()> {
        let failed = failed(&self.path);
        let mut file = self.temporary()?;
        let written = self.check_place(&file).and_then(|()| {
            restrict(&file)
                .and_then(|()| file.write_all(bytes))
                .and_then(|()| file.sync_all())
                .and_then(|()| rename(&file, &self.path))
                .map_err(&failed)
        });
        if written.is_err() {
            // Where it came to be elsewhere, it goes from there.
            discard(&file);
        }
        written
    }

    fn temporary(&self) -> Result<File> {
        let failed = failed(&self.path);
        let directory = self.path.parent().unwrap_or(&self.path);
        for _ in 0..NAMES {
            let mut random = [0_u8; 8];
            getrandom::fill(&mut random).map_err(|_| failed(io::ErrorKind::Other.into()))?;
            let name = format!(".mezame-{:016x}", u64::from_ne_bytes(random));
            let made = OpenOptions::new()
                .write(true)
                .create_new(true)
                .access_mode(GENERIC_WRITE | DELETE | READ_CONTROL | WRITE_DAC)
                // Nobody else opens it before it has its place.
                .share_mode(0)
                .custom_flags(FILE_FLAG_OPEN_REPARSE_POINT)
                .open(directory.join(name));
            match made {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                other => return other.map_err(failed),
            }
        }
        Err(failed(io::ErrorKind::AlreadyExists.into()))
    }

    /// Refuses a file that is not in the directory which is held.
    fn check_place(&self, file: &File) -> Result<()> {
        self.held.last().map_or(Ok(()), |directory| check_below(directory, file, &self.path))
    }
}

/// Refuses what is open where it is not in the directory that is held.
fn check_below(directory: &File, file: &File, path: &Path) -> Result<()> {
    let failed = failed(path);
    let (place, is) = (place(directory).map_err(&failed)?, place(file).map_err(&failed)?);
    if is.parent() == Some(&place) {
        return Ok(());
    }
    Err(untrusted(path, "its directory was made a junction just now"))
}

fn directory_at(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .access_mode(FILE_LIST_DIRECTORY | FILE_READ_ATTRIBUTES | READ_CONTROL)
        .share_mode(FILE_SHARE_READ | FILE_SHARE_WRITE)
        .custom_flags(FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_OPEN_REPARSE_POINT)
        .open(path)
}

/// A file or a directory, whatever it is, to be looked at.
pub(super) fn open_as_it_is(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .access_mode(GENERIC_READ | READ_CONTROL)
        .share_mode(FILE_SHARE_READ | FILE_SHARE_WRITE)
        .custom_flags(FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_OPEN_REPARSE_POINT)
        .open(path)
}

/// Whether what is open is a link of any kind.
pub(super) fn is_link(file: &File) -> io::Result<bool> {
    Ok(look(file)?.dwFileAttributes & FILE_ATTRIBUTE_REPARSE_POINT != 0)
}

fn look(file: &File) -> io::Result<BY_HANDLE_FILE_INFORMATION> {
    let mut seen = BY_HANDLE_FILE_INFORMATION::default();
    // SAFETY: an open file, and a place for what is told of it.
    succeeded(unsafe { GetFileInformationByHandle(file.as_raw_handle(), &mut seen) })?;
    Ok(seen)
}

/// Where an open file truly is.
fn place(file: &File) -> io::Result<PathBuf> {
    let mut buffer = vec![0_u16; MAX_PATH];
    // SAFETY: an open file, and a buffer of the length that is said.
    let length = unsafe {
        GetFinalPathNameByHandleW(file.as_raw_handle(), buffer.as_mut_ptr(), MAX_PATH as u32, 0)
    };
    match length as usize {
        0 => Err(io::Error::last_os_error()),
        long if long >= MAX_PATH => Err(io::ErrorKind::InvalidFilename.into()),
        _ => Ok(PathBuf::from(narrow(&buffer))),
    }
}

/// Renames an open file, over what is there.
fn rename(file: &File, to: &Path) -> io::Result<()> {
    let name: Vec<u16> = to.as_os_str().encode_wide().collect();
    let bytes = size_of::<FILE_RENAME_INFO>() + name.len() * 2;
    // Eight bytes each: the value must be aligned; it is zero where nothing is written.
    let mut buffer = vec![0_u64; bytes / 8 + 1];
    let info: *mut FILE_RENAME_INFO = buffer.as_mut_ptr().cast();
    // SAFETY: the buffer has room for the value with the name at its end, and is aligned for it.
    unsafe {
        (*info).Anonymous.ReplaceIfExists = true;
        (*info).FileNameLength = u32::try_from(name.len() * 2).unwrap_or(u32::MAX);
        let place = (&raw mut (*info).FileName).cast::<u16>();
        std::ptr::copy_nonoverlapping(name.as_ptr(), place, name.len());
        succeeded(SetFileInformationByHandle(
            file.as_raw_handle(),
            FileRenameInfo,
            info.cast(),
            u32::try_from(bytes).unwrap_or(u32::MAX),
        ))
    }
}

/// Has an open file gone when it is closed.
fn discard(file: &File) {
    let info = FILE_DISPOSITION_INFO { DeleteFile: true };
    let size = size_of::<FILE_DISPOSITION_INFO>() as u32;
    // SAFETY: an open file that may be deleted, and a value of the form that is said. Where it
    // stays, it is an empty file of a random name.
    unsafe {
        SetFileInformationByHandle(
            file.as_raw_handle(),
            FileDispositionInfo,
            (&raw const info).cast(),
            size,
        )
    };
}

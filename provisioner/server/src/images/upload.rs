//! A file that is being sent: written as it comes, never held in memory, and bounded by what all
//! such files may take together.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use nix::fcntl::OFlag;
use ring::digest::{Context, SHA512};
use subtle::ConstantTimeEq;

use mezame_images::room;
use mezame_model::api::Fault;

use super::{fault, order::Order};
use crate::{fault::plain, jobs::Unfinished};

/// What such a file's name begins with.
const PREFIX: &str = "upload-";

/// The folder of uploads, and how much of it is taken.
pub(crate) struct Room {
    folder: PathBuf,
    most: u64,
    /// What must stay free on the folder's file system, in bytes: by default the database is there.
    reserve: u64,
    taken: AtomicU64,
}

impl Room {
    /// Opens the folder, made with mode 0700 where it is missing and `make` says so. What an
    /// earlier process left in it is removed. Without a reserve it is the usual one of its file
    /// system.
    pub(crate) fn open(
        folder: PathBuf,
        most: u64,
        reserve: Option<u64>,
        make: bool,
    ) -> io::Result<Arc<Self>> {
        if make {
            DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        }
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(PREFIX)
                && let Err(error) = fs::remove_file(entry.path())
            {
                let path = entry.path();
                tracing::warn!(path = %path.display(), %error, "an upload can't be removed");
            }
        }
        // Whether anything can be written there is better known before a file comes.
        probe(&folder)?;
        let reserve = reserve.map_or_else(|| room::usual_reserve(&folder), Ok)?;
        Ok(Arc::new(Self { folder, most, reserve, taken: AtomicU64::new(0) }))
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn most(&self) -> u64 {
        self.most
    }

    pub(crate) fn reserve(&self) -> u64 {
        self.reserve
    }

    /// Whether so many bytes more leave others their room.
    pub(crate) fn check(&self, bytes: u64) -> Result<(), Fault> {
        match room::free(&self.folder) {
            Ok(free) if free >= self.reserve.saturating_add(bytes) => Ok(()),
            Ok(_) => Err(fault::no_room("the folder of uploads has no room for the file")),
            Err(error) => Err(unwritten(&error)),
        }
    }

    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::SeqCst)
    }

    fn take(&self, bytes: u64) -> bool {
        let more = |taken: u64| taken.checked_add(bytes).filter(|taken| *taken <= self.most);
        self.taken.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).is_ok()
    }
}

/// A file that is there until this is dropped.
pub(crate) struct Upload {
    room: Arc<Room>,
    path: PathBuf,
    file: File,
    length: u64,
    /// What of the room is this one's: its length, or what was said that it will be.
    taken: u64,
    sha512: Option<Context>,
}

impl Upload {
    /// Begins a file.
    pub(crate) fn begin(room: &Arc<Room>, job: &str, order: &Order) -> Result<Self, Unfinished> {
        let taken = order.size.unwrap_or(0);
        if !room.take(taken) {
            return Err(full(room));
        }
        let path = room.folder.join(format!("{PREFIX}{job}"));
        let mut options = OpenOptions::new();
        let opened = options.read(true).write(true).create_new(true).mode(0o600).open(&path);
        let file = match opened {
            Ok(file) => file,
            Err(error) => {
                room.taken.fetch_sub(taken, Ordering::SeqCst);
                return Err(unwritten(&error).into());
            }
        };
        let sha512 = order.sha512.map(|_| Context::new(&SHA512));
        Ok(Self { room: Arc::clone(room), path, file, length: 0, taken, sha512 })
    }

    /// Writes what comes next.
    pub(crate) fn write(&mut self, bytes: &[u8], order: &Order) -> Result<(), Unfinished> {
        self.length += bytes.len() as u64;
        if let Some(size) = order.size
            && self.length > size
        {
            return Err(plain("size", "the file is longer than was said", "say its size").into());
        }
        if self.length > self.taken {
            if !self.room.take(self.length - self.taken) {
                return Err(full(&self.room));
            }
            self.taken = self.length;
        }
        self.room.check(bytes.len() as u64)?;
        if let Some(context) = &mut self.sha512 {
            context.update(bytes);
        }
        self.file.write_all(bytes).map_err(|error| unwritten(&error))?;
        Ok(())
    }

    /// Looks whether all of it came, and whether it is what was meant.
    pub(crate) fn check(&mut self, order: &Order) -> Result<(), Unfinished> {
        if order.size.is_some_and(|size| size != self.length) {
            let message = format!("the file ended after {} bytes", self.length);
            return Err(plain("size", message, "send it again").into());
        }
        let found = self.sha512.take().map(Context::finish);
        if let (Some(found), Some(wanted)) = (found, &order.sha512)
            && !bool::from(found.as_ref().ct_eq(wanted))
        {
            let message = format!("the file has the SHA-512 {}", crate::spec::hex(found.as_ref()));
            let mend = "it is another than was meant, or did not come whole: get it again";
            return Err(plain("sha512", message, mend).into());
        }
        Ok(())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn length(&self) -> u64 {
        self.length
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "an upload can't be removed");
        }
        self.room.taken.fetch_sub(self.taken, Ordering::SeqCst);
    }
}

fn full(room: &Room) -> Unfinished {
    let message = format!("all files that are sent may have {} bytes together", room.most);
    let mend = "wait until other imports are done, or have 'upload_bytes' raised";
    plain(fault::SITE, message, mend).into()
}

fn unwritten(error: &io::Error) -> Fault {
    tracing::error!(%error, "an upload can't be written");
    fault::no_room(format!("the file can't be written: {}", error.kind()))
}

/// Opens a file without a name, to be written.
fn probe(folder: &Path) -> io::Result<()> {
    let flags = OFlag::O_TMPFILE.bits();
    OpenOptions::new().write(true).mode(0o600).custom_flags(flags).open(folder).map(drop)
}

//! A disk that is open here: its bytes, and its mark as they have it.

use std::{
    fs::File,
    io,
    ops::Range,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

use nix::fcntl::OFlag;

use super::{
    Carried, Carrier, CarrierError, Found, Mark, MarkFault, Owner, Seen, blank, capacity, mark,
};
use crate::{
    archive::{source::Source, target::Target},
    clone::reserve,
    iscsi::{LunDisk, LunError},
    volume::Place,
};

static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Who may have the disk open meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Anybody; it is read.
    Look,
    /// Whoever runs the volume; the mark is written.
    Beside,
    /// Nobody, as far as can be seen to.
    Alone,
}

impl Carrier {
    pub(super) fn open(&self, mode: Mode) -> Result<Open<'_>, CarrierError> {
        let (bytes, length) = match &self.place {
            Place::Lun(lun) => {
                let access = self.access.as_ref();
                let none = || LunError::NoAccess(Box::new(lun.clone()));
                let access = access.ok_or_else(none)?;
                let disk = match mode {
                    Mode::Look => LunDisk::read(lun, access)?,
                    Mode::Beside | Mode::Alone => LunDisk::write(lun, access)?,
                };
                let length = disk.size();
                (Bytes::Lun(Box::new(disk)), length)
            }
            Place::File(path) | Place::Device(path) => {
                let failed = |source: io::Error| match source.kind() {
                    io::ErrorKind::ResourceBusy => CarrierError::InUse { disk: self.to_string() },
                    _ => CarrierError::Io { doing: "opening", disk: self.to_string(), source },
                };
                let (file, length) = self.place.open().map_err(failed)?;
                let file = match mode {
                    Mode::Look => file,
                    Mode::Beside => beside(path).map_err(failed)?,
                    Mode::Alone => reserve(&self.place).map_err(failed)?,
                };
                (Bytes::File(file), length)
            }
        };
        Ok(Open { carrier: self, bytes, length })
    }
}

fn beside(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)
}

enum Bytes {
    File(File),
    Lun(Box<LunDisk>),
}

/// A disk that is open here.
pub(super) struct Open<'a> {
    carrier: &'a Carrier,
    bytes: Bytes,
    length: u64,
}

impl Open<'_> {
    pub(super) fn read(&self, at: u64, into: &mut [u8]) -> Result<(), CarrierError> {
        let read = match &self.bytes {
            Bytes::File(file) => file.read_exact_at(into, at),
            Bytes::Lun(disk) => Source::read_at(&**disk, into, at),
        };
        read.map_err(self.failed("reading"))
    }

    fn failed(&self, doing: &'static str) -> impl FnOnce(io::Error) -> CarrierError {
        let disk = self.carrier.to_string();
        move |source| CarrierError::Io { doing, disk, source }
    }

    fn capacity(&self) -> Result<u64, CarrierError> {
        let length = self.length;
        let short = || CarrierError::TooShort { disk: self.carrier.to_string(), length };
        capacity(length).ok_or_else(short)
    }

    fn mark(&self) -> Result<Option<(Mark, usize)>, CarrierError> {
        let [first, second] = mark::slots(self.capacity()?);
        let (mut one, mut other) = (vec![0; mark::SLOT], vec![0; mark::SLOT]);
        self.read(first, &mut one)?;
        self.read(second, &mut other)?;
        let read = Mark::read([&one, &other], self.length);
        read.map_err(|source| CarrierError::Mark { disk: self.carrier.to_string(), source })
    }

    pub(super) fn seen(&self) -> Result<Seen, CarrierError> {
        let (length, capacity) = (self.length, self.capacity()?);
        let found = match self.mark() {
            Ok(Some((mark, _))) => Found::Mark(Box::new(mark)),
            // One that is damaged is somebody's.
            Err(CarrierError::Mark { source, .. }) => Found::Other(format!("a mark: {source}")),
            Err(error) => return Err(error),
            Ok(None) => self.unmarked()?,
        };
        Ok(Seen { length, capacity, found })
    }

    fn unmarked(&self) -> Result<Found, CarrierError> {
        let edge = self.length.min(blank::EDGE as u64);
        let mut head = vec![0; usize::try_from(edge).unwrap_or(0)];
        let mut tail = head.clone();
        self.read(0, &mut head)?;
        self.read(self.length - edge, &mut tail)?;
        Ok(blank::found(&head, &tail).map_or(Found::Blank, |what| Found::Other(what.into())))
    }

    /// The mark of a disk of this owner's.
    pub(super) fn ours(&self, owner: &Owner) -> Result<(Mark, usize), CarrierError> {
        match self.mark()? {
            Some((mark, next)) if mark.owner == *owner => Ok((mark, next)),
            Some((mark, _)) => Err(self.carrier.not_ours(&Found::Mark(Box::new(mark)))),
            None => Err(self.carrier.not_ours(&self.unmarked()?)),
        }
    }

    /// Writes what comes after a mark, and sees that it is there.
    pub(super) fn write(
        &self,
        mark: &Mark,
        slot: usize,
        carried: Option<Carried>,
    ) -> Result<(), CarrierError> {
        let told = |source| CarrierError::Mark { disk: self.carrier.to_string(), source };
        let bytes = mark.next(carried).map_err(told)?;
        let slots = mark::slots(self.capacity()?);
        let at = slots.get(slot).copied().unwrap_or(slots[0]);
        self.put(at, &bytes)?;
        self.sync()?;
        let mut there = vec![0; bytes.len()];
        self.read(at, &mut there)?;
        if there == bytes { Ok(()) } else { Err(told(MarkFault::Damaged)) }
    }

    fn put(&self, at: u64, bytes: &[u8]) -> Result<(), CarrierError> {
        let written = match &self.bytes {
            Bytes::File(file) => file.write_all_at(bytes, at),
            Bytes::Lun(disk) => Target::write_at(&**disk, bytes, at),
        };
        written.map_err(self.failed("writing"))
    }

    fn sync(&self) -> Result<(), CarrierError> {
        let synced = match &self.bytes {
            Bytes::File(file) => file.sync_all(),
            Bytes::Lun(disk) => Target::finish(&**disk),
        };
        synced.map_err(self.failed("syncing"))
    }

    pub(super) fn wipe(&self, range: Range<u64>) -> Result<(), CarrierError> {
        let mut at = range.start;
        while at < range.end {
            let part = usize::try_from(range.end - at).map_or(ZEROS.len(), |l| l.min(ZEROS.len()));
            self.put(at, &ZEROS[..part])?;
            at += part as u64;
        }
        self.sync()
    }
}

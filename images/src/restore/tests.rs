//! Images made disks again: masters, new volumes, and volumes that had other contents; on real files
//! and devices, with QEMU's tools and daemon.

mod in_place;
mod killed;
mod leftovers;
mod masters;

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use super::{
    in_place::{Manner, Restored, Subject, cancel, restore},
    masters::{MasterName, Masters},
    new_volume,
    records::Records,
    *,
};
use crate::{
    archive::{ArchiveError, Progress, Unwatched, Watch},
    testing::{Numbers, vault::Vault},
    volume::{Data, Durability, HostCache, Place, Volume, VolumeId},
};

impl Vault {
    /// What an image is restored by.
    pub(super) fn origin<'a>(
        &'a self,
        image: &'a Visible,
        keys: &'a VolumeKeys,
        run: &'a Path,
    ) -> Origin<'a> {
        Origin { archive: &self.archive, image, keys, may_be_clear: false, run }
    }
}

/// Bytes of 3 MiB and a bit, not all of them the same as another number's, with a hole.
fn contents_of(number: u64) -> Vec<u8> {
    let mut numbers = Numbers(number);
    let mut bytes = vec![0; (3 << 20) + 4096];
    let (first, rest) = bytes.split_at_mut(1 << 20);
    for byte in first.iter_mut().step_by(97) {
        *byte = u8::try_from(numbers.below(256)).unwrap();
    }
    rest[1 << 20..].fill_with(|| u8::try_from(numbers.below(256)).unwrap());
    bytes
}

fn id(name: &str) -> VolumeId {
    VolumeId::parse(name).unwrap()
}

fn plain(name: &str, place: Place) -> Volume {
    Volume::new(id(name), Data::Plain(place), Durability::Plain, HostCache::Direct).unwrap()
}

/// A plain volume with these bytes.
fn volume(directory: &Path, bytes: &[u8]) -> (Volume, PathBuf) {
    let path = directory.join("disk.raw");
    std::fs::write(&path, bytes).unwrap();
    (plain("disk", Place::File(path.clone())), path)
}

fn records(directory: &Path) -> Records {
    Records::create(&directory.join("records")).unwrap()
}

/// Ends what it watches at once, or when something has been written.
#[derive(Default)]
struct Impatient {
    is_over: AtomicBool,
    written: AtomicU64,
}

impl Impatient {
    fn at_once() -> Self {
        Self { is_over: true.into(), ..Self::default() }
    }

    fn once_written() -> Self {
        Self::default()
    }
}

impl Watch for Impatient {
    fn tell(&self, progress: Progress) {
        self.written.store(progress.written, Ordering::SeqCst);
        self.is_over.fetch_or(progress.written > 0, Ordering::SeqCst);
    }

    fn is_cancelled(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }
}

/// Bytes of three pieces that one thread restores one after the other.
fn long_contents() -> Vec<u8> {
    (0..12).flat_map(contents_of).collect()
}

fn is_cancelled(error: &RestoreError) -> bool {
    matches!(error, RestoreError::Archive(ArchiveError::Cancelled))
}

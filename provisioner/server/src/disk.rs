//! A guest's metadata as a disk, for guests that have no network when they want to know who they
//! are: its files, laid into a FAT volume.
//!
//! ```text
//! record ─► protocol::disk (the trees that HTTP answers from) ─► fat ─► image
//! ```
//! The same record gives the same bytes: the volume's serial number is made of its files, their
//! times are the instance's own, and `random_seed` comes from a secret of the installation. So the
//! image's hash tells whether a disk that was written earlier is still right.
//!
//! Knows no HTTP and no disk to write to, reads no clock, and never logs what it lays down.

pub(crate) mod fat;
mod random_seed;

use std::sync::Arc;

use mezame_model::{Dialect, Guest, Instance, Snapshot};
use mezame_protocol::{
    Context, Signer, SignerError, Spent, TokenKeyError, TokenKeys, UnixTime,
    disk::{self, DialectMissing, DiskFile, DiskFormat},
};
use ring::{
    digest::{Context as Hash, SHA256, digest},
    rand::SystemRandom,
};

use self::fat::{Label, Timestamp, Volume, VolumeError};
use crate::spec::hex;
use random_seed::RandomSeed;

/// Why there is no disk.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DiskError {
    /// The instance's ports or their networks are not all there.
    #[error("the instance's record is not whole")]
    NotWhole,
    /// The instance is not answered in what the disk would hold.
    #[error("a {format} disk holds what the instance is not answered in: {}", .dialect.as_str())]
    Dialect {
        /// What was asked for.
        format: DiskFormat,
        /// What it would hold.
        dialect: Dialect,
    },
    /// The installation's token keys can't be used.
    #[error(transparent)]
    TokenKeys(#[from] TokenKeyError),
    /// The installation's signing key can't be used.
    #[error(transparent)]
    SigningKey(#[from] SignerError),
    /// The files can't be laid into a volume.
    #[error(transparent)]
    Volume(#[from] VolumeError),
}

/// A disk's image. No Debug: it holds what guests keep secret.
pub(crate) struct Disk {
    /// The image's bytes.
    pub(crate) image: Vec<u8>,
    /// SHA-256 of the image, in hexadecimal digits.
    pub(crate) digest: String,
}

impl Disk {
    /// Makes an instance's disk. Takes milliseconds; with the largest user-data and vendor-data
    /// that there may be some tenths of a second, and an image of 91 MiB.
    pub(crate) fn make(
        snapshot: &Snapshot,
        instance: &Arc<Instance>,
        format: DiskFormat,
    ) -> Result<Self, DiskError> {
        let guest = Guest::join(snapshot, instance).ok_or(DiskError::NotWhole)?;
        let files = files(snapshot, &guest, format)?;
        let volume = Volume {
            label: label(format),
            serial: serial(format, &files),
            time: Timestamp::of(guest.instance.launched_at),
        };
        let files: Vec<(&str, &[u8])> =
            files.iter().map(|file| (file.path.as_str(), &file.bytes[..])).collect();
        let image = volume.of(&files)?;
        let digest = hex(digest(&SHA256, &image).as_ref());
        Ok(Self { image, digest })
    }
}

/// The files, as the guest would be answered over HTTP.
fn files(
    snapshot: &Snapshot,
    guest: &Guest,
    format: DiskFormat,
) -> Result<Vec<DiskFile>, DiskError> {
    let keys = TokenKeys::new(&snapshot.site.token_keys)?;
    let signer = Signer::new(&snapshot.site.signing_key, Box::new(SystemRandom::new()))?;
    let random = RandomSeed::new(&snapshot.site.signing_key.pkcs8, &guest.instance.id);
    let context = Context {
        keys: &keys,
        signer: &signer,
        // Nothing that lies on a disk depends on it.
        now: UnixTime(guest.instance.launched_at),
        random: &random,
        port: &guest.primary().port.id,
        generation: snapshot.generation,
        modified: None,
        start: mezame_protocol::Start::NONE,
        acknowledged: &Spent::NONE,
        order: None,
        watch_over: false,
        watched: None,
    };
    disk::files(format, guest, &context)
        .map_err(|DialectMissing(dialect)| DiskError::Dialect { format, dialect })
}

/// What clients look for. cloud-init takes either case of both. Nova's is in small letters, and
/// older clients know no other: cloud-init 0.7, and cloudbase-init where it reads by mtools.
fn label(format: DiskFormat) -> Label {
    match format {
        DiskFormat::ConfigTwo => Label::new("config-2"),
        DiskFormat::Cidata => Label::new("CIDATA"),
    }
}

/// The serial number of a volume with these files.
fn serial(format: DiskFormat, files: &[DiskFile]) -> u32 {
    let mut hash = Hash::new(&SHA256);
    hash.update(format.as_str().as_bytes());
    for file in files {
        for part in [file.path.as_bytes(), &file.bytes] {
            hash.update(&(part.len() as u64).to_be_bytes());
            hash.update(part);
        }
    }
    let hash = hash.finish();
    hash.as_ref().iter().take(4).fold(0, |serial, byte| serial << 8 | u32::from(*byte))
}

#[cfg(test)]
mod tests;

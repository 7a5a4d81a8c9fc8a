//! Restoring: what is in the archive becomes a disk again.
//!
//! ```text
//!  image ──► a master, made once, which any number of instant clones share   [`masters`]
//!  image ──► a new volume                                                   [`new_volume`]
//!  image ──► a stopped guest's volume, in place of what it held              [`in_place`]
//! ```
//! Each chunk is checked before it is written. Wherever there is a file system, the bytes are written
//! to a file beside and get their name last, so that a volume is the old one or the new one and never
//! half of each. What has no name to give, a block device, is written over; a record says so until
//! that is done ([`records`]), and whoever starts guests asks for it.
//!
//! Nothing here starts a guest or mounts a disk. To read single files out of an image see
//! [`crate::files`].

mod error;
mod fetch;
pub mod in_place;
pub mod masters;
pub mod new_volume;
mod over;
pub mod records;
#[cfg(test)]
mod tests;
mod through_qemu;

pub use error::RestoreError;

use std::path::{Path, PathBuf};

use crate::{
    archive::{Archive, Visible},
    encryption::VolumeKeys,
};

/// Which image is restored, and with what.
#[derive(Clone, Copy)]
pub struct Origin<'a> {
    /// Where the image is.
    pub archive: &'a Archive,
    /// The image.
    pub image: &'a Visible,
    /// The keys of what it is restored to, if that is encrypted.
    pub keys: &'a VolumeKeys,
    /// A directory that only we may enter, for sockets of QEMU's storage daemon.
    pub run: &'a Path,
}

/// A name beside another.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

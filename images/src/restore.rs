//! Restoring: what is in the archive becomes a disk again.
//!
//! ```text
//!  image ──► a master, made once, which any number of instant clones share   [`masters`]
//!  image ──► a new volume                                                   [`new_volume`]
//!  image ──► a stopped guest's volume, in place of what it held              [`in_place`]
//!  image ──► a block device or LUN that carries one volume                   [`whole_disk`]
//! ```
//! Each chunk is checked before it is written. Wherever there is a file system, the bytes are written
//! to a file beside and get their name last, so that a volume is the old one or the new one and never
//! half of each. What has no name to give, a block device, is written over; a record says so until
//! that is done ([`records`]), and whoever starts guests asks for it.
//!
//! What was encrypted at its hypervisor, as the image's label says, is encrypted again, with a key and a
//! header of its own: what the archive deciphers goes over a UNIX socket to QEMU's storage daemon, and
//! no file has it in the clear. Otherwise only where that is asked for ([`Origin::may_be_clear`]).
//!
//! Nothing here starts a guest or mounts a disk. To read single files out of an image see
//! [`crate::files`].

mod error;
mod fetch;
mod held;
pub mod in_place;
pub mod masters;
pub mod new_volume;
mod over;
pub mod records;
#[cfg(test)]
mod tests;
mod through_qemu;
pub mod whole_disk;

pub use error::RestoreError;

use std::path::{Path, PathBuf};

use crate::{
    archive::{Archive, Visible},
    backup::pull,
    capture,
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
    /// Whether what was encrypted where the image was taken may be in the clear here. That is refused
    /// otherwise.
    pub may_be_clear: bool,
    /// A directory that only we may enter, for sockets of QEMU's storage daemon.
    pub run: &'a Path,
}

impl Origin<'_> {
    /// That what was encrypted is encrypted again, unless it needn't be.
    fn check_key(&self, is_encrypted: bool) -> Result<(), RestoreError> {
        let image = self.image.image();
        let labels = image.detail.as_ref().map(|detail| &detail.labels);
        let is_marked = |label| labels.is_some_and(|labels| labels.contains_key(label));
        let was_encrypted = is_marked(pull::ENCRYPTED) || is_marked(capture::ENCRYPTED);
        if was_encrypted && !is_encrypted && !self.may_be_clear {
            return Err(RestoreError::WouldBeClear(image.id));
        }
        Ok(())
    }
}

/// A name beside another.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

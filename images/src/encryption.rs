//! Encryption of volumes at the hypervisor: LUKS in QEMU, so that any guest system's disk is
//! encrypted without its doing, and a file that is taken away says nothing.
//!
//! QEMU does all of the ciphering. What is here holds keys ([`VolumeKey`]), hands them to QEMU's
//! programs so that nobody else sees them ([`secret`]), has headers made ([`image`]), changes a
//! volume's key while its guest runs ([`rotation`]), and destroys a header for good ([`erasure`]).
//!
//! ```text
//!   overlay clone     qcow2, encrypt.format=luks    header in clusters of the file
//!   plain, hydrated   luks over a file or device    header before the first byte
//! ```
//! A key opens one of a header's eight keyslots; in there is the key that the data is encrypted
//! with, which is made by QEMU, is each header's own and never changes. So changing a volume's key
//! encrypts no data anew, and whoever has a copy of an old header and its key can open the volume.
//!
//! After the LUKS On-Disk Format Specification 1.2.1 and
//! <https://www.qemu.org/docs/master/interop/qcow2.html> ("Full disk encryption header").

pub mod erasure;
pub(crate) mod header;
pub(crate) mod image;
mod key;
pub mod rotation;
pub mod secret;
#[cfg(test)]
mod tests;

pub use image::ImageError;
pub use key::{KeyNumber, MissingKey, VolumeKey, VolumeKeys};
pub use rotation::Keyslots;

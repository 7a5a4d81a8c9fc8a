//! What a master is called: of what it is, and how long where that is not the image's own length.
//!
//! `IMAGE`, `IMAGE-BYTES` or `zeros-BYTES`. An image never changes, so a master is right for as long as
//! it is there, and asking for the same finds the same.

use std::fmt;

use super::SECTOR;
use crate::{archive::ImageId, volume::VolumeId};

/// A master's name in its directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MasterName {
    /// Of an image, as long as that.
    Image(ImageId),
    /// Of an image, and zeros behind it up to so many bytes.
    Longer(ImageId, u64),
    /// Of so many zeros.
    Zeros(u64),
}

impl MasterName {
    /// That of an image's master with this length in bytes, which is at least the image's.
    pub fn of(image: ImageId, image_size: u64, size: u64) -> Self {
        if size == image_size.next_multiple_of(SECTOR) {
            Self::Image(image)
        } else {
            Self::Longer(image, size)
        }
    }

    /// A name as it is written; None of anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let number = |text: &str| text.parse().ok();
        let name = if let Some(size) = text.strip_prefix("zeros-") {
            Self::Zeros(number(size)?)
        } else if let Ok(image) = ImageId::parse(text) {
            Self::Image(image)
        } else {
            let (image, size) = text.rsplit_once('-')?;
            Self::Longer(ImageId::parse(image).ok()?, number(size)?)
        };
        // One master has one name.
        (name.to_string() == text).then_some(name)
    }

    /// What QEMU's programs call a master while it is made: no other one, in the same directory of
    /// sockets.
    pub(super) fn node(&self) -> VolumeId {
        let digits = blake3::hash(self.to_string().as_bytes()).to_hex();
        let name = format!("m{}", &digits[..16]);
        VolumeId::parse(&name).unwrap_or_else(|_| unreachable!("{name}"))
    }
}

impl From<ImageId> for MasterName {
    fn from(image: ImageId) -> Self {
        Self::Image(image)
    }
}

impl fmt::Display for MasterName {
    fn fmt(&self, into: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(image) => write!(into, "{image}"),
            Self::Longer(image, size) => write!(into, "{image}-{size}"),
            Self::Zeros(size) => write!(into, "zeros-{size}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_was_written_and_no_other() {
        let image = ImageId::parse("img-0123456789abcdef0123456789abcdef").unwrap();
        let names = [
            MasterName::of(image, 1000, 1024),
            MasterName::of(image, 1000, 2048),
            MasterName::Zeros(512),
        ];
        assert_eq!(names[..2], [MasterName::Image(image), MasterName::Longer(image, 2048)]);
        for name in names {
            assert_eq!(MasterName::parse(&name.to_string()), Some(name));
        }
        assert_ne!(names[0].node(), names[1].node());
        for other in ["", "zeros-", "zeros-01", "zeros-+1", "img-01", "..", &format!("{image}-x")] {
            assert_eq!(MasterName::parse(other), None, "{other}");
        }
    }
}

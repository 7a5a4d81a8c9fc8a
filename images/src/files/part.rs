//! A part of an image, as a file system's parser reads it: nothing beyond its end, and no more in one
//! go than its owner allows, so that a damaged or hostile file system ends in an error and not in
//! days of fetching.

use std::{cell::RefCell, io, rc::Rc};

use crate::archive::ImageReader;

/// What may be read for one question. What a journal of 1 GiB takes, which is the longest that
/// `mkfs.ext4` makes, when a file system is opened.
const MOST: u64 = 2 << 30;
/// How many reads there may be for one question.
const MOST_READS: u64 = 8 << 20;

/// A partition's bytes. Copies of it share what they may read.
#[derive(Debug, Clone)]
pub(super) struct Part {
    image: Rc<RefCell<ImageReader>>,
    offset: u64,
    length: u64,
    left: Rc<RefCell<Left>>,
}

/// What may be read yet.
#[derive(Debug)]
struct Left {
    bytes: u64,
    reads: u64,
}

impl Part {
    pub(super) fn of(image: Rc<RefCell<ImageReader>>, offset: u64, length: u64) -> Self {
        let left = Rc::new(RefCell::new(Left { bytes: 0, reads: 0 }));
        let part = Self { image, offset, length, left };
        part.allow(0);
        part
    }

    /// Its length in bytes.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Begins another question, for which so many bytes may be read besides what any may.
    pub(super) fn allow(&self, further: u64) {
        *self.left.borrow_mut() =
            Left { bytes: MOST.saturating_add(further), reads: MOST_READS + further / 1024 };
    }

    /// Fills the buffer with what is at `offset` of the partition.
    pub(super) fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let length = buffer.len() as u64;
        if offset.checked_add(length).is_none_or(|end| end > self.length) {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "beyond the partition's end"));
        }
        let mut left = self.left.borrow_mut();
        let both = left.bytes.checked_sub(length).zip(left.reads.checked_sub(1));
        let (bytes, reads) = both.ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "it leads to more reads than any sound one")
        })?;
        *left = Left { bytes, reads };
        let mut image = self.image.borrow_mut();
        image.read_at(self.offset + offset, buffer).map_err(io::Error::other)
    }
}

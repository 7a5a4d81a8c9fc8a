//! What an image is made from: anything that has a size, and can be read at any place.
//!
//! A source says which parts have to be read at all: holes of a sparse file needn't be, nor what
//! has not changed since the last backup. What it does not mention is read. How a disk is cut into
//! chunks by that is pure ([`cut`]).

use std::{
    fs::File,
    io::{self, ErrorKind, Seek, SeekFrom},
    os::{fd::AsFd, unix::fs::FileExt},
    path::Path,
};

use nix::{
    errno::Errno,
    unistd::{Whence, lseek},
};

use super::chunk::CHUNK;

/// How often a file system is asked for the next hole: a disk that is all holes of 4 KiB would
/// take days of it, and memory for each.
const MOST_LOOKS: usize = 1 << 20;

/// A part of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Where it begins, in bytes.
    pub offset: u64,
    /// Its length, in bytes.
    pub length: u64,
    /// What is there.
    pub content: Content,
}

/// What a part of a disk holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Something that must be read.
    Data,
    /// Zeros.
    Zeros,
    /// The same as in the image that the new one is based on.
    Unchanged,
}

/// A disk at one point in time. It is read by several threads.
pub trait Source: Sync {
    /// Its length in bytes.
    fn size(&self) -> u64;

    /// What is known of its parts, in order and apart from each other. What is in none is data.
    fn extents(&self) -> io::Result<Vec<Extent>>;

    /// Fills the buffer with what is at `offset`.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// How many threads may read and compress it at once; as many as the archive has, if nothing is said.
    fn most_threads(&self) -> usize {
        usize::MAX
    }

    /// Called once all was read and before the image comes to be, which an error keeps it from:
    /// the last moment to say that what was read is not one disk.
    fn settle(&self) -> io::Result<()> {
        Ok(())
    }
}

/// A file, or a block device.
#[derive(Debug)]
pub struct FileSource {
    file: File,
    size: u64,
}

impl FileSource {
    /// Opens it.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::of(File::open(path)?)
    }

    /// That of an open file.
    pub fn of(mut file: File) -> io::Result<Self> {
        // Of a block device the metadata say nothing.
        let size = file.seek(SeekFrom::End(0))?;
        Ok(Self { file, size })
    }

    /// The holes that a chunk fits into: what is shorter leaves no chunk unread. Behind the last
    /// look nothing is known, so it is read.
    fn holes(&self, looks: usize) -> io::Result<Vec<Extent>> {
        let mut extents = Vec::new();
        let mut at = 0;
        for _ in 0..looks {
            if at >= self.size {
                break;
            }
            let data = match self.seek(at, Whence::SeekData) {
                // A block device, or an old file system.
                Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => break,
                other => other?.unwrap_or(self.size).min(self.size),
            };
            // The last chunk of a disk may be a short one.
            if data.saturating_sub(at) >= CHUNK as u64 || (data > at && data == self.size) {
                let hole = Extent { offset: at, length: data - at, content: Content::Zeros };
                extents.push(hole);
            }
            if data >= self.size {
                break;
            }
            let end = self.seek(data, Whence::SeekHole)?.unwrap_or(self.size);
            at = end.max(data + 1);
        }
        Ok(extents)
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    fn seek(&self, offset: u64, whence: Whence) -> io::Result<Option<u64>> {
        let offset = i64::try_from(offset).map_err(|_| ErrorKind::InvalidInput)?;
        match lseek(self.file.as_fd(), offset, whence) {
            Ok(found) => Ok(u64::try_from(found).ok()),
            // No data behind this.
            Err(Errno::ENXIO) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Source for FileSource {
    fn size(&self) -> u64 {
        self.size
    }

    /// The holes that the file system knows. Where it knows none, all is data.
    fn extents(&self) -> io::Result<Vec<Extent>> {
        self.holes(MOST_LOOKS)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }
}

/// What is to be done about each chunk of a disk of this size: `Zeros` or `Unchanged` where all of
/// the chunk is, `Data` elsewhere.
pub(crate) fn cut(size: u64, extents: &[Extent]) -> Vec<Content> {
    let chunk = CHUNK as u64;
    let count = usize::try_from(size.div_ceil(chunk)).unwrap_or(usize::MAX);
    let mut parts = vec![Content::Data; count];
    // How much of the chunk in question is of one content, and of which.
    let mut run: Option<(u64, Content)> = None;
    let mut end = 0;
    for extent in extents {
        let Some(extent_end) = extent.offset.checked_add(extent.length) else { break };
        // Out of order or overlapping: the rest is not believed.
        if extent.offset < end {
            break;
        }
        let goes_on = extent.offset == end;
        run = run.filter(|(_, content)| goes_on && *content == extent.content);
        let from = run.map_or(extent.offset, |(from, _)| from);
        run = Some((from, extent.content));
        end = extent_end.min(size);
        let first = from.div_ceil(chunk);
        let last = if end == size { count as u64 } else { end / chunk };
        for place in first..last {
            if let Some(part) = usize::try_from(place).ok().and_then(|place| parts.get_mut(place)) {
                *part = extent.content;
            }
        }
        if extent_end >= size {
            break;
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    const K: u64 = 1024;

    proptest! {
        #[test]
        fn a_chunk_is_left_unread_only_where_all_of_it_is_known(
            size in 0..3000 * K,
            lengths in prop::collection::vec((1..700 * K, 0..3u8), 0..20)
        ) {
            let mut extents = Vec::new();
            let mut offset = 0;
            for (length, what) in lengths {
                let content = [Content::Data, Content::Zeros, Content::Unchanged][what as usize];
                extents.push(Extent { offset, length, content });
                offset += length;
            }
            let at = |place: u64| {
                let found = extents.iter().find(|e| (e.offset..e.offset + e.length).contains(&place));
                found.map_or(Content::Data, |extent| extent.content)
            };
            for (number, part) in cut(size, &extents).into_iter().enumerate() {
                let start = number as u64 * CHUNK as u64;
                let end = (start + CHUNK as u64).min(size);
                // Every boundary lies at one of these.
                let mut places: Vec<u64> = extents.iter().map(|e| e.offset).collect();
                places.push(offset);
                places.retain(|place| (start..end).contains(place));
                places.push(start);
                let mut seen: Vec<_> = places.into_iter().map(at).collect();
                seen.dedup();
                let all = if seen.len() == 1 { seen[0] } else { Content::Data };
                prop_assert_eq!(part, all, "chunk {}", number);
            }
        }

        #[test]
        fn no_list_of_extents_makes_it_panic(
            size in 0..1u64 << 30,
            raw in prop::collection::vec((any::<u64>(), any::<u64>()), 0..20)
        ) {
            let extents: Vec<_> = raw
                .into_iter()
                .map(|(offset, length)| Extent { offset, length, content: Content::Zeros })
                .collect();
            cut(size, &extents);
        }
    }

    #[test]
    fn the_holes_of_a_sparse_file_are_told() {
        let mut file = tempfile::tempfile().unwrap();
        file.set_len(8 << 20).unwrap();
        file.seek(SeekFrom::Start(4 << 20)).unwrap();
        file.write_all(&[1; 4096]).unwrap();
        file.sync_all().unwrap();
        let source = FileSource::of(file).unwrap();
        let parts = cut(source.size(), &source.extents().unwrap());
        assert_eq!(parts.len(), 32);
        assert_eq!(parts[16], Content::Data);
        assert!(parts.iter().filter(|part| **part == Content::Zeros).count() >= 30, "{parts:?}");
    }

    #[test]
    fn a_file_of_very_many_holes_takes_neither_memory_nor_looks_without_bound() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(16 << 20).unwrap();
        for block in (0..2048).step_by(2) {
            file.write_all_at(&[1; 4096], block * 4096).unwrap();
        }
        file.sync_all().unwrap();
        let source = FileSource::of(file).unwrap();
        // Its second half is one hole.
        let whole = source.extents().unwrap();
        assert_eq!(whole.len(), 1, "{whole:?}");
        assert_eq!(cut(source.size(), &whole)[..32], [Content::Data; 32]);
        assert_eq!(cut(source.size(), &whole)[33..], [Content::Zeros; 31]);
        assert_eq!(source.holes(100).unwrap(), []);
    }
}

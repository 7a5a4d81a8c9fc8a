//! Reading an image here and there: only the chunks that are asked for are fetched, each is checked as
//! in a restore, and the last ones are kept for whoever comes back.
//!
//! Of an image's list of chunks only those pages are read that are needed, so a disk of 16 TiB takes no
//! more memory than a small one.

use std::{
    collections::VecDeque,
    io::{self, Read, Seek, SeekFrom},
    sync::Arc,
};

use super::{
    Archive, ArchiveError, ChunkFault, Visible,
    chunk::CHUNK,
    id::ChunkId,
    page::{self, PAGE},
    read::{Of, Reader, Scratch, broken},
    record,
};

/// Chunks that are kept: 8 MiB.
const CHUNKS: usize = 32;
/// Pages that are kept: 8 KiB each.
const PAGES: usize = 32;

/// An image as a disk that is read at any place.
pub struct ImageReader {
    reader: Reader<'static>,
    image: Visible,
    scratch: Scratch,
    pages: Recent<Arc<[ChunkId]>>,
    chunks: Recent<Arc<[u8]>>,
    at: u64,
    fetched: u64,
}

impl ImageReader {
    /// Opens an image.
    pub fn open(archive: Arc<Archive>, image: Visible) -> Result<Self, ArchiveError> {
        Ok(Self {
            reader: Reader::shared(archive)?,
            image,
            scratch: Scratch::new()?,
            pages: Recent::of(PAGES),
            chunks: Recent::of(CHUNKS),
            at: 0,
            fetched: 0,
        })
    }

    /// The disk's length in bytes.
    pub fn size(&self) -> u64 {
        self.image.record.image.size
    }

    /// Chunks that were fetched so far, those of zeros not counted.
    pub fn fetched(&self) -> u64 {
        self.fetched
    }

    /// Fills the buffer with what is at `offset`.
    ///
    /// # Errors
    /// [`ArchiveError::Chunk`] of what is damaged, and of what is beyond the end.
    pub fn read_at(&mut self, mut offset: u64, mut buffer: &mut [u8]) -> Result<(), ArchiveError> {
        while !buffer.is_empty() {
            let place = offset / CHUNK as u64;
            // Less than a chunk, which fits.
            let within = (offset % CHUNK as u64) as usize;
            let chunk = self.chunk(place)?;
            let there = chunk.get(within..).unwrap_or_default();
            let length = there.len().min(buffer.len());
            if length == 0 {
                return Err(broken(ChunkId::ZEROS, ChunkFault::Length));
            }
            let (now, rest) = buffer.split_at_mut(length);
            now.copy_from_slice(&there[..length]);
            (buffer, offset) = (rest, offset + length as u64);
        }
        Ok(())
    }

    /// The bytes of the disk's chunk at this place; none behind the end.
    fn chunk(&mut self, place: u64) -> Result<Arc<[u8]>, ArchiveError> {
        let rest = self.size().saturating_sub(place.saturating_mul(CHUNK as u64));
        let length = usize::try_from(rest).map_or(CHUNK, |rest| rest.min(CHUNK));
        if let Some(chunk) = self.chunks.find(place) {
            return Ok(chunk);
        }
        let id = if length == 0 { ChunkId::ZEROS } else { self.id(place)? };
        let chunk: Arc<[u8]> = if id == ChunkId::ZEROS {
            vec![0; length].into()
        } else {
            self.fetched += 1;
            let bytes = self.fetch(false, id)?;
            if bytes.len() != length {
                return Err(broken(id, ChunkFault::Length));
            }
            bytes.into()
        };
        self.chunks.keep(place, chunk.clone());
        Ok(chunk)
    }

    fn id(&mut self, place: u64) -> Result<ChunkId, ArchiveError> {
        let (number, within) = (place / PAGE as u64, (place % PAGE as u64) as usize);
        let page = match self.pages.find(number) {
            Some(page) => page,
            None => {
                let page = self.page(number)?;
                self.pages.keep(number, page.clone());
                page
            }
        };
        // A page names as many chunks as the record says, and this one is within the disk.
        Ok(page.get(within).copied().unwrap_or(ChunkId::ZEROS))
    }

    fn page(&mut self, number: u64) -> Result<Arc<[ChunkId]>, ArchiveError> {
        let chunks = record::counts(self.size()).0;
        let count = (chunks - number * PAGE as u64).min(PAGE as u64) as usize;
        let at = usize::try_from(number).unwrap_or(usize::MAX);
        let id = self.image.record.pages.get(at).copied().unwrap_or(ChunkId::ZEROS);
        if id == ChunkId::ZEROS {
            return Ok(vec![ChunkId::ZEROS; count].into());
        }
        let page = self.fetch(true, id)?;
        let page = page::parse(&page, count).ok_or_else(|| broken(id, ChunkFault::Length))?;
        Ok(page.into())
    }

    fn fetch(&mut self, is_page: bool, id: ChunkId) -> Result<Vec<u8>, ArchiveError> {
        let Self { reader, image, scratch, .. } = self;
        let of = if is_page { Of::Pages } else { Of::Disk(&image.domain) };
        let mut bytes = Vec::new();
        reader.read(of, &[id], scratch, &mut |_, plain| {
            bytes.extend_from_slice(plain.map_err(|fault| broken(id, fault))?);
            Ok(())
        })?;
        Ok(bytes)
    }
}

impl Read for ImageReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = self.size().saturating_sub(self.at);
        let length = usize::try_from(rest).map_or(buffer.len(), |rest| rest.min(buffer.len()));
        self.read_at(self.at, &mut buffer[..length]).map_err(io::Error::other)?;
        self.at += length as u64;
        Ok(length)
    }
}

impl Seek for ImageReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let to = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.size().checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = to.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

impl std::fmt::Debug for ImageReader {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("ImageReader").field("image", &self.image).finish_non_exhaustive()
    }
}

/// What was used last, by its number.
struct Recent<T> {
    most: usize,
    kept: VecDeque<(u64, T)>,
}

impl<T: Clone> Recent<T> {
    fn of(most: usize) -> Self {
        Self { most, kept: VecDeque::with_capacity(most) }
    }

    fn find(&mut self, number: u64) -> Option<T> {
        let at = self.kept.iter().position(|(kept, _)| *kept == number)?;
        let found = self.kept.remove(at)?;
        self.kept.push_front(found.clone());
        Some(found.1)
    }

    fn keep(&mut self, number: u64, value: T) {
        self.kept.truncate(self.most.saturating_sub(1));
        self.kept.push_front((number, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{
        Numbers,
        vault::{Vault, project_key},
    };

    #[test]
    fn what_is_read_here_and_there_is_the_disk_and_little_more_is_fetched() {
        for key in [None, Some(project_key())] {
            let vault = Vault::new(key);
            let mut numbers = Numbers(3);
            // 70 MiB, so two pages, and a short chunk at the end.
            let mut bytes = vec![0; (70 << 20) + 777];
            for at in (0..bytes.len()).step_by(4096) {
                if at % (4 << 20) < (2 << 20) {
                    bytes[at..(at + 64).min((70 << 20) + 777)].fill(numbers.below(256) as u8);
                }
            }
            bytes[(70 << 20)..].fill(9);
            let image = vault.backup("disk", &bytes);
            let mut reader = ImageReader::open(Arc::new(vault.archive), image).unwrap();
            let mut buffer = vec![0; 700 << 10];
            let far = (bytes.len() - buffer.len()) as u64;
            reader.read_at(far, &mut buffer).unwrap();
            assert!(buffer == bytes[bytes.len() - buffer.len()..]);
            assert!(reader.fetched() <= 4, "{} chunks", reader.fetched());
            for _ in 0..100 {
                let (at, length) = (numbers.below(far) as usize, numbers.below(600 << 10) as usize);
                reader.read_at(at as u64, &mut buffer[..length]).unwrap();
                assert!(buffer[..length] == bytes[at..at + length]);
            }
            let before = reader.fetched();
            reader.read_at(far, &mut buffer[..1]).unwrap();
            reader.read_at(far, &mut buffer[..1]).unwrap();
            assert!(reader.fetched() <= before + 1);
            assert!(reader.read_at(bytes.len() as u64 - 1, &mut buffer[..2]).is_err());
            let mut all = Vec::new();
            reader.seek(SeekFrom::End(-1000)).unwrap();
            reader.read_to_end(&mut all).unwrap();
            assert!(all == bytes[bytes.len() - 1000..]);
        }
    }
}

//! The image that a backup goes on from, read out of the archive for the part of a chunk that has not
//! changed: what is in the archive needn't be moved.
//!
//! Each chunk is checked by its address, as in a restore. It is never the last word: a chunk that
//! can't be read any more, or isn't what it is called, is moved whole instead.

use std::sync::{Mutex, PoisonError};

use crate::archive::{
    Archive, ArchiveError, ChunkId, Visible,
    chunk::CHUNK,
    domain::Domain,
    read::{Of, Reader, Scratch},
};

/// An image whose chunks can be read.
pub(super) struct Base<'a> {
    reader: Reader<'a>,
    domain: &'a Domain,
    chunks: Vec<ChunkId>,
    idle: Mutex<Vec<Scratch>>,
}

impl<'a> Base<'a> {
    /// Reads which chunks it has.
    pub(super) fn of(archive: &'a Archive, image: &'a Visible) -> Result<Self, ArchiveError> {
        let reader = Reader::new(archive)?;
        let mut scratch = Scratch::new()?;
        let chunks = reader.chunks(&image.record, &mut scratch)?;
        Ok(Self { reader, domain: &image.domain, chunks, idle: vec![scratch].into() })
    }

    /// Fills those of these chunks that are wanted, the first of which is the disk's `first`; which
    /// ones were filled.
    pub(super) fn fill(&self, first: usize, chunks: &mut [u8], is_wanted: &[bool]) -> Vec<bool> {
        let mut is_filled = vec![false; is_wanted.len()];
        let (mut places, mut ids) = (Vec::new(), Vec::new());
        for (place, chunk) in chunks.chunks_mut(CHUNK).enumerate() {
            match self.chunks.get(first + place) {
                _ if !is_wanted.get(place).is_some_and(|wanted| *wanted) => {}
                Some(&ChunkId::ZEROS) => {
                    chunk.fill(0);
                    is_filled[place] = true;
                }
                Some(id) => {
                    places.push(place);
                    ids.push(*id);
                }
                None => {}
            }
        }
        // What fails here fails for what is not filled, and that is moved.
        let _ = self.read(&ids, &mut |at, plain| {
            let place = places[at];
            let chunk = chunks.chunks_mut(CHUNK).nth(place);
            if let Some(chunk) = chunk.filter(|chunk| chunk.len() == plain.len()) {
                chunk.copy_from_slice(plain);
                is_filled[place] = true;
            }
        });
        is_filled
    }

    /// Gives the bytes of each of these chunks that can be read.
    fn read(
        &self,
        ids: &[ChunkId],
        each: &mut dyn FnMut(usize, &[u8]),
    ) -> Result<(), ArchiveError> {
        if ids.is_empty() {
            return Ok(());
        }
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = idle().pop();
        let mut scratch = taken.map_or_else(Scratch::new, Ok)?;
        let of = Of::Disk(self.domain);
        let read = self.reader.read(of, ids, &mut scratch, &mut |at, plain| {
            if let Ok(plain) = plain {
                each(at, plain);
            }
            Ok(())
        });
        idle().push(scratch);
        read
    }
}

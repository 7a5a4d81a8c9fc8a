//! Handing an image out byte after byte, to whoever can take it in no other order: a connection.
//!
//! One thread reads, in the disk's order, and each chunk is checked as in a restore. Zeros are
//! bytes as others are, since a stream has no holes. A restore to a file or device is `export`.

use std::io::Write;

use super::{
    Archive, ArchiveError, ChunkFault, Progress, Visible, Watch,
    chunk::CHUNK,
    id::ChunkId,
    read::{Of, Reader, Scratch, broken},
};

/// Chunks that are looked for at once: 4 MiB, as long as reads of the store are at most.
const PIECE: usize = 16;

impl Archive {
    /// Writes an image's bytes from the place `from` on, in order, to the end. Gives how many.
    ///
    /// # Errors
    /// [`ArchiveError::Target`] with the place on the disk where the sink fails, and
    /// [`ArchiveError::Chunk`] where the image is damaged: what was written until then is sound.
    pub fn stream(
        &self,
        image: &Visible,
        from: u64,
        sink: &mut dyn Write,
        watch: &dyn Watch,
    ) -> Result<u64, ArchiveError> {
        let size = image.record.image.size;
        let reader = Reader::new(self)?;
        let mut scratch = Scratch::new()?;
        let chunks = reader.chunks(&image.record, &mut scratch)?;
        let first = usize::try_from(from / CHUNK as u64).unwrap_or(usize::MAX);
        let mut out = Out { sink, at: from.min(size), from: from.min(size), size };
        for piece in chunks.get(first..).unwrap_or_default().chunks(PIECE) {
            if watch.is_cancelled() {
                return Err(ArchiveError::Cancelled);
            }
            // Zeros are in no pack, so they are not asked for.
            let wanted: Vec<ChunkId> =
                piece.iter().copied().filter(|id| *id != ChunkId::ZEROS).collect();
            let mut rest = piece;
            reader.read(Of::Disk(&image.domain), &wanted, &mut scratch, &mut |at, plain| {
                let plain = plain.map_err(|fault| broken(wanted[at], fault))?;
                rest = out.zeros(rest)?;
                out.chunk(wanted[at], plain)?;
                rest = rest.get(1..).unwrap_or_default();
                Ok(())
            })?;
            out.zeros(rest)?;
            watch.tell(Progress { done: out.at, total: size, written: out.at - out.from });
        }
        out.sink.flush().map_err(|source| ArchiveError::Target { offset: size, source })?;
        Ok(out.at - out.from)
    }
}

/// Where the bytes go, and how far it is.
struct Out<'a> {
    sink: &'a mut dyn Write,
    at: u64,
    from: u64,
    size: u64,
}

impl Out<'_> {
    /// Writes the chunks of zeros that stand first; gives the others.
    fn zeros<'c>(&mut self, chunks: &'c [ChunkId]) -> Result<&'c [ChunkId], ArchiveError> {
        static ZEROS: [u8; CHUNK] = [0; CHUNK];
        let count = chunks.iter().take_while(|id| **id == ChunkId::ZEROS).count();
        for _ in 0..count {
            let length = self.length();
            self.write(&ZEROS[self.skipped()..length])?;
        }
        Ok(&chunks[count..])
    }

    fn chunk(&mut self, id: ChunkId, plain: &[u8]) -> Result<(), ArchiveError> {
        if plain.len() != self.length() {
            return Err(broken(id, ChunkFault::Length));
        }
        self.write(&plain[self.skipped()..])
    }

    /// Bytes of the disk in the chunk that is next.
    fn length(&self) -> usize {
        let start = self.at - self.skipped() as u64;
        usize::try_from(self.size - start).map_or(CHUNK, |rest| rest.min(CHUNK))
    }

    /// Of the first chunk, the bytes before the place where it is to begin.
    fn skipped(&self) -> usize {
        // Less than a chunk.
        (self.at % CHUNK as u64) as usize
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        let offset = self.at;
        let written = self.sink.write_all(bytes);
        written.map_err(|source| ArchiveError::Target { offset, source })?;
        self.at += bytes.len() as u64;
        Ok(())
    }
}

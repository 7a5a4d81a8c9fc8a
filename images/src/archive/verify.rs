//! Whether what is stored is still what was stored.
//!
//! Of an image every chunk is read, opened and digested, as a restore does it. Of the whole store,
//! packs' own digests are compared, for which no project's key is needed.

use super::{
    Archive, ArchiveError, ChunkFault, Progress, Visible, Watch,
    chunk::CHUNK,
    ends::UNREACHED,
    id::{ChunkId, ObjectName, prefix},
    pack::{self, PackFault},
    read::{Of, Reader, Scratch},
    store::StoreError,
};

/// Faults that are named; more are only counted.
const NAMED: usize = 1000;

/// What an image's chunks were found to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// Different chunks that were read.
    pub chunks: u64,
    /// Those that can't be read, and their places on the disk; the first 1000.
    pub faults: Vec<Fault>,
    /// How many can't be read.
    pub damaged: u64,
}

/// A chunk that can't be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where on the disk it is, in bytes; the first place if there are several.
    pub offset: u64,
    /// Why it can't be read.
    pub why: ChunkFault,
}

impl Archive {
    /// Reads all of an image. Damage is in the answer; an error is what kept it from looking.
    pub fn verify(&self, image: &Visible, watch: &dyn Watch) -> Result<Verified, ArchiveError> {
        let reader = Reader::new(self)?;
        let mut scratch = Scratch::new()?;
        let chunks = reader.chunks(&image.record, &mut scratch)?;
        let mut places: Vec<(ChunkId, u64)> =
            chunks.iter().zip((0u64..).step_by(CHUNK)).map(|(id, at)| (*id, at)).collect();
        places.retain(|(id, _)| *id != ChunkId::ZEROS);
        places.sort_unstable();
        places.dedup_by_key(|(id, _)| *id);
        // In the order of the disk, which is that of the packs.
        places.sort_unstable_by_key(|(_, at)| *at);
        let total = places.len() as u64 * CHUNK as u64;
        let size = image.record.image.size;
        let mut verified = Verified::default();
        for piece in places.chunks(64) {
            if watch.is_cancelled() {
                return Err(ArchiveError::Cancelled);
            }
            let ids: Vec<ChunkId> = piece.iter().map(|(id, _)| *id).collect();
            reader.read(Of::Disk(&image.domain), &ids, &mut scratch, &mut |n, plain| {
                let offset = piece[n].1;
                let wanted = (size - offset).min(CHUNK as u64);
                let read = plain.and_then(|plain| {
                    if plain.len() as u64 == wanted { Ok(()) } else { Err(ChunkFault::Length) }
                });
                verified.chunks += 1;
                if let Err(why) = read {
                    verified.damaged += 1;
                    if verified.faults.len() < NAMED {
                        verified.faults.push(Fault { offset, why });
                    }
                }
                Ok(())
            })?;
            watch.tell(Progress { done: verified.chunks * CHUNK as u64, total, written: 0 });
        }
        Ok(verified)
    }

    /// Reads all packs; gives the names of those that are damaged. Packs that are deleted
    /// meanwhile are passed over.
    pub fn verify_packs(
        &self,
        watch: &dyn Watch,
    ) -> Result<Vec<(ObjectName, PackFault)>, ArchiveError> {
        let (mut damaged, mut unreached) = (Vec::new(), 0);
        let packs = self.store.list(prefix::PACKS)?;
        let total = packs.iter().map(|pack| pack.length).sum();
        let mut done = 0;
        for listed in packs {
            if watch.is_cancelled() {
                return Err(ArchiveError::Cancelled);
            }
            done += listed.length;
            match self.store.read(&listed.name, listed.length.min(pack::LONGEST)) {
                Err(StoreError::Missing { .. }) => {}
                Err(_) if listed.length > pack::LONGEST => {
                    damaged.push((listed.name, PackFault::Form));
                }
                // The others are to be looked at all the same; a store that fails would be asked in
                // vain for each.
                Err(StoreError::Io { .. }) if unreached < UNREACHED => {
                    unreached += 1;
                    damaged.push((listed.name, PackFault::Read));
                }
                Err(StoreError::Damaged { .. }) => damaged.push((listed.name, PackFault::Read)),
                Err(error) => return Err(error.into()),
                Ok(bytes) => {
                    if let Err(fault) = pack::check(&bytes) {
                        damaged.push((listed.name, fault));
                    }
                }
            }
            watch.tell(Progress { done, total, written: 0 });
        }
        Ok(damaged)
    }
}

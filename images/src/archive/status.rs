//! What is in an archive as a whole, for the operator who has to find room for it.

use super::{Archive, ArchiveError, id::prefix};

/// What a look at all of the store found. Nothing of it is opened, so no key is needed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stored {
    /// Images, and tombstones of sessions that were ended.
    pub records: u64,
    /// Packs of chunks.
    pub packs: u64,
    /// Bytes of all packs and records.
    pub bytes: u64,
    /// Sessions that may still publish an image: imports and backups under way, or ended ones.
    pub sessions: u64,
    /// Packs that are in quarantine.
    pub quarantined: u64,
}

impl Archive {
    /// Counts what is there. Lists the whole store, so it takes a request for each 1000 packs where
    /// that is far away.
    pub fn stored(&self) -> Result<Stored, ArchiveError> {
        let packs = self.store.list(prefix::PACKS)?;
        let records = self.list_marked(prefix::IMAGES)?;
        let bytes = packs.iter().chain(&records).map(|object| object.length).sum();
        Ok(Stored {
            records: records.len() as u64,
            packs: packs.len() as u64,
            bytes,
            sessions: self.list_marked(prefix::WRITERS)?.len() as u64,
            quarantined: self.in_quarantine()?.len() as u64,
        })
    }
}

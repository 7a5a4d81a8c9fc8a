//! What is needed of packs that are to go, copied into packs of the collection's own.

use std::collections::BTreeSet;

use crate::archive::{
    Archive, ArchiveError, ImageId, Watch,
    chunk::Entry,
    ends::UNREACHED,
    id::{ObjectName, PackId},
    pack::{self, Builder, Placed},
    store::StoreError,
};

/// Copies what is needed into packs of a collection's own.
pub(super) struct Copier<'a> {
    archive: &'a Archive,
    id: ImageId,
    packs: u32,
    copied: u64,
}

impl<'a> Copier<'a> {
    /// One whose packs have this id, which is no session's.
    pub(super) fn new(archive: &'a Archive, id: ImageId) -> Self {
        Self { archive, id, packs: 0, copied: 0 }
    }

    /// Bytes so far.
    pub(super) fn copied(&self) -> u64 {
        self.copied
    }

    /// Copies these chunks as they are stored: a collection has no project's key. Gives the packs
    /// that could not be read. Where it is ended what was copied is found again, as no image's yet.
    pub(super) fn copy(
        &mut self,
        chunks: &[(PackId, Placed)],
        watch: &dyn Watch,
    ) -> Result<BTreeSet<PackId>, ArchiveError> {
        let mut pack = Builder::new();
        let (mut unread, mut unreached) = (BTreeSet::new(), 0);
        for run in chunks.chunk_by(|(a, _), (b, _)| a == b) {
            let Some((from, _)) = run.first() else { continue };
            if watch.is_cancelled() {
                return Err(ArchiveError::Cancelled);
            }
            // All of it, since only its digest tells whether it is sound.
            let bytes = match self.archive.store.read(&ObjectName::pack(*from), pack::LONGEST) {
                // Another collection was faster, so it has copied these too.
                Err(StoreError::Missing { .. }) => continue,
                Err(StoreError::Damaged { .. }) => Vec::new(),
                Err(StoreError::Io { .. }) if unreached < UNREACHED => {
                    unreached += 1;
                    Vec::new()
                }
                other => other?,
            };
            if pack::check(&bytes).is_err() {
                unread.insert(*from);
                continue;
            }
            for (_, placed) in run {
                let start = placed.offset as usize;
                let stored = &bytes[start..start + placed.entry.stored as usize];
                let added: Result<Entry, ArchiveError> = pack.add(|out| {
                    out.extend_from_slice(stored);
                    Ok(placed.entry)
                });
                added?;
                if pack.is_full() {
                    self.write(std::mem::replace(&mut pack, Builder::new()))?;
                }
            }
        }
        self.write(pack)?;
        Ok(unread)
    }

    fn write(&mut self, pack: Builder) -> Result<(), ArchiveError> {
        if pack.is_empty() {
            return Ok(());
        }
        self.copied += pack.entries().iter().map(|entry| u64::from(entry.stored)).sum::<u64>();
        let Self { archive, id: writer, packs, .. } = self;
        archive.write_pack(&pack.finish(), || {
            let number = *packs;
            *packs += 1;
            PackId { writer: *writer, number }
        })
    }
}

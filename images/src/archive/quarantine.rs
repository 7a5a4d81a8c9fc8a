//! Packs that can't be relied on any more: what is in them is read as far as it can be, and nobody
//! new counts on it.
//!
//! A disk that goes bad takes parts of a pack, or its list of chunks. Sessions would go on to count
//! on the chunks that it still lists, and make images that are damaged from the first day. Of a
//! pack in quarantine they write them anew. That puts a copy beside it which is sound; and once all
//! that images need lies elsewhere, the collection of garbage deletes it as any other.
//!
//! The operator says which packs these are ([`Archive::verify_packs`] finds them). Nothing here
//! repairs one.

use std::collections::BTreeSet;

use super::{
    Archive, ArchiveError,
    id::{ObjectName, PackId, prefix},
    store::StoreError,
};

impl Archive {
    /// Puts a pack into quarantine. Sessions that began before it may count on it still.
    ///
    /// # Errors
    /// [`ArchiveError::NoPack`] where there is no such pack.
    pub fn quarantine(&self, pack: &ObjectName) -> Result<(), ArchiveError> {
        let no_pack = || ArchiveError::NoPack { name: pack.clone() };
        let id = pack.as_pack().ok_or_else(no_pack)?;
        if !self.exists(pack)? {
            return Err(no_pack());
        }
        match self.store.put_new(&ObjectName::quarantined(id), b"") {
            Err(StoreError::Exists { .. }) => Ok(()),
            other => Ok(other?),
        }
    }

    /// Takes a pack out of quarantine: it was repaired, or brought back from elsewhere.
    pub fn release(&self, pack: &ObjectName) -> Result<(), ArchiveError> {
        let id = pack.as_pack().ok_or_else(|| ArchiveError::NoPack { name: pack.clone() })?;
        Ok(self.store.delete(&ObjectName::quarantined(id))?)
    }

    /// The names of all packs in quarantine.
    pub fn quarantined(&self) -> Result<Vec<ObjectName>, ArchiveError> {
        Ok(self.in_quarantine()?.into_iter().map(ObjectName::pack).collect())
    }

    pub(super) fn in_quarantine(&self) -> Result<BTreeSet<PackId>, ArchiveError> {
        let listed = self.store.list(prefix::QUARANTINED)?;
        Ok(listed.iter().filter_map(|object| object.name.as_quarantined()).collect())
    }
}

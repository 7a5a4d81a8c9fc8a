//! Where each chunk lies, as the packs say themselves.
//!
//! There is no index on disk beside the packs that could disagree with them: the ends of all packs
//! are read (41 bytes a chunk) and kept in memory, 95 to 142 bytes a chunk.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    sync::Arc,
};

use super::{
    id::{ChunkId, PackId},
    pack::Placed,
};

/// A pack as far as it is known without reading its chunks.
#[derive(Debug, Clone)]
pub(crate) struct Pack {
    pub(crate) id: PackId,
    pub(crate) length: u64,
    pub(crate) placed: Arc<[Placed]>,
}

/// Takes eight bytes of an id as they are: ids are digests, or random.
#[derive(Default)]
pub(crate) struct FirstBytes(u64);

impl Hasher for FirstBytes {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk::<8>() {
            self.0 ^= u64::from_le_bytes(*first);
        }
    }

    fn write_usize(&mut self, _length: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

/// A set of chunks.
pub(crate) type ChunkSet = std::collections::HashSet<ChunkId, BuildHasherDefault<FirstBytes>>;

/// Some packs' chunks.
#[derive(Debug, Default)]
pub(crate) struct Index {
    packs: Vec<Pack>,
    /// The pack's place in `packs`, and the chunk's place in it.
    places: HashMap<ChunkId, (u32, u32), BuildHasherDefault<FirstBytes>>,
}

impl Index {
    /// The index of these packs. Of a chunk that several have, any.
    pub(crate) fn of(packs: Vec<Pack>) -> Self {
        let count = packs.iter().map(|pack| pack.placed.len()).sum();
        let mut places = HashMap::with_capacity_and_hasher(count, BuildHasherDefault::default());
        for (number, pack) in (0u32..).zip(&packs) {
            for (place, placed) in (0u32..).zip(&*pack.placed) {
                places.insert(placed.entry.id, (number, place));
            }
        }
        Self { packs, places }
    }

    /// Whether it is of the same packs.
    pub(crate) fn is_of(&self, packs: &[Pack]) -> bool {
        self.packs.iter().map(|pack| pack.id).eq(packs.iter().map(|pack| pack.id))
    }

    pub(crate) fn has(&self, id: ChunkId) -> bool {
        self.places.contains_key(&id)
    }

    pub(crate) fn find(&self, id: ChunkId) -> Option<(PackId, Placed)> {
        let (pack, place) = self.places.get(&id)?;
        let pack = &self.packs[*pack as usize];
        Some((pack.id, pack.placed[*place as usize]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_takes_as_much_memory_as_the_documentation_says() {
        assert_eq!(size_of::<Placed>(), 48);
        // And a byte for each in the table's own books.
        assert_eq!(size_of::<(ChunkId, (u32, u32))>(), 40);
    }
}

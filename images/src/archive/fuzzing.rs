//! What lies in a store, judged as bytes: whoever can write to the store may have put anything there.
//!
//! For the fuzz targets (tests/fuzz), which must reach each parser by itself. Nothing here reads a
//! store, and nothing of the product needs it.

use super::{
    Image, ImageId,
    chunk::{CHUNK, Entry, Form, Press, Unsound},
    domain::Domain,
    id::ChunkId,
    pack::{self, PackFault},
    record::{self, RecordFault, Slot},
    sweep::list,
};

/// A chunk's place in a pack, and its length there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InPack {
    /// Where it begins.
    pub offset: u32,
    /// Bytes in the pack.
    pub stored: u32,
    /// Bytes that come out.
    pub plain: u32,
}

/// The chunks of a pack.
pub fn pack(bytes: &[u8]) -> Result<Vec<InPack>, PackFault> {
    let placed = pack::check(bytes)?;
    let in_pack = placed.iter().map(|placed| InPack {
        offset: placed.offset,
        stored: placed.entry.stored,
        plain: placed.entry.plain,
    });
    Ok(in_pack.collect())
}

/// An image's record, opened without a key; None of a tombstone.
pub fn record(id: ImageId, bytes: &[u8]) -> Result<Option<Image>, RecordFault> {
    match record::parse(id, bytes)? {
        Slot::Ended => Ok(None),
        Slot::Image(record) => match record.open(&Domain::of(None)) {
            Err(RecordFault::Forged | RecordFault::OtherKey { .. }) => Ok(Some(record.image)),
            other => other.map(Some),
        },
    }
}

/// The number of packs that a list of condemned packs names; None where it is none.
pub fn condemned(bytes: &[u8]) -> Option<usize> {
    list::parse_packs(bytes).map(|packs| packs.len())
}

/// The number of sessions that a list names; None where it is none.
pub fn waits(bytes: &[u8]) -> Option<usize> {
    list::parse_writers(bytes).map(|writers| writers.len())
}

/// Whether these bytes are the chunk of this length that an entry says they are. None of an entry
/// that no pack can have.
pub fn chunk(stored: &[u8], plain: u32, is_compressed: bool) -> Option<Result<usize, Unsound>> {
    let entry = Entry {
        id: ChunkId([1; 32]),
        form: Form { is_compressed, is_sealed: false },
        stored: u32::try_from(stored.len()).ok()?,
        plain,
    };
    let mut press = Press::new().ok().filter(|_| entry.is_possible())?;
    let (mut stored, mut out) = (stored.to_vec(), vec![0; CHUNK]);
    // Whatever comes out has the digest that is asked for: only its length is looked at.
    let loaded = press.load(&Domain::of(None), &entry, &mut stored, &mut out, |_| entry.id);
    Some(loaded.map(|plain| plain.len()))
}

//! The form of a pack: many chunks in one object, and at its end what it holds.
//!
//! ```text
//! "mezpack1" | stored chunks … | entries … | count u32 | digest of all before the entries
//!                                          | digest of entries, count and that digest | "mezpack1"
//! entry: id (32) | form u8 | stored length u32 | plain length u32
//! ```
//! Numbers are little endian, digests BLAKE3 without a key: whether a pack is whole can be told
//! without any project's key. Pure: nothing here reads or writes.

use super::{
    chunk::{Entry, Form},
    id::ChunkId,
};

/// A pack that has this many bytes of chunks takes no more.
pub(crate) const TARGET: usize = 16 * 1024 * 1024;
/// No pack is longer; one chunk and the entries of many small ones may be beyond the target.
pub(crate) const LONGEST: u64 = 64 * 1024 * 1024;

const MAGIC: &[u8; 8] = b"mezpack1";
const ENTRY: usize = 32 + 1 + 4 + 4;
/// Bytes behind the entries.
pub(crate) const TRAILER: usize = 4 + 32 + 32 + 8;
/// A pack that has this many chunks takes no more: the smallest have more bytes of entries than of
/// their own.
const MOST: usize = 200_000;
/// None has more: a last piece of work may be beyond the limit.
const MOST_EVER: usize = 2 * MOST;

/// Why bytes are no pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PackFault {
    /// Too short, too long, or not of this form.
    #[error("it is no pack of a known form")]
    Form,
    /// Its list of chunks was changed.
    #[error("its list of chunks has another digest")]
    Entries,
    /// Its chunks were changed.
    #[error("its chunks have another digest")]
    Body,
    /// The store fails to read it.
    #[error("it can't be read")]
    Read,
    /// The list names what can't be.
    #[error("its list of chunks names what can't be")]
    Impossible,
}

/// A chunk's place in its pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) entry: Entry,
    pub(crate) offset: u32,
}

/// A pack that is being filled.
#[derive(Debug)]
pub(crate) struct Builder {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self { bytes: MAGIC.to_vec(), entries: Vec::new() }
    }

    /// Lets a chunk's stored form be appended.
    pub(crate) fn add<E>(
        &mut self,
        store: impl FnOnce(&mut Vec<u8>) -> Result<Entry, E>,
    ) -> Result<Entry, E> {
        let length = self.bytes.len();
        match store(&mut self.bytes) {
            Ok(entry) => {
                self.entries.push(entry);
                Ok(entry)
            }
            Err(error) => {
                self.bytes.truncate(length);
                Err(error)
            }
        }
    }

    /// Whether it may take another's chunks over.
    pub(crate) fn fits(&self, other: &Self) -> bool {
        self.bytes.len() + other.bytes.len() <= TARGET
            && self.entries.len() + other.entries.len() <= MOST
    }

    /// Takes another's chunks over.
    pub(crate) fn append(&mut self, other: &Self) {
        self.bytes.extend_from_slice(&other.bytes[MAGIC.len()..]);
        self.entries.extend_from_slice(&other.entries);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether it should be written before more comes.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes.len() >= TARGET || self.entries.len() >= MOST
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The finished pack.
    pub(crate) fn finish(self) -> Vec<u8> {
        let mut bytes = self.bytes;
        let body = blake3::hash(&bytes);
        let start = bytes.len();
        for entry in &self.entries {
            bytes.extend_from_slice(&entry.id.0);
            bytes.push(entry.form.byte());
            bytes.extend_from_slice(&entry.stored.to_le_bytes());
            bytes.extend_from_slice(&entry.plain.to_le_bytes());
        }
        let count = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&count.to_le_bytes());
        bytes.extend_from_slice(body.as_bytes());
        let entries = blake3::hash(&bytes[start..]);
        bytes.extend_from_slice(entries.as_bytes());
        bytes.extend_from_slice(MAGIC);
        bytes
    }
}

/// How long the end of a pack is that [`parse`] wants, as its last [`TRAILER`] bytes say.
pub(crate) fn tail_length(length: u64, trailer: &[u8]) -> Result<usize, PackFault> {
    let count = trailer.get(..4).and_then(|count| count.try_into().ok());
    let count = u32::from_le_bytes(count.ok_or(PackFault::Form)?) as usize;
    let is_pack = trailer.len() == TRAILER && trailer.ends_with(MAGIC) && length <= LONGEST;
    let tail = (count <= MOST_EVER).then_some(count * ENTRY + TRAILER).ok_or(PackFault::Form)?;
    if is_pack && (tail + MAGIC.len()) as u64 <= length { Ok(tail) } else { Err(PackFault::Form) }
}

/// The chunks of a pack of `length` bytes whose end is `tail`.
pub(crate) fn parse(length: u64, tail: &[u8]) -> Result<Vec<Placed>, PackFault> {
    let split = tail.len().checked_sub(TRAILER).ok_or(PackFault::Form)?;
    if tail_length(length, &tail[split..])? != tail.len() {
        return Err(PackFault::Form);
    }
    let digest = &tail[tail.len() - 40..tail.len() - 8];
    if blake3::hash(&tail[..tail.len() - 40]).as_bytes() != digest {
        return Err(PackFault::Entries);
    }
    let mut placed = Vec::with_capacity(split / ENTRY);
    let mut offset = MAGIC.len() as u64;
    for bytes in tail[..split].chunks_exact(ENTRY) {
        let entry = parse_entry(bytes).ok_or(PackFault::Impossible)?;
        let start = u32::try_from(offset).map_err(|_| PackFault::Impossible)?;
        placed.push(Placed { entry, offset: start });
        offset += u64::from(entry.stored);
    }
    if offset + tail.len() as u64 == length { Ok(placed) } else { Err(PackFault::Impossible) }
}

fn parse_entry(bytes: &[u8]) -> Option<Entry> {
    let number = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let entry = Entry {
        id: ChunkId(bytes.get(..32)?.try_into().ok()?),
        form: Form::parse(*bytes.get(32)?)?,
        stored: number(33)?,
        plain: number(37)?,
    };
    entry.is_possible().then_some(entry)
}

/// Whether a whole pack is as it was written; needs no key.
pub(crate) fn check(bytes: &[u8]) -> Result<Vec<Placed>, PackFault> {
    let start = bytes.len().checked_sub(TRAILER).ok_or(PackFault::Form)?;
    let tail = tail_length(bytes.len() as u64, &bytes[start..])?;
    let (body, tail) = bytes.split_at(bytes.len() - tail);
    let placed = parse(bytes.len() as u64, tail)?;
    let digest = &bytes[start + 4..start + 36];
    if body.starts_with(MAGIC) && blake3::hash(body).as_bytes() == digest {
        Ok(placed)
    } else {
        Err(PackFault::Body)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pack(lengths: &[u16]) -> (Vec<u8>, Vec<Entry>) {
        let mut builder = Builder::new();
        for (number, length) in lengths.iter().enumerate() {
            let entry = Entry {
                id: ChunkId([number as u8 + 1; 32]),
                form: Form { is_compressed: true, is_sealed: false },
                stored: u32::from(*length),
                plain: u32::from(*length) + 1,
            };
            let stored = vec![number as u8; usize::from(*length)];
            let added: Result<_, ()> = builder.add(|out| {
                out.extend_from_slice(&stored);
                Ok(entry)
            });
            assert_eq!(added, Ok(entry));
        }
        let entries = builder.entries().to_vec();
        (builder.finish(), entries)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_in_a_pack_is_found_in_it(lengths in prop::collection::vec(1..900u16, 0..40)) {
            let (bytes, entries) = pack(&lengths);
            let placed = check(&bytes).unwrap();
            prop_assert_eq!(placed.iter().map(|p| p.entry).collect::<Vec<_>>(), entries);
            for (number, placed) in placed.iter().enumerate() {
                let start = placed.offset as usize;
                let stored = &bytes[start..start + placed.entry.stored as usize];
                prop_assert!(stored.iter().all(|byte| *byte == number as u8));
            }
        }

        #[test]
        fn a_changed_byte_is_noticed(
            lengths in prop::collection::vec(1..90u16, 0..9), at in any::<usize>(), by in 1..=255u8
        ) {
            let (mut bytes, _) = pack(&lengths);
            let at = at % bytes.len();
            bytes[at] ^= by;
            prop_assert!(check(&bytes).is_err());
        }

        #[test]
        fn no_bytes_make_the_parser_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..400), count in any::<u32>(),
            length in any::<u64>()
        ) {
            let mut bytes = bytes;
            if bytes.len() >= TRAILER {
                // So that more than the magic is looked at.
                let at = bytes.len() - TRAILER;
                bytes[at..at + 4].copy_from_slice(&(count % 12).to_le_bytes());
                let end = bytes.len() - 8;
                bytes[end..].copy_from_slice(MAGIC);
            }
            let _ = check(&bytes);
            let _ = parse(length, &bytes);
            let _ = tail_length(length, &bytes);
        }

        #[test]
        fn a_shortened_pack_is_none(
            lengths in prop::collection::vec(1..90u16, 0..9), cut in any::<usize>()
        ) {
            let (bytes, _) = pack(&lengths);
            prop_assert!(check(&bytes[..cut % bytes.len()]).is_err());
        }
    }

    fn of_smallest(count: usize) -> Builder {
        let mut builder = Builder::new();
        let form = Form { is_compressed: false, is_sealed: false };
        for number in 0..count {
            let id = ChunkId(*blake3::hash(&number.to_le_bytes()).as_bytes());
            let added: Result<_, ()> = builder.add(|out| {
                out.push(7);
                Ok(Entry { id, form, stored: 1, plain: 1 })
            });
            added.unwrap();
        }
        builder
    }

    #[test]
    fn a_pack_of_the_smallest_chunks_is_full_before_it_can_t_be_read() {
        let almost = of_smallest(MOST - 1);
        assert!(!almost.is_full());
        assert!(!almost.fits(&almost) && Builder::new().fits(&almost));
        // What one more piece of work may add.
        let full = of_smallest(MOST + 63);
        assert!(full.is_full());
        let bytes = full.finish();
        assert!(bytes.len() as u64 <= LONGEST);
        assert_eq!(check(&bytes).unwrap().len(), MOST + 63);
    }

    #[test]
    fn a_chunk_that_could_not_be_stored_leaves_no_bytes_behind() {
        let mut builder = Builder::new();
        let failed = builder.add(|out| {
            out.extend_from_slice(b"half");
            Err::<Entry, _>("no randomness")
        });
        assert!(failed.is_err() && builder.is_empty());
        assert_eq!(check(&builder.finish()), Ok(Vec::new()));
    }
}

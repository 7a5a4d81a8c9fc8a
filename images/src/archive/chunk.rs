//! One chunk: its length, its address, and the form that it is stored in.
//!
//! A disk is cut at multiples of [`CHUNK`]: file systems put their blocks at multiples of 4 KiB,
//! so what two disks have in common lies at the same places, and no rolling digest has to look for
//! it. 256 KiB are a compromise: smaller ones have more in common and compress worse.
//!
//! A chunk is compressed by zstd (RFC 8878), unless that gains nothing, and then sealed where its
//! domain seals. Whoever reads one checks its digest: damage is found at the latest there.

use super::{
    domain::{Domain, SEAL},
    id::ChunkId,
};
use crate::environment::{Environment, NoRandomness};

/// Bytes of a disk in a chunk; the last of a disk may be shorter.
pub const CHUNK: usize = 256 * 1024;

/// With chunks this short, zstd's default (3) takes a third to half the time and 1 to 3 % more space
/// (`zstd -b3 -e4 -B262144` of programs and libraries).
const LEVEL: i32 = 4;

/// How a chunk's bytes are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Form {
    pub(crate) is_compressed: bool,
    pub(crate) is_sealed: bool,
}

impl Form {
    pub(crate) fn parse(byte: u8) -> Option<Self> {
        (byte < 4).then_some(Self { is_compressed: byte & 1 != 0, is_sealed: byte & 2 != 0 })
    }

    pub(crate) fn byte(self) -> u8 {
        u8::from(self.is_compressed) | u8::from(self.is_sealed) << 1
    }
}

/// What is known of a stored chunk besides where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) id: ChunkId,
    pub(crate) form: Form,
    /// Bytes in the pack.
    pub(crate) stored: u32,
    /// Bytes that come out.
    pub(crate) plain: u32,
}

impl Entry {
    /// Whether any chunk could have such an entry.
    pub(crate) fn is_possible(&self) -> bool {
        let (stored, plain) = (self.stored as usize, self.plain as usize);
        let seal = if self.form.is_sealed { SEAL } else { 0 };
        let body = stored.checked_sub(seal);
        (1..=CHUNK).contains(&plain)
            && self.id != ChunkId::ZEROS
            && body.is_some_and(|body| match self.form.is_compressed {
                true => (1..plain).contains(&body),
                false => body == plain,
            })
    }

    /// What sealing ties the body to.
    fn associated(&self) -> [u8; 37] {
        let mut bytes = [0; 37];
        bytes[..32].copy_from_slice(&self.id.0);
        bytes[32] = self.form.byte();
        bytes[33..].copy_from_slice(&self.plain.to_le_bytes());
        bytes
    }
}

/// Why a stored chunk is not what its entry says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unsound {
    /// Changed, or sealed with another key.
    #[error("it does not open: it was changed, or sealed with another key")]
    Forged,
    /// Not what a chunk of its length is compressed to.
    #[error("it does not decompress to its length")]
    Compression,
    /// Changed.
    #[error("its digest is another")]
    Digest,
}

/// Whether all bytes are zero.
pub(crate) fn is_zeros(bytes: &[u8]) -> bool {
    /// Enough bytes at once for wide registers, few enough to stop early.
    const BLOCK: usize = 256;
    let mut blocks = bytes.chunks_exact(BLOCK);
    blocks.all(|block| block.iter().fold(0, |or, byte| or | byte) == 0)
        && bytes.chunks_exact(BLOCK).remainder().iter().all(|byte| *byte == 0)
}

/// Compresses and decompresses; one for each thread, since its buffers are used again.
pub(crate) struct Press {
    compressor: zstd::bulk::Compressor<'static>,
    decompressor: zstd::bulk::Decompressor<'static>,
    buffer: Vec<u8>,
}

impl Press {
    /// Fails where there is no memory.
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self {
            compressor: zstd::bulk::Compressor::new(LEVEL)?,
            decompressor: zstd::bulk::Decompressor::new()?,
            buffer: vec![0; CHUNK],
        })
    }

    /// Appends the stored form of a chunk to `out`. `plain` has 1 to [`CHUNK`] bytes.
    pub(crate) fn store(
        &mut self,
        domain: &Domain,
        id: ChunkId,
        plain: &[u8],
        out: &mut Vec<u8>,
        from: &dyn Environment,
    ) -> Result<Entry, NoRandomness> {
        // What does not fit into the room gains nothing, and is an error of zstd's.
        let room = plain.len() - 1 - plain.len() / 64;
        let pressed = self.compressor.compress_to_buffer(plain, &mut self.buffer[..room]).ok();
        let body = pressed.map_or(plain, |length| &self.buffer[..length]);
        let mut entry = Entry {
            id,
            form: Form { is_compressed: pressed.is_some(), is_sealed: domain.is_sealed() },
            stored: 0,
            plain: length(plain.len()),
        };
        let start = out.len();
        domain.seal(&entry.associated(), body, out, from)?;
        entry.stored = length(out.len() - start);
        Ok(entry)
    }

    /// The plain bytes of what is stored, in `out`, which has room for a chunk; checked against
    /// its id by `address`. `stored` is spoilt.
    pub(crate) fn load<'a>(
        &mut self,
        domain: &Domain,
        entry: &Entry,
        stored: &mut [u8],
        out: &'a mut [u8],
        address: impl Fn(&[u8]) -> ChunkId,
    ) -> Result<&'a mut [u8], Unsound> {
        let body = match entry.form.is_sealed {
            true if !domain.is_sealed() => return Err(Unsound::Forged),
            true => domain.open(&entry.associated(), stored).map_err(|_| Unsound::Forged)?,
            false => stored,
        };
        let plain = out.get_mut(..entry.plain as usize).ok_or(Unsound::Compression)?;
        if entry.form.is_compressed {
            let length = self.decompressor.decompress_to_buffer(body, &mut *plain);
            if length.ok() != Some(plain.len()) {
                return Err(Unsound::Compression);
            }
        } else if body.len() == plain.len() {
            plain.copy_from_slice(body);
        } else {
            return Err(Unsound::Compression);
        }
        if address(plain) == entry.id { Ok(plain) } else { Err(Unsound::Digest) }
    }
}

/// A length that a chunk, sealed or not, can have.
fn length(of: usize) -> u32 {
    u32::try_from(of).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{archive::ProjectKey, environment::fixed::FixedEnvironment};

    fn domains() -> [Domain; 2] {
        [Domain::of(None), Domain::of(Some(&ProjectKey::new([7; 32])))]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_chunk_comes_back_as_it_was(
            piece in prop::collection::vec(any::<u8>(), 1..3000), times in 1..90usize
        ) {
            let environment = FixedEnvironment::new(1);
            let plain: Vec<u8> = piece.repeat(times).into_iter().take(CHUNK).collect();
            let mut press = Press::new().unwrap();
            for domain in domains() {
                let id = domain.address(&plain);
                let mut stored = Vec::new();
                let entry = press.store(&domain, id, &plain, &mut stored, &environment).unwrap();
                prop_assert!(entry.is_possible(), "{entry:?}");
                prop_assert_eq!(entry.stored as usize, stored.len());
                let mut out = vec![0; CHUNK];
                let address = |plain: &[u8]| domain.address(plain);
                let read = press.load(&domain, &entry, &mut stored, &mut out, address).unwrap();
                prop_assert_eq!(&*read, &plain[..]);
            }
        }

        #[test]
        fn whatever_is_stored_in_its_place_is_noticed_and_nothing_panics(
            mut stored in prop::collection::vec(any::<u8>(), 0..500),
            form in 0..4u8, plain in any::<u32>()
        ) {
            let mut press = Press::new().unwrap();
            for domain in domains() {
                let entry = Entry {
                    id: ChunkId([9; 32]),
                    form: Form::parse(form).unwrap(),
                    stored: stored.len() as u32,
                    plain,
                };
                let mut out = vec![0; CHUNK];
                let address = |plain: &[u8]| domain.address(plain);
                prop_assert!(press.load(&domain, &entry, &mut stored, &mut out, address).is_err());
            }
        }

        #[test]
        fn zeros_are_zeros_and_nothing_else_is(length in 0..2000usize, at in any::<usize>()) {
            let mut bytes = vec![0; length];
            prop_assert!(is_zeros(&bytes));
            if length > 0 {
                bytes[at % length] = 1;
                prop_assert!(!is_zeros(&bytes));
            }
        }
    }

    #[test]
    fn every_changed_bit_of_a_stored_chunk_is_noticed() {
        let environment = FixedEnvironment::new(1);
        let mut press = Press::new().unwrap();
        for plain in [b"0123456789".repeat(20), (0..200).collect()] {
            for domain in domains() {
                let id = domain.address(&plain);
                let mut stored = Vec::new();
                let entry = press.store(&domain, id, &plain, &mut stored, &environment).unwrap();
                for bit in 0..stored.len() * 8 {
                    let mut bad = stored.clone();
                    bad[bit / 8] ^= 1 << (bit % 8);
                    let mut out = vec![0; CHUNK];
                    let address = |plain: &[u8]| domain.address(plain);
                    // A bit that no decoder looks at may change: then the contents are the same.
                    if let Ok(read) = press.load(&domain, &entry, &mut bad, &mut out, address) {
                        assert_eq!(read, plain, "bit {bit}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_can_t_be_compressed_takes_no_more_than_it_is() {
        let environment = FixedEnvironment::new(1);
        let mut plain = vec![0; CHUNK];
        environment.fill(&mut plain).unwrap();
        let mut stored = Vec::new();
        let domain = Domain::of(None);
        let id = domain.address(&plain);
        let mut press = Press::new().unwrap();
        let entry = press.store(&domain, id, &plain, &mut stored, &environment).unwrap();
        assert!(!entry.form.is_compressed);
        assert_eq!(stored.len(), CHUNK);
    }
}

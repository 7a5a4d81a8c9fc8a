//! A page: the ids of up to 256 chunks that follow each other in an image.
//!
//! An image's record names pages, and these name chunks: 64 MiB of disk a page. Pages lie in packs
//! as chunks do, so two images that differ in one chunk have all but one page in common. They are
//! never sealed: of an encrypted project the ids say nothing without its key, and what is still
//! needed has to be known without one. A page of zeros is stored nowhere, as a chunk of zeros.

use super::{chunk::is_zeros, id::ChunkId};

/// Chunks that a page names; the last of an image may name fewer.
pub(crate) const PAGE: usize = 256;

/// The address of a page's bytes.
pub(crate) fn address(bytes: &[u8]) -> ChunkId {
    if is_zeros(bytes) {
        return ChunkId::ZEROS;
    }
    let mut hasher = blake3::Hasher::new_derive_key("mezame archive 2026-11 page of chunks");
    hasher.update(bytes);
    ChunkId(*hasher.finalize().as_bytes())
}

/// A page's bytes.
pub(crate) fn encode(chunks: &[ChunkId]) -> Vec<u8> {
    chunks.iter().flat_map(|id| id.0).collect()
}

/// The ids of a page that names `count` chunks; None of bytes of another length.
pub(crate) fn parse(bytes: &[u8], count: usize) -> Option<Vec<ChunkId>> {
    let (ids, rest) = bytes.as_chunks::<32>();
    (rest.is_empty() && ids.len() == count).then(|| ids.iter().map(|id| ChunkId(*id)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_back() {
        let ids: Vec<_> = (0..PAGE).map(|n| ChunkId([n as u8; 32])).collect();
        assert_eq!(parse(&encode(&ids), PAGE), Some(ids.clone()));
        assert_eq!(parse(&encode(&ids), PAGE - 1), None);
        assert_eq!(parse(&encode(&ids)[1..], PAGE), None);
    }

    #[test]
    fn a_page_of_zeros_has_the_address_of_zeros() {
        assert_eq!(address(&encode(&[ChunkId::ZEROS; 3])), ChunkId::ZEROS);
        assert_ne!(address(&encode(&[ChunkId([1; 32])])), ChunkId::ZEROS);
    }
}

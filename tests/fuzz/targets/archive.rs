//! What somebody who can write to an archive's store puts there: packs, records, chunks, lists; and
//! signatures, which come with what is imported.
//!
//! The digests that anybody can make are made here, so that what lies behind them is reached.
//! Besides not panicking: chunks lie within their pack, one behind the other; a record is of no
//! disk that is too large; a chunk is as long as its entry says.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mezame_images::archive::{ImageId, chunk::CHUNK, fuzzing, record::LARGEST, signature};

const MAGIC: &[u8] = b"mezpack1";
const ENTRY: usize = 41;

fuzz_target!(|input: &[u8]| {
    let Some((kind, input)) = input.split_first() else { return };
    match kind % 5 {
        0 => pack(input),
        1 => record(input),
        2 => chunk(input),
        3 => {
            let _ = (fuzzing::condemned(input), fuzzing::waits(input));
        }
        _ => {
            let text = String::from_utf8_lossy(input);
            let _ = signature::Signature::parse(&text);
            let _ = signature::TrustedKey::parse(&text);
        }
    }
});

/// The first byte says how many entries there are; the chunks follow these.
fn pack(input: &[u8]) {
    let _ = fuzzing::pack(input);
    let Some((count, rest)) = input.split_first() else { return };
    let count = usize::from(*count).min(rest.len() / ENTRY);
    let (entries, chunks) = rest.split_at(count * ENTRY);
    let mut pack = [MAGIC, chunks].concat();
    let body = blake3::hash(&pack);
    let mut tail = entries.to_vec();
    tail.extend_from_slice(&(count as u32).to_le_bytes());
    tail.extend_from_slice(body.as_bytes());
    let digest = blake3::hash(&tail);
    tail.extend_from_slice(digest.as_bytes());
    pack.extend_from_slice(&tail);
    pack.extend_from_slice(MAGIC);
    let Ok(placed) = fuzzing::pack(&pack) else { return };
    assert_eq!(placed.len(), count);
    let mut at = MAGIC.len();
    for chunk in placed {
        assert_eq!(chunk.offset as usize, at, "a chunk lies elsewhere");
        assert!((1..=CHUNK).contains(&(chunk.plain as usize)), "a chunk of {}", chunk.plain);
        at += chunk.stored as usize;
    }
    assert_eq!(at, MAGIC.len() + chunks.len(), "bytes are of no chunk");
}

fn record(input: &[u8]) {
    let Ok(id) = ImageId::parse("img-00000000000000000000000000000000") else { return };
    let _ = fuzzing::record(id, input);
    let mut record = [input, &[0; 32]].concat();
    let digest = blake3::hash(&record);
    record.extend_from_slice(digest.as_bytes());
    if let Ok(Some(image)) = fuzzing::record(id, &record) {
        assert!(image.size <= LARGEST && image.id == id);
        assert!(image.detail.is_none(), "nobody vouched for it");
    }
}

fn chunk(input: &[u8]) {
    let Some((plain, stored)) = input.split_first_chunk::<4>() else { return };
    let plain = u32::from_le_bytes(*plain) % (CHUNK as u32 + 2);
    for is_compressed in [false, true] {
        if let Some(Ok(length)) = fuzzing::chunk(stored, plain, is_compressed) {
            assert_eq!(length, plain as usize);
        }
    }
}

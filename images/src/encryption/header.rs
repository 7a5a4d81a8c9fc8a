//! Where a file has its LUKS header, and what of that holds keys. Pure.
//!
//! A header of version 1 is 592 bytes, with eight keyslots; each slot's key material is elsewhere,
//! blown up to 4,000 stripes so that the loss of any of them is the loss of the key. All of it is
//! before the payload. In a qcow2 file all that is in clusters of its own, which an extension of the
//! file's header names. Nothing here opens a keyslot.
//!
//! After the LUKS On-Disk Format Specification 1.2.1, figure 1 and table 1, and
//! <https://www.qemu.org/docs/master/interop/qcow2.html>.

use std::ops::Range;

/// How much of a file [`Luks::parse`] and [`in_qcow2`] want.
pub(crate) const HEAD: usize = 4096;

pub(crate) const MAGIC: &[u8; 6] = b"LUKS\xba\xbe";
const SLOTS: usize = 8;
const FIRST_SLOT: usize = 208;
const SLOT: usize = 48;
const SECTOR: u64 = 512;
/// A slot that opens.
const ENABLED: u32 = 0x00ac_71f3;
/// The most that a header takes here. QEMU's take 2 MiB.
const LONGEST: u64 = 64 << 20;
/// The extension of a qcow2 file's header that says where the LUKS header is.
const EXTENSION: u32 = 0x0537_be77;
/// Where a qcow2 file of version 3 says how long its header is.
const QCOW2_LENGTH: usize = 100;

/// Why there is no header of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderFault {
    /// No LUKS header of version 1, or one that was erased.
    #[error("it has no LUKS header of version 1")]
    NotLuks,
    /// Its parts are not where they can be.
    #[error("its LUKS header points to where its keys can't be")]
    OutOfRange,
}

/// What a LUKS header says of places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Luks {
    /// Where the payload begins, in bytes from the header.
    pub(crate) payload: u64,
    /// How many slots can be opened.
    pub(crate) enabled: usize,
}

impl Luks {
    /// Reads a header's first [`HEAD`] bytes.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, HeaderFault> {
        if !bytes.starts_with(MAGIC) || bytes.get(6..8) != Some(&[0, 1]) {
            return Err(HeaderFault::NotLuks);
        }
        let word = |at| be32(bytes, at).ok_or(HeaderFault::NotLuks);
        let payload = u64::from(word(104)?) * SECTOR;
        if payload == 0 || payload > LONGEST {
            return Err(HeaderFault::OutOfRange);
        }
        let key = u64::from(word(108)?);
        let mut enabled = 0;
        for slot in (0..SLOTS).map(|slot| FIRST_SLOT + slot * SLOT) {
            let (state, at, stripes) = (word(slot)?, word(slot + 40)?, word(slot + 44)?);
            // Neither product is longer than 64 bits.
            let end = (u64::from(at) * SECTOR).checked_add(key * u64::from(stripes));
            if end.is_none_or(|end| end > payload) {
                return Err(HeaderFault::OutOfRange);
            }
            enabled += usize::from(state == ENABLED);
        }
        Ok(Self { payload, enabled })
    }
}

/// Where a qcow2 file has its LUKS header and all key material, by the file's first [`HEAD`] bytes.
/// None if it is not encrypted with LUKS.
pub(crate) fn in_qcow2(head: &[u8]) -> Result<Option<Range<u64>>, HeaderFault> {
    const METHOD: usize = 32;
    if !head.starts_with(b"QFI\xfb\0\0\0\x03") || be32(head, METHOD) != Some(2) {
        return Ok(None);
    }
    let mut at = be32(head, QCOW2_LENGTH).map_or(usize::MAX, |length| length as usize);
    // Each takes at least eight bytes of the head, so this ends.
    while let (Some(kind), Some(length)) = (be32(head, at), be32(head, at.saturating_add(4))) {
        if kind == EXTENSION {
            let (begin, length) = (be64(head, at + 8), be64(head, at + 16));
            let (Some(begin), Some(length)) = (begin, length) else { break };
            let end = begin.checked_add(length).filter(|_| (1..=LONGEST).contains(&length));
            return end.map(|end| Some(begin..end)).ok_or(HeaderFault::OutOfRange);
        }
        if kind == 0 {
            break;
        }
        at = at.saturating_add(8).saturating_add((length as usize).next_multiple_of(8));
    }
    Err(HeaderFault::NotLuks)
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn be64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As QEMU makes one: a key of 64 bytes, and its first slot in use.
    fn luks() -> Vec<u8> {
        let mut head = vec![0; HEAD];
        head[..8].copy_from_slice(b"LUKS\xba\xbe\0\x01");
        head[104..108].copy_from_slice(&4040_u32.to_be_bytes());
        head[108..112].copy_from_slice(&64_u32.to_be_bytes());
        for slot in 0..8_u32 {
            let at = FIRST_SLOT + slot as usize * SLOT;
            let state = if slot == 0 { ENABLED } else { 0xdead };
            head[at..at + 4].copy_from_slice(&state.to_be_bytes());
            head[at + 40..at + 44].copy_from_slice(&(8 + slot * 504).to_be_bytes());
            head[at + 44..at + 48].copy_from_slice(&4000_u32.to_be_bytes());
        }
        head
    }

    fn qcow2() -> Vec<u8> {
        let mut head = vec![0; HEAD];
        head[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
        head[35] = 2;
        head[103] = 112;
        head[112..123].copy_from_slice(b"\xe2\x79\x2a\xca\0\0\0\x03raw");
        head[128..136].copy_from_slice(&[5, 0x37, 0xbe, 0x77, 0, 0, 0, 16]);
        head[136..144].copy_from_slice(&(17_u64 << 20).to_be_bytes());
        head[144..152].copy_from_slice(&0x1f_9000_u64.to_be_bytes());
        head
    }

    #[test]
    fn a_header_says_where_its_payload_begins_and_how_many_keys_open_it() {
        let parsed = Luks::parse(&luks()).unwrap();
        assert_eq!(parsed, Luks { payload: 2_068_480, enabled: 1 });
        assert_eq!(in_qcow2(&qcow2()), Ok(Some(17 << 20..(17 << 20) + 0x1f_9000)));
    }

    #[test]
    fn key_material_behind_the_payloads_begin_is_refused() {
        let mut head = luks();
        head[FIRST_SLOT + 7 * SLOT + 40..][..4].copy_from_slice(&4000_u32.to_be_bytes());
        assert_eq!(Luks::parse(&head), Err(HeaderFault::OutOfRange));
        let mut head = qcow2();
        head[144] = 0xff;
        assert_eq!(in_qcow2(&head), Err(HeaderFault::OutOfRange));
        let mut head = luks();
        head[7] = 2;
        assert_eq!(Luks::parse(&head), Err(HeaderFault::NotLuks));
        let mut head = qcow2();
        head[35] = 0;
        assert_eq!(in_qcow2(&head), Ok(None));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parsers_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..HEAD), at in 0..600_usize
        ) {
            let _ = (Luks::parse(&bytes), in_qcow2(&bytes));
            for mut head in [luks(), qcow2()] {
                let length = bytes.len().min(head.len() - at);
                head[at..at + length].copy_from_slice(&bytes[..length]);
                let _ = (Luks::parse(&head), in_qcow2(&head));
            }
        }
    }
}

//! The head of a VHDX file, as far as it says how large its disk is and whether the file stands by
//! itself. Pure.
//!
//! After Microsoft's [MS-VHDX], 2.2.3 (region table) and 2.6 (metadata). Of the two copies of the
//! region table the first is read, as QEMU does.

/// Bytes of a file that [`metadata_place`] wants.
pub const HEAD: usize = 256 * 1024;
/// Bytes from there on that [`Header::parse`] wants, where the file has as many.
pub const METADATA: usize = 1024 * 1024;

const MAGIC: &[u8; 8] = b"vhdxfile";
const REGIONS: usize = 192 * 1024;
/// The form's own bound of entries in either table.
const MOST: usize = 2047;
const ENTRY: usize = 32;
/// GUIDs as they lie in the file.
const METADATA_REGION: [u8; 16] =
    *b"\x06\xa2\x7c\x8b\x90\x47\x9a\x4b\xb8\xfe\x57\x5f\x05\x0f\x88\x6e";
const DISK_SIZE: [u8; 16] = *b"\x24\x42\xa5\x2f\x1b\xcd\x76\x48\xb2\x11\x5d\xbe\xd8\x3b\xf4\xb8";
const FILE_PARAMETERS: [u8; 16] =
    *b"\x37\x67\xa1\xca\x36\xfa\x43\x4d\xb3\xb6\x33\xf0\xaa\x44\xe7\x6b";
const HAS_PARENT: u32 = 1 << 1;

/// Why a VHDX file is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VhdxFault {
    /// It is none, or does not say how large its disk is.
    #[error("it is no VHDX file that says how large its disk is")]
    Form,
    /// It is the difference to another.
    #[error("it has a parent; merge it first")]
    Parent,
}

/// A VHDX file that stands by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The disk's length in bytes.
    pub size: u64,
}

/// Where a file's metadata lie, as its first [`HEAD`] bytes say.
pub fn metadata_place(head: &[u8]) -> Result<u64, VhdxFault> {
    let table = head.get(REGIONS..).filter(|_| head.starts_with(MAGIC)).ok_or(VhdxFault::Form)?;
    let count = le32(table, 8).filter(|_| table.starts_with(b"regi")).ok_or(VhdxFault::Form)?;
    let entry = one(table, 16, count as usize, &METADATA_REGION)?;
    le64(entry, 16).ok_or(VhdxFault::Form)
}

impl Header {
    /// Reads the file's metadata.
    pub fn parse(metadata: &[u8]) -> Result<Self, VhdxFault> {
        let count = le16(metadata, 10).filter(|_| metadata.starts_with(b"metadata"));
        let count = usize::from(count.ok_or(VhdxFault::Form)?);
        let item = |id| {
            let at = le32(one(metadata, ENTRY, count, id)?, 16).ok_or(VhdxFault::Form)?;
            metadata.get(at as usize..).ok_or(VhdxFault::Form)
        };
        let flags = le32(item(&FILE_PARAMETERS)?, 4).ok_or(VhdxFault::Form)?;
        if flags & HAS_PARENT != 0 {
            return Err(VhdxFault::Parent);
        }
        let size = le64(item(&DISK_SIZE)?, 0).ok_or(VhdxFault::Form)?;
        Ok(Self { size })
    }
}

/// The one entry of a table that has this GUID: of two, nobody knows which another reader takes.
fn one<'a>(
    table: &'a [u8],
    start: usize,
    count: usize,
    id: &[u8; 16],
) -> Result<&'a [u8], VhdxFault> {
    let entries = table.get(start..).unwrap_or_default().chunks_exact(ENTRY);
    if count > MOST || count > entries.len() {
        return Err(VhdxFault::Form);
    }
    let mut found = entries.take(count).filter(|entry| entry.starts_with(id));
    match (found.next(), found.next()) {
        (Some(entry), None) => Ok(entry),
        _ => Err(VhdxFault::Form),
    }
}

fn le16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn le64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn head() -> Vec<u8> {
        let mut head = vec![0; HEAD];
        head[..8].copy_from_slice(MAGIC);
        head[REGIONS..REGIONS + 4].copy_from_slice(b"regi");
        head[REGIONS + 8] = 1;
        head[REGIONS + 16..REGIONS + 32].copy_from_slice(&METADATA_REGION);
        head[REGIONS + 32..REGIONS + 40].copy_from_slice(&(3u64 << 20).to_le_bytes());
        head
    }

    fn metadata(flags: u32, size: u64) -> Vec<u8> {
        let mut bytes = vec![0; 66_000];
        bytes[..8].copy_from_slice(b"metadata");
        bytes[10] = 2;
        for (at, id, place) in [(32, FILE_PARAMETERS, 65536u32), (64, DISK_SIZE, 65544)] {
            bytes[at..at + 16].copy_from_slice(&id);
            bytes[at + 16..at + 20].copy_from_slice(&place.to_le_bytes());
        }
        bytes[65540..65544].copy_from_slice(&flags.to_le_bytes());
        bytes[65544..65552].copy_from_slice(&size.to_le_bytes());
        bytes
    }

    #[test]
    fn a_file_says_how_large_its_disk_is() {
        assert_eq!(metadata_place(&head()), Ok(3 << 20));
        assert_eq!(Header::parse(&metadata(0, 5 << 40)), Ok(Header { size: 5 << 40 }));
    }

    #[test]
    fn a_file_with_a_parent_or_with_two_sizes_is_refused() {
        assert_eq!(Header::parse(&metadata(HAS_PARENT, 1)), Err(VhdxFault::Parent));
        let mut twice = metadata(0, 1);
        twice[10] = 3;
        let entry = twice[64..96].to_vec();
        twice[96..128].copy_from_slice(&entry);
        assert_eq!(Header::parse(&twice), Err(VhdxFault::Form));
        assert_eq!(metadata_place(&head()[..REGIONS]), Err(VhdxFault::Form));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..99), at in 0..200usize
        ) {
            let _ = metadata_place(&bytes);
            let _ = Header::parse(&bytes);
            let (mut head, mut metadata) = (head(), metadata(0, 1));
            head[REGIONS + at..REGIONS + at + bytes.len()].copy_from_slice(&bytes);
            metadata[at..at + bytes.len()].copy_from_slice(&bytes);
            let _ = metadata_place(&head);
            let _ = Header::parse(&metadata);
        }
    }
}

//! The head of a VMDK file, as far as it says whether the file stands by itself. Pure.
//!
//! A VMDK can be a text that names the files which hold the disk, and QEMU opens these, whatever
//! they are (CVE-2022-47951 in OpenStack); or it can name a parent. Only the two forms that are one
//! file are taken: `monolithicSparse` and `streamOptimized`. The form is that of VMware's "Virtual
//! Disk Format 5.0"; which parts of it QEMU follows was read in its `block/vmdk.c`.

/// Bytes of a file that [`Header::parse`] wants, where the file has as many.
pub const HEAD: usize = 1024 * 1024;

const MAGIC: &[u8; 4] = b"KDMV";
const SECTOR: u64 = 512;
/// How much of a descriptor QEMU reads.
const DESCRIPTOR: usize = 20 * SECTOR as usize;
const SINGLE: [&str; 2] = ["monolithicsparse", "streamoptimized"];

/// Why a VMDK file is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VmdkFault {
    /// It is none that holds a disk itself; a descriptor by itself is a text.
    #[error("it is no VMDK that holds its disk itself (monolithicSparse or streamOptimized)")]
    Form,
    /// Its descriptor says that the disk lies elsewhere.
    #[error("it is of the type {0:?}; only monolithicSparse and streamOptimized are one file")]
    Type(String),
    /// It is the difference to another.
    #[error("it names a parent; consolidate it first")]
    Parent,
}

/// A VMDK file that stands by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The disk's length in bytes.
    pub size: u64,
}

impl Header {
    /// Reads a file's first [`HEAD`] bytes.
    pub fn parse(head: &[u8]) -> Result<Self, VmdkFault> {
        let capacity = le64(head, 12).ok_or(VmdkFault::Form)?;
        let place = le64(head, 28).ok_or(VmdkFault::Form)?;
        // Without a capacity QEMU takes the embedded descriptor for the list of the disk's files.
        if !head.starts_with(MAGIC) || capacity == 0 || place == 0 {
            return Err(VmdkFault::Form);
        }
        let at = place.checked_mul(SECTOR).and_then(|at| usize::try_from(at).ok());
        let descriptor = at.and_then(|at| head.get(at..)).ok_or(VmdkFault::Form)?;
        check_descriptor(descriptor)?;
        // Where QEMU looks for a parent, whatever the header says.
        if has_parent(head.get(SECTOR as usize..).unwrap_or_default()) {
            return Err(VmdkFault::Parent);
        }
        let size = capacity.checked_mul(SECTOR).ok_or(VmdkFault::Form)?;
        Ok(Self { size })
    }
}

fn check_descriptor(bytes: &[u8]) -> Result<(), VmdkFault> {
    let text = text(bytes);
    if has_parent(bytes) {
        return Err(VmdkFault::Parent);
    }
    let types = text.lines().filter_map(|line| {
        let (name, value) = line.split_once('=')?;
        name.trim().eq_ignore_ascii_case("createtype").then(|| value.trim().trim_matches('"'))
    });
    let types: Vec<&str> = types.collect();
    match types[..] {
        [one] if SINGLE.contains(&one.to_ascii_lowercase().as_str()) => Ok(()),
        [] => Err(VmdkFault::Form),
        [first, ..] => Err(VmdkFault::Type(first.chars().take(40).collect())),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(DESCRIPTOR)]).into_owned()
}

fn has_parent(bytes: &[u8]) -> bool {
    text(bytes).to_ascii_lowercase().contains("parentfilenamehint")
}

fn le64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(capacity: u64, descriptor: &str) -> Vec<u8> {
        let mut head = vec![0; 16384];
        head[..4].copy_from_slice(MAGIC);
        head[12..20].copy_from_slice(&capacity.to_le_bytes());
        head[28..36].copy_from_slice(&1u64.to_le_bytes());
        head[512..512 + descriptor.len()].copy_from_slice(descriptor.as_bytes());
        head
    }

    const GOOD: &str = "# Disk DescriptorFile\nparentCID=ffffffff\ncreateType=\"monolithicSparse\"\n\
                        RW 2048 SPARSE \"disk.vmdk\"\n";

    #[test]
    fn a_file_that_holds_its_disk_is_taken() {
        assert_eq!(Header::parse(&file(2048, GOOD)), Ok(Header { size: 1 << 20 }));
        let streamed = GOOD.replace("monolithicSparse", "streamOptimized");
        assert!(Header::parse(&file(2048, &streamed)).is_ok());
    }

    #[test]
    fn a_file_that_names_others_is_refused() {
        let flat = GOOD.replace("monolithicSparse", "monolithicFlat");
        assert!(matches!(Header::parse(&file(2048, &flat)), Err(VmdkFault::Type(_))));
        assert_eq!(Header::parse(&file(0, GOOD)), Err(VmdkFault::Form));
        let child = format!("{GOOD}parentFileNameHint=\"/etc/shadow\"\n");
        assert_eq!(Header::parse(&file(2048, &child)), Err(VmdkFault::Parent));
        let twice = format!("{GOOD}createType=\"monolithicFlat\"\n");
        assert!(matches!(Header::parse(&file(2048, &twice)), Err(VmdkFault::Type(_))));
        // The text by itself, whose extents are files.
        assert_eq!(Header::parse(&[GOOD.as_bytes(), &[0; 99]].concat()), Err(VmdkFault::Form));
    }

    #[test]
    fn a_parent_is_found_where_qemu_looks_for_it() {
        let mut head = file(2048, "");
        head[28..36].copy_from_slice(&21u64.to_le_bytes());
        head[21 * 512..21 * 512 + GOOD.len()].copy_from_slice(GOOD.as_bytes());
        assert!(Header::parse(&head).is_ok());
        head[600..618].copy_from_slice(b"parentFileNameHint");
        assert_eq!(Header::parse(&head), Err(VmdkFault::Parent));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..300), at in 0..900usize
        ) {
            let _ = Header::parse(&bytes);
            let mut head = file(2048, GOOD);
            head[at..at + bytes.len()].copy_from_slice(&bytes);
            let _ = Header::parse(&head);
        }
    }
}

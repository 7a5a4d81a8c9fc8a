//! The head of a qcow2 file, as far as it says whether the file stands by itself. Pure.
//!
//! A qcow2 file can name other files: a backing file, or one that holds its data. Whoever converts
//! a tenant's upload without looking reads these, and with them whatever the host can read
//! (CVE-2015-5163, CVE-2024-32498 in OpenStack). So an image that is imported must name none.
//! The form is that of QEMU's docs/interop/qcow2.rst.

pub(crate) mod overlay;

/// Bytes of a file that [`Header::parse`] wants, where the file has as many.
pub const HEAD: usize = 64 * 1024;

const MAGIC: &[u8; 4] = b"QFI\xfb";
const CORRUPT: u64 = 1 << 1;
const EXTERNAL_DATA: u64 = 1 << 2;
/// Header extension: the name of the file that holds the data.
const DATA_FILE: u32 = 0x4441_5441;
/// Header extension: the backing file's form.
const BACKING_FORMAT: u32 = 0xe279_2aca;

/// Why a qcow2 file is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Qcow2Fault {
    /// It is none, or of an unknown version.
    #[error("it is no qcow2 file of version 2 or 3")]
    Form,
    /// It names a backing file.
    #[error("it names a backing file; flatten it with `qemu-img convert` where that file is")]
    BackingFile,
    /// It names a file that holds its data.
    #[error("it names an external data file; convert it to one file where that file is")]
    DataFile,
    /// It is encrypted.
    #[error("it is encrypted; decrypt it first, and import it into an encrypted project")]
    Encrypted,
    /// It is not encrypted with LUKS, and was to be.
    #[error("it is not encrypted with LUKS")]
    NotEncrypted,
    /// Its last user has marked it as damaged.
    #[error("it is marked as corrupt")]
    Corrupt,
}

/// A qcow2 file that stands by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// 2 or 3.
    pub version: u32,
    /// The disk's length in bytes.
    pub size: u64,
}

impl Header {
    /// Reads a file's first [`HEAD`] bytes.
    pub fn parse(head: &[u8]) -> Result<Self, Qcow2Fault> {
        Self::read(head, |method| if method == 0 { Ok(()) } else { Err(Qcow2Fault::Encrypted) })
    }

    /// The same of a file that is to be encrypted with LUKS.
    pub(crate) fn parse_luks(head: &[u8]) -> Result<Self, Qcow2Fault> {
        Self::read(head, |method| if method == 2 { Ok(()) } else { Err(Qcow2Fault::NotEncrypted) })
    }

    fn read(
        head: &[u8],
        check_method: impl Fn(u32) -> Result<(), Qcow2Fault>,
    ) -> Result<Self, Qcow2Fault> {
        let word = |at| be32(head, at).ok_or(Qcow2Fault::Form);
        let long = |at| be64(head, at).ok_or(Qcow2Fault::Form);
        let version = word(4)?;
        if !head.starts_with(MAGIC) || !(2..=3).contains(&version) {
            return Err(Qcow2Fault::Form);
        }
        if long(8)? != 0 || word(16)? != 0 {
            return Err(Qcow2Fault::BackingFile);
        }
        check_method(word(32)?)?;
        let (incompatible, length) = match version {
            2 => (0, 72),
            _ => (long(72)?, word(100)?),
        };
        if incompatible & EXTERNAL_DATA != 0 {
            return Err(Qcow2Fault::DataFile);
        }
        if incompatible & CORRUPT != 0 {
            return Err(Qcow2Fault::Corrupt);
        }
        check_extensions(head, length as usize)?;
        Ok(Self { version, size: long(24)? })
    }
}

fn check_extensions(head: &[u8], mut at: usize) -> Result<(), Qcow2Fault> {
    // Each takes at least eight bytes of the head, so this ends.
    while let Some(kind) = be32(head, at) {
        let length = be32(head, at + 4).ok_or(Qcow2Fault::Form)? as usize;
        match kind {
            0 => return Ok(()),
            DATA_FILE => return Err(Qcow2Fault::DataFile),
            BACKING_FORMAT => return Err(Qcow2Fault::BackingFile),
            _ => at = at + 8 + length.next_multiple_of(8),
        }
    }
    // The list has no end within the first cluster.
    if at == head.len() { Ok(()) } else { Err(Qcow2Fault::Form) }
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn be64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(version: u32) -> Vec<u8> {
        let mut head = vec![0; 512];
        head[..4].copy_from_slice(MAGIC);
        head[4..8].copy_from_slice(&version.to_be_bytes());
        head[24..32].copy_from_slice(&(1u64 << 30).to_be_bytes());
        head[100..104].copy_from_slice(&104u32.to_be_bytes());
        head
    }

    fn with(at: usize, bytes: &[u8]) -> Vec<u8> {
        let mut head = header(3);
        head[at..at + bytes.len()].copy_from_slice(bytes);
        head
    }

    #[test]
    fn a_file_that_stands_by_itself_is_taken() {
        for version in [2, 3] {
            assert_eq!(Header::parse(&header(version)), Ok(Header { version, size: 1 << 30 }));
        }
        // Feature names, as QEMU writes them, and the end.
        let named = with(104, &[0x68, 0x03, 0xf8, 0x57, 0, 0, 0, 3, 1, 2, 3, 0, 0, 0, 0, 0]);
        assert!(Header::parse(&named).is_ok());
    }

    #[test]
    fn a_file_that_names_another_is_refused() {
        assert_eq!(Header::parse(&with(15, &[200])), Err(Qcow2Fault::BackingFile));
        assert_eq!(Header::parse(&with(19, &[9])), Err(Qcow2Fault::BackingFile));
        assert_eq!(Header::parse(&with(79, &[4])), Err(Qcow2Fault::DataFile));
        assert_eq!(Header::parse(&with(104, b"DATA\0\0\0\x01/")), Err(Qcow2Fault::DataFile));
        let after = with(104, b"\x01\x01\x01\x01\0\0\0\x03abc\0\0\0\0\0DATA\0\0\0\x01/");
        assert_eq!(Header::parse(&after), Err(Qcow2Fault::DataFile));
        let form = with(104, &[0xe2, 0x79, 0x2a, 0xca, 0, 0, 0, 3, b'r', b'a', b'w']);
        assert_eq!(Header::parse(&form), Err(Qcow2Fault::BackingFile));
    }

    #[test]
    fn what_could_not_be_converted_is_refused_with_its_reason() {
        assert_eq!(Header::parse(&with(35, &[2])), Err(Qcow2Fault::Encrypted));
        assert_eq!(Header::parse(&with(79, &[2])), Err(Qcow2Fault::Corrupt));
        assert_eq!(Header::parse(&header(4)), Err(Qcow2Fault::Form));
        assert_eq!(Header::parse(b"raw"), Err(Qcow2Fault::Form));
        // Extensions that lead out of the head hide what follows.
        let hidden = with(104, &[1, 1, 1, 1, 0xff, 0xff, 0xff, 0xf0]);
        assert_eq!(Header::parse(&hidden), Err(Qcow2Fault::Form));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..300), at in 0..400usize
        ) {
            let _ = Header::parse(&bytes);
            let mut head = header(3);
            let length = bytes.len().min(head.len() - at);
            head[at..at + length].copy_from_slice(&bytes[..length]);
            let _ = Header::parse(&head);
        }
    }
}

//! What lies on a disk that may be taken, by its first and last mebibytes. Pure.
//!
//! Nothing is taken for blank by the want of a signature that is known: it must be zeros. The
//! signatures are there to tell the operator what it is.
//!
//! After libblkid's probes and `include/uapi/linux` (ext4, XFS, btrfs, swap, md), the UEFI
//! specification (GPT) and the LUKS On-Disk Format Specification.

/// How much of each end is looked at, in bytes.
pub(super) const EDGE: usize = 4 << 20;

/// Where a signature is from the beginning of the disk, what it is, and of what.
const SIGNATURES: &[(usize, &[u8], &str)] = &[
    (0, b"LUKS\xba\xbe", "a LUKS volume"),
    (512, b"EFI PART", "a partition table (GPT)"),
    (4096, b"EFI PART", "a partition table (GPT)"),
    (1080, b"\x53\xef", "a file system (ext2, ext3 or ext4)"),
    (0, b"XFSB", "a file system (XFS)"),
    (65600, b"_BHRfS_M", "a file system (btrfs)"),
    (3, b"NTFS    ", "a file system (NTFS)"),
    (82, b"FAT32   ", "a file system (FAT)"),
    (54, b"FAT16   ", "a file system (FAT)"),
    (4086, b"SWAPSPACE2", "swap space"),
    (512, b"LABELONE", "an LVM physical volume"),
    (0, b"LABELONE", "an LVM physical volume"),
    (4096, b"\xfc\x4e\x2b\xa9", "a part of a RAID (md)"),
    (0, b"\xfc\x4e\x2b\xa9", "a part of a RAID (md)"),
    (32769, b"CD001", "a file system (ISO 9660)"),
    (0, b"QFI\xfb", "a qcow2 image"),
    // Last: many of those above have it, too.
    (510, b"\x55\xaa", "a partition table (MBR), or a boot sector"),
];

/// What a disk has at its ends, if they are not all zeros.
pub(super) fn found(head: &[u8], tail: &[u8]) -> Option<&'static str> {
    let is_at = |(at, magic, _): &&(usize, &[u8], &str)| {
        head.get(*at..).is_some_and(|rest| rest.starts_with(magic))
    };
    if let Some((.., what)) = SIGNATURES.iter().find(is_at) {
        return Some(what);
    }
    let is_blank = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    match (is_blank(head), is_blank(tail)) {
        (true, true) => None,
        (false, _) => Some("data of a kind that is not known"),
        (true, false) => Some("data at its end, as a RAID or a partition table leaves it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_alone_are_blank_and_what_is_known_is_called_by_its_name() {
        let zeros = vec![0; 128 << 10];
        assert_eq!(found(&zeros, &zeros), None);
        for (at, magic, what) in SIGNATURES {
            let mut head = zeros.clone();
            head[*at..*at + magic.len()].copy_from_slice(magic);
            assert_eq!(found(&head, &zeros), Some(*what));
        }
        let mut odd = zeros.clone();
        odd[70_000] = 1;
        assert!(found(&odd, &zeros).unwrap().contains("not known"));
        assert!(found(&zeros, &odd).unwrap().contains("end"));
    }
}

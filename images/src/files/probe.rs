//! What is in a partition, by the marks that each system leaves at its known places. Pure: what is
//! read is given.
//!
//! A mark is no promise: what has it may be damaged. The places are those of the kernel's and
//! util-linux's headers (`ext4_super_block`, `xfs_dsb`, `btrfs_super_block`, `luks_phdr`,
//! `mdp_superblock_1`, lvm2's `label_header`, `swap_header`), Microsoft's specifications of FAT, exFAT and
//! NTFS, and ECMA-119 (ISO 9660).

use std::fmt;

use super::partitions::ReadAt;

/// The furthest that a mark lies from the beginning: that of Btrfs.
const FURTHEST: usize = (64 << 10) + 0x48;

/// What is in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// ext2, ext3 or ext4.
    Ext,
    /// FAT12, FAT16 or FAT32.
    Fat,
    /// exFAT.
    Exfat,
    /// NTFS.
    Ntfs,
    /// A volume that BitLocker has encrypted.
    BitLocker,
    /// XFS.
    Xfs,
    /// Btrfs.
    Btrfs,
    /// A CD.
    Iso9660,
    /// Squashfs.
    Squashfs,
    /// A volume that LUKS has encrypted in the guest.
    Luks,
    /// A part of a volume group of LVM.
    Lvm,
    /// A part of a RAID of Linux.
    Raid,
    /// Swap of Linux.
    Swap,
    /// None of these.
    Unknown,
}

impl fmt::Display for Kind {
    /// As it ends the sentence "the partition is ...".
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Ext => "an ext file system",
            Self::Fat => "FAT",
            Self::Exfat => "exFAT",
            Self::Ntfs => "NTFS",
            Self::BitLocker => "encrypted by the guest with BitLocker",
            Self::Xfs => "XFS",
            Self::Btrfs => "Btrfs",
            Self::Iso9660 => "ISO 9660",
            Self::Squashfs => "Squashfs",
            Self::Luks => "encrypted by the guest with LUKS",
            Self::Lvm => "a part of an LVM volume group",
            Self::Raid => "a part of a Linux RAID",
            Self::Swap => "swap",
            Self::Unknown => "of no kind that is known",
        })
    }
}

/// Marks, and where each is; the first that is there counts. What encrypts or divides a volume is before
/// what may lie in it.
const MARKS: &[(usize, &[u8], Kind)] = &[
    (0, b"LUKS\xba\xbe", Kind::Luks),
    (3, b"-FVE-FS-", Kind::BitLocker),
    (0, b"LABELONE", Kind::Lvm),
    (512, b"LABELONE", Kind::Lvm),
    (1024, b"LABELONE", Kind::Lvm),
    (1536, b"LABELONE", Kind::Lvm),
    (0, b"\xfc\x4e\x2b\xa9", Kind::Raid),
    (4096, b"\xfc\x4e\x2b\xa9", Kind::Raid),
    (3, b"NTFS    ", Kind::Ntfs),
    (3, b"EXFAT   ", Kind::Exfat),
    (0, b"XFSB", Kind::Xfs),
    (0x1_0040, b"_BHRfS_M", Kind::Btrfs),
    (0, b"hsqs", Kind::Squashfs),
    (4086, b"SWAPSPACE2", Kind::Swap),
    (0x8001, b"CD001", Kind::Iso9660),
    (1080, b"\x53\xef", Kind::Ext),
];

/// What is in a partition of this length.
pub(super) fn probe<E>(length: u64, read: &mut ReadAt<'_, E>) -> Result<Kind, E> {
    let length = usize::try_from(length).map_or(FURTHEST, |length| length.min(FURTHEST));
    let mut head = vec![0; length];
    read(0, &mut head)?;
    Ok(kind_of(&head))
}

/// What begins like this.
pub fn kind_of(head: &[u8]) -> Kind {
    let is_at = |(at, mark, _): &&(usize, &[u8], Kind)| {
        head.get(*at..).is_some_and(|there| there.starts_with(mark))
    };
    match MARKS.iter().find(is_at) {
        Some((_, _, kind)) => *kind,
        None if is_fat(head) => Kind::Fat,
        None => Kind::Unknown,
    }
}

/// Whether a boot sector is one of FAT: its fields are what they can be, since the letters `FAT` in it
/// mean nothing, says its specification.
fn is_fat(head: &[u8]) -> bool {
    let Some(sector) = head.first_chunk::<512>() else { return false };
    let word = |at: usize| u16::from_le_bytes([sector[at], sector[at + 1]]);
    let is_jump = matches!(sector[..3], [0xeb, _, 0x90] | [0xe9, _, _]);
    is_jump
        && sector[510..] == [0x55, 0xaa]
        && matches!(word(11), 512 | 1024 | 2048 | 4096)
        && sector[13].is_power_of_two()
        && word(14) > 0
        && matches!(sector[16], 1 | 2)
        && sector[21] >= 0xf0
}

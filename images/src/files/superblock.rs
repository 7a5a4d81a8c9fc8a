//! Whether an ext superblock is one that can be worked with at all, before its parser believes it:
//! block sizes and numbers of groups say how much memory that takes.
//!
//! It says nothing of whether the file system is sound, which is the parser's to find.
//!
//! After <https://docs.kernel.org/filesystems/ext4/super.html>.

/// Where it lies in its partition, in bytes, and how long it is.
pub(super) const AT: u64 = 1024;
/// How long it is.
pub(super) const LENGTH: usize = 1024;

/// The largest block that Linux makes and reads anywhere is 64 KiB.
const LARGEST_SHIFT: u32 = 6;
/// More groups than a file system of 64 TiB has, of the usual 128 MiB each. Their descriptors are held in
/// memory.
const MOST_GROUPS: u64 = 1 << 20;
/// The incompatible feature by which numbers of blocks have 64 bits.
const IS_64_BIT: u32 = 0x80;

/// Why a superblock is none that is worked with, on a partition of this length.
pub(super) fn fault_in(superblock: &[u8; LENGTH], length: u64) -> Option<&'static str> {
    let number = |at: usize| {
        let bytes = superblock[at..at + 4].first_chunk().copied().unwrap_or_default();
        u32::from_le_bytes(bytes)
    };
    let (shift, in_group) = (number(24), u64::from(number(32)));
    if shift > LARGEST_SHIFT {
        return Some("its blocks are longer than 64 KiB");
    }
    let is_64_bit = number(96) & IS_64_BIT != 0;
    let high = if is_64_bit { u64::from(number(0x150)) } else { 0 };
    let blocks = high << 32 | u64::from(number(4));
    if blocks.checked_mul(1024 << shift).is_none_or(|bytes| bytes > length) {
        return Some("it is longer than its partition");
    }
    if in_group == 0 || blocks.div_ceil(in_group) > MOST_GROUPS {
        return Some("it has more groups of blocks than any sound one");
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn superblock(shift: u32, blocks: u32, in_group: u32) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        for (at, number) in [(24, shift), (4, blocks), (32, in_group)] {
            bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn what_would_take_gigabytes_of_memory_is_refused() {
        let length = 1 << 40;
        assert_eq!(fault_in(&superblock(2, 1 << 20, 32768), length), None);
        assert_eq!(fault_in(&superblock(6, 1 << 20, 32768), length), None);
        assert!(fault_in(&superblock(21, 2, 32768), length).is_some());
        assert!(fault_in(&superblock(u32::MAX, 2, 32768), length).is_some());
        assert!(fault_in(&superblock(0, 1 << 29, 1), length).is_some());
        assert!(fault_in(&superblock(0, 1 << 29, 0), length).is_some());
        // More blocks than there are bytes for.
        assert!(fault_in(&superblock(2, u32::MAX, 32768), length).is_some());
        let mut long = superblock(2, 0, 32768);
        long[96] = 0x80;
        long[0x150] = 1;
        assert!(fault_in(&long, length).is_some());
        assert_eq!(fault_in(&long, 1 << 45), None);
    }

    proptest! {
        #[test]
        fn whatever_it_is_the_groups_of_one_that_passes_are_few(
            bytes in prop::collection::vec(any::<u8>(), LENGTH), length in any::<u64>(),
        ) {
            let bytes: [u8; LENGTH] = bytes.try_into().unwrap();
            if fault_in(&bytes, length).is_none() {
                let number = |at: usize| u32::from_le_bytes(*bytes[at..].first_chunk().unwrap());
                prop_assert!(number(4) / number(32) <= 1 << 20 && number(24) <= 6);
            }
        }
    }
}

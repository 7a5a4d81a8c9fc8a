//! A guest's disk, divided as the guest likes: a table of partitions, and what is in each.
//!
//! The first byte says whether the checksums of a GPT are made right, so that what lies behind them is
//! reached. Besides not panicking: every partition lies within the disk.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mezame_images::{
    archive::ArchiveError,
    files::{partitions, probe},
};

fuzz_target!(|input: &[u8]| {
    let Some((mends, input)) = input.split_first() else { return };
    let mut disk = input.to_vec();
    if mends & 1 == 1 && disk.len() > 1024 + 512 {
        mend(&mut disk);
    }
    let size = disk.len() as u64;
    let mut at = |offset: u64, buffer: &mut [u8]| {
        let at = usize::try_from(offset).expect("an offset within memory");
        buffer.copy_from_slice(&disk[at..at + buffer.len()]);
        Ok::<_, ArchiveError>(())
    };
    if let Ok((_, found)) = partitions::read(size, &mut at) {
        for partition in found {
            let end = partition.offset.checked_add(partition.length);
            assert!(end.is_some_and(|end| end <= size), "{partition:?}");
        }
    }
    let _ = probe::kind_of(input);
});

/// Makes the first copy of a GPT of at most 4 entries sound.
fn mend(disk: &mut [u8]) {
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    disk[450] = 0xee;
    for line in 0..4 {
        disk[446 + 16 * line] &= 0x80;
    }
    disk[512..520].copy_from_slice(b"EFI PART");
    disk[524..528].copy_from_slice(&92_u32.to_le_bytes());
    disk[536..544].copy_from_slice(&1_u64.to_le_bytes());
    disk[584..592].copy_from_slice(&2_u64.to_le_bytes());
    disk[592..596].copy_from_slice(&4_u32.to_le_bytes());
    disk[596..600].copy_from_slice(&128_u32.to_le_bytes());
    let entries = crc32(&disk[1024..1536]);
    disk[600..604].copy_from_slice(&entries.to_le_bytes());
    disk[528..532].fill(0);
    let header = crc32(&disk[512..604]);
    disk[528..532].copy_from_slice(&header.to_le_bytes());
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

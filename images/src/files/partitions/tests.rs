//! Tables that sfdisk has made, and what becomes of damaged ones.

use std::{
    fs,
    io::Write,
    process::{Command, Stdio},
};

use proptest::prelude::*;

use super::*;
use crate::archive::ArchiveError;

const M: u64 = 1 << 20;

fn divided(size: u64, script: &str) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk");
    fs::File::create(&path).unwrap().set_len(size).unwrap();
    let mut sfdisk = Command::new("sfdisk");
    sfdisk.args(["--quiet"]).arg(&path).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = sfdisk.spawn().unwrap();
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    fs::read(path).unwrap()
}

fn read_of(disk: &[u8]) -> Result<(Table, Vec<Partition>), FilesError> {
    let mut at = |offset: u64, buffer: &mut [u8]| {
        let at = usize::try_from(offset).unwrap();
        buffer.copy_from_slice(&disk[at..at + buffer.len()]);
        Ok::<_, ArchiveError>(())
    };
    read(disk.len() as u64, &mut at)
}

fn places(partitions: &[Partition]) -> Vec<(u32, u64, u64)> {
    partitions.iter().map(|it| (it.number, it.offset / M, it.length / M)).collect()
}

#[test]
fn partitions_of_a_gpt_are_found_by_either_copy() {
    let script = "label: gpt\nstart=2048, size=4096, type=U, name=firmware\nsize=8192, type=L\n";
    let mut disk = divided(16 * M, script);
    let (table, partitions) = read_of(&disk).unwrap();
    assert_eq!(table, Table::Gpt);
    assert_eq!(places(&partitions), [(1, 1, 2), (2, 3, 4)]);
    assert_eq!(partitions[0].name, "firmware");
    // C12A7328-F81F-11D2-BA4B-00A0C93EC93B, as it lies on the disk.
    let system = *b"\x28\x73\x2a\xc1\x1f\xf8\xd2\x11\xba\x4b\x00\xa0\xc9\x3e\xc9\x3b";
    assert_eq!(partitions[0].purpose, Purpose::Gpt(system));
    // The first header, then the first entries: the second copy has all.
    for at in [512 + 60, 1024 + 40] {
        disk[at] ^= 1;
        assert_eq!(read_of(&disk).unwrap().1, partitions);
    }
    let last = disk.len() - 512;
    disk[last + 80] ^= 1;
    let error = read_of(&disk).unwrap_err();
    assert!(matches!(error, FilesError::Table(_)), "{error}");
}

#[test]
fn logical_partitions_of_a_boot_record_are_found_and_a_chain_in_a_circle_ends() {
    // The third and the fourth are in the first sector, too; what follows is in the second.
    let script = "label: dos\nstart=2048, size=4096, type=83\nsize=24576, type=5\n\
                  size=2048, type=83\nsize=2048, type=83\n\
                  size=4096, type=83\nsize=4096, type=82\nsize=4096, type=7\n";
    let mut disk = divided(32 * M, script);
    let (table, partitions) = read_of(&disk).unwrap();
    assert_eq!(table, Table::Mbr);
    let expected = [(1, 1, 2), (3, 15, 1), (4, 16, 1), (5, 4, 2), (6, 7, 2), (7, 10, 2)];
    assert_eq!(places(&partitions), expected);
    assert_eq!(partitions[4].purpose, Purpose::Mbr(0x82));
    // The second logical one's record is followed by itself.
    let record = 6 * M as usize;
    let own = u32::from_le_bytes(disk[record + 454..record + 458].try_into().unwrap());
    assert_eq!(own, 2048, "it is another record");
    disk[record + 470..record + 474].copy_from_slice(&(3 * 2048_u32).to_le_bytes());
    let (_, partitions) = read_of(&disk).unwrap();
    assert!(partitions.len() <= 4 + MOST_LOGICAL as usize);
}

#[test]
fn a_disk_without_a_table_is_one_partition_and_one_that_was_cut_is_read_as_far_as_it_goes() {
    for size in [0, 100, 512, 4096] {
        let disk = vec![0; size];
        assert_eq!(read_of(&disk).unwrap(), (Table::None, vec![Partition::whole(size as u64)]));
    }
    let disk = divided(16 * M, "label: dos\nstart=2048, type=83\n");
    let (_, partitions) = read_of(&disk[..8 * M as usize]).unwrap();
    assert_eq!(places(&partitions), [(1, 1, 7)]);
}

#[test]
fn the_checksum_is_that_of_the_standard() {
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_a_table_says_its_partitions_are_within_the_disk(
        noise in prop::collection::vec((0_usize..4096, any::<u8>()), 0..40),
        is_gpt: bool,
        mends: bool,
    ) {
        static DISKS: std::sync::OnceLock<[Vec<u8>; 2]> = std::sync::OnceLock::new();
        let disks = DISKS.get_or_init(|| [
            divided(4 * M, "label: dos\nstart=2048, size=1024\nsize=2048, type=5\nsize=512\n"),
            divided(4 * M, "label: gpt\nstart=2048, size=1024\nsize=512\n"),
        ]);
        let mut disk = disks[usize::from(is_gpt)].clone();
        for (at, byte) in noise {
            disk[at] = byte;
        }
        if mends {
            disk[510..512].copy_from_slice(&[0x55, 0xaa]);
            let entries = crc32(&disk[1024..1024 + 128 * 128]);
            disk[512 + 88..512 + 92].copy_from_slice(&entries.to_le_bytes());
            disk[512 + 16..512 + 20].fill(0);
            let header = crc32(&disk[512..512 + 92]);
            disk[512 + 16..512 + 20].copy_from_slice(&header.to_le_bytes());
        }
        if let Ok((_, partitions)) = read_of(&disk) {
            for partition in partitions {
                let end = partition.offset.checked_add(partition.length);
                prop_assert!(end.is_some_and(|end| end <= disk.len() as u64));
            }
        }
    }
}

//! How large the parts of a volume are, and its boot sector.
//!
//! The number of clusters alone says whether it is FAT12 or FAT16, and programs disagree by a few
//! about where the one ends (fatgen103 warns of it), so no volume is near that.

use super::directory::LABEL_LENGTH;

/// Bytes of a sector.
pub(super) const SECTOR: usize = 512;
/// The first cluster that holds anything.
pub(super) const FIRST_CLUSTER: u16 = 2;
/// Entries of the root directory, as fatgen103 wants it of FAT16.
pub(super) const ROOT_ENTRIES: usize = 512;
/// Bytes of the root directory.
pub(super) const ROOT_BYTES: usize = ROOT_ENTRIES * 32;

/// Sectors before the first FAT: the boot sector.
const RESERVED: usize = 1;
/// How many FATs there are, all the same.
const FATS: usize = 2;
/// Sectors of the root directory.
const ROOT_SECTORS: usize = ROOT_BYTES / SECTOR;
/// A volume is whole tracks, since mtools refuses any other (as "not a multiple of sectors per
/// track"), and cloudbase-init reads by mtools.
const TRACK: usize = 32;
/// Told to whoever still asks for cylinders.
const HEADS: u16 = 64;
/// The largest cluster that every system reads, in sectors: 32 KiB.
const MOST_SECTORS: usize = 64;

/// From so many clusters on it is FAT16.
const FAT16_FROM: usize = 4085;
/// From so many on it would be FAT32.
const FAT32_FROM: usize = 65_525;
/// How far to stay away from both.
const MARGIN: usize = 16;

/// The measures of a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Geometry {
    sectors_per_cluster: usize,
    clusters: usize,
    fat_sectors: usize,
    sectors: usize,
}

impl Geometry {
    /// The smallest volume that holds contents of these lengths, in bytes; None where none does.
    pub(super) fn fitting(lengths: &[usize]) -> Option<Self> {
        let mut sectors_per_cluster = 1;
        while sectors_per_cluster <= MOST_SECTORS {
            let cluster = sectors_per_cluster * SECTOR;
            let needed = lengths.iter().map(|length| length.div_ceil(cluster)).sum();
            if let Some(geometry) = Self::of(sectors_per_cluster, needed) {
                return Some(geometry);
            }
            sectors_per_cluster *= 2;
        }
        None
    }

    /// The smallest volume with at least so many clusters of this size.
    fn of(sectors_per_cluster: usize, needed: usize) -> Option<Self> {
        let mut needed = needed.max(1);
        let mut fat_sectors = 1;
        // Both grow, and neither beyond what FAT16 has.
        while needed < FAT32_FROM - MARGIN {
            let before = RESERVED + FATS * fat_sectors + ROOT_SECTORS;
            let sectors = (before + needed * sectors_per_cluster).next_multiple_of(TRACK);
            // What the last track has to spare are clusters too.
            let clusters = (sectors - before) / sectors_per_cluster;
            if (FAT16_FROM - MARGIN..FAT16_FROM + MARGIN).contains(&clusters) {
                needed = FAT16_FROM + MARGIN;
                continue;
            }
            let geometry = Self { sectors_per_cluster, clusters, fat_sectors, sectors };
            if geometry.fat_bytes() <= fat_sectors * SECTOR {
                return (clusters < FAT32_FROM - MARGIN).then_some(geometry);
            }
            fat_sectors += 1;
        }
        None
    }

    /// Whether it is FAT16, and not FAT12.
    fn is_fat16(&self) -> bool {
        self.clusters >= FAT16_FROM
    }

    /// Bytes that a FAT needs.
    fn fat_bytes(&self) -> usize {
        let entries = self.clusters + usize::from(FIRST_CLUSTER);
        if self.is_fat16() { entries * 2 } else { (entries * 3).div_ceil(2) }
    }

    /// Bytes of the volume.
    pub(super) fn bytes(&self) -> usize {
        self.sectors * SECTOR
    }

    /// Where the FATs begin.
    pub(super) fn fat_offsets(&self) -> [usize; FATS] {
        [RESERVED * SECTOR, (RESERVED + self.fat_sectors) * SECTOR]
    }

    /// Where the root directory begins.
    pub(super) fn root_offset(&self) -> usize {
        (RESERVED + FATS * self.fat_sectors) * SECTOR
    }

    /// Where a cluster begins.
    pub(super) fn cluster_offset(&self, cluster: u16) -> usize {
        let at = usize::from(cluster - FIRST_CLUSTER) * self.sectors_per_cluster * SECTOR;
        self.root_offset() + ROOT_BYTES + at
    }

    /// How many clusters so many bytes take; fewer than 65,525 in a volume that fits them.
    pub(super) fn clusters_of(&self, length: usize) -> u16 {
        length.div_ceil(self.sectors_per_cluster * SECTOR) as u16
    }

    /// A FAT in which nothing is taken.
    pub(super) fn empty_fat(&self) -> Fat {
        let mut fat = Fat { bytes: vec![0; self.fat_bytes()], is_fat16: self.is_fat16() };
        // The medium's kind; then that the volume was left in order.
        fat.set(0, 0xff00 | u16::from(FIXED_DISK));
        fat.set(1, END);
        fat
    }

    /// The first sector, which tells all of this.
    pub(super) fn boot_sector(&self, label: [u8; LABEL_LENGTH], serial: u32) -> [u8; SECTOR] {
        let mut sector = [0; SECTOR];
        let mut put = |at: usize, bytes: &[u8]| sector[at..at + bytes.len()].copy_from_slice(bytes);
        // A jump that leads nowhere, since there is nothing to boot.
        put(0, &[0xeb, 0x3c, 0x90]);
        // What fatgen103 says that most programs expect.
        put(3, b"MSWIN4.1");
        put(11, &(SECTOR as u16).to_le_bytes());
        put(13, &[self.sectors_per_cluster as u8]);
        put(14, &(RESERVED as u16).to_le_bytes());
        put(16, &[FATS as u8]);
        put(17, &(ROOT_ENTRIES as u16).to_le_bytes());
        match u16::try_from(self.sectors) {
            Ok(sectors) => put(19, &sectors.to_le_bytes()),
            Err(_) => put(32, &(self.sectors as u32).to_le_bytes()),
        }
        put(21, &[FIXED_DISK]);
        put(22, &(self.fat_sectors as u16).to_le_bytes());
        put(24, &(TRACK as u16).to_le_bytes());
        put(26, &HEADS.to_le_bytes());
        // The first hard disk, and that serial, label and kind follow.
        put(36, &[0x80, 0, 0x29]);
        put(39, &serial.to_le_bytes());
        put(43, &label);
        put(54, if self.is_fat16() { b"FAT16   " } else { b"FAT12   " });
        put(510, &[0x55, 0xaa]);
        sector
    }
}

/// The medium's kind: one that is not taken out.
const FIXED_DISK: u8 = 0xf8;
/// The last cluster of a run.
const END: u16 = 0xffff;

/// Which cluster follows which.
pub(super) struct Fat {
    bytes: Vec<u8>,
    is_fat16: bool,
}

impl Fat {
    /// Its bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// One cluster is followed by another.
    pub(super) fn link(&mut self, cluster: u16, next: u16) {
        self.set(cluster, next);
    }

    /// A cluster is the last.
    pub(super) fn end(&mut self, cluster: u16) {
        self.set(cluster, END);
    }

    fn set(&mut self, cluster: u16, value: u16) {
        let cluster = usize::from(cluster);
        let [low, high] = value.to_le_bytes();
        if self.is_fat16 {
            self.bytes[cluster * 2..cluster * 2 + 2].copy_from_slice(&[low, high]);
            return;
        }
        // Two entries in three bytes: the low byte of the first, four bits of each, the second's
        // high bits.
        let at = cluster / 2 * 3;
        if cluster % 2 == 0 {
            self.bytes[at] = low;
            self.bytes[at + 1] = self.bytes[at + 1] & 0xf0 | high & 0x0f;
        } else {
            self.bytes[at + 1] = self.bytes[at + 1] & 0x0f | low << 4;
            self.bytes[at + 2] = high << 4 | low >> 4;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_as_small_as_its_contents_let_it_be() {
        let nothing = Geometry::fitting(&[]).unwrap();
        assert_eq!(nothing.bytes(), 2 * TRACK * SECTOR);
        for needed in [0, 1, 30, 31, 1000, 4000, 4068, 4069, 4100, 4101, 4102, 60_000, 65_000] {
            let geometry = Geometry::of(1, needed).unwrap();
            assert!(geometry.clusters >= needed, "{needed}: {geometry:?}");
            let near = geometry.clusters.abs_diff(FAT16_FROM);
            assert!(near >= MARGIN, "{needed}: {geometry:?}");
            assert!(geometry.fat_bytes() <= geometry.fat_sectors * SECTOR, "{geometry:?}");
            assert_eq!(geometry.sectors % TRACK, 0);
            // One track less would not do, but for the gap between FAT12 and FAT16.
            let spare = geometry.clusters - needed;
            assert!(spare < TRACK + 2 || geometry.clusters <= FAT16_FROM + MARGIN + TRACK);
        }
    }

    #[test]
    fn clusters_grow_where_there_would_be_too_many_and_then_nothing_fits() {
        let clusters = |bytes: usize| Geometry::fitting(&[bytes]).map(|it| it.sectors_per_cluster);
        assert_eq!(clusters(30 << 20), Some(1));
        assert_eq!(clusters(40 << 20), Some(2));
        assert_eq!(clusters(100 << 20), Some(4));
        assert_eq!(clusters(2000 << 20), Some(64));
        assert_eq!(clusters(3000 << 20), None);
        // Many that are small fill clusters that they don't need.
        assert_eq!(Geometry::fitting(&vec![1; 70_000]), None);
    }

    #[test]
    fn entries_of_twelve_bits_do_not_disturb_each_other() {
        let mut fat = Fat { bytes: vec![0; 9], is_fat16: false };
        for (cluster, value) in [(0, 0xff8), (1, 0xfff), (2, 0x123), (3, 0x456), (4, 0x789)] {
            fat.set(cluster, value);
        }
        fat.set(3, 0xabc);
        assert_eq!(fat.bytes, [0xf8, 0xff, 0xff, 0x23, 0xc1, 0xab, 0x89, 0x07, 0]);
    }
}

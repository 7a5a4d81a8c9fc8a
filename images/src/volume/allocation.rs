//! What a qcow2 overlay's tables say of each subcluster, read and never written. Pure.
//!
//! Only what our own overlays are: version 3, extended L2 entries (a cluster is 32 subclusters,
//! each with a bit that says whether it is allocated), no encryption but LUKS (which leaves the tables
//! in the clear), no snapshots, no data file.
//! Any other header is refused by name rather than guessed at.
//!
//! After <https://www.qemu.org/docs/master/interop/qcow2.html>.

use std::collections::HashSet;

/// The length of an extended L2 entry in bytes.
pub const ENTRY: usize = 16;
/// How many subclusters a cluster has.
pub const SUBCLUSTERS: u32 = 32;
/// How much of the file [`Header::parse`] wants.
pub const HEADER: usize = 104;

const MAGIC: &[u8] = b"QFI\xfb";
/// Offsets in entries of both tables: bits 9 to 55.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
const COMPRESSED: u64 = 1 << 62;
/// Incompatible features: closed uncleanly while refcounts were lazy; corrupt; extended L2.
const DIRTY: u64 = 1;
const CORRUPT: u64 = 1 << 1;
const EXTENDED_L2: u64 = 1 << 4;
/// The header's word for encryption with LUKS; 1 is an older one, which is broken.
const LUKS: u32 = 2;
/// The longest L1 table that is read, in entries: 8 PiB with the clusters that our overlays have.
const LONGEST_L1: u64 = (1 << 20) / 8;

/// Why a file is not one of our overlays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AllocationError {
    /// Not qcow2, or an older version.
    #[error("it is not qcow2 of version 3")]
    NotQcow2,
    /// QEMU marked it so.
    #[error("QEMU has marked it as corrupt")]
    Corrupt,
    /// One of the things that our overlays don't have.
    #[error("it has {0}, which our overlays have not")]
    Foreign(&'static str),
    /// A table is not where one can be.
    #[error("its tables point to where none can be")]
    OutOfRange,
    /// Two parts of the volume have one table.
    #[error("it has one table in two places")]
    Repeated,
}

/// What a header says of the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    cluster_bits: u32,
    size: u64,
    l1_offset: u64,
    l1_entries: u32,
    is_encrypted: bool,
}

impl Header {
    /// Reads the first [`HEADER`] bytes of a file.
    pub fn parse(bytes: &[u8; HEADER]) -> Result<Self, AllocationError> {
        if &bytes[..4] != MAGIC || number(bytes, 4) != 3 {
            return Err(AllocationError::NotQcow2);
        }
        let features = long(bytes, 72);
        if features & CORRUPT != 0 {
            return Err(AllocationError::Corrupt);
        }
        let foreign = [
            (!matches!(number(bytes, 32), 0 | LUKS), "encryption other than LUKS"),
            (number(bytes, 60) != 0, "snapshots"),
            (features & DIRTY != 0, "lazy refcounts"),
            (features & EXTENDED_L2 == 0, "no extended L2 entries"),
            (features & !(DIRTY | CORRUPT | EXTENDED_L2) != 0, "further incompatible features"),
        ];
        if let Some((_, what)) = foreign.iter().find(|(is_there, _)| *is_there) {
            return Err(AllocationError::Foreign(what));
        }
        let header = Self {
            cluster_bits: number(bytes, 20),
            size: long(bytes, 24),
            l1_offset: long(bytes, 40),
            l1_entries: number(bytes, 36),
            is_encrypted: number(bytes, 32) == LUKS,
        };
        // Extended entries want clusters of 16 KiB at least; 2 MiB is the format's most.
        if !(14..=21).contains(&header.cluster_bits)
            || header.needed() > LONGEST_L1
            || u64::from(header.l1_entries) < header.needed()
            || !header.is_cluster(header.l1_offset)
        {
            return Err(AllocationError::OutOfRange);
        }
        Ok(header)
    }

    /// The length of the volume in bytes, as its guest sees it.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether the data is encrypted, with LUKS.
    pub fn is_encrypted(&self) -> bool {
        self.is_encrypted
    }

    /// A cluster's length in bytes, which is an L2 table's too.
    pub fn cluster(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// A subcluster's length in bytes.
    pub fn subcluster(&self) -> u64 {
        self.cluster() / u64::from(SUBCLUSTERS)
    }

    /// Where the L1 table is in the file, and how many bytes of it are about the volume: a
    /// mebibyte at most.
    pub fn l1(&self) -> (u64, usize) {
        (self.l1_offset, usize::try_from(self.needed()).unwrap_or(usize::MAX).saturating_mul(8))
    }

    /// How many entries of the L1 table are about the volume.
    fn needed(&self) -> u64 {
        self.size.div_ceil(self.l2_span())
    }

    /// How much of the volume one L2 table is about.
    fn l2_span(&self) -> u64 {
        self.cluster() / ENTRY as u64 * self.cluster()
    }

    fn is_cluster(&self, offset: u64) -> bool {
        offset != 0 && offset.is_multiple_of(self.cluster())
    }

    /// The L2 tables that an L1 table names: where each is in the file, and the first byte of the
    /// volume that it is about. None is there twice, so whoever reads them all reads no more than the
    /// file's length.
    pub fn l2_tables(&self, l1: &[u8]) -> Result<Vec<(u64, u64)>, AllocationError> {
        let (entries, _) = l1.as_chunks::<8>();
        let offsets = entries.iter().map(|entry| u64::from_be_bytes(*entry) & OFFSET);
        let tables: Vec<_> = (0..)
            .map(|at: u64| at.saturating_mul(self.l2_span()))
            .zip(offsets)
            .filter(|(begin, offset)| *begin < self.size && *offset != 0)
            .map(|(begin, offset)| {
                self.is_cluster(offset)
                    .then_some((offset, begin))
                    .ok_or(AllocationError::OutOfRange)
            })
            .collect::<Result<_, _>>()?;
        let mut seen = HashSet::with_capacity(tables.len());
        if tables.iter().all(|(offset, _)| seen.insert(*offset)) {
            return Ok(tables);
        }
        Err(AllocationError::Repeated)
    }

    /// What an L2 table says, cluster by cluster, of the volume from `begin` on: those clusters
    /// that have a place in the file.
    pub fn clusters(&self, table: &[u8], begin: u64) -> Result<Vec<Cluster>, AllocationError> {
        let (entries, _) = table.as_chunks::<ENTRY>();
        let mut clusters = Vec::new();
        for (entry, volume) in entries.iter().zip((0..).map(|at| begin + at * self.cluster())) {
            let descriptor = long(entry, 0);
            if descriptor & COMPRESSED != 0 {
                return Err(AllocationError::Foreign("compressed clusters"));
            }
            let file = descriptor & OFFSET;
            if file == 0 || volume >= self.size {
                continue;
            }
            if !self.is_cluster(file) {
                return Err(AllocationError::OutOfRange);
            }
            let (zero, allocated) = (number(entry, 8), number(entry, 12));
            clusters.push(Cluster { volume, file, open: !(zero | allocated) });
        }
        Ok(clusters)
    }
}

/// A cluster that has a place in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cluster {
    /// Its first byte in the volume.
    pub volume: u64,
    /// Its first byte in the file.
    pub file: u64,
    /// A bit for each subcluster that reads as the master: neither allocated nor zero.
    pub open: u32,
}

impl Cluster {
    /// The subclusters that read as the master, as numbers from 0.
    pub fn open_subclusters(self) -> impl Iterator<Item = u32> {
        (0..SUBCLUSTERS).filter(move |at| self.open >> at & 1 == 1)
    }
}

fn number(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

fn long(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

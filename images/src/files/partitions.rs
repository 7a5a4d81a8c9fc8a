//! A disk's partitions: MBR with its logical ones, and GPT. Pure: what is read is given.
//!
//! After UEFI 2.10, chapter 5 (GPT, with both of its checksums; the second table where the first is
//! damaged), and what is common use of the master boot record. Sectors have 512 bytes, as guests' disks
//! here do; a GPT for sectors of 4096 is found as well. Every number is checked against the disk's length.

#[cfg(test)]
mod tests;

use super::FilesError;

/// Reads the disk at a place.
pub type ReadAt<'a, E> = dyn FnMut(u64, &mut [u8]) -> Result<(), E> + 'a;

const SECTOR: u64 = 512;
/// Entries of a GPT that are read.
const MOST: u32 = 1024;
/// Logical partitions that are followed.
const MOST_LOGICAL: u32 = 128;
/// The four in the first sector, where logical ones are numbered from.
const PRIMARY: usize = 4;
const PROTECTIVE: u8 = 0xee;

/// How a disk is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// It is not.
    None,
    /// By a master boot record.
    Mbr,
    /// By a GUID partition table.
    Gpt,
}

/// A part of a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// As Linux numbers it: 1 for `sda1`. 0 is a disk that is not divided.
    pub number: u32,
    /// Where it begins, in bytes.
    pub offset: u64,
    /// Its length, in bytes.
    pub length: u64,
    /// What its table says that it is for; a GUID as the table has it.
    pub purpose: Purpose,
    /// Its name, where it has one.
    pub name: String,
}

/// What a partition is said to be for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Nothing is said.
    Unsaid,
    /// A master boot record's byte.
    Mbr(u8),
    /// A GPT's type, its bytes in the table's order.
    Gpt([u8; 16]),
}

impl Partition {
    /// All of a disk.
    pub fn whole(length: u64) -> Self {
        Self { number: 0, offset: 0, length, purpose: Purpose::Unsaid, name: String::new() }
    }
}

/// The partitions of a disk of this size, by their numbers; all of it where there is no table.
///
/// # Errors
/// [`FilesError::Table`] of a GPT of which neither copy is sound.
pub fn read<E>(size: u64, read: &mut ReadAt<'_, E>) -> Result<(Table, Vec<Partition>), FilesError>
where
    FilesError: From<E>,
{
    let undivided = || (Table::None, vec![Partition::whole(size)]);
    let mut first = [0; SECTOR as usize];
    if size < SECTOR {
        return Ok(undivided());
    }
    read(0, &mut first)?;
    let Some(entries) = boot_record(&first) else { return Ok(undivided()) };
    if entries.iter().any(|entry| entry.kind == PROTECTIVE) {
        return Ok((Table::Gpt, gpt(size, read)?));
    }
    let mut found = Vec::new();
    for (number, entry) in (1..).zip(&entries) {
        if entry.is_extended() {
            logical(size, entry.start, read, &mut found)?;
        } else {
            found.extend(entry.partition(number, 0, size));
        }
    }
    found.sort_by_key(|partition| partition.number);
    Ok(if found.is_empty() { undivided() } else { (Table::Mbr, found) })
}

/// A line of a boot record; start and length in sectors.
struct Line {
    kind: u8,
    start: u64,
    length: u64,
}

impl Line {
    fn is_extended(&self) -> bool {
        matches!(self.kind, 0x05 | 0x0f | 0x85) && self.length > 0
    }

    /// The partition, if it is one within the disk, where its start counts from `base`.
    fn partition(&self, number: u32, base: u64, size: u64) -> Option<Partition> {
        let offset = (base + self.start) * SECTOR;
        let length = self.length * SECTOR;
        let is_used = self.kind != 0 && length > 0 && offset > 0 && offset < size;
        is_used.then(|| Partition {
            number,
            offset,
            // One that ends behind a disk that was cut is read as far as it goes.
            length: length.min(size - offset),
            purpose: Purpose::Mbr(self.kind),
            name: String::new(),
        })
    }
}

/// The lines of a boot record; None of what is none.
fn boot_record(sector: &[u8; SECTOR as usize]) -> Option<[Line; PRIMARY]> {
    let number = |at: usize| {
        u64::from(u32::from_le_bytes([sector[at], sector[at + 1], sector[at + 2], sector[at + 3]]))
    };
    let is_sound = sector[510..] == [0x55, 0xaa]
        && (0..PRIMARY).all(|line| matches!(sector[446 + 16 * line], 0 | 0x80));
    is_sound.then(|| {
        std::array::from_fn(|line| {
            let at = 446 + 16 * line;
            Line { kind: sector[at + 4], start: number(at + 8), length: number(at + 12) }
        })
    })
}

/// Follows a chain of logical partitions from the extended one's start.
fn logical<E>(
    size: u64,
    extended: u64,
    read: &mut ReadAt<'_, E>,
    found: &mut Vec<Partition>,
) -> Result<(), E> {
    let mut at = extended;
    let mut sector = [0; SECTOR as usize];
    for number in 0..MOST_LOGICAL {
        if at * SECTOR + SECTOR > size {
            break;
        }
        read(at * SECTOR, &mut sector)?;
        let Some([own, next, ..]) = boot_record(&sector) else { break };
        found.extend(own.partition(PRIMARY as u32 + 1 + number, at, size));
        if !next.is_extended() || next.start == 0 {
            break;
        }
        at = extended + next.start;
    }
    Ok(())
}

/// The partitions of a GPT: of the first of its copies that is sound.
fn gpt<E>(size: u64, read: &mut ReadAt<'_, E>) -> Result<Vec<Partition>, FilesError>
where
    FilesError: From<E>,
{
    let mut fault = "there is none";
    for sector in [SECTOR, 4096] {
        let last = (size / sector).saturating_sub(1);
        for at in [1, last] {
            match copy(size, sector, at, read)? {
                Ok(partitions) => return Ok(partitions),
                Err("there is none") => {}
                Err(why) => fault = why,
            }
        }
    }
    Err(FilesError::Table(fault))
}

/// One copy, whose header is in this sector; or why it is none.
fn copy<E>(
    size: u64,
    sector: u64,
    at: u64,
    read: &mut ReadAt<'_, E>,
) -> Result<Result<Vec<Partition>, &'static str>, E> {
    let mut head = [0; SECTOR as usize];
    if at.checked_mul(sector).and_then(|at| at.checked_add(SECTOR)).is_none_or(|end| end > size) {
        return Ok(Err("there is none"));
    }
    read(at * sector, &mut head)?;
    let header = match Header::parse(&head, at) {
        Ok(header) => header,
        Err(why) => return Ok(Err(why)),
    };
    let length = u64::from(header.count) * u64::from(header.entry);
    let start = header.entries.checked_mul(sector);
    let Some(start) = start.filter(|at| at.checked_add(length).is_some_and(|end| end <= size))
    else {
        return Ok(Err("its entries lie beyond the disk"));
    };
    // At most 1024 times 4096 bytes.
    let mut entries = vec![0; usize::try_from(length).unwrap_or(0)];
    read(start, &mut entries)?;
    if crc32(&entries) != header.checksum {
        return Ok(Err("its entries have another checksum"));
    }
    let entries = (1..).zip(entries.chunks_exact(header.entry as usize));
    Ok(Ok(entries.filter_map(|(number, entry)| entry_of(number, entry, sector, size)).collect()))
}

struct Header {
    entries: u64,
    count: u32,
    entry: u32,
    checksum: u32,
}

impl Header {
    fn parse(head: &[u8; SECTOR as usize], at: u64) -> Result<Self, &'static str> {
        let short = |from: usize| {
            u32::from_le_bytes([head[from], head[from + 1], head[from + 2], head[from + 3]])
        };
        let long = |from: usize| u64::from(short(from)) | u64::from(short(from + 4)) << 32;
        if !head.starts_with(b"EFI PART") {
            return Err("there is none");
        }
        let length = short(12) as usize;
        if !(92..=head.len()).contains(&length) {
            return Err("its header has no length that it can have");
        }
        let mut checked = head[..length].to_vec();
        checked[16..20].fill(0);
        if crc32(&checked) != short(16) {
            return Err("its header has another checksum");
        }
        if long(24) != at {
            return Err("its header is one of another place");
        }
        let header =
            Self { entries: long(72), count: short(80), entry: short(84), checksum: short(88) };
        let is_possible = (128..=4096).contains(&header.entry)
            && header.entry.is_power_of_two()
            && header.count <= MOST;
        if is_possible { Ok(header) } else { Err("its entries are more, or longer, than they are") }
    }
}

fn entry_of(number: u32, entry: &[u8], sector: u64, size: u64) -> Option<Partition> {
    let (purpose, rest) = entry.split_first_chunk::<16>()?;
    let (_, rest) = rest.split_first_chunk::<16>()?;
    let (first, rest) = rest.split_first_chunk::<8>()?;
    let (last, rest) = rest.split_first_chunk::<8>()?;
    let (_, name) = rest.split_first_chunk::<8>()?;
    if *purpose == [0; 16] {
        return None;
    }
    let offset = u64::from_le_bytes(*first).checked_mul(sector)?;
    let end = u64::from_le_bytes(*last).checked_add(1)?.checked_mul(sector)?;
    let length = end.min(size).checked_sub(offset).filter(|length| *length > 0)?;
    let units = name.as_chunks::<2>().0.iter().take(36).map(|unit| u16::from_le_bytes(*unit));
    let name: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
    let name = String::from_utf16_lossy(&name);
    Some(Partition { number, offset, length, purpose: Purpose::Gpt(*purpose), name })
}

/// The checksum of GPT, which is that of Ethernet (reflected, polynomial 0xEDB88320).
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

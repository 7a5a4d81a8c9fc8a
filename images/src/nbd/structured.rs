//! Structured replies: a reply in chunks, of data, of holes, of a map's runs, or of an error.
//!
//! Nothing is believed: not a chunk's length, nor that what a read asked for comes once and whole.
//! A reply that is not right ends the connection; one that says that the request failed doesn't.

use std::io::Read;

use super::{NbdError, handshake::take};

const CHUNK_MAGIC: u32 = 0x668e_33ef;
const SIMPLE_MAGIC: u32 = 0x6744_6698;

const DONE: u16 = 1;
const NONE: u16 = 0;
const OFFSET_DATA: u16 = 1;
const OFFSET_HOLE: u16 = 2;
const BLOCK_STATUS: u16 = 5;
/// All kinds from here on are errors.
const ERRORS: u16 = 1 << 15;

/// The longest chunk of an error, or of a kind that is not known, in bytes.
const LONGEST_MESSAGE: u32 = 8 << 10;
/// The most runs of one map that are taken at once; QEMU sends 131,072.
const MOST_RUNS: u32 = 1 << 20;

/// A part of a map: so many bytes that are alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// In bytes.
    pub length: u64,
    /// What the map says of them; see [`super::HOLE`], [`super::ZERO`] and [`super::DIRTY`].
    pub flags: u32,
}

/// The beginning of a chunk.
#[derive(Debug, Clone, Copy)]
struct Head {
    flags: u16,
    kind: u16,
    length: u32,
}

impl Head {
    /// The next chunk's; of a reply in the old form, an error or "done".
    fn read(from: &mut impl Read, cookie: u64) -> Result<Self, NbdError> {
        match u32::from_be_bytes(take(from)?) {
            CHUNK_MAGIC => {}
            SIMPLE_MAGIC => {
                let number = u32::from_be_bytes(take(from)?);
                check(u64::from_be_bytes(take(from)?) == cookie, "reply")?;
                // A server may answer so what has no data; a read without is an error below.
                return if number == 0 {
                    Ok(Self { flags: DONE, kind: NONE, length: 0 })
                } else {
                    Err(NbdError::Failed { request: "read", number })
                };
            }
            _ => return Err(NbdError::NotNbd("reply")),
        }
        let flags = u16::from_be_bytes(take(from)?);
        let kind = u16::from_be_bytes(take(from)?);
        check(u64::from_be_bytes(take(from)?) == cookie, "reply")?;
        Ok(Self { flags, kind, length: u32::from_be_bytes(take(from)?) })
    }

    fn is_last(self) -> bool {
        self.flags & DONE != 0
    }

    /// Reads a chunk that is no data: its error number, if it is an error.
    fn read_message(self, from: &mut impl Read) -> Result<Option<u32>, NbdError> {
        check(self.length <= LONGEST_MESSAGE, "chunk")?;
        let mut message = vec![0; self.length as usize];
        from.read_exact(&mut message)?;
        if self.kind & ERRORS == 0 {
            // A kind that nobody asked for.
            check(self.kind == NONE && self.length == 0, "chunk")?;
            return Ok(None);
        }
        let number = message.first_chunk().ok_or(NbdError::NotNbd("error"))?;
        // Zero would be no error.
        Ok(Some(u32::from_be_bytes(*number).max(1)))
    }
}

/// Reads the reply to a read: fills `into`, which lies at `offset`. How much of it was sent as
/// data; the rest are holes.
pub(super) fn read(
    from: &mut impl Read,
    cookie: u64,
    offset: u64,
    into: &mut [u8],
) -> Result<u64, NbdError> {
    let mut places = Places::new(offset, into.len());
    let (mut received, mut failed) = (0, None);
    loop {
        let head = Head::read(from, cookie)?;
        match head.kind {
            OFFSET_DATA => {
                let length = head.length.checked_sub(8).ok_or(NbdError::NotNbd("chunk"))?;
                let at = u64::from_be_bytes(take(from)?);
                from.read_exact(&mut into[places.fill(at, length)?])?;
                received += u64::from(length);
            }
            OFFSET_HOLE => {
                check(head.length == 12, "chunk")?;
                let at = u64::from_be_bytes(take(from)?);
                let length = u32::from_be_bytes(take(from)?);
                into[places.fill(at, length)?].fill(0);
            }
            _ => failed = head.read_message(from)?.or(failed),
        }
        if head.is_last() {
            break;
        }
        places.count()?;
    }
    if let Some(number) = failed {
        return Err(NbdError::Failed { request: "read", number });
    }
    check(places.is_full(), "read")?;
    Ok(received)
}

/// Reads the reply to a question for maps: of each one, runs from the question's beginning on.
pub(super) fn status(
    from: &mut impl Read,
    cookie: u64,
    contexts: &[u32],
) -> Result<Vec<Vec<Run>>, NbdError> {
    let mut maps = vec![Vec::new(); contexts.len()];
    let mut failed = None;
    // A chunk for each map, an error and a last one.
    for _ in 0..contexts.len() + 2 {
        let head = Head::read(from, cookie)?;
        if head.kind == BLOCK_STATUS {
            let length = head.length.checked_sub(4).ok_or(NbdError::NotNbd("map"))?;
            check(length % 8 == 0 && length / 8 <= MOST_RUNS && length > 0, "map")?;
            let context = u32::from_be_bytes(take(from)?);
            let mut bytes = vec![0; length as usize];
            from.read_exact(&mut bytes)?;
            let map = contexts.iter().position(|known| *known == context);
            let map = map.and_then(|at| maps.get_mut(at)).filter(|map| map.is_empty());
            *map.ok_or(NbdError::NotNbd("map"))? = parse_runs(&bytes)?;
        } else {
            failed = head.read_message(from)?.or(failed);
        }
        if head.is_last() {
            if let Some(number) = failed {
                return Err(NbdError::Failed { request: "mapped", number });
            }
            check(maps.iter().all(|map| !map.is_empty()), "map")?;
            return Ok(maps);
        }
    }
    Err(NbdError::NotNbd("map"))
}

fn parse_runs(bytes: &[u8]) -> Result<Vec<Run>, NbdError> {
    let (runs, _) = bytes.as_chunks::<8>();
    let runs = runs.iter().map(|run| {
        let both = u64::from_be_bytes(*run);
        let run = Run { length: both >> 32, flags: (both & 0xffff_ffff) as u32 };
        check(run.length > 0, "map").map(|()| run)
    });
    runs.collect()
}

fn check(is_right: bool, what: &'static str) -> Result<(), NbdError> {
    if is_right { Ok(()) } else { Err(NbdError::NotNbd(what)) }
}

/// Which parts of a read have come.
struct Places {
    offset: u64,
    length: usize,
    /// Beginnings and ends, in order and apart.
    filled: Vec<(usize, usize)>,
    chunks_left: usize,
}

impl Places {
    fn new(offset: u64, length: usize) -> Self {
        // No server has a reason for chunks shorter than a sector.
        Self { offset, length, filled: Vec::new(), chunks_left: length / 512 + 16 }
    }

    fn count(&mut self) -> Result<(), NbdError> {
        let left = self.chunks_left.checked_sub(1).ok_or(NbdError::NotNbd("read"))?;
        self.chunks_left = left;
        Ok(())
    }

    /// Notes a part that comes now; where it belongs.
    fn fill(&mut self, at: u64, length: u32) -> Result<std::ops::Range<usize>, NbdError> {
        let bad = NbdError::NotNbd("chunk");
        let start = at.checked_sub(self.offset).and_then(|start| usize::try_from(start).ok());
        let end = start.and_then(|start| start.checked_add(length as usize));
        let (Some(start), Some(end)) = (start, end.filter(|end| *end <= self.length)) else {
            return Err(bad);
        };
        let place = self.filled.partition_point(|(from, _)| *from < start);
        let is_free = start < end
            && self.filled.get(place).is_none_or(|(from, _)| *from >= end)
            && place.checked_sub(1).is_none_or(|before| self.filled[before].1 <= start);
        if !is_free {
            return Err(bad);
        }
        match place.checked_sub(1).map(|before| &mut self.filled[before]) {
            Some(before) if before.1 == start => before.1 = end,
            _ => self.filled.insert(place, (start, end)),
        }
        Ok(start..end)
    }

    fn is_full(&self) -> bool {
        // Parts that came out of order are not joined with what follows them.
        self.filled.iter().map(|(start, end)| end - start).sum::<usize>() == self.length
    }
}

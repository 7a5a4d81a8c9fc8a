//! The first words: which export, how long it is and what it can do.

use std::io::{Read, Write};

use super::NbdError;

/// Transmission flags: only to be read; has `NBD_CMD_FLUSH`.
pub(super) const READ_ONLY: u16 = 1 << 1;
pub(super) const SENDS_FLUSH: u16 = 1 << 2;

const SERVER_MAGIC: [u8; 8] = *b"NBDMAGIC";
const OPTION_MAGIC: [u8; 8] = *b"IHAVEOPT";
const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;

/// Handshake flags of both sides: fixed newstyle, and no 124 bytes of zeroes after it.
const FIXED_NEWSTYLE: u16 = 1;
const NO_ZEROES: u16 = 1 << 1;

const OPTION_GO: u32 = 7;
const REPLY_ACK: u32 = 1;
const REPLY_INFO: u32 = 3;
const INFO_EXPORT: u16 = 0;

/// An option's reply is some words and a message; longer ones are not read.
const LONGEST_OPTION_REPLY: u32 = 64 << 10;
/// A server may send information that nobody asked for, but not without end.
const MOST_OPTION_REPLIES: usize = 32;

/// Asks for the export; its length in bytes and its transmission flags.
pub(super) fn go(stream: &mut (impl Read + Write), export: &str) -> Result<(u64, u16), NbdError> {
    if take(stream)? != SERVER_MAGIC || take(stream)? != OPTION_MAGIC {
        return Err(NbdError::NotNbd("greeting"));
    }
    let flags = u16::from_be_bytes(take(stream)?);
    if flags & FIXED_NEWSTYLE == 0 {
        return Err(NbdError::NotNbd("greeting"));
    }
    let too_long = || NbdError::NoExport { name: export.into(), reply: 0 };
    let length = u32::try_from(export.len()).map_err(|_| too_long())?;
    let mut ask = Vec::new();
    ask.extend(u32::from(flags & (FIXED_NEWSTYLE | NO_ZEROES)).to_be_bytes());
    ask.extend(OPTION_MAGIC);
    ask.extend(OPTION_GO.to_be_bytes());
    // The name's length, the name, and how many further things are asked for: none.
    ask.extend((length.checked_add(6).ok_or_else(too_long)?).to_be_bytes());
    ask.extend(length.to_be_bytes());
    ask.extend(export.as_bytes());
    ask.extend(0_u16.to_be_bytes());
    stream.write_all(&ask)?;
    let mut found = None;
    for _ in 0..MOST_OPTION_REPLIES {
        if u64::from_be_bytes(take(stream)?) != OPTION_REPLY_MAGIC {
            return Err(NbdError::NotNbd("reply to an option"));
        }
        let option = u32::from_be_bytes(take(stream)?);
        let reply = u32::from_be_bytes(take(stream)?);
        let length = u32::from_be_bytes(take(stream)?);
        if option != OPTION_GO || length > LONGEST_OPTION_REPLY {
            return Err(NbdError::NotNbd("reply to an option"));
        }
        let mut data = vec![0; length as usize];
        stream.read_exact(&mut data)?;
        match reply {
            REPLY_INFO => found = export_of(&data).or(found),
            REPLY_ACK => return found.ok_or(NbdError::NotNbd("export without a length")),
            _ => return Err(NbdError::NoExport { name: export.into(), reply }),
        }
    }
    Err(NbdError::NotNbd("reply to an option"))
}

fn export_of(data: &[u8]) -> Option<(u64, u16)> {
    let (kind, rest) = data.split_first_chunk()?;
    let (size, rest) = rest.split_first_chunk()?;
    let (flags, _) = rest.split_first_chunk()?;
    (u16::from_be_bytes(*kind) == INFO_EXPORT)
        .then(|| (u64::from_be_bytes(*size), u16::from_be_bytes(*flags)))
}

/// The next so many bytes.
pub(super) fn take<const N: usize>(stream: &mut impl Read) -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

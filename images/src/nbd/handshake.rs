//! The first words: that TLS begins, which export, how long it is and what it can do, and which of its
//! maps are wanted.
//!
//! Where TLS is wanted nothing is asked before it has begun, and a server that doesn't begin it is
//! left. What it says before, which anybody on the way may have said, decides nothing that comes after.

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

const OPTION_STARTTLS: u32 = 5;
const OPTION_GO: u32 = 7;
const OPTION_STRUCTURED_REPLY: u32 = 8;
const OPTION_SET_META_CONTEXT: u32 = 10;
const REPLY_ACK: u32 = 1;
const REPLY_INFO: u32 = 3;
const REPLY_META_CONTEXT: u32 = 4;
const INFO_EXPORT: u16 = 0;

/// An option's reply is some words and a message; longer ones are not read.
const LONGEST_OPTION_REPLY: u32 = 64 << 10;
/// A server may send information that nobody asked for, but not without end.
const MOST_OPTION_REPLIES: usize = 32;
/// The longest name of the protocol, in bytes.
const LONGEST_NAME: usize = 4096;

/// What server and client have agreed on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Agreed {
    pub(super) size: u64,
    pub(super) flags: u16,
    /// The server's numbers for the maps that were asked for, in that order.
    pub(super) contexts: Vec<u32>,
}

/// Takes the server's greeting, and answers it.
pub(super) fn greet(stream: &mut (impl Read + Write)) -> Result<(), NbdError> {
    if take(stream)? != SERVER_MAGIC || take(stream)? != OPTION_MAGIC {
        return Err(NbdError::NotNbd("greeting"));
    }
    let flags = u16::from_be_bytes(take(stream)?);
    if flags & FIXED_NEWSTYLE == 0 {
        return Err(NbdError::NotNbd("greeting"));
    }
    Ok(stream.write_all(&u32::from(flags & (FIXED_NEWSTYLE | NO_ZEROES)).to_be_bytes())?)
}

/// Asks for TLS. When this returns, the next byte of either side is TLS's.
pub(super) fn ask_for_tls(stream: &mut (impl Read + Write)) -> Result<(), NbdError> {
    option(stream, OPTION_STARTTLS, &[])?;
    match reply(stream, OPTION_STARTTLS)? {
        // What comes with it would be outside of TLS.
        (REPLY_ACK, data) if data.is_empty() => Ok(()),
        (reply, _) => Err(NbdError::NoTls { reply }),
    }
}

/// Asks for the export, and for maps of it. Replies are structured if any is asked for.
pub(super) fn agree(
    stream: &mut (impl Read + Write),
    export: &str,
    maps: &[&str],
) -> Result<Agreed, NbdError> {
    if export.len() > LONGEST_NAME {
        return Err(NbdError::NoExport { name: export.into(), reply: 0 });
    }
    let contexts = if maps.is_empty() { Vec::new() } else { agree_on_maps(stream, export, maps)? };
    let mut ask = name(export);
    // How many further things are asked for: none.
    ask.extend(0_u16.to_be_bytes());
    option(stream, OPTION_GO, &ask)?;
    let mut found = None;
    for _ in 0..MOST_OPTION_REPLIES {
        match reply(stream, OPTION_GO)? {
            (REPLY_INFO, data) => found = export_of(&data).or(found),
            (REPLY_ACK, _) => {
                let (size, flags) = found.ok_or(NbdError::NotNbd("export without a length"))?;
                return Ok(Agreed { size, flags, contexts });
            }
            (reply, _) => return Err(NbdError::NoExport { name: export.into(), reply }),
        }
    }
    Err(NbdError::NotNbd("reply to an option"))
}

fn agree_on_maps(
    stream: &mut (impl Read + Write),
    export: &str,
    maps: &[&str],
) -> Result<Vec<u32>, NbdError> {
    option(stream, OPTION_STRUCTURED_REPLY, &[])?;
    if reply(stream, OPTION_STRUCTURED_REPLY)?.0 != REPLY_ACK {
        return Err(NbdError::Unable("read in structured replies"));
    }
    let mut ask = name(export);
    ask.extend(u32::try_from(maps.len()).unwrap_or(u32::MAX).to_be_bytes());
    for map in maps {
        if map.len() > LONGEST_NAME {
            return Err(NbdError::NoMap { name: (*map).into() });
        }
        ask.extend(name(map));
    }
    option(stream, OPTION_SET_META_CONTEXT, &ask)?;
    let mut numbers = vec![None; maps.len()];
    for _ in 0..MOST_OPTION_REPLIES {
        match reply(stream, OPTION_SET_META_CONTEXT)? {
            (REPLY_META_CONTEXT, data) => {
                let (number, name) = data.split_first_chunk().ok_or(NbdError::NotNbd("map"))?;
                if let Some(at) = maps.iter().position(|map| map.as_bytes() == name) {
                    numbers[at] = Some(u32::from_be_bytes(*number));
                }
            }
            (REPLY_ACK, _) => {
                let all = maps.iter().zip(numbers);
                let number = |(map, number): (&&str, Option<u32>)| {
                    number.ok_or_else(|| NbdError::NoMap { name: (*map).into() })
                };
                return all.map(number).collect();
            }
            (reply, _) => return Err(NbdError::NoExport { name: export.into(), reply }),
        }
    }
    Err(NbdError::NotNbd("reply to an option"))
}

/// A name as the protocol has it: its length and its bytes.
fn name(name: &str) -> Vec<u8> {
    // Checked by whoever calls: it is no longer than `LONGEST_NAME`.
    let length = u32::try_from(name.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes(), name.as_bytes()].concat()
}

fn option(stream: &mut impl Write, option: u32, data: &[u8]) -> Result<(), NbdError> {
    let mut ask = OPTION_MAGIC.to_vec();
    ask.extend(option.to_be_bytes());
    ask.extend(u32::try_from(data.len()).unwrap_or(u32::MAX).to_be_bytes());
    ask.extend(data);
    Ok(stream.write_all(&ask)?)
}

/// The next reply to this option: its kind and what comes with it.
fn reply(stream: &mut impl Read, to: u32) -> Result<(u32, Vec<u8>), NbdError> {
    if u64::from_be_bytes(take(stream)?) != OPTION_REPLY_MAGIC {
        return Err(NbdError::NotNbd("reply to an option"));
    }
    let option = u32::from_be_bytes(take(stream)?);
    let reply = u32::from_be_bytes(take(stream)?);
    let length = u32::from_be_bytes(take(stream)?);
    if option != to || length > LONGEST_OPTION_REPLY {
        return Err(NbdError::NotNbd("reply to an option"));
    }
    let mut data = vec![0; length as usize];
    stream.read_exact(&mut data)?;
    Ok((reply, data))
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

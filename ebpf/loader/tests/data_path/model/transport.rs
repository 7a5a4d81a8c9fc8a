//! TCP's and UDP's headers, as far as they say where a segment goes.

use mezame_ebpf_loader::{Protocol, Verdict};

use super::word;

/// The protocol and the destination port of a segment; `segment` ends where its packet ends.
pub(super) fn destination(number: u8, segment: &[u8]) -> Result<(Protocol, u16), Verdict> {
    let (protocol, header, says) = match number {
        // The data's offset, in words of four bytes.
        6 => (Protocol::Tcp, 20, segment.get(12).map(|byte| usize::from(byte >> 4) * 4)),
        17 => (Protocol::Udp, 8, word(segment, 4).map(usize::from)),
        _ => return Err(Verdict::NoService),
    };
    let fits = says.is_some_and(|length| length >= header && length <= segment.len());
    if segment.len() < header || !fits {
        return Err(Verdict::Malformed);
    }
    Ok((protocol, word(segment, 2).ok_or(Verdict::Malformed)?))
}

/// Source and destination port, if they are there.
pub(super) fn ports(segment: &[u8]) -> Option<(u16, u16)> {
    Some((word(segment, 0)?, word(segment, 2)?))
}

//! IPv6 extension headers (RFC 8200, section 4; RFC 7112 for the first piece of a packet).

use super::word;

/// What lies behind the extension headers.
pub(super) struct Chain<'a> {
    pub(super) protocol: u8,
    /// To the frame's end, so perhaps with padding.
    pub(super) upper: &'a [u8],
    pub(super) has_headers: bool,
    pub(super) is_piece: bool,
}

/// The longest chain that anybody sends, by far.
const MOST: usize = 8;
const FRAGMENT: u8 = 44;

/// The headers of the Internet Numbers registry that others may follow, but for ESP, behind which
/// nobody sees.
const EXTENSIONS: [u8; 8] = [0, 43, FRAGMENT, 51, 60, 135, 139, 140];

/// Takes a whole packet apart; nothing if its chain is too long or cut off.
pub(super) fn chain(packet: &[u8]) -> Option<Chain<'_>> {
    let mut protocol = packet[6];
    let mut at = 40;
    let mut headers = 0;
    let mut is_piece = false;
    while EXTENSIONS.contains(&protocol) {
        if headers == MOST {
            return None;
        }
        headers += 1;
        let [next, length, ..] = *packet.get(at..at + 4)? else { return None };
        if protocol == FRAGMENT {
            is_piece = true;
            if word(packet, at + 2)? >> 3 != 0 {
                let upper = &packet[at..];
                return Some(Chain { protocol, upper, has_headers: true, is_piece });
            }
        }
        at += match protocol {
            FRAGMENT => 8,
            51 => 4 * (usize::from(length) + 2),
            _ => 8 * (usize::from(length) + 1),
        };
        protocol = next;
    }
    // What is behind a first piece's end is not what its receiver will see there.
    let end = packet.len().min(40 + usize::from(word(packet, 4)?));
    if is_piece && at + 4 > end {
        return None;
    }
    let upper = packet.get(at..).unwrap_or(&[]);
    Some(Chain { protocol, upper, has_headers: headers > 0, is_piece })
}

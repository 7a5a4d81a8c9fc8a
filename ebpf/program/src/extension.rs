//! IPv6 extension headers (RFC 8200, section 4): what lies behind them.
//!
//! They are walked so that nothing hides behind them from the checks of neighbour discovery and of
//! DHCP (RFC 7113, RFC 7610); what goes to a service must have none. A chain that is longer than
//! anybody sends, or is cut off, can't be judged: RFC 7112 has receivers throw the latter away. The
//! first piece of a packet is cut off where its chain goes on behind its payload: what lies there in
//! the frame is padding, and what the receiver puts in its place comes with the next piece.

use aya_ebpf::bindings::__sk_buff;
use mezame_ebpf_common::Plain;

use crate::frame::load;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;
const MOBILITY: u8 = 135;
const HOST_IDENTITY: u8 = 139;
const SHIM6: u8 = 140;

/// More headers than this are not followed.
const HEADERS: u32 = 8;

/// What all extension headers begin with.
#[derive(Clone, Copy)]
#[repr(C)]
struct Header {
    next: u8,
    length: u8,
    /// Of a fragment header: the offset and whether more follow, wire order.
    offset: u16,
}

// SAFETY: 1+1+2 bytes, aligned to 2, no padding.
unsafe impl Plain for Header {}

/// What lies behind the extension headers.
#[derive(Clone, Copy)]
pub struct Upper {
    /// Its protocol, of a fragment but the first the fragment header's.
    pub protocol: u8,
    /// Where it begins in the frame.
    pub at: u32,
    /// Whether there is any extension header.
    pub is_extended: bool,
    /// Whether it is a piece of a packet.
    pub is_fragment: bool,
}

/// Whether a protocol number is that of a header which others may follow.
#[inline(always)]
pub fn is_extension(protocol: u8) -> bool {
    matches!(
        protocol,
        HOP_BY_HOP
            | ROUTING
            | FRAGMENT
            | AUTHENTICATION
            | DESTINATION
            | MOBILITY
            | HOST_IDENTITY
            | SHIM6
    )
}

/// What must be there of the upper layer in the first piece of a packet: its ports, or its type.
const UPPER: u32 = 4;

/// Follows the headers from the one of this protocol at `at`, in a packet that ends at `end`. Nothing
/// where they don't come to an end.
#[inline(always)]
pub fn walk(skb: *mut __sk_buff, at: u32, protocol: u8, end: u32) -> Option<Upper> {
    let upper = follow(skb, at, protocol)?;
    let is_cut = upper.is_fragment && upper.protocol != FRAGMENT && upper.at + UPPER > end;
    if is_cut { None } else { Some(upper) }
}

#[inline(always)]
fn follow(skb: *mut __sk_buff, at: u32, protocol: u8) -> Option<Upper> {
    let mut upper = Upper { protocol, at, is_extended: false, is_fragment: false };
    for _ in 0..HEADERS {
        if !is_extension(upper.protocol) {
            return Some(upper);
        }
        let header: Header = load(skb, upper.at)?;
        upper.is_extended = true;
        let length = u32::from(header.length);
        upper.at += match upper.protocol {
            FRAGMENT => {
                upper.is_fragment = true;
                const OFFSET: u16 = 0xfff8_u16.to_be();
                if header.offset & OFFSET != 0 {
                    return Some(upper);
                }
                8
            }
            AUTHENTICATION => (length + 2) * 4,
            _ => (length + 1) * 8,
        };
        upper.protocol = header.next;
    }
    if is_extension(upper.protocol) { None } else { Some(upper) }
}

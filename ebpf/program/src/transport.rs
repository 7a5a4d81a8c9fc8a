//! The ports of TCP and UDP (RFC 9293, RFC 768), once their lengths were found to agree.

use aya_ebpf::bindings::__sk_buff;
use mezame_ebpf_common::Verdict;

use crate::frame::{Ports, TCP, TcpHead, UDP, UdpHead, load};

/// The ports of a segment of `length` bytes that begins at `at` in the frame.
#[inline(always)]
pub fn ports(skb: *mut __sk_buff, at: u32, protocol: u8, length: u32) -> Result<Ports, Verdict> {
    if protocol == TCP {
        if length < 20 {
            return Err(Verdict::Malformed);
        }
        let Some(tcp) = load::<TcpHead>(skb, at) else { return Err(Verdict::Malformed) };
        let offset = u32::from(tcp.offset >> 4) * 4;
        if offset < 20 || offset > length {
            return Err(Verdict::Malformed);
        }
        Ok(tcp.ports)
    } else if protocol == UDP {
        if length < 8 {
            return Err(Verdict::Malformed);
        }
        let Some(udp) = load::<UdpHead>(skb, at) else { return Err(Verdict::Malformed) };
        let udp_length = u32::from(u16::from_be(udp.length));
        if udp_length < 8 || udp_length > length {
            return Err(Verdict::Malformed);
        }
        Ok(udp.ports)
    } else {
        Err(Verdict::NoService)
    }
}

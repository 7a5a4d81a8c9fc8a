//! What comes out of a guest.

use aya_ebpf::bindings::__sk_buff;
use mezame_ebpf_common::{DropRecord, Port, PortKey, Settings, Verdict, address_bit, address_bit6};

use crate::{
    account::refuse,
    arp,
    frame::{self, TYPE_ARP, TYPE_IPV4, TYPE_IPV6, Tag, Untagged},
    ipv4, ipv6,
    maps::{ADDRESSES, ADDRESSES6, PORTS, SETTINGS},
};

/// Goes on to the next program and then to the bridge, as if nothing had been here.
pub const NEXT: i32 = -1;

/// What was found about a frame.
pub enum Finding {
    /// Not ours.
    Pass,
    /// To be dropped.
    Refused(Verdict),
    /// Rewritten; the action that the program returns.
    Sent(i32),
}

/// Judges a frame.
#[inline(always)]
pub fn ingress(skb: *mut __sk_buff) -> i32 {
    if let Some(glance) = frame::glance(skb) {
        match glance.ethertype {
            TYPE_ARP => {}
            TYPE_IPV4 => {
                let Some(settings) = SETTINGS.get(0) else { return NEXT };
                if !ipv4::may_concern(skb, &glance, settings) {
                    return NEXT;
                }
            }
            TYPE_IPV6 => {
                let Some(settings) = SETTINGS.get(0) else { return NEXT };
                if !ipv6::may_concern(skb, settings) {
                    return NEXT;
                }
            }
            other if frame::is_length(other) => {}
            _ => return NEXT,
        }
    }
    slowly(skb)
}

/// Judges a frame that a glance did not sort out.
#[inline(always)]
fn slowly(skb: *mut __sk_buff) -> i32 {
    let Some(frame) = frame::untag(skb) else { return NEXT };
    let ethertype = frame.head.ethertype;
    let is_hidden = frame.tag == Tag::TooMany || frame.head.is_wrapped();
    if !is_hidden && !matches!(ethertype, TYPE_IPV4 | TYPE_IPV6 | TYPE_ARP) {
        return NEXT;
    }
    let Some(settings) = SETTINGS.get(0) else { return NEXT };
    if ethertype == TYPE_IPV4 && !ipv4::concerns(skb, &frame, settings) {
        return NEXT;
    }
    judge(skb, &frame, settings)
}

#[inline(always)]
fn judge(skb: *mut __sk_buff, frame: &Untagged, settings: &Settings) -> i32 {
    // SAFETY: the context's fields are readable.
    let ifindex = unsafe { (*skb).ifindex };
    let key = PortKey { ifindex, vlan: 0 };
    // SAFETY: user space replaces ports as a whole, never in place; the old one lives on until
    // the program ends.
    let port = unsafe { PORTS.get(key) };
    let mut record = DropRecord {
        verdict: 0,
        slot: match port {
            Some(port) => port.slot,
            None => DropRecord::NO_SLOT,
        },
        ifindex,
        source: [0; 4],
        destination: [0; 4],
        length: 0,
        vlan: frame.vlan,
        ethertype: u16::from_be(frame.head.ethertype),
        source_port: 0,
        destination_port: 0,
        mac: frame.head.from_mac,
        protocol: 0,
        reserved: 0,
    };
    let finding = if frame.tag == Tag::TooMany {
        Finding::Refused(Verdict::Tagged)
    } else if frame.head.is_wrapped() {
        Finding::Refused(Verdict::Malformed)
    } else if frame.head.ethertype == TYPE_ARP {
        arp::judge(skb, frame, settings, port, &mut record)
    } else if frame.head.ethertype == TYPE_IPV6 {
        ipv6::judge(skb, frame, settings, port, &mut record)
    } else {
        ipv4::judge(skb, frame, settings, port, &mut record)
    };
    match finding {
        Finding::Pass => NEXT,
        Finding::Sent(action) => action,
        Finding::Refused(verdict) => refuse(skb, &mut record, verdict),
    }
}

/// Whether an address is a service address.
#[inline(always)]
pub fn is_service(settings: &Settings, address: u32) -> bool {
    settings.address_bits & address_bit(address) != 0
        // SAFETY: only the presence of an entry is looked at.
        && unsafe { ADDRESSES.get(address) }.is_some()
}

/// The same for IPv6.
#[inline(always)]
pub fn is_service6(settings: &Settings, address: [u32; 4]) -> bool {
    settings.address_bits6 & address_bit6(address) != 0
        // SAFETY: as above.
        && unsafe { ADDRESSES6.get(address) }.is_some()
}

/// The port of a frame that goes to a service address, once it is known to be the port's own.
#[inline(always)]
pub fn own_port<'a>(frame: &Untagged, port: Option<&'a Port>) -> Result<&'a Port, Verdict> {
    let Some(port) = port else { return Err(Verdict::UnknownPort) };
    if frame.tag != Tag::None {
        return Err(Verdict::Tagged);
    }
    if !same_mac(&frame.head.from_mac, &port.mac) {
        return Err(Verdict::WrongMac);
    }
    Ok(port)
}

/// Compares two MACs without a call to `memcmp`, which the kernel has not.
#[inline(always)]
pub fn same_mac(a: &[u8; 6], b: &[u8; 6]) -> bool {
    let mut differ = 0;
    for n in 0..6 {
        differ |= a[n] ^ b[n];
    }
    differ == 0
}

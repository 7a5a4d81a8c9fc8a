//! The first bytes of a frame.
//!
//! Most frames are sorted out by reading them in place. What concerns a service is copied to the
//! stack (`bpf_skb_load_bytes`), and so is a frame whose head is not in linear memory: a guest may
//! hand over one of which hardly the Ethernet header is, and must not get past a check by that.

use core::mem::MaybeUninit;

use aya_ebpf::{bindings::__sk_buff, helpers::generated::bpf_skb_load_bytes};

pub const ETHERNET: u32 = 14;
pub const IPV4: u32 = 20;
pub const IPV6: u32 = 40;
const TAG: u32 = 4;

pub const TYPE_IPV4: u16 = 0x0800_u16.to_be();
pub const TYPE_IPV6: u16 = 0x86dd_u16.to_be();
pub const TYPE_ARP: u16 = 0x0806_u16.to_be();
const TYPE_VLAN: u16 = 0x8100_u16.to_be();
const TYPE_SERVICE_VLAN: u16 = 0x88a8_u16.to_be();

pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const ICMP6: u8 = 58;

/// Ethernet and IPv4 header as they lie in the frame, all in wire order.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub struct Head {
    /// Puts the IPv4 header on a multiple of four.
    lead: u16,
    pub to_mac: [u8; 6],
    pub from_mac: [u8; 6],
    pub ethertype: u16,
    pub version_length: u8,
    pub service_class: u8,
    pub total_length: u16,
    pub id: u16,
    pub fragment: u16,
    pub ttl: u8,
    pub protocol: u8,
    pub checksum: u16,
    pub source: u32,
    pub destination: u32,
}

/// The bytes of a [`Head`] in a frame.
pub const HEAD: u32 = ETHERNET + IPV4;

impl Head {
    /// Reads the head of a frame, or of what follows `skip` bytes of VLAN tags. Nothing if the
    /// frame is too short to have an IPv4 header.
    #[inline(always)]
    pub fn load(skb: *mut __sk_buff, skip: u32) -> Option<Self> {
        let mut head = MaybeUninit::<Self>::uninit();
        // SAFETY: the helper writes exactly HEAD bytes, which lie within `Head` behind the lead,
        // or fails; every pattern of bits is a `Head`.
        unsafe {
            let to = head.as_mut_ptr();
            (*to).lead = 0;
            let at = (&raw mut (*to).to_mac).cast();
            if bpf_skb_load_bytes(skb.cast(), skip, at, HEAD) != 0 {
                return None;
            }
            Some(head.assume_init())
        }
    }

    /// The IPv4 header's length in bytes, as the header says.
    #[inline(always)]
    pub fn header_length(&self) -> u32 {
        u32::from(self.version_length & 0xf) * 4
    }
}

/// What sorts out most frames.
#[derive(Clone, Copy)]
pub struct Glance {
    pub ethertype: u16,
    pub version_length: u8,
    pub protocol: u8,
    pub source: u32,
    pub destination: u32,
}

/// Reads an untagged frame's head in place. Nothing if it is tagged, or not there in one piece.
#[inline(always)]
pub fn glance(skb: *mut __sk_buff) -> Option<Glance> {
    // SAFETY: the context's fields are readable; what is read behind `data` is checked to lie
    // before `data_end`, which the verifier checks too.
    unsafe {
        let data = (*skb).data as usize;
        let end = (*skb).data_end as usize;
        if data + HEAD as usize > end || (*skb).vlan_present != 0 {
            return None;
        }
        let at = data as *const u8;
        let ethertype = at.add(12).cast::<u16>().read_unaligned();
        if is_tag(ethertype) {
            return None;
        }
        Some(Glance {
            ethertype,
            version_length: at.add(14).read(),
            protocol: at.add(23).read(),
            source: at.add(26).cast::<u32>().read_unaligned(),
            destination: at.add(30).cast::<u32>().read_unaligned(),
        })
    }
}

/// UDP's ports behind `before` bytes of headers, read in place: the first two halfwords there.
#[inline(always)]
pub fn glance_ports(skb: *mut __sk_buff, before: u32) -> Option<Ports> {
    // SAFETY: as for `glance`.
    unsafe {
        let data = (*skb).data as usize;
        let at = before as usize;
        if data + at + size_of::<Ports>() > (*skb).data_end as usize {
            return None;
        }
        let at = (data as *const u8).add(at).cast::<u16>();
        Some(Ports { source: at.read_unaligned(), destination: at.add(1).read_unaligned() })
    }
}

/// An IPv6 header, wire order (RFC 8200, section 3).
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Head6 {
    pub version_class_flow: u32,
    pub payload_length: u16,
    pub next_header: u8,
    pub hop_limit: u8,
    pub source: [u32; 4],
    pub destination: [u32; 4],
}

// SAFETY: 4+2+1+1+16+16 bytes, aligned to 4, no padding.
unsafe impl mezame_ebpf_common::Plain for Head6 {}

impl Head6 {
    /// Whether the version is IPv6's.
    #[inline(always)]
    pub fn is_version_6(&self) -> bool {
        const VERSION: u32 = 0xf000_0000_u32.to_be();
        const SIX: u32 = 0x6000_0000_u32.to_be();
        self.version_class_flow & VERSION == SIX
    }
}

/// What sorts out most IPv6 frames.
#[derive(Clone, Copy)]
pub struct Glance6 {
    pub next_header: u8,
    pub source: [u32; 4],
    pub destination: [u32; 4],
}

/// Reads an untagged frame's IPv6 header in place. Nothing if it is not there in one piece.
#[inline(always)]
pub fn glance6(skb: *mut __sk_buff) -> Option<Glance6> {
    // SAFETY: as for `glance`.
    unsafe {
        let data = (*skb).data as usize;
        if data + (ETHERNET + IPV6) as usize > (*skb).data_end as usize {
            return None;
        }
        let at = data as *const u8;
        Some(Glance6 {
            next_header: at.add(20).read(),
            source: at.add(22).cast::<[u32; 4]>().read_unaligned(),
            destination: at.add(38).cast::<[u32; 4]>().read_unaligned(),
        })
    }
}

/// What VLAN tags a frame has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Tag {
    /// None, or (802.1p) one with a priority and no VLAN, which every receiver takes as none.
    None,
    /// At least one.
    Some,
    /// More than anybody nests: the frame must not be let through unread.
    TooMany,
}

/// A frame's head behind its VLAN tags.
pub struct Untagged {
    pub head: Head,
    pub tag: Tag,
    /// The outermost VLAN's id.
    pub vlan: u16,
    /// Bytes of tags before the head's Ethernet type.
    pub skip: u32,
}

/// So many tags are looked behind, the one in the metadata not counted.
const TAGS: u32 = 4;

/// Reads a frame's head behind its VLAN tags: one in the frame's metadata, where the kernel puts
/// the outermost, and some in its bytes.
#[inline(always)]
pub fn untag(skb: *mut __sk_buff) -> Option<Untagged> {
    let mut head = Head::load(skb, 0)?;
    // SAFETY: the context's fields are readable.
    let (present, tci) = unsafe { ((*skb).vlan_present, (*skb).vlan_tci) };
    let mut vlan = 0;
    let mut tag = Tag::None;
    if present != 0 {
        vlan = tci as u16 & 0xfff;
        if vlan != 0 {
            tag = Tag::Some;
        }
    }
    if !is_tag(head.ethertype) {
        return Some(Untagged { head, tag, vlan, skip: 0 });
    }
    // Behind a tag in the bytes even a tag without a VLAN counts: no honest sender nests them.
    if tag == Tag::None {
        // In the place of the IPv4 header's first two bytes.
        vlan = u16::from_be_bytes([head.version_length, head.service_class]) & 0xfff;
    }
    tag = Tag::Some;
    let macs = (head.to_mac, head.from_mac);
    let mut skip = 0;
    for _ in 0..TAGS {
        skip += TAG;
        head = Head::load(skb, skip)?;
        if !is_tag(head.ethertype) {
            (head.to_mac, head.from_mac) = macs;
            return Some(Untagged { head, tag, vlan, skip });
        }
    }
    (head.to_mac, head.from_mac) = macs;
    tag = Tag::TooMany;
    Some(Untagged { head, tag, vlan, skip })
}

/// Whether a type is a length (IEEE 802.3), so that an LLC header follows.
#[inline(always)]
pub fn is_length(ethertype: u16) -> bool {
    u16::from_be(ethertype) < 0x0600
}

impl Head {
    /// Whether what could be IP, ARP or a tag lies behind LLC and SNAP headers (RFC 1042). Hosts may
    /// take it like any other (RFC 1122, section 2.3.3), and nobody sends it on Ethernet.
    #[inline(always)]
    pub fn is_wrapped(&self) -> bool {
        // Both service access points, the control field, and the three bytes of an organization:
        // they lie where the IPv4 header's first six are, and the type follows.
        const SNAP: u8 = 0xaa;
        is_length(self.ethertype)
            && self.version_length == SNAP
            && self.service_class == SNAP
            && (matches!(self.fragment, TYPE_IPV4 | TYPE_IPV6 | TYPE_ARP) || is_tag(self.fragment))
    }
}

#[inline(always)]
fn is_tag(ethertype: u16) -> bool {
    ethertype == TYPE_VLAN || ethertype == TYPE_SERVICE_VLAN
}

/// Reads a plain value out of a frame.
#[inline(always)]
pub fn load<T: mezame_ebpf_common::Plain>(skb: *mut __sk_buff, offset: u32) -> Option<T> {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the helper writes exactly the value's size or fails; `Plain` promises that any bits
    // are a value.
    unsafe {
        let size = size_of::<T>() as u32;
        if bpf_skb_load_bytes(skb.cast(), offset, value.as_mut_ptr().cast(), size) != 0 {
            return None;
        }
        Some(value.assume_init())
    }
}

/// Source and destination port of TCP and UDP, wire order.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Ports {
    pub source: u16,
    pub destination: u16,
}

// SAFETY: two integers of one size.
unsafe impl mezame_ebpf_common::Plain for Ports {}

/// The part of TCP's header that is looked at, wire order.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct TcpHead {
    pub ports: Ports,
    pub numbers: [u32; 2],
    pub offset: u8,
    pub flags: u8,
    pub window: u16,
}

// SAFETY: 4+8+1+1+2 bytes, aligned to 4, no padding.
unsafe impl mezame_ebpf_common::Plain for TcpHead {}

/// UDP's header, wire order.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct UdpHead {
    pub ports: Ports,
    pub length: u16,
    pub checksum: u16,
}

// SAFETY: four integers of one size.
unsafe impl mezame_ebpf_common::Plain for UdpHead {}
